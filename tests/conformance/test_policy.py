"""What every policy must do, whatever its method. A new policy joins by a line in ``POLICIES``.

Two things are asked of some only. A policy in ``RESTLESS`` by its nature does not settle on what is in force when
nothing is better: it wants one given configuration, or goes on drawing. Only those in ``SWIFT`` must meet a missed
objective in a dozen windows; rivals take the time they take, or do not look for it.
"""

from __future__ import annotations

import gc
import itertools
import tracemalloc
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest

from service.domain.decision import Intent, Recommendation
from service.domain.histogram import Histogram
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window, WindowQuality
from service.domain.workload import Workload
from service.learning.adaptive_rrl import AdaptiveRRL
from service.learning.baselines import RIVALS
from service.learning.baselines.oracle import Oracle
from service.learning.history import MAX_WINDOWS_PER_TRIAL
from service.learning.policy import Policy
from service.learning.rrl import RRL
from service.learning.space import ConfigSpace, default_space
from tests.support.landscape import BOUNDS, HEAVY, LIGHT, Landscape

PolicyFactory = Callable[[ConfigSpace, int], Policy]
Observation = tuple[Workload, ServingConfig, Window]


def truth(load: Workload, config: ServingConfig) -> float:
    """Something for the oracle to know; of the default it says what LANDSCAPE does: that others are better."""
    return 0.02 + 0.001 * abs(config.max_batch_size - 16) + 0.01 * config.instances


POLICIES: dict[str, PolicyFactory] = {
    "adaptive_rrl": lambda space, seed: AdaptiveRRL(space, seed=seed),
    "default": RIVALS["default"],
    "guide": RIVALS["guide"],
    "random": RIVALS["random"],
    "hill_climbing": RIVALS["hill_climbing"],
    "nelder_mead": RIVALS["nelder_mead"],
    "annealing": RIVALS["annealing"],
    "aimd": RIVALS["aimd"],
    "q_learning": RIVALS["q_learning"],
    "dqn": RIVALS["dqn"],
    # All it saw is trained on at each step: a short memory keeps the test of memory short.
    "rrl": lambda space, seed: RRL(space, seed=seed, max_windows=60),
    "cherrypick": RIVALS["cherrypick"],
    "skopt_gp": RIVALS["skopt_gp"],
    "skopt_et": RIVALS["skopt_et"],
    "forest": RIVALS["forest"],
    "oracle": lambda space, seed: Oracle(space, truth, seed=seed),
}
if find_spec("optuna"):
    POLICIES["optuna_tpe"] = RIVALS["optuna_tpe"]
    if find_spec("torch"):
        POLICIES["optuna_gp"] = RIVALS["optuna_gp"]

RESTLESS = {"guide", "oracle", "aimd", "q_learning", "dqn", "rrl"}
SWIFT = ("adaptive_rrl",)

LOAD = Workload(420.0)
SLO = Slo(0.03)
LANDSCAPE = Landscape(HEAVY, requests=400)


@pytest.fixture(params=list(POLICIES))
def make(request: pytest.FixtureRequest) -> PolicyFactory:
    return POLICIES[request.param]


@pytest.fixture(params=[name for name in POLICIES if name not in RESTLESS])
def make_settling(request: pytest.FixtureRequest) -> PolicyFactory:
    return POLICIES[request.param]


@pytest.fixture(params=SWIFT)
def make_swift(request: pytest.FixtureRequest) -> PolicyFactory:
    return POLICIES[request.param]


def live(
    policy: Policy,
    *,
    windows: int,
    start: ServingConfig | None = None,
    loads: tuple[Workload, ...] = (LOAD,),
    landscape: Landscape = LANDSCAPE,
    slo: Slo = SLO,
) -> Iterator[tuple[Observation, Recommendation]]:
    """The loop: measure what is in force, observe, ask, put the answer in force. Each load lasts four windows."""
    rng = np.random.default_rng(7)
    config = start or ServingConfig()
    for number in range(windows):
        load = loads[number // 4 % len(loads)]
        window = landscape.window(config, load, rng, started_at=60.0 * number)
        policy.observe(window.workload, config, window)
        answer = policy.suggest(window.workload, config, slo)
        yield (window.workload, config, window), answer
        config = answer.config


def window_of(latencies: list[float], *, rejected: int = 0, failed: int = 0, load: Workload = LOAD) -> Window:
    return Window(
        started_at=0.0,
        duration_seconds=10.0,
        latency=Histogram.of(latencies, BOUNDS),
        workload=load,
        succeeded=len(latencies),
        rejected=rejected,
        failed=failed,
    )


def small_space() -> ConfigSpace:
    return default_space(
        2, bounds={"max_batch_size": (0, 4), "batch_timeout_micros": (0, 500)}, pinned={"instances": 1}
    )


def test_it_is_a_policy_with_a_name(make: PolicyFactory) -> None:
    policy = make(default_space(2), 0)
    assert isinstance(policy, Policy)
    assert policy.name


@pytest.mark.parametrize(
    "space",
    [
        default_space(2),
        default_space(8),
        default_space(1, pinned={"tensorflow_inter_op_parallelism": 1}),
        default_space(2, bounds={"max_batch_size": (2, 16)}),
        default_space(2, pinned={"max_batch_size": 0, "tensorflow_intra_op_parallelism": 1}),
    ],
    ids=["two cores", "eight cores", "one core, pinned", "batching always on", "batching never on"],
)
def test_every_suggestion_is_feasible(make: PolicyFactory, space: ConfigSpace) -> None:
    first = next(iter(space))
    loads = (LOAD, Workload(150.0), Workload(700.0, cv=3.0))
    for _, answer in live(make(space, 0), windows=16, start=first, loads=loads):
        assert answer.config in space


def test_pins_and_bounds_hold_and_an_incumbent_outside_them_is_left(make: PolicyFactory) -> None:
    space = default_space(2, bounds={"max_batch_size": (2, 8)}, pinned={"instances": 2})
    outside = ServingConfig()
    answers = [answer for _, answer in live(make(space, 0), windows=10, start=outside)]
    assert all(answer.config.instances == 2 and 2 <= answer.config.max_batch_size <= 8 for answer in answers)


def test_the_same_seed_and_calls_give_the_same_answers(make: PolicyFactory) -> None:
    space = default_space(2)
    once = [answer for _, answer in live(make(space, 3), windows=14)]
    again = [answer for _, answer in live(make(space, 3), windows=14)]
    assert once == again


def test_replayed_observations_give_the_same_answer_as_having_lived_them(make: PolicyFactory) -> None:
    space = default_space(2)
    lived, replayed = make(space, 3), make(space, 3)
    history = [observation for observation, _ in live(lived, windows=14, loads=(LOAD, Workload(200.0)))]
    for observation in history:
        replayed.observe(*observation)
    for load, explore in itertools.product((LOAD, Workload(200.0), Workload(900.0)), (True, False)):
        incumbent = history[-1][1]
        assert replayed.suggest(load, incumbent, SLO, explore=explore) == lived.suggest(
            load, incumbent, SLO, explore=explore
        )


def test_without_exploring_it_only_names_configurations_that_were_measured(make: PolicyFactory) -> None:
    policy = make(default_space(2), 0)
    measured = {config for (_, config, _), _ in live(policy, windows=8)}
    for rate in (50.0, 200.0, 420.0, 800.0):
        assert policy.suggest(Workload(rate), ServingConfig(), SLO, explore=False).config in measured


def test_with_nothing_measured_and_no_exploring_it_names_the_incumbent_and_says_it_knows_nothing(
    make: PolicyFactory,
) -> None:
    answer = make(default_space(2), 0).suggest(LOAD, ServingConfig(), SLO, explore=False)
    assert answer.config == ServingConfig()
    assert answer.intent is Intent.STAY
    assert answer.confidence == 0.0
    assert answer.predicted_tail is None
    assert answer.explanation


def test_with_nothing_measured_it_still_answers_when_it_may_explore(make: PolicyFactory) -> None:
    space = default_space(2)
    assert make(space, 0).suggest(LOAD, ServingConfig(), SLO).config in space
    assert make(space, 0).predict(LOAD, ServingConfig(), SLO).confidence == 0.0


def test_it_stays_when_everything_is_known_and_nothing_is_better(make_settling: PolicyFactory) -> None:
    space = small_space()
    policy = make_settling(space, 0)
    for _, config in itertools.product(range(3), space):
        policy.observe(LOAD, config, window_of([0.010] * 500))
    incumbent = list(space)[len(space) // 2]
    answer = policy.suggest(LOAD, incumbent, SLO)
    assert answer.intent is Intent.STAY
    assert answer.config == incumbent


def test_staying_names_the_incumbent_and_nothing_else_does(make: PolicyFactory) -> None:
    for (_, incumbent, _), answer in live(make(default_space(2), 0), windows=14):
        assert (answer.intent is Intent.STAY) == (answer.config == incumbent)


def test_predicting_changes_nothing(make: PolicyFactory) -> None:
    space = default_space(2)
    asked, left_alone = make(space, 0), make(space, 0)
    for (load, config, window), answer in live(asked, windows=8):
        left_alone.observe(load, config, window)
        for candidate in itertools.islice(space, 0, None, 700):
            asked.predict(load, candidate, SLO)
        assert left_alone.suggest(load, config, SLO) == answer


def test_a_prediction_is_about_the_configuration_asked_for_and_its_interval_is_in_order(make: PolicyFactory) -> None:
    space = default_space(2)
    policy = make(space, 0)
    list(live(policy, windows=8))
    for candidate in itertools.islice(space, 0, None, 300):
        answer = policy.predict(LOAD, candidate, SLO)
        assert answer.config == candidate
        assert answer.predicted_tail is not None
        assert 0 < answer.predicted_tail.low <= answer.predicted_tail.value <= answer.predicted_tail.high
        assert 0 <= answer.confidence <= 1


def test_what_it_says_can_be_stored_and_read_back(make: PolicyFactory) -> None:
    for _, answer in live(make(default_space(2), 0), windows=8):
        assert Recommendation.from_dict(answer.to_dict()) == answer
        assert all(low <= high for low, high in answer.acceptable.values())


ODD_WINDOWS = {
    "no traffic": window_of([], load=Workload(0.0, cv=0.0, examples_per_request=0.0)),
    "all rejected": window_of([], rejected=500),
    "all failed": window_of([], failed=500),
    "all above the last bucket": window_of([1e4] * 100),
    "one request": window_of([0.01]),
    "no measurable latency": window_of([0.0] * 100),
    "half rejected": window_of([0.01] * 100, rejected=100),
    "one bucket": Window(
        started_at=0.0, duration_seconds=1.0, latency=Histogram((0.01,), (5, 5)), workload=LOAD, succeeded=10
    ),
    "absurd load": window_of([0.01] * 100, load=Workload(1e9, cv=50.0, examples_per_request=1e6)),
}


@pytest.mark.parametrize("odd", ODD_WINDOWS)
@pytest.mark.parametrize("known", [0, 6])
def test_odd_windows_do_not_trouble_it(make: PolicyFactory, odd: str, known: int) -> None:
    space = default_space(2)
    policy = make(space, 0)
    list(live(policy, windows=known))
    window = ODD_WINDOWS[odd]
    for config in (ServingConfig(), next(iter(space))):
        policy.observe(window.workload, config, window)
        for explore in (True, False):
            assert policy.suggest(window.workload, config, SLO, explore=explore).config in space
        policy.predict(window.workload, config, SLO)


def test_a_window_that_may_not_be_judged_teaches_nothing(make: PolicyFactory) -> None:
    space = default_space(2)
    policy, untouched = make(space, 0), make(space, 0)
    for (load, config, window), _ in live(policy, windows=4):
        untouched.observe(load, config, window)
    for quality in WindowQuality:
        if quality is not WindowQuality.GOOD:
            bad = Window(
                started_at=0.0,
                duration_seconds=1.0,
                latency=Histogram.of([5.0] * 100, BOUNDS),
                workload=LOAD,
                quality=quality,
                succeeded=100,
            )
            policy.observe(LOAD, ServingConfig(), bad)
    assert policy.suggest(LOAD, ServingConfig(), SLO) == untouched.suggest(LOAD, ServingConfig(), SLO)


def test_configurations_between_the_grid_points_can_be_in_force(make: PolicyFactory) -> None:
    between = ServingConfig(enable_batching=True, max_batch_size=24, batch_timeout_micros=700, num_batch_threads=3)
    space = default_space(2)
    for (_, incumbent, _), answer in live(make(space, 0), windows=6, start=between):
        assert answer.config in space or answer.config == incumbent


def test_it_meets_an_objective_that_the_default_misses(make_swift: PolicyFactory) -> None:
    landscape, load, slo = Landscape(LIGHT, requests=600), Workload(3000.0), Slo(0.004)
    assert landscape.tail(ServingConfig(), load) > slo.bound_seconds
    *_, (_, last) = live(make_swift(default_space(2), 0), windows=12, loads=(load,), landscape=landscape, slo=slo)
    assert landscape.tail(last.config, load) <= slo.bound_seconds


def test_memory_does_not_grow_with_every_window(make: PolicyFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    # Full after the first feed, like everything else that has a limit. (The package's name is the function's.)
    monkeypatch.setattr(import_module("service.learning.baselines.dqn"), "BUFFER", 128)
    space = default_space(2, bounds={"max_batch_size": (0, 8), "batch_timeout_micros": (0, 0)}, pinned={"instances": 1})
    policy = make(space, 0)
    configs, loads = list(space)[:16], [Workload(100.0), Workload(200.0)]
    rounds = MAX_WINDOWS_PER_TRIAL + 1

    def feed() -> int:
        for number, load, config in itertools.product(range(rounds), loads, configs):
            policy.observe(load, config, window_of([0.01 + 1e-4 * (number % 7)] * 50, load=load))
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        start = tracemalloc.get_traced_memory()[0]
        fed = [feed(), feed()]
        # What grows with every window grows with every feed; a cache that somebody else in the process fills does not.
        while len(fed) < 5 and fed[-1] - fed[-2] > 0.1 * (fed[0] - start):
            fed.append(feed())
    finally:
        tracemalloc.stop()
    assert fed[-1] - fed[-2] <= 0.1 * (fed[0] - start)
    assert policy.suggest(loads[0], configs[0], SLO).config in space
