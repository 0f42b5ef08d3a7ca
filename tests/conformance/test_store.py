"""What every store must do, on each database that Regulus keeps its history in."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.domain.decision import Action, Decision, Mode, Reason
from service.domain.errors import InvalidValueError
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.store import Store
from tests.support.history import CONFIG, WORKLOAD, a_decision, a_window
from tests.support.manual_clock import START, ManualClock
from tests.support.postgres import Postgres


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["sqlite file", "sqlite memory", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite file":
        yield f"sqlite:///{tmp_path}/history/regulus.db"
        return
    if request.param == "sqlite memory":
        yield "sqlite://"
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.schema() as url:
        yield url


@pytest.fixture
def store(database: str, clock: ManualClock) -> Iterator[Store]:
    opened = Store.open(database, clock=clock)
    yield opened
    opened.close()


def fill(store: Store, count: int, model: str = "m") -> list[int]:
    return [store.add_observation(model, WORKLOAD, CONFIG, a_window(number)) for number in range(count)]


def test_an_observation_comes_back_as_it_went_in(store: Store) -> None:
    number = store.add_observation("m", WORKLOAD, CONFIG, a_window())
    (found,) = store.observations("m")
    assert (found.id, found.model) == (number, "m")
    assert (found.workload, found.config, found.window) == (WORKLOAD, CONFIG, a_window())
    assert found.observed_at == a_window().started_at + a_window().duration_seconds


def test_a_decision_comes_back_as_it_went_in_with_an_id(store: Store) -> None:
    stored = store.add_decision(a_decision(7, action=Action.APPLY))
    assert stored.id is not None
    assert replace(stored, id=None) == a_decision(7, action=Action.APPLY)
    assert store.decision(stored.id) == stored


def test_the_barest_decision_is_kept_too(store: Store) -> None:
    bare = Decision(
        decided_at=1.0, model="m", mode=Mode.OFF, action=Action.HOLD, reason=Reason.METRICS_MISSING, explanation=""
    )
    stored = store.add_decision(bare)
    assert store.decisions() == [stored]


def test_inputs_that_are_not_finite_become_null(store: Store) -> None:
    odd = replace(a_decision(), inputs={"tail": {"high": float("inf")}, "list": [float("nan"), 1.5], "pair": (1, 2)})
    stored = store.add_decision(odd)
    (found,) = store.decisions()
    assert found.inputs == {"tail": {"high": None}, "list": [None, 1.5], "pair": [1, 2]}
    assert found.id == stored.id


def test_what_was_never_stored_is_none(store: Store) -> None:
    assert store.decision(1) is None
    assert store.state("m") is None
    assert store.observations("m") == []
    assert store.decisions("m") == []
    assert list(store.replay("m")) == []


def test_ids_grow(store: Store) -> None:
    numbers = fill(store, 5)
    assert numbers == sorted(set(numbers))


def test_observations_are_paged_from_the_newest(store: Store) -> None:
    numbers = fill(store, 7)
    first = store.observations("m", limit=3)
    second = store.observations("m", limit=3, before_id=first[-1].id)
    third = store.observations("m", limit=3, before_id=second[-1].id)
    assert [o.id for o in (*first, *second, *third)] == numbers[::-1]
    assert store.observations("m", limit=3, before_id=third[-1].id) == []


def test_decisions_are_paged_from_the_newest_and_filtered(store: Store) -> None:
    stored = [
        store.add_decision(a_decision(number, model=model, action=action))
        for number, (model, action) in enumerate(
            [("m", Action.HOLD), ("m", Action.APPLY), ("n", Action.APPLY), ("m", Action.HOLD), ("m", Action.ROLLBACK)]
        )
    ]
    newest_first = stored[::-1]
    assert store.decisions() == newest_first
    assert store.decisions("n") == [stored[2]]
    assert store.decisions("m", actions={Action.APPLY, Action.ROLLBACK}) == [stored[4], stored[1]]
    assert store.decisions(actions={Action.APPLY}) == [stored[2], stored[1]]
    assert store.decisions("m", actions=set()) == []
    assert store.decisions("m", limit=2) == [stored[4], stored[3]]
    assert store.decisions("m", limit=2, before_id=stored[3].id) == [stored[1], stored[0]]


def test_models_do_not_see_each_other(store: Store) -> None:
    fill(store, 2, "a")
    fill(store, 3, "b")
    store.put_mode("a", Mode.AUTO)
    assert len(store.observations("a")) == 2
    assert len(list(store.replay("b"))) == 3
    assert store.state("b") is None


def test_a_replay_gives_the_newest_oldest_first(store: Store) -> None:
    numbers = fill(store, 12)
    assert [o.id for o in store.replay("m")] == numbers
    assert [o.id for o in store.replay("m", limit=5)] == numbers[-5:]
    assert [o.id for o in store.replay("m", limit=100)] == numbers


def test_a_replay_of_many_pages_is_whole_and_lets_others_write(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.store.store.REPLAY_PAGE", 3)
    numbers = fill(store, 9)
    seen = []
    for observation in store.replay("m", limit=8):
        seen.append(observation.id)
        store.put_mode("m", Mode.AUTO)
    assert seen == numbers[-8:]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(store: Store, limit: int) -> None:
    for call in (lambda: store.observations("m", limit=limit), lambda: store.decisions(limit=limit)):
        with pytest.raises(InvalidValueError, match="limit"):
            call()
    with pytest.raises(InvalidValueError, match="limit"):
        list(store.replay("m", limit=limit))


def test_state_is_put_together_piece_by_piece(store: Store, clock: ManualClock) -> None:
    store.put_slo("m", Slo(0.05))
    clock.advance(5.0)
    store.put_mode("m", Mode.RECOMMEND)
    state = store.state("m")
    assert state is not None
    assert (state.model, state.slo, state.mode, state.updated_at) == ("m", Slo(0.05), Mode.RECOMMEND, START + 5.0)
    assert (state.incumbent, state.generation, state.last_known_good) == (None, None, None)
    store.put_incumbent("m", CONFIG, 12)
    store.put_last_known_good("m", ServingConfig())
    state = store.state("m")
    assert state is not None
    assert (state.slo, state.incumbent, state.generation) == (Slo(0.05), CONFIG, 12)
    assert state.last_known_good == ServingConfig()


def test_putting_the_same_twice_is_like_putting_it_once(store: Store) -> None:
    for _ in range(2):
        store.put_incumbent("m", CONFIG, 3)
        store.put_slo("m", Slo(0.1, 0.95, 0.95))
    state = store.state("m")
    assert state is not None
    assert (state.incumbent, state.generation, state.slo) == (CONFIG, 3, Slo(0.1, 0.95, 0.95))


def test_pruning_keeps_the_newest_of_each_kind(store: Store) -> None:
    observations = fill(store, 6)
    others = fill(store, 4, "other")
    holds = [store.add_decision(a_decision(number)) for number in range(6)]
    applied = [store.add_decision(a_decision(number, action=Action.APPLY)) for number in range(4)]
    deleted = store.prune("m", keep_observations=2, keep_holds=1, keep_decisions=3)
    assert deleted == 4 + 5 + 1
    assert [o.id for o in store.replay("m")] == observations[-2:]
    assert [o.id for o in store.replay("other")] == others
    assert store.decisions("m") == [*applied[:0:-1], holds[-1]]
    assert store.prune("m", keep_observations=2, keep_holds=1, keep_decisions=3) == 0


def test_pruning_everything_gives_no_id_twice(store: Store) -> None:
    numbers = fill(store, 3)
    assert store.prune("m", keep_observations=0, keep_holds=0) == 3
    assert store.add_observation("m", WORKLOAD, CONFIG, a_window()) > numbers[-1]


def test_pruning_by_age_keeps_what_the_learner_begins_with(store: Store, clock: ManualClock) -> None:
    observations = fill(store, 6)  # one second apart
    holds = [store.add_decision(a_decision(number)) for number in range(6)]
    clock.advance(100.0)
    assert store.prune("m", keep_observations=100, keep_holds=100, max_age_seconds=2.5, learns_from=4) == 2
    assert [o.id for o in store.replay("m")] == observations[-4:]
    assert store.decisions("m") == holds[::-1]  # the newest of every kind stay
    assert store.prune("m", keep_observations=100, keep_holds=100, max_age_seconds=2.5, learns_from=0) == 1
    assert [o.id for o in store.replay("m")] == observations[-3:]


def test_a_clock_that_runs_far_ahead_or_behind_drops_nothing(store: Store, clock: ManualClock) -> None:
    numbers = fill(store, 3)
    for jump in (1e9, -2e9):
        clock.advance(jump)
        assert store.prune("m", keep_observations=100, keep_holds=100, max_age_seconds=60.0) == 0
    assert [o.id for o in store.replay("m")] == numbers


def test_pruning_takes_a_few_rows_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.store.retention.BATCH", 4)
    numbers = fill(store, 10)
    went = []
    while not went or went[-1]:
        went.append(store.prune("m", keep_observations=1, keep_holds=1))
        assert next(store.replay("m")).id == numbers[min(sum(went), 9)]  # the oldest go first
    assert went == [4, 4, 1, 0]


@pytest.mark.parametrize("wrong", [{"keep_observations": -1}, {"max_age_seconds": 0.0}, {"learns_from": -1}])
def test_a_retention_that_means_nothing_is_refused(store: Store, wrong: dict[str, Any]) -> None:
    fill(store, 1)
    with pytest.raises(InvalidValueError):
        store.prune("m", **{"keep_observations": 1, "keep_holds": 1, **wrong})
    assert len(store.observations("m")) == 1


def test_an_intent_stands_until_its_result_is_written(store: Store) -> None:
    intended = a_decision(1, action=Action.APPLY)
    store.put_intent(intended)
    store.put_incumbent("m", ServingConfig(), 0)
    store.add_decision(a_decision(2))  # a hold says nothing of it
    store.add_decision(a_decision(3, model="other", action=Action.APPLY))
    state = store.state("m")
    assert state is not None
    assert state.intent == intended
    store.add_decision(intended)
    state = store.state("m")
    assert state is not None
    assert (state.intent, state.generation) == (None, 0)


def test_an_export_imported_elsewhere_is_the_same_history(store: Store, clock: ManualClock) -> None:
    fill(store, 3)
    fill(store, 2, "other")
    for number in range(3):
        store.add_decision(a_decision(number, action=Action.APPLY if number else Action.HOLD))
    store.put_slo("m", Slo(0.05))
    store.put_incumbent("m", CONFIG, 7)
    exported = "".join(store.export()).encode()

    elsewhere = Store.open("sqlite://", clock=clock)
    taken = elsewhere.take_in(io.BytesIO(exported))

    assert (taken.observations, taken.decisions, taken.states, taken.known) == (5, 3, 1, 0)
    assert "".join(elsewhere.export()).encode() == exported
    assert elsewhere.state("m") == store.state("m")
    # And back: everything is known here.
    again = store.take_in(io.BytesIO(exported))
    assert (again.observations, again.decisions, again.states, again.known) == (0, 0, 0, 9)
    assert "".join(store.export()).encode() == exported
    elsewhere.close()


def test_an_import_with_a_bad_line_takes_nothing_in(store: Store, clock: ManualClock) -> None:
    source = Store.open("sqlite://", clock=clock)
    fill(source, 5)
    source.put_mode("m", Mode.AUTO)
    lines = list(source.export())
    source.close()
    lines[4] = lines[4].replace('"cv"', '"vc"')
    with pytest.raises(InvalidValueError, match=r"^line 5: observation: .*vc"):
        store.take_in(io.BytesIO("".join(lines).encode()))
    assert list(store.replay("m")) == []
    assert store.state("m") is None


def test_a_models_name_may_be_anything(store: Store) -> None:
    name = "mö'del\"; DROP TABLE observations; -- %s"
    fill(store, 1, name)
    store.put_mode(name, Mode.AUTO)
    assert [o.model for o in store.observations(name)] == [name]
    assert store.state(name) is not None


def test_many_threads_may_write_and_read_at_once(store: Store) -> None:
    together = threading.Barrier(8)

    def work(worker: int) -> list[int]:
        together.wait(timeout=30)
        numbers = []
        for number in range(10):
            numbers.append(store.add_observation("m", WORKLOAD, CONFIG, a_window(number)))
            store.put_incumbent("m", CONFIG, number)
            store.add_decision(a_decision(number))
            assert store.state("m") is not None
            assert len(store.observations("m", limit=1)) == 1
        return numbers

    with ThreadPoolExecutor(8) as pool:
        numbers = [number for found in pool.map(work, range(8)) for number in found]
    assert sorted(numbers) == [o.id for o in store.replay("m")]
    assert len(set(numbers)) == 80
    assert len(store.decisions("m", limit=1000)) == 80
    assert [(tally.hour, tally.windows) for tally in store.tallies("m", since=0.0)] == [(472_222, 80)]


def test_closing_twice_is_no_error(store: Store) -> None:
    store.close()
    store.close()


def test_everything_is_there_after_it_was_closed_and_opened_again(database: str) -> None:
    if database == "sqlite://":
        pytest.skip("what is in memory is gone when it is closed")
    first = Store.open(database)
    numbers = fill(first, 3)
    decision = first.add_decision(a_decision(1))
    first.put_incumbent("m", CONFIG, 4)
    first.close()
    second = Store.open(database)
    assert [o.id for o in second.replay("m")] == numbers
    assert second.decisions() == [decision]
    state = second.state("m")
    assert state is not None
    assert state.generation == 4
    second.close()


def test_several_may_open_an_empty_database_at_once(database: str) -> None:
    """One migrates; the others wait for it and find the schema done."""
    together = threading.Barrier(6)

    def open_it(worker: int) -> Store:
        together.wait(timeout=30)
        return Store.open(database, busy_timeout_seconds=60.0)

    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(open_it, range(6)))
    for number, store in enumerate(stores):
        store.put_incumbent("m", CONFIG, number)
        store.close()
