"""Switch: one change of configuration under load, and what the requests round it tell. Pure.

*During* a switch are the requests that were due from the moment its PUT was sent until it was answered and every
request sent before it was answered too, whichever came last: both configurations are at work until then. A switch of
some milliseconds would have none, so this lasts :data:`LEAST_SECONDS` at least. *Steady* are as many requests, the last
that were due before the PUT, but none of an earlier switch or its :data:`SETTLE_SECONDS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.open_loop import Floats, Requests
from benchmarks.statistics import Estimate, bootstrap, median, quantile
from benchmarks.tables import Table, milliseconds

#: After a switch the queue that it may have left is given this long, seconds.
SETTLE_SECONDS = 0.5
#: Shortest stretch that counts as during a switch, seconds.
LEAST_SECONDS = 0.2

MAX_SWITCH_SECONDS = 1.0
MAX_TAIL_RATIO = 2.0
ALL = "all knobs"


@dataclass(frozen=True, slots=True)
class Switch:
    """One change.

    Attributes:
        knob: What was changed.
        before: Configuration until then, for people.
        after: Configuration from then on.
        put_sent: When the change was asked for, ``time.monotonic()`` seconds.
        put_answered: When requests were served by the new configuration.
    """

    knob: str
    before: str
    after: str
    put_sent: float
    put_answered: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.put_answered - self.put_sent


@dataclass(frozen=True, slots=True)
class Observed:
    """A switch and what its clients felt.

    Attributes:
        switch: The change.
        during: Latencies of the requests during it that were answered well, seconds.
        steady: The same of as many before it; fewer where there were not as many.
        failed: Requests during it that got no good answer.
    """

    switch: Switch
    during: Floats
    steady: Floats
    failed: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "knob": self.switch.knob,
            "before": self.switch.before,
            "after": self.switch.after,
            "seconds": self.switch.seconds,
            "requests_during": len(self.during) + self.failed,
            "failed": self.failed,
            "p99_during": _or_none(quantile(self.during, 0.99)),
            "requests_steady": len(self.steady),
            "p99_steady": _or_none(quantile(self.steady, 0.99)),
        }


def together(loads: Sequence[Requests]) -> Requests:
    """The requests of several loads as of one, in the order in which they were due."""
    if len(loads) == 1:
        return loads[0]
    intended = np.concatenate([load.intended for load in loads])
    order = np.argsort(intended, kind="stable")
    outcomes = [outcome for load in loads for outcome in load.outcome]
    return Requests(
        intended[order],
        np.concatenate([load.sent for load in loads])[order],
        np.concatenate([load.answered for load in loads])[order],
        tuple(outcomes[index] for index in order),
    )


def observe(requests: Requests, switches: Sequence[Switch]) -> list[Observed]:
    """Find each switch's requests.

    Args:
        requests: Of the whole run.
        switches: In order.
    """
    good, observed, settled = requests.good, [], -np.inf
    for switch in switches:
        before = requests.intended < switch.put_sent
        # A request without any answer cannot say when the old configuration was done.
        last_answer = np.nanmax(requests.answered[before], initial=-np.inf)
        end = max(switch.put_answered, float(last_answer), switch.put_sent + LEAST_SECONDS)
        during = (requests.intended >= switch.put_sent) & (requests.intended <= end)
        earlier = np.flatnonzero(before & (requests.intended >= settled))
        steady = np.zeros_like(before)
        steady[earlier[len(earlier) - min(len(earlier), int(during.sum())) :]] = True
        observed.append(
            Observed(
                switch,
                requests.latency[during & good],
                requests.latency[steady & good],
                int((during & ~good).sum()),
            )
        )
        settled = end + SETTLE_SECONDS
    return observed


@dataclass(frozen=True, slots=True, kw_only=True)
class KnobResult:
    """All switches of one knob, or of all.

    Attributes:
        knob: Which; :data:`ALL` for all together.
        switches: How many.
        failed: Requests during them that got no good answer.
        median_seconds: Median time of a switch.
        max_seconds: Longest.
        requests: Requests during them.
        p99_during: p99 of all requests during them, seconds.
        p99_steady: p99 of all steady requests.
        ratio: p99 during over p99 steady, the interval drawing whole switches anew.
    """

    knob: str
    switches: int
    failed: int
    median_seconds: float
    max_seconds: float
    requests: int
    p99_during: float
    p99_steady: float
    ratio: Estimate

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; NaN becomes null."""
        raw = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "ratio"}
        return {**{name: _or_none(value) for name, value in raw.items()}, "ratio": self.ratio.to_dict()}


def by_knob(observed: Sequence[Observed], rng: np.random.Generator) -> list[KnobResult]:
    """One result for each knob, in order of appearance, and one for all.

    Args:
        observed: At least one.
        rng: Of the bootstrap.
    """
    knobs = dict.fromkeys(one.switch.knob for one in observed)
    groups = {knob: [one for one in observed if one.switch.knob == knob] for knob in knobs}
    return [_result(knob, group, rng) for knob, group in [*groups.items(), (ALL, list(observed))]]


def _result(knob: str, group: Sequence[Observed], rng: np.random.Generator) -> KnobResult:
    seconds = [one.switch.seconds for one in group]
    return KnobResult(
        knob=knob,
        switches=len(group),
        failed=sum(one.failed for one in group),
        median_seconds=median(seconds),
        max_seconds=max(seconds),
        requests=sum(len(one.during) + one.failed for one in group),
        p99_during=quantile(np.concatenate([one.during for one in group]), 0.99),
        p99_steady=quantile(np.concatenate([one.steady for one in group]), 0.99),
        ratio=bootstrap(group, _tail_ratio, rng),
    )


def _tail_ratio(group: Sequence[Observed]) -> float:
    steady = quantile(np.concatenate([one.steady for one in group]), 0.99)
    return quantile(np.concatenate([one.during for one in group]), 0.99) / steady


def table(model: str, rate: float, results: Sequence[KnobResult], failed_in_all: int) -> Table:
    """For people.

    Args:
        model: Name of the model.
        rate: Offered load, requests a second.
        results: From :func:`by_knob`.
        failed_in_all: Failed requests of the whole run, also outside switches.
    """
    header = ["knob", "switches", "failed", "switch ms, median", "max", "requests", "p99 ms during", "steady", "ratio"]
    rows = [
        [
            result.knob,
            str(result.switches),
            str(result.failed),
            milliseconds(result.median_seconds),
            milliseconds(result.max_seconds),
            str(result.requests),
            milliseconds(result.p99_during),
            milliseconds(result.p99_steady),
            str(result.ratio),
        ]
        for result in results
    ]
    note = (
        f"Open-loop Poisson load of {rate:.0f} requests/s; {failed_in_all} failed requests in the whole run. "
        f"During: due from the PUT until it and all earlier requests were answered, at least {LEAST_SECONDS:g} s; "
        "steady: as many before it. "
        "Ratio of both p99 [90 % bootstrap interval over switches]."
    )
    return Table(f"{model}: what a switch costs", header, rows, note)


def side_by_side(results: Mapping[str, Sequence[KnobResult]]) -> Table:
    """What a switch costs on several servers, knob by knob.

    Args:
        results: From :func:`by_knob`, by the name of the server; the same knobs in all.
    """
    by_name = {name: {result.knob: result for result in found} for name, found in results.items()}
    header = ["knob"]
    for name in by_name:
        header += [f"{name}: switches", "failed", "ms, median", "p99 ms during", "steady"]
    rows = []
    for knob in next(iter(by_name.values())):
        row = [knob]
        for found in by_name.values():
            one = found[knob]
            row += [str(one.switches), str(one.failed), milliseconds(one.median_seconds)]
            row += [milliseconds(one.p99_during), milliseconds(one.p99_steady)]
        rows.append(row)
    return Table("What a switch costs, side by side", header, rows)


def targets(results: Sequence[KnobResult], failed_in_all: int) -> dict[str, bool]:
    """What is wanted of switches, and whether it was seen; of the ratio all knobs together, it alone is steady."""
    [whole] = [result for result in results if result.knob == ALL]
    return {
        "no failed request": failed_in_all == 0,
        f"every switch under {MAX_SWITCH_SECONDS:g} s": whole.max_seconds < MAX_SWITCH_SECONDS,
        f"p99 during a switch under {MAX_TAIL_RATIO:g} × steady": whole.ratio.value < MAX_TAIL_RATIO,
    }


def _or_none(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value
