"""Playing a replayed landscape: the same noise for everybody, the objective's rule, questions that change nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.replay.ablations import ABLATIONS
from benchmarks.replay.play import play
from benchmarks.replay.policies import ORACLE, OURS, factory_of, names
from benchmarks.replay.scenarios import Scenario
from benchmarks.replay.world import SLACK, Terrain, loads, objective, terrain, window_seconds
from service.domain.decision import Intent, Recommendation
from service.domain.errors import InvalidValueError
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window
from service.domain.workload import Workload
from service.learning.policy import Policy
from service.learning.space import ConfigSpace

RETURN = Scenario("return", "medium", ("medium-light",) * 8 + ("medium-heavy",) * 6 + ("medium-light",) * 6)


class Fixed:
    """Runs one configuration and keeps what it is shown."""

    name = "fixed"

    def __init__(self, config: ServingConfig) -> None:
        self.config = config
        self.seen: list[tuple[Workload, ServingConfig, Window]] = []

    def observe(self, workload: Workload, config: ServingConfig, window: Window) -> None:
        self.seen.append((workload, config, window))

    def suggest(
        self, workload: Workload, incumbent: ServingConfig, slo: Slo, *, explore: bool = True
    ) -> Recommendation:
        return Recommendation(config=self.config, intent=Intent.EXPLOIT, explanation="", workload=workload)

    def predict(self, workload: Workload, config: ServingConfig, slo: Slo) -> Recommendation:
        return self.suggest(workload, config, slo)


def seen(known: dict[str, Terrain], config: ServingConfig, seed: int) -> Fixed:
    policy = Fixed(config)
    play("fixed", lambda space, seed: policy, RETURN, known, objective(RETURN, known), seed)
    return policy


def test_a_run_starts_at_the_default_and_runs_what_was_chosen(known: dict[str, Terrain]) -> None:
    first = known["medium-light"]
    policy = seen(known, first.configs[first.best], 0)
    configs = [config for _, config, _ in policy.seen]
    assert configs[0] == first.configs[first.start]
    assert not configs[0].enable_batching
    assert set(configs[1:]) == {first.configs[first.best]}


def test_windows_are_of_the_load_of_the_schedule(known: dict[str, Terrain]) -> None:
    policy = seen(known, ServingConfig(), 0)
    for name, (workload, _, window) in zip(RETURN.schedule, policy.seen, strict=True):
        there = known[name].replay.workload
        assert workload.rate_per_second == pytest.approx(there.rate_per_second, rel=0.25)
        assert window.duration_seconds == window_seconds(there)


def test_the_noise_depends_on_the_seed_alone(known: dict[str, Terrain]) -> None:
    arrivals = [
        [window.workload for _, _, window in seen(known, config, seed).seen]
        for config, seed in ((ServingConfig(), 3), (known["medium-light"].configs[20], 3), (ServingConfig(), 4))
    ]
    assert arrivals[0] == arrivals[1] != arrivals[2]


@pytest.mark.parametrize("name", [name for name in names() if name not in ABLATIONS])
def test_what_would_be_chosen_without_exploring_can_be_asked_at_any_time(known: dict[str, Terrain], name: str) -> None:
    """The benchmark asks it after each window; that must not change what the policy does."""
    factory = factory_of(name, known)
    slo = objective(RETURN, known)

    class Unasked:
        def __init__(self, policy: Policy) -> None:
            self._policy = policy
            self.name = policy.name
            self.observe = policy.observe
            self.predict = policy.predict

        def suggest(
            self, workload: Workload, incumbent: ServingConfig, slo: Slo, *, explore: bool = True
        ) -> Recommendation:
            if explore:
                self._last = self._policy.suggest(workload, incumbent, slo)
            return self._last

    def unasked(space: ConfigSpace, seed: int) -> Policy:
        return Unasked(factory(space, seed))

    try:
        asked = play(name, factory, RETURN, known, slo, 1)
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    assert np.array_equal(asked.path, play(name, unasked, RETURN, known, slo, 1).path)


def test_the_oracle_is_at_the_optimum_after_one_window_of_each_load(known: dict[str, Terrain]) -> None:
    run = play(ORACLE, factory_of(ORACLE, known), RETURN, known, objective(RETURN, known), 0)
    for phase in RETURN.phases:
        assert set(run.path[phase.start + 1 : phase.end]) == {known[phase.landscape].best}


def test_ours_beats_the_default(known: dict[str, Terrain]) -> None:
    slo = objective(RETURN, known)
    runs = {name: play(name, factory_of(name, known), RETURN, known, slo, 0) for name in (OURS, "default")}
    totals = {
        name: sum(known[there].ratios()[index] for there, index in zip(RETURN.schedule, run.path, strict=True))
        for name, run in runs.items()
    }
    assert totals[OURS] < 0.5 * totals["default"]


def test_the_bound_leaves_the_best_configuration_room_and_the_default_none(known: dict[str, Terrain]) -> None:
    for name, one in known.items():
        slo = objective(Scenario("stationary", name, (name,)), known)
        assert one.best_tail < slo.bound_seconds <= SLACK * one.best_tail
        assert one.tails[one.start] > slo.bound_seconds


def test_the_hardest_load_sets_the_bound(known: dict[str, Terrain]) -> None:
    assert objective(RETURN, known).bound_seconds == pytest.approx(SLACK * known["medium-heavy"].best_tail)


def test_an_incomplete_landscape_is_refused(known: dict[str, Terrain]) -> None:
    whole = known["medium-light"].landscape
    with pytest.raises(InvalidValueError, match="holds 35 of 36 configurations"):
        terrain(replace(whole, measurements=whole.measurements[1:]))


def test_the_lightest_load_comes_first(known: dict[str, Terrain]) -> None:
    assert loads(one.landscape for one in known.values()) == {"medium": ("medium-light", "medium-heavy")}


def test_an_unknown_policy_is_named() -> None:
    with pytest.raises(InvalidValueError, match="'hill' is none of"):
        factory_of("hill", {})
