from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from service.domain.histogram import Histogram
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window
from service.domain.workload import Workload
from service.learning.context import Context
from service.learning.features import knobs
from service.learning.history import History
from service.learning.space import default_space
from service.learning.surrogate import MAX_ROWS, Posterior, posterior
from tests.support.landscape import BATCH_BOUNDS, BOUNDS

CPUS = 2.0
SLO = Slo(0.05)
LOAD = Workload(200.0)
SPACE = default_space(2)


def batched(**values: int) -> ServingConfig:
    usual = ServingConfig(
        enable_batching=True, max_batch_size=16, num_batch_threads=2, tensorflow_intra_op_parallelism=1
    )
    return usual.with_values(**values)


def window(seconds: float, count: int = 1000, batch: float | None = None) -> Window:
    rng = np.random.default_rng(5)
    return Window(
        started_at=0.0,
        duration_seconds=5.0,
        latency=Histogram.of((seconds * np.exp(-0.05 * rng.random(count))).tolist(), BOUNDS),
        workload=LOAD,
        succeeded=count,
        batch_size=Histogram.of([batch] * 50, BATCH_BOUNDS) if batch else None,
    )


def beliefs(
    observations: Sequence[tuple[ServingConfig, float] | tuple[ServingConfig, float, Workload]],
    load: Workload = LOAD,
    repeats: int = 1,
) -> Posterior:
    history = History()
    for config, seconds, *elsewhere in observations:
        for _ in range(repeats):
            history.add(Context.of(elsewhere[0] if elsewhere else load), config, window(seconds))
    return posterior(history, Context.of(load), SLO, CPUS, None)


def test_a_measured_configuration_is_believed_to_be_as_measured() -> None:
    known = beliefs([(batched(), 0.02), (batched(max_batch_size=2), 0.04)], repeats=3)
    belief = known.belief([batched(), batched(max_batch_size=2)])
    assert known.objective.seconds(belief.mean[0]) == pytest.approx(0.02, rel=0.1)
    assert known.objective.seconds(belief.mean[1]) == pytest.approx(0.04, rel=0.1)


def test_uncertainty_grows_with_distance_from_what_was_measured() -> None:
    belief = beliefs([(batched(), 0.02)]).belief(
        [batched(), batched(max_batch_size=8), batched(max_batch_size=2, tensorflow_intra_op_parallelism=0)]
    )
    assert belief.sigma[0] < belief.sigma[1] < belief.sigma[2]


def test_more_windows_make_it_surer_and_age_makes_it_less_sure() -> None:
    once = beliefs([(batched(), 0.02)]).belief([batched()]).sigma[0]
    thrice = beliefs([(batched(), 0.02)], repeats=3).belief([batched()]).sigma[0]
    long_ago = beliefs([(batched(), 0.02), *[(ServingConfig(), 0.06)] * 100]).belief([batched()]).sigma[0]
    assert thrice < once < long_ago


def test_when_behaviour_drifts_recent_windows_weigh_more() -> None:
    other = [(ServingConfig(), 0.06)] * 60
    known = beliefs([(batched(), 0.02), *other, (batched(), 0.03)])
    assert known.objective.seconds(known.belief([batched()]).mean[0]) > math.sqrt(0.02 * 0.03)


def test_another_load_lends_what_it_knows_and_the_present_one_overrules_it() -> None:
    near, far = Workload(300.0), Workload(20.0)
    unknown = beliefs([(ServingConfig(), 0.06)]).belief([batched()])
    from_near = beliefs([(ServingConfig(), 0.06), (batched(), 0.01, near)]).belief([batched()])
    from_far = beliefs([(ServingConfig(), 0.06), (batched(), 0.01, far)]).belief([batched()])
    assert from_near.mean[0] < unknown.mean[0]
    assert from_near.sigma[0] < from_far.sigma[0] <= unknown.sigma[0] + 0.05
    overruled = beliefs([(batched(), 0.04), (batched(), 0.01, near)], repeats=3)
    assert overruled.objective.seconds(overruled.belief([batched()]).mean[0]) == pytest.approx(0.04, rel=0.15)


def test_what_broke_the_objective_under_an_easier_load_is_not_believed_in_under_a_harder_one() -> None:
    good = [(batched(max_batch_size=size), 0.005) for size in (2, 4, 8, 32)]
    known = beliefs([*good, (batched(), 0.2, Workload(50.0))])
    assert known.belief([batched()]).mean[0] > 0


def test_what_met_the_objective_under_a_harder_load_is_believed_in_under_an_easier_one() -> None:
    bad = [(batched(max_batch_size=size), 0.2) for size in (2, 4, 8, 32)]
    known = beliefs([*bad, (batched(), 0.02, Workload(2000.0))])
    assert known.belief([batched()]).mean[0] < 0


def test_waiting_for_company_is_expected_to_cost_before_it_was_ever_tried() -> None:
    known = beliefs([(batched(), 0.01)])
    patient = batched(batch_timeout_micros=10_000)
    belief = known.belief([batched(max_batch_size=32), patient.with_values(max_batch_size=32)])
    assert belief.mean[0] < belief.mean[1]


def test_batch_limits_that_were_never_reached_are_known_to_be_equal() -> None:
    history = History()
    history.add(Context.of(LOAD), batched(max_batch_size=64), window(0.02, batch=3.0))
    known = posterior(history, Context.of(LOAD), SLO, CPUS, None)
    belief = known.belief([batched(max_batch_size=64), batched(max_batch_size=128), batched(max_batch_size=2)])
    assert belief.mean[0] == pytest.approx(belief.mean[1])
    assert belief.sigma[0] == pytest.approx(belief.sigma[1])
    assert belief.sigma[2] > 2 * belief.sigma[0]


def test_nothing_is_expected_of_a_configuration_that_must_behave_like_the_best() -> None:
    history = History()
    best, twin, other = batched(max_batch_size=64), batched(max_batch_size=128), batched(max_batch_size=2)
    history.add(Context.of(LOAD), best, window(0.02, count=50, batch=3.0))
    known = posterior(history, Context.of(LOAD), SLO, CPUS, None)
    candidates = [twin, other]
    gains = known.value_of_trying(known.belief(candidates), knobs(candidates, CPUS), best)
    assert gains[0] == pytest.approx(0.0, abs=1e-3)
    assert gains[1] > 0.01


def test_a_trial_is_worth_most_where_both_mean_and_doubt_invite() -> None:
    known = beliefs([(batched(), 0.02), (batched(max_batch_size=2), 0.5), (batched(num_batch_threads=4), 0.4)])
    candidates = [batched(max_batch_size=8), batched(max_batch_size=2, num_batch_threads=4)]
    gains = known.value_of_trying(known.belief(candidates), knobs(candidates, CPUS), batched())
    assert gains[0] > gains[1] >= 0


def test_it_learns_which_knob_matters() -> None:
    configs = [config for config in SPACE if config.enable_batching][::37]
    slow = [0.01 * 2**config.tensorflow_intra_op_parallelism for config in configs]
    known = beliefs(list(zip(configs, slow, strict=True)))
    held_out = [config for config in SPACE if config.enable_batching][5::101]
    predicted = known.belief(held_out).mean
    truth = [math.log(0.01 * 2**config.tensorflow_intra_op_parallelism / SLO.bound_seconds) for config in held_out]
    assert np.corrcoef(predicted, truth)[0, 1] > 0.9


def test_however_much_was_measured_the_rows_are_bounded_and_the_best_are_among_them() -> None:
    history, configs = History(), list(SPACE)[100:220]
    for number, config in enumerate(configs):
        history.add(Context.of(LOAD), config, window(0.01 if number == 0 else 0.03))
        history.add(Context.of(Workload(800.0)), config, window(0.04))
    known = posterior(history, Context.of(LOAD), SLO, CPUS, None)
    assert len(known.rows) == MAX_ROWS
    assert configs[0] in {row.trial.config for row in known.rows}


def test_repeating_a_configuration_without_noise_is_numerically_harmless() -> None:
    known = beliefs([(config, 0.02) for config in list(SPACE)[:60]], repeats=6)
    belief = known.belief(list(SPACE)[:200])
    assert np.isfinite(belief.mean).all()
    assert (belief.sigma > 0).all()
