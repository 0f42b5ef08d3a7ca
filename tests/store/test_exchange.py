"""Export and import: whole, streamed, repeatable, and exact about what is wrong with a file."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from service.domain.decision import Action, Mode
from service.domain.errors import InvalidValueError, StoreError
from service.domain.serving_config import ServingConfig
from service.store import Store
from service.store.importing import TakenIn
from tests.support.history import CONFIG, WORKLOAD, a_decision, a_window
from tests.support.manual_clock import ManualClock

Lines = list[str]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> Iterator[Store]:
    opened = Store.open("sqlite://", clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def target(clock: ManualClock) -> Iterator[Store]:
    opened = Store.open("sqlite://", clock=clock)
    yield opened
    opened.close()


def take_in(store: Store, lines: Lines) -> TakenIn:
    return store.take_in(io.BytesIO("".join(lines).encode()))


def some_history(store: Store, first: int = 0, count: int = 3) -> Lines:
    for number in range(first, first + count):
        store.add_observation("m", WORKLOAD, CONFIG, a_window(number))
        store.add_decision(a_decision(number, action=Action.APPLY))
    store.put_incumbent("m", CONFIG, first + count)
    return list(store.export())


def test_one_model_alone_can_be_exported(store: Store, target: Store) -> None:
    some_history(store)
    store.add_observation("other", WORKLOAD, CONFIG, a_window())
    take_in(target, list(store.export("other")))
    assert len(target.observations("other")) == 1
    assert target.observations("m") == []
    assert [json.loads(line).get("kind") for line in store.export("nobody")] == [None, "end"]


def test_an_export_goes_page_by_page_and_leaves_out_what_comes_meanwhile(
    store: Store, target: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.exporting.PAGE", 2)
    some_history(store, count=7)
    lines: Lines = []
    for line in store.export():
        lines.append(line)
        store.add_observation("m", WORKLOAD, CONFIG, a_window(50))
    assert take_in(target, lines).decisions == 7
    assert len(target.observations("m")) <= 9


def test_many_batches_come_in_whole(store: Store, target: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.store.importing.BATCH", 3)
    lines = some_history(store, count=8)
    assert take_in(target, lines).observations == 8
    assert list(target.export()) == lines
    assert take_in(target, lines).known == 17


def test_a_later_export_brings_only_what_is_new(store: Store, target: Store, clock: ManualClock) -> None:
    take_in(target, some_history(store))
    clock.advance(1.0)
    taken = take_in(target, some_history(store, first=3))
    assert (taken.observations, taken.decisions, taken.states, taken.known) == (3, 3, 1, 6)
    assert list(target.export()) == list(store.export())


def test_a_later_export_may_begin_after_rows_that_were_pruned(store: Store, target: Store) -> None:
    take_in(target, some_history(store))
    store.prune("m", keep_observations=1, keep_holds=1, keep_decisions=1)
    taken = take_in(target, some_history(store, first=3))
    assert (taken.observations, taken.decisions) == (3, 3)
    assert [o.window for o in target.replay("m")] == [a_window(number) for number in range(6)]


def test_what_is_older_is_not_put_behind_what_is_there(store: Store, target: Store) -> None:
    older = some_history(store)
    some_history(target, first=10)
    before = list(target.export())
    with pytest.raises(InvalidValueError, match=r"line 3: this observation of 'm' is older.*the older and then"):
        take_in(target, older)
    assert list(target.export()) == before


def test_histories_are_joined_as_the_error_says(store: Store, target: Store) -> None:
    older, newer = some_history(store), some_history(target, first=10)
    joined = Store.open("sqlite://")
    take_in(joined, older)
    take_in(joined, newer)
    assert [o.window for o in joined.replay("m")] == [a_window(n) for n in (0, 1, 2, 10, 11, 12)]
    joined.close()


def test_the_newer_state_wins(store: Store, target: Store, clock: ManualClock) -> None:
    store.put_mode("m", Mode.AUTO)
    older = list(store.export())
    clock.advance(10.0)
    target.put_mode("m", Mode.OFF)
    assert take_in(target, older).states == 0
    assert target.state("m").mode is Mode.OFF  # type: ignore[union-attr]
    clock.advance(10.0)
    store.put_last_known_good("m", ServingConfig())
    assert take_in(target, list(store.export())).states == 1
    assert target.state("m").mode is Mode.AUTO  # type: ignore[union-attr]


def test_rows_with_the_same_moment_are_told_apart(store: Store, target: Store) -> None:
    for action in (Action.APPLY, Action.ROLLBACK):
        store.add_decision(a_decision(1, action=action))
    lines = list(store.export())
    assert take_in(target, lines).decisions == 2
    assert take_in(target, lines).known == 2


def without(number: int) -> Callable[[Lines], Lines]:
    return lambda lines: lines[: number - 1] + lines[number:]


def changed(number: int, before: str, after: str) -> Callable[[Lines], Lines]:
    def change(lines: Lines) -> Lines:
        assert before in lines[number - 1]
        return [*lines[: number - 1], lines[number - 1].replace(before, after, 1), *lines[number:]]

    return change


def added(number: int, line: str) -> Callable[[Lines], Lines]:
    return lambda lines: [*lines[: number - 1], line + "\n", *lines[number - 1 :]]


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda lines: [], r"^line 1: the file is empty"),
        (lambda lines: ["\x00\x01 no text"], r"^line 1: is no JSON"),
        (without(1), r"^line 1: is no header of a history"),
        (
            changed(1, '"regulus_history":1', '"regulus_history":2'),
            r"^line 1: was written by a newer Regulus \(0.1",
        ),
        (changed(1, '"format":1', '"format":99'), r"^line 1: was written by a newer Regulus"),
        (without(3), r"^line 8: lines are missing: 7 were exported, here are 6"),
        (lambda lines: lines[:-1], r"^line 9: the end is missing: the file was cut off"),
        (lambda lines: [*lines[:3], lines[3][:50]], r"^line 4: is no JSON: .*cut off there"),
        (lambda lines: [*lines, *lines], r"^line 10: nothing may follow the end"),
        (added(4, "[1, 2]"), r"^line 4: is no JSON object"),
        (added(4, "[" * 100_000), r"^line 4: is no JSON"),
        (added(4, '{"kind": "wish"}'), r"^line 4: kind is 'wish', not state, observation, decision or end"),
        (added(4, '{"kind": "state", "model": "", "body": {}}'), r"^line 4: model must be a name"),
        (added(4, '{"kind": "state", "model": "m"}'), r"^line 4: body is missing"),
        (added(4, '{"kind": "state", "model": "m", "body": {}}'), r"^line 4: state: 'generation' is missing"),
        (changed(2, '"generation":3', '"generation":"3"'), r"^line 2: state: generation must be a whole number"),
        (
            changed(4, '"max_batch_size":32', '"max_batch_sise":32'),
            r"^line 4: observation: max_batch_sise: is not a",
        ),
        (changed(4, '"started_at":1700000001.0', '"started_at":NaN'), r"^line 4: observation: time must be a finite"),
        (changed(6, '"action":"apply"', '"action":"dance"'), r"^line 6: decision: 'dance' is not a valid Action"),
        (changed(6, '"model":"m"', '"model":"n"'), r"^line 6: decision: is of model 'm' inside and 'n' outside"),
        (changed(6, '"decided_at":', '"decided_at":"x","was":'), r"^line 6: decision: decided_at must be a finite"),
    ],
)
def test_what_is_wrong_is_said_by_line_and_nothing_is_taken_in(
    store: Store, target: Store, spoil: Callable[[Lines], Lines], complaint: str
) -> None:
    lines = spoil(some_history(store))
    nothing = list(target.export())
    with pytest.raises(InvalidValueError, match=complaint):
        take_in(target, lines)
    assert list(target.export()) == nothing


def test_a_line_without_end_is_not_read_into_memory(target: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.store.importing.MAX_LINE_BYTES", 1000)
    with pytest.raises(InvalidValueError, match="line 1: is longer than 1000 bytes"):
        target.take_in(io.BytesIO(b"x" * 100_000))


def test_whatever_a_file_holds_it_is_taken_in_whole_or_refused_by_line(store: Store, target: Store) -> None:
    """Some bytes of an export are changed anywhere; an import fails in no other way, and never half."""
    export = "".join(some_history(store, count=2)).encode()
    position, byte = st.integers(0, len(export) - 1), st.integers(0, 255)

    @settings(max_examples=150, deadline=None, database=None)
    @given(changes=st.dictionaries(position, byte, min_size=1, max_size=3))
    def spoil(changes: dict[int, int]) -> None:
        content = bytearray(export)
        for where, what in changes.items():
            content[where] = what
        before = list(target.export())
        try:
            target.take_in(io.BytesIO(bytes(content)))
        except InvalidValueError as error:
            refused = error
        else:
            return
        assert refused.field.startswith("line ")
        assert list(target.export()) == before

    spoil()


def test_a_database_that_fails_in_the_middle_keeps_nothing(store: Store, tmp_path: Path) -> None:
    lines = some_history(store, count=30)
    path = tmp_path / "regulus.db"
    target = Store.open(f"sqlite:///{path}")
    with target._database.transaction() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    target.close()
    full = Store.open(f"sqlite:///{path}")

    event.listen(
        full._database._engine, "connect", lambda raw, _record: raw.execute(f"PRAGMA max_page_count = {pages + 10}")
    )
    full._database._engine.dispose()
    with pytest.raises(StoreError, match=r"regulus\.db failed: database or disk is full; free some space"):
        take_in(full, lines)
    assert [json.loads(line).get("kind") for line in full.export()] == [None, "end"]
    full.close()
    roomy = Store.open(f"sqlite:///{path}")
    assert take_in(roomy, lines).observations == 30
    roomy.close()
