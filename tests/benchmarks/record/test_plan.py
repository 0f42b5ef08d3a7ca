from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from benchmarks.landscape import LATENCY_BOUNDS, Kind, Measurement
from benchmarks.record.lattice import GROUP, in_groups, recording_space
from benchmarks.record.plan import PASSES, REFINE_PASSES, REFINED, REPEATED, REPEATS, Visit, next_stage
from service.domain.histogram import Histogram
from service.domain.serving_config import ServingConfig

LATTICE = list(recording_space(2))


def measured(visit: Visit, seconds: float) -> Measurement:
    return Measurement(
        config=visit.config,
        kind=visit.kind,
        started_at=0.0,
        duration_seconds=visit.length,
        latency=Histogram.of([seconds] * 100, LATENCY_BOUNDS),
        arrivals=100,
        succeeded=100,
        rejected=0,
        failed=0,
        batch_size=None,
        queueing=None,
        cpu_seconds=0.0,
        foreign_cpu_share=0.0,
    )


def seconds_of(config: ServingConfig) -> float:
    """The further down the lattice, the slower."""
    return 0.01 * (1 + LATTICE.index(config))


def test_the_lattice_holds_more_than_five_hundred_configurations_and_batching_off() -> None:
    assert len(LATTICE) > 500
    assert any(not config.enable_batching for config in LATTICE)


def test_the_first_stage_visits_every_configuration_once_a_pass() -> None:
    rng = np.random.default_rng(0)
    taken: list[Measurement] = []
    for _ in range(PASSES):
        visits = next_stage(LATTICE, taken, rng)
        assert Counter(visit.config for visit in visits) == Counter(LATTICE)
        taken += [measured(visit, seconds_of(visit.config)) for visit in visits]
    assert next_stage(LATTICE, taken, rng)[0].kind == "refine"


def test_a_recording_that_was_cut_short_goes_on_with_what_is_missing() -> None:
    rng = np.random.default_rng(0)
    first = next_stage(LATTICE, [], rng)
    taken = [measured(visit, 0.01) for visit in first[:100]]
    rest = next_stage(LATTICE, taken, rng)
    assert {visit.config for visit in rest} == {visit.config for visit in first[100:]}


def test_from_beginning_to_end_the_best_are_looked_at_most() -> None:
    rng = np.random.default_rng(0)
    taken: list[Measurement] = []
    while visits := next_stage(LATTICE, taken, rng):
        taken += [measured(visit, seconds_of(visit.config)) for visit in visits]
    kinds: Counter[Kind] = Counter(m.kind for m in taken)
    assert kinds == {
        "lattice": PASSES * len(LATTICE),
        "refine": REFINE_PASSES * REFINED,
        "repeat": REPEATS * 2 * REPEATED,
    }
    refined = {m.config for m in taken if m.kind == "refine"}
    assert refined == set(LATTICE[:REFINED])
    repeated = {m.config for m in taken if m.kind == "repeat"}
    assert set(LATTICE[:REPEATED]) <= repeated


@pytest.mark.parametrize("refine", [True, False])
def test_stages_can_be_left_out(refine: bool) -> None:
    rng = np.random.default_rng(0)
    taken = [measured(v, 0.01) for v in next_stage(LATTICE, [], rng, passes=1)]
    following = next_stage(LATTICE, taken, rng, passes=1, refine=refine, repeats=0)
    assert bool(following) == refine


def test_configurations_that_share_their_sessions_are_visited_together() -> None:
    order = in_groups(LATTICE, np.random.default_rng(1))
    sessions = [(c.tensorflow_inter_op_parallelism, c.tensorflow_intra_op_parallelism, c.instances) for c in order]
    changes = sum(a != b for a, b in itertools.pairwise(sessions))
    assert changes < 2 * len(LATTICE) / GROUP
    assert Counter(order) == Counter(LATTICE)
