"""What the demo found: the same load on the default configuration and under Regulus, side by side. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from service.domain.slo import Slo

#: The objective counts as reached once it has held for this long.
HOLD_SECONDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """One run of the load, as its clients felt it.

    Attributes:
        p50_seconds: Median latency from the intended send time; None when nothing was answered.
        p99_seconds: 99th percentile, likewise.
        slo_violation_ratio: Share of all requests that were slower than the bound, or failed.
        throughput_per_second: Good answers a second.
        requests: Requests that were to be sent.
        failed: Of these, failed for any reason.
        seconds_to_slo: When the objective was first met for :data:`HOLD_SECONDS` on end, seconds from the start;
            None if never.
        generator_valid: Whether the load generator kept its own schedule.
        generator_notes: Why not.
        phases: Each step of the load: name, requests, p99, share of violations.
    """

    p50_seconds: float | None
    p99_seconds: float | None
    slo_violation_ratio: float
    throughput_per_second: float
    requests: int
    failed: int
    seconds_to_slo: float | None
    generator_valid: bool
    generator_notes: tuple[str, ...]
    phases: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, load: Mapping[str, Any], slo: Slo) -> RunResult:
        """From the report that ``regulus load --json`` writes."""
        return cls(
            p50_seconds=load["latency"]["p50"],
            p99_seconds=load["latency"]["p99"],
            slo_violation_ratio=load["slo_violation_ratio"],
            throughput_per_second=load["throughput"],
            requests=load["scheduled"],
            failed=sum(load["failed"].values()),
            seconds_to_slo=seconds_to_slo(load["timeline"], slo),
            generator_valid=load["valid"],
            generator_notes=tuple(load["invalid_reasons"]),
            phases=tuple(
                {
                    "name": phase["name"],
                    "start_seconds": phase["start"],
                    "requests": phase["scheduled"],
                    "p99_seconds": phase["latency"]["p99"],
                    "slo_violation_ratio": phase["slo_violation_ratio"],
                }
                for phase in load["phases"]
            ),
        )


def seconds_to_slo(timeline: Sequence[Mapping[str, Any]], slo: Slo) -> float | None:
    """End of the first :data:`HOLD_SECONDS` seconds in which no more requests broke the bound than the target allows.

    Args:
        timeline: One entry a second, as ``regulus load`` reports it.
        slo: The objective.
    """
    for last in range(HOLD_SECONDS - 1, len(timeline)):
        stretch = timeline[last - HOLD_SECONDS + 1 : last + 1]
        answered = sum(second["ok"] + sum(second["failed"].values()) for second in stretch)
        broken = sum(second["slo_violations"] for second in stretch)
        if answered and broken <= (1 - slo.target_ratio) * answered:
            return float(stretch[0]["t"])
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoReport:
    """Everything the demo found; ``to_dict`` is what ``--report`` writes.

    Attributes:
        model: Name of the model.
        seed: Of the load.
        slo: The objective.
        peak_rate_per_second: Highest rate of the load's schedule.
        baseline: TensorFlow Serving's default configuration.
        regulus: The same load with Regulus steering, search included.
        switches: Times the configuration was changed.
        rollbacks: Of these, how many took back an earlier one.
        configs: Configurations in force during Regulus's run, in order, each with ``at_seconds`` from its start.
        decisions: What was decided in that run and why, in order, each with ``at_seconds`` from its start.
        machine: What it ran on.
    """

    model: str
    seed: int
    slo: Slo
    peak_rate_per_second: float
    baseline: RunResult
    regulus: RunResult
    switches: int
    rollbacks: int
    configs: tuple[dict[str, Any], ...]
    decisions: tuple[dict[str, Any], ...]
    machine: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    def table(self) -> Table:
        """Default against Regulus, for people."""
        table = Table(title=f"{self.model}: the same load twice, objective {self.slo.describe()}", title_style="bold")
        table.add_column("")
        table.add_column("default", justify="right")
        table.add_column("Regulus", justify="right", style="bold")
        table.add_column("", justify="right")
        old, new = self.baseline, self.regulus
        table.add_row("p50", _ms(old.p50_seconds), _ms(new.p50_seconds), _change(old.p50_seconds, new.p50_seconds))
        table.add_row("p99", _ms(old.p99_seconds), _ms(new.p99_seconds), _change(old.p99_seconds, new.p99_seconds))
        table.add_row(
            "requests that broke the objective",
            f"{old.slo_violation_ratio:.1%}",
            f"{new.slo_violation_ratio:.1%}",
            _change(old.slo_violation_ratio, new.slo_violation_ratio),
        )
        table.add_row("throughput", f"{old.throughput_per_second:.0f} / s", f"{new.throughput_per_second:.0f} / s", "")
        table.add_row("requests", str(old.requests), str(new.requests), "")
        table.add_row("failed requests", str(old.failed), str(new.failed), "")
        table.add_row("switches while serving", "–", f"{self.switches} ({self.rollbacks} taken back)", "")
        table.add_row(
            f"within it for {HOLD_SECONDS} s first after",
            _after(old.seconds_to_slo),
            _after(new.seconds_to_slo),
            "",
        )
        return table

    def phase_table(self) -> Table:
        """p99 and violations step by step, for people."""
        table = Table(title="step by step", title_style="bold")
        for heading in ("step", "default p99", "broke it", "Regulus p99", "broke it"):
            table.add_column(heading, justify="left" if heading == "step" else "right")
        for old, new in zip(self.baseline.phases, self.regulus.phases, strict=False):
            table.add_row(
                old["name"],
                _ms(old["p99_seconds"]),
                f"{old['slo_violation_ratio']:.1%}",
                _ms(new["p99_seconds"]),
                f"{new['slo_violation_ratio']:.1%}",
            )
        return table


def _ms(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1000:.1f} ms"


def _after(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.0f} s"


def _change(old: float | None, new: float | None) -> str:
    if not old or new is None:
        return ""
    ratio = new / old - 1
    return f"[{'green' if ratio <= 0 else 'red'}]{ratio:+.1%}[/]".replace("-", "−")
