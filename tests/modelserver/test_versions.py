"""Which folders are versions, and what is done about them."""

from __future__ import annotations

import itertools

import pytest
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from service.modelserver.versions import Plan, State, plan, versions_among


def test_versions_are_the_names_that_are_non_negative_numbers() -> None:
    names = ["1", "00000123", "0", "-1", "+2", "1.5", "v3", "", "4 ", "1e3", "tmp", "²", "٣"]
    assert versions_among(names) == {0: "0", 1: "1", 123: "00000123"}


def test_a_number_too_large_for_the_protocol_is_no_version() -> None:
    assert versions_among([str(2**63 - 1), str(2**63)]) == {2**63 - 1: str(2**63 - 1)}


def test_of_two_spellings_of_one_number_the_last_in_order_is_used() -> None:
    assert versions_among(["01", "1", "001"]) == {1: "1"}


def test_states_are_numbered_as_in_the_protocol() -> None:
    assert {state.name: int(state) for state in State} == {
        name: number for name, number in ModelVersionStatus.State.items() if name != "UNKNOWN"
    }


def test_new_versions_are_loaded_the_newest_first() -> None:
    assert plan({1, 3, 2}, {}) == Plan(load=(3, 2, 1))


def test_the_old_version_serves_until_the_new_one_is_available() -> None:
    assert plan({2}, {1: State.AVAILABLE}) == Plan(load=(2,))
    assert plan({2}, {1: State.AVAILABLE, 2: State.LOADING}) == Plan()
    assert plan({2}, {1: State.AVAILABLE, 2: State.AVAILABLE}) == Plan(unload=(1,))


def test_the_old_version_serves_on_when_the_new_one_has_failed() -> None:
    assert plan({2}, {1: State.AVAILABLE, 2: State.END}) == Plan()


def test_everything_goes_when_nothing_is_aspired() -> None:
    states = {1: State.AVAILABLE, 2: State.LOADING, 3: State.START, 4: State.END, 5: State.UNLOADING}
    assert plan((), states) == Plan(unload=(1,), drop=(2, 3, 4))


def test_a_failed_version_is_loaded_again_only_after_it_was_dropped() -> None:
    assert plan({1}, {1: State.END}) == Plan()
    assert plan((), {1: State.END}) == Plan(drop=(1,))
    assert plan({1}, {}) == Plan(load=(1,))


def test_a_version_that_is_being_unloaded_is_left_to_finish() -> None:
    assert plan({1}, {1: State.UNLOADING}) == Plan()


@pytest.mark.parametrize("aspired", [(), (1,), (2,), (1, 2), (3,)])
def test_a_plan_never_contradicts_itself_nor_leaves_a_gap(aspired: tuple[int, ...]) -> None:
    for first, second in itertools.product([None, *State], repeat=2):
        managed = {v: state for v, state in ((1, first), (2, second)) if state is not None}
        todo = plan(aspired, managed)
        named = [*todo.load, *todo.unload, *todo.drop]
        assert len(named) == len(set(named))
        assert not set(todo.load) & managed.keys()
        assert not {*todo.unload, *todo.drop} & set(aspired)
        serving = {v for v, state in managed.items() if state is State.AVAILABLE}
        if aspired and serving:
            assert serving - set(todo.unload)
