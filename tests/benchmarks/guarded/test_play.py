"""The real loop, and the loop without guardrails, steer a replayed server; twice the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from structlog.testing import capture_logs

from benchmarks.guarded import play as module
from benchmarks.guarded.measures import Row, measure
from benchmarks.guarded.play import ACTING, Played, play
from benchmarks.guarded.variants import PAIRS, VARIANTS, Variant
from benchmarks.guarded.world import SLOT_SECONDS, ReplayedServer
from benchmarks.replay.metrics import Truth
from benchmarks.replay.scenarios import Scenario
from benchmarks.replay.world import Terrain
from service.control.settings import LoopSettings
from service.domain.errors import BackendUnavailableError
from service.domain.slo import Slo

BARE, GUARDED = PAIRS[1]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with capture_logs():
        yield


@pytest.fixture(scope="module")
def played(known: Mapping[str, Terrain], scenario: Scenario, slo: Slo) -> Mapping[Variant, Played]:
    with capture_logs():
        return {variant: play(variant, scenario, known, slo, 0) for variant in PAIRS[1]}


@pytest.mark.parametrize("variant", PAIRS[1], ids=lambda one: one.name)
def test_a_run_is_the_same_every_time_and_accounts_for_all_of_its_time(
    variant: Variant,
    played: Mapping[Variant, Played],
    known: Mapping[str, Terrain],
    scenario: Scenario,
    slo: Slo,
) -> None:
    one = played[variant]
    assert play(variant, scenario, known, slo, 0) == one
    assert sum(stretch.seconds for stretch in one.history) == pytest.approx(len(scenario.schedule) * SLOT_SECONDS)
    assert one.switches > 0


def test_guardrails_keep_a_reckless_policy_from_trying_on_and_say_so(played: Mapping[Variant, Played]) -> None:
    bare, guarded = played[BARE], played[GUARDED]
    assert guarded.switches < bare.switches
    assert sum(guarded.said.values()) == pytest.approx(1.0)
    assert set(guarded.said) - {ACTING}
    assert guarded.closed
    assert (bare.said, bare.closed, bare.rollbacks) == ({}, {}, 0)


def test_a_run_in_which_the_agent_fails_unexpectedly_is_no_run(
    known: Mapping[str, Terrain], scenario: Scenario, slo: Slo, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: ReplayedServer, *_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(ReplayedServer, "switch", broken)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        play(GUARDED, scenario, known, slo, 0)


def test_what_ends_a_run_without_guardrails_before_its_time_is_raised(
    known: Mapping[str, Terrain], scenario: Scenario, slo: Slo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise BackendUnavailableError("gone")

    monkeypatch.setattr(module.ReplayedBackend, "read", gone)
    with pytest.raises(ExceptionGroup) as raised:
        play(BARE, scenario, known, slo, 0)
    assert raised.value.subgroup(BackendUnavailableError)


def test_what_a_run_was_worth_comes_home_as_it_was_written(
    played: Mapping[Variant, Played], known: Mapping[str, Terrain], scenario: Scenario, slo: Slo
) -> None:
    row = measure(GUARDED.name, scenario, 0, played[GUARDED], Truth.of(scenario, known, slo))
    assert 0 < row.values["broken_per_1000"] < 1000
    assert row.values["broken_per_1000"] == pytest.approx(1000 * sum(row.broken) / sum(row.requests))
    assert row.values["worst"] == max(b / r for b, r in zip(row.broken, row.requests, strict=True))
    again = Row.from_dict(row.to_dict())
    assert again.broken == pytest.approx(row.broken, abs=0.01)
    assert again.values == row.values
    assert again.said == row.said


def test_each_single_guardrail_is_a_setting_that_differs_from_the_shipped_one() -> None:
    shipped = LoopSettings()
    for variant in VARIANTS:
        changed = LoopSettings.model_validate(dict(variant.settings))
        assert (changed == shipped) == variant.whole
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS)
