"""What tests of search algorithms share: a lattice of two knobs, a bowl on it, ways to run a search on a function."""

from __future__ import annotations

from collections.abc import Callable

from service.domain.histogram import Histogram
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window
from service.domain.workload import Workload
from service.learning.context import Context
from service.learning.history import Measurement
from service.learning.policy import Policy
from service.learning.search import Known, Problem, Steps, Visit
from service.learning.space import ConfigSpace, Knob, Point
from tests.support.landscape import BOUNDS

LOAD = Workload(300.0)
SLO = Slo(0.05)


def grid(batches: int = 7, timeouts: int = 6) -> ConfigSpace:
    """A lattice of two free knobs, batch size and batch timeout; all points feasible, batching always on."""
    return ConfigSpace(
        [
            Knob("max_batch_size", tuple(2 ** (i + 1) for i in range(batches))),
            Knob("batch_timeout_micros", tuple(1000 * i for i in range(timeouts))),
            Knob("num_batch_threads", (1,)),
            Knob("tensorflow_inter_op_parallelism", (1,)),
            Knob("tensorflow_intra_op_parallelism", (1,)),
            Knob("instances", (1,)),
        ],
        cpus=2,
    )


def at(batch: int, timeout: int) -> Point:
    """A point of :func:`grid`."""
    return (batch, timeout, 0, 0, 0, 0)


def bowl(point: Point) -> float:
    """A score with its least value, 0, at ``at(4, 3)``."""
    return 0.1 * (point[0] - 4) ** 2 + 0.2 * (point[1] - 3) ** 2


def answered(steps: Steps, score: Callable[[Point], float], limit: int = 1000) -> list[Point]:
    """The points that a stepwise algorithm asks for, each answered at once; at most ``limit`` of them."""
    asked: list[Point] = []
    point = next(steps, None)
    while point is not None and len(asked) < limit:
        asked.append(point)
        try:
            point = steps.send(score(point))
        except StopIteration:
            point = None
    return asked


def problem(space: ConfigSpace, start: Point | None = None, *, seed: int = 0, slo: Slo = SLO) -> Problem:
    """A problem of which nothing is known yet."""
    return Problem(space, seed, slo, start or space.points[0], Known())


def window(seconds: float, load: Workload = LOAD, *, count: int = 400, queueing: float | None = None) -> Window:
    """A window in which every request took the same time."""
    return Window(
        started_at=0.0,
        duration_seconds=5.0,
        latency=Histogram.of([seconds] * count, BOUNDS),
        workload=load,
        succeeded=count,
        queueing=None if queueing is None else Histogram.of([queueing] * count, BOUNDS),
    )


def visit(point: Point, seconds: float, load: Workload = LOAD, *, queueing: float | None = None) -> Visit:
    """A visit in which every request took the same time."""
    seen = window(seconds, load, queueing=queueing)
    return Visit(point, Context.of(load), Measurement(seen.latency, 0.0, None, 0), seen.queueing)


def played(
    policy: Policy, seconds: Callable[[ServingConfig], float], windows: int, start: ServingConfig, slo: Slo = SLO
) -> list[ServingConfig]:
    """What was in force in each window when a policy is left to run from ``start``."""
    configs = [start]
    for _ in range(windows):
        policy.observe(LOAD, configs[-1], window(seconds(configs[-1])))
        configs.append(policy.suggest(LOAD, configs[-1], slo).config)
    return configs
