from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from service.domain.decision import Intent, Recommendation
from service.domain.histogram import Histogram
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window
from service.domain.workload import Workload
from service.learning.adaptive_rrl import AdaptiveRRL, Tuning
from service.learning.space import default_space, queue_length
from tests.support.landscape import BOUNDS, HEAVY, LIGHT, MEDIUM, Landscape, Model

SPACE = default_space(2)
SLO = Slo(0.05)
LOAD = Workload(300.0)
GOOD = ServingConfig(
    enable_batching=True,
    max_batch_size=32,
    num_batch_threads=2,
    max_enqueued_batches=queue_length(32),
    tensorflow_intra_op_parallelism=1,
)
DEFAULT = ServingConfig()


def window(seconds: float, load: Workload = LOAD, count: int = 1000) -> Window:
    values = seconds * np.exp(-0.02 * np.random.default_rng(3).random(count))
    return Window(
        started_at=0.0,
        duration_seconds=5.0,
        latency=Histogram.of(values.tolist(), BOUNDS),
        workload=load,
        succeeded=count,
    )


def told(
    observations: list[tuple[ServingConfig, float]], load: Workload = LOAD, policy: AdaptiveRRL | None = None
) -> AdaptiveRRL:
    policy = policy or AdaptiveRRL(SPACE)
    for config, seconds in observations:
        policy.observe(load, config, window(seconds, load))
    return policy


def run(
    landscape: Landscape, load: Workload, slo: Slo, *, windows: int, seed: int
) -> tuple[list[ServingConfig], list[Recommendation]]:
    """What was in force in each window, and what was said after it, from the server's default on."""
    policy, rng, config = AdaptiveRRL(SPACE, seed=seed), np.random.default_rng(seed), DEFAULT
    configs, answers = [], []
    for _ in range(windows):
        configs.append(config)
        measured = landscape.window(config, load, rng)
        policy.observe(measured.workload, config, measured)
        answers.append(policy.suggest(measured.workload, config, slo))
        config = answers[-1].config
    return configs, answers


def test_when_the_default_misses_the_objective_the_first_trial_is_the_guides_batching() -> None:
    answer = told([(DEFAULT, 0.2)]).suggest(LOAD, DEFAULT, SLO)
    assert answer.intent is Intent.EXPLORE
    assert answer.config == GOOD


def test_seeds_are_tried_one_after_another_while_nothing_meets_the_objective() -> None:
    policy, config = AdaptiveRRL(SPACE), DEFAULT
    tried: list[ServingConfig] = []
    for _ in range(4):
        policy.observe(LOAD, config, window(0.2 + 0.01 * len(tried)))
        tried.append(config)
        config = policy.suggest(LOAD, config, SLO).config
    assert len(set(tried)) == 4


def test_a_known_good_configuration_is_restored_at_once_when_a_trial_violates() -> None:
    trial = GOOD.with_values(batch_timeout_micros=10_000)
    answer = told([(DEFAULT, 0.2), (GOOD, 0.02), (trial, 0.09)]).suggest(LOAD, trial, SLO)
    assert (answer.intent, answer.config) == (Intent.EXPLOIT, GOOD)


def test_while_the_objective_is_met_trials_are_predicted_to_meet_it() -> None:
    # It meets the objective, and waiting less would be better.
    policy, config = told([(DEFAULT, 0.2)]), replace(GOOD, batch_timeout_micros=20_000)
    landscape, rng, trials = Landscape(HEAVY), np.random.default_rng(1), 0
    for _ in range(12):
        policy.observe(LOAD, config, landscape.window(config, LOAD, rng))
        answer = policy.suggest(LOAD, config, SLO)
        if answer.intent is Intent.EXPLORE:
            trials += 1
            assert answer.predicted_tail is not None
            assert answer.predicted_tail.value <= SLO.bound_seconds
        config = answer.config
    assert trials > 0


def test_close_to_the_bound_nothing_is_risked_on_what_neighbours_tell() -> None:
    policy = told([(GOOD, 0.049)] * 3, policy=AdaptiveRRL(SPACE, tuning=Tuning(performance_model=False)))
    assert policy.suggest(LOAD, GOOD, SLO).intent is Intent.STAY


def test_near_equals_under_noise_do_not_make_it_oscillate() -> None:
    twin = GOOD.with_values(max_batch_size=64, max_enqueued_batches=queue_length(64))
    policy, rng = AdaptiveRRL(SPACE, tuning=Tuning(horizon=0.0)), np.random.default_rng(0)
    config, switches = GOOD, 0
    policy.observe(LOAD, twin, window(0.02))
    for _ in range(30):
        policy.observe(LOAD, config, window(0.02 * float(np.exp(0.05 * rng.standard_normal()))))
        answer = policy.suggest(LOAD, config, SLO)
        switches += answer.config != config
        config = answer.config
    assert switches <= 1


def test_a_load_seen_before_is_answered_in_one_window_with_its_best_configuration() -> None:
    heavy, light = Workload(800.0), Workload(100.0)
    small = GOOD.with_values(max_batch_size=2, max_enqueued_batches=queue_length(2))
    policy = told([(small, 0.2), (DEFAULT, 0.3), (GOOD, 0.03)] * 2, heavy)
    told([(GOOD, 0.02), (DEFAULT, 0.01), (small, 0.005)] * 2, light, policy)
    policy.observe(heavy, small, window(0.2, heavy))
    assert policy.suggest(heavy, small, SLO).config == GOOD
    policy.observe(light, GOOD, window(0.02, light))
    back = policy.suggest(light, GOOD, SLO)
    assert (back.intent, back.config) == (Intent.EXPLOIT, small)


def test_when_a_load_comes_back_and_its_best_is_in_force_nothing_is_tried() -> None:
    heavy, light = Workload(800.0), Workload(100.0)
    policy = told([(DEFAULT, 0.02), (GOOD, 0.01)], light)
    told([(GOOD, 0.03)], heavy, policy)
    policy.observe(light, GOOD, window(0.01, light))
    assert policy.suggest(light, GOOD, SLO).intent is Intent.STAY


def test_a_trial_must_be_safe_under_this_load_and_not_under_an_easier_one() -> None:
    easy = Workload(20.0)
    policy = AdaptiveRRL(SPACE, tuning=Tuning(performance_model=False, safety_sigmas=1.0))
    told([(DEFAULT, 0.004), (GOOD, 0.02)], easy, policy)
    policy.observe(LOAD, GOOD, window(0.045))
    assert policy.suggest(LOAD, GOOD, SLO).config == GOOD


def test_drift_is_noticed_by_the_windows_of_the_incumbent() -> None:
    rival = GOOD.with_values(num_batch_threads=4)
    policy = told([(rival, 0.025), (GOOD, 0.02)] * 3)
    assert policy.suggest(LOAD, GOOD, SLO, explore=False).config == GOOD
    told([(GOOD, 0.045)] * 8, policy=policy)
    assert policy.suggest(LOAD, GOOD, SLO, explore=False).config == rival


def test_lost_requests_are_a_violation_even_when_the_rest_is_fast() -> None:
    policy = AdaptiveRRL(SPACE)
    lossy = Window(
        started_at=0.0,
        duration_seconds=5.0,
        latency=Histogram.of([0.001] * 500, BOUNDS),
        workload=LOAD,
        succeeded=500,
        rejected=300,
    )
    policy.observe(LOAD, DEFAULT, lossy)
    policy.observe(LOAD, GOOD, window(0.04))
    assert policy.suggest(LOAD, DEFAULT, SLO).config == GOOD


def test_where_nothing_can_meet_the_objective_it_ends_on_the_best_and_says_so() -> None:
    hopeless = Slo(0.0001)
    configs, answers = run(Landscape(HEAVY, requests=300), Workload(150.0), hopeless, windows=40, seed=0)
    assert answers[-1].intent is not Intent.EXPLORE
    landscape = Landscape(HEAVY, requests=300)
    tails = {config: landscape.tail(config, Workload(150.0)) for config in set(configs)}
    assert tails[answers[-1].config] <= 1.25 * min(tails.values())
    assert any("expected to meet the objective" in answer.explanation for answer in answers)


def test_an_incumbent_outside_the_bounds_is_moved_to_the_nearest_inside() -> None:
    space = default_space(2, bounds={"max_batch_size": (2, 16)})
    policy = AdaptiveRRL(space)
    answer = policy.suggest(LOAD, GOOD, SLO)
    assert answer.config.max_batch_size == 16
    assert "outside the allowed bounds" in answer.explanation
    policy.observe(LOAD, answer.config, window(0.02))
    assert policy.suggest(LOAD, GOOD, SLO).intent is Intent.EXPLOIT


def test_confidence_grows_with_windows_and_is_low_for_what_was_never_tried() -> None:
    once, often = told([(GOOD, 0.02)]), told([(GOOD, 0.02)] * 5)
    untried = GOOD.with_values(num_batch_threads=4, tensorflow_intra_op_parallelism=2)
    assert (
        once.predict(LOAD, untried, SLO).confidence
        < once.predict(LOAD, GOOD, SLO).confidence
        < often.predict(LOAD, GOOD, SLO).confidence
    )


def test_a_person_is_told_what_was_measured_against_what_bound_and_under_which_load() -> None:
    answer = told([(DEFAULT, 0.12), (GOOD, 0.031)] * 2).suggest(LOAD, DEFAULT, SLO)
    for part in ("p99", "> 50 ms at 300/s", GOOD.describe(), "under this load (2 windows)"):
        assert part in answer.explanation


def test_what_if_for_a_load_never_seen_names_what_is_known_to_work_under_others() -> None:
    policy = told([(DEFAULT, 0.2), (GOOD, 0.02)] * 2)
    answer = policy.suggest(Workload(250.0), DEFAULT, SLO, explore=False)
    assert answer.config == GOOD
    assert answer.confidence > 0
    assert answer.acceptable


def test_a_region_restricted_to_one_configuration_is_no_trouble() -> None:
    only = {
        "max_batch_size": 0,
        "tensorflow_inter_op_parallelism": 0,
        "tensorflow_intra_op_parallelism": 0,
        "instances": 1,
    }
    space = default_space(2, pinned=only)
    assert len(space) == 1
    policy = AdaptiveRRL(space)
    policy.observe(LOAD, DEFAULT, window(0.2))
    assert policy.suggest(LOAD, DEFAULT, SLO).intent is Intent.STAY


@pytest.mark.parametrize(
    ("model", "rate", "bound"),
    [(LIGHT, 3000.0, 0.003), (HEAVY, 420.0, 0.032), (MEDIUM, 900.0, 0.026)],
    ids=["light", "heavy", "medium"],
)
def test_on_simulated_servers_it_soon_meets_what_the_default_misses_and_stays_there(
    model: Model, rate: float, bound: float
) -> None:
    landscape, load, slo = Landscape(model), Workload(rate), Slo(bound)
    assert landscape.tail(DEFAULT, load, rounds=3) > bound
    for seed in range(3):
        configs, _ = run(landscape, load, slo, windows=16, seed=seed)
        met = [landscape.tail(config, load, rounds=3) <= bound for config in configs]
        assert any(met[1:4])
        assert sum(met[4:]) >= 10
