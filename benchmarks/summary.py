"""What the samples of all rounds say together: medians, ratios within rounds, and whether the targets hold. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.samples import BARE, ECHO, GRPC_ON, PEER, REST_ON, Sample, label, subjects_of
from benchmarks.statistics import Estimate, median, paired_ratio
from benchmarks.tables import Table, milliseconds

LIGHT_MODEL = "mlp"
HEAVY_MODEL = "mobilenet_v2"
TARGET_CONCURRENCY = 64
ECHO_TARGET = 0.7
BARE_TARGET = 0.9


@dataclass(frozen=True, slots=True)
class Target:
    """Something that is wanted of the server.

    Attributes:
        name: What is wanted.
        bound: The ratio must be at least this.
        ratio: What was measured; None where it was not.
    """

    name: str
    bound: float
    ratio: Estimate | None

    @property
    def verdict(self) -> str:
        """``holds`` or ``missed`` only where the whole interval lies on that side of the bound."""
        if self.ratio is None:
            return "not measured"
        if self.ratio.low >= self.bound:
            return "holds"
        return "missed" if self.ratio.high < self.bound else "undecided"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        ratio = self.ratio.to_dict() if self.ratio else None
        return {"name": self.name, "bound": self.bound, "ratio": ratio, "verdict": self.verdict}


class Summary:
    """All samples of a run.

    Args:
        samples: Of all models and rounds.
        seed: Of the bootstrap.
    """

    def __init__(self, samples: Sequence[Sample], seed: int) -> None:
        self.samples = samples
        self._seed = seed
        self.models = list(dict.fromkeys(sample.model for sample in samples))
        self.concurrencies = sorted({sample.concurrency for sample in samples})

    def of(self, model: str, subject: str, concurrency: int) -> list[Sample]:
        """Its samples, one a round."""
        wanted = (model, subject, concurrency)
        return [s for s in self.samples if (s.model, s.subject, s.concurrency) == wanted]

    def rates(self, model: str, subject: str, concurrency: int) -> dict[int, float]:
        """Requests a second by round."""
        return {s.round: s.requests_per_second for s in self.of(model, subject, concurrency)}

    def best_bare(self, model: str, concurrency: int) -> str | None:
        """The way to call the bare session with the highest median rate; None where none was measured."""
        rates = {
            subject: median([*found.values()])
            for subject in subjects_of(self.samples)
            if subject.startswith(f"{BARE}/") and (found := self.rates(model, subject, concurrency))
        }
        return max(rates, key=rates.__getitem__, default=None)

    def ratio(self, model: str, ours: str, theirs: str | None, concurrency: int) -> Estimate | None:
        """Our rate over theirs, paired by round; None where one of both was not measured."""
        if theirs is None:
            return None
        rng = np.random.default_rng(self._seed)
        return paired_ratio(self.rates(model, ours, concurrency), self.rates(model, theirs, concurrency), rng)

    def targets(self) -> list[Target]:
        """What is wanted, of the models that were measured."""
        at, targets = TARGET_CONCURRENCY, []
        if LIGHT_MODEL in self.models:
            ratio = self.ratio(LIGHT_MODEL, GRPC_ON, ECHO, at)
            targets.append(Target(f"{LIGHT_MODEL}, {at} clients: gRPC over the echo", ECHO_TARGET, ratio))
        if HEAVY_MODEL in self.models:
            ratio = self.ratio(HEAVY_MODEL, GRPC_ON, self.best_bare(HEAVY_MODEL, at), at)
            targets.append(
                Target(f"{HEAVY_MODEL}, {at} clients: gRPC over the bare session's best", BARE_TARGET, ratio)
            )
        for model in self.models:
            for peer in (subject for subject in subjects_of(self.samples) if subject.startswith(f"{PEER}/")):
                name = f"{model}, {at} clients: REST over {label(peer)}"
                targets.append(Target(name, 1.0, self.ratio(model, REST_ON, peer, at)))
        return targets

    def ratios(self) -> list[dict[str, Any]]:
        """Every ratio that the tables show, JSON-ready."""
        found = []
        for model in self.models:
            for subject, against, concurrency in self._pairs(model):
                ratio = self.ratio(model, subject, against, concurrency)
                if ratio is not None:
                    names = {"model": model, "concurrency": concurrency, "subject": subject, "against": against}
                    found.append({**names, **ratio.to_dict()})
        return found

    def _pairs(self, model: str) -> list[tuple[str, str | None, int]]:
        pairs: list[tuple[str, str | None, int]] = []
        for subject in subjects_of(self.samples):
            for at in self.concurrencies:
                if subject.startswith(("grpc/", "rest/", f"{ECHO}")):
                    pairs.append((subject, self.best_bare(model, at), at))
                if subject.startswith("grpc/"):
                    pairs.append((subject, ECHO, at))
                if subject.startswith(f"{PEER}/"):
                    pairs.append((REST_ON, subject, at))
        return pairs

    def tables(self) -> list[Table]:
        """Everything, for people."""
        return [
            *(self._speed_table(model) for model in self.models),
            *(self._ratio_table(model) for model in self.models),
            self._target_table(),
        ]

    def _speed_table(self, model: str) -> Table:
        header = ["server"]
        for at in self.concurrencies:
            header += [f"{at} cl. req/s", "p50/p99 ms"]
        rows = []
        for subject in subjects_of([s for s in self.samples if s.model == model]):
            cells = [_speed_cells(self.of(model, subject, at)) for at in self.concurrencies]
            rows.append([label(subject), *(text for pair in cells for text in pair)])
        rounds = len({s.round for s in self.samples if s.model == model})
        note = f"Medians of {rounds} rounds, one example a request. ✗ n: n requests failed. * the client was the limit."
        return Table(f"{model}: requests a second and latency", header, rows, note)

    def _ratio_table(self, model: str) -> Table:
        rows: dict[str, list[str]] = {}
        for subject, against, at in self._pairs(model):
            ratio = self.ratio(model, subject, against, at)
            what = "the bare session's best" if (against or BARE).startswith(BARE) else label(against or "")
            row = rows.setdefault(f"{label(subject)} / {what}", [""] * len(self.concurrencies))
            row[self.concurrencies.index(at)] = str(ratio) if ratio else "–"
        header = ["requests a second of", *(f"{at} clients" for at in self.concurrencies)]
        measured = [[name, *cells] for name, cells in rows.items() if any(cell != "–" for cell in cells)]
        note = "Median over rounds of the ratio within a round [90 % bootstrap interval]."
        return Table(f"{model}: ratios", header, measured, note)

    def _target_table(self) -> Table:
        rows = [
            [target.name, f"≥ {target.bound:g}", str(target.ratio) if target.ratio else "–", target.verdict]
            for target in self.targets()
        ]
        note = "A target holds, or is missed, where the whole interval lies on that side of it."
        return Table("Targets", ["target", "wanted", "measured", "verdict"], rows, note)


def _speed_cells(samples: Sequence[Sample]) -> tuple[str, str]:
    if not samples:
        return "–", "–"
    rate = f"{median([s.requests_per_second for s in samples]):.0f}"
    if median([s.client_cpu for s in samples]) >= 0.95:
        rate += " *"
    if failed := sum(s.failed for s in samples):
        rate += f" ✗ {failed}"
    p50, p99 = (milliseconds(median([getattr(s, name) for s in samples])) for name in ("p50", "p99"))
    return rate, f"{p50} / {p99}"
