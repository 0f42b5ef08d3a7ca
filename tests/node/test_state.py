"""State: whatever the moment at which an agent dies, what it wrote says who is to serve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.serving_config import ServingConfig
from service.node.envoy_config import Role
from service.node.errors import StateError
from service.node.state import Canary, NodeState, ServerRecord, Versions, recovered
from service.node.taken_back import TakenBack

OLD = ServingConfig()
NEW = ServingConfig(enable_batching=True, max_batch_size=8, instances=2)
FRESH = NodeState(generation=0, config=OLD, launched=OLD, settings="of today", initial=OLD)


def server(pid: int, generation: int = 0) -> ServerRecord:
    return ServerRecord(
        pid=pid, started_ticks=pid * 10, generation=generation, grpc_port=pid, rest_port=pid + 1, log=f"/log/{pid}"
    )


def serving(*pids: int, config: ServingConfig = OLD) -> NodeState:
    return NodeState(generation=3, config=config, launched=config, serving=tuple(server(pid) for pid in pids))


def everyone(_: ServerRecord) -> bool:
    return True


def a_change() -> list[NodeState]:
    """What is written, one after the other, while one process is replaced by two."""
    old, new = server(1), [server(2, 4), server(3, 4)]
    begun = serving(1).begin(new)
    committed = begun.commit(4, NEW, launched=NEW, added=new, removed=[old], previous=OLD)
    return [serving(1), begun, committed, committed.drained([old])]


def test_a_change_moves_every_process_through_its_roles() -> None:
    before, begun, committed, done = a_change()
    assert [one.pid for one in begun.serving] == [one.pid for one in before.serving] == [1]
    assert [one.pid for one in begun.starting] == [2, 3]
    assert (committed.generation, committed.config, committed.previous) == (4, NEW, OLD)
    assert ([one.pid for one in committed.serving], [one.pid for one in committed.draining]) == ([2, 3], [1])
    assert committed.starting == ()
    assert [one.pid for one in done.servers] == [2, 3]


def test_a_change_that_is_given_up_leaves_everything_as_it_was() -> None:
    new = [server(2, 4)]
    assert serving(1).begin(new).abandon(new) == serving(1)


@pytest.mark.parametrize("moment", range(4))
def test_an_agent_that_dies_at_any_moment_leaves_either_the_old_or_the_new_in_force(moment: int) -> None:
    written = a_change()[moment]
    recovery = recovered(NodeState.from_dict(written.to_dict()), FRESH, everyone)
    pids = [one.pid for one in recovery.state.serving]
    assert recovery.missing == 0
    assert recovery.state.starting == ()
    if moment < 2:
        assert (recovery.state.config, pids) == (OLD, [1])
        assert [one.pid for one in recovery.end] == ([2, 3] if moment == 1 else [])
    else:
        assert (recovery.state.config, pids) == (NEW, [2, 3])
        assert recovery.end == ()


@given(moment=st.integers(0, 3), dead=st.sets(st.integers(1, 3)))
def test_whoever_died_with_the_agent_is_missed_and_no_process_has_two_roles(moment: int, dead: set[int]) -> None:
    alive: Callable[[ServerRecord], bool] = lambda one: one.pid not in dead  # noqa: E731
    recovery = recovered(a_change()[moment], FRESH, alive)
    state = recovery.state
    pids = [one.pid for one in (*state.servers, *recovery.end)]
    assert len(pids) == len(set(pids))
    assert not dead & set(pids)
    assert recovery.missing == state.config.instances - len(state.serving)


def tried_out(*pids: int, by: int = 9) -> NodeState:
    """A configuration of as many instances as there are, tried out by one process."""
    state = serving(*pids, config=OLD.with_values(instances=len(pids)))
    canary = Canary(generation=4, config=NEW, server=server(by, 4), versions=Versions("/versions/g4", 2, 1))
    return state.begin([canary.server]).try_out(canary)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_while_something_is_tried_out_as_many_processes_serve_as_before(count: int) -> None:
    state = tried_out(*range(1, count + 1))
    roles = [(one.grpc_port, one.role) for one in state.traffic.serving]
    assert roles == [(9, Role.CANARY), *((pid, Role.CONTROL) for pid in range(1, count))]
    assert [(one.grpc_port, one.role) for one in state.traffic.resting] == [(count, Role.NONE)]
    ended = state.withdraw()
    assert [one.grpc_port for one in ended.traffic.serving] == list(range(1, count + 1))
    assert [one.pid for one in ended.draining] == [9]


def test_nobody_rests_where_a_process_is_missing_anyhow() -> None:
    state = tried_out(1, 2, 3).lost(server(2))
    assert [one.grpc_port for one in state.traffic.serving] == [9, 1, 3]
    assert state.traffic.resting == ()


def test_what_was_tried_out_comes_into_force_with_its_process_among_the_others() -> None:
    state = tried_out(1, 2)
    new = server(10, 4)
    done = state.commit(4, NEW, launched=NEW, added=[server(9, 4), new], removed=state.serving, previous=state.config)
    assert (done.canary, [one.pid for one in done.serving]) == (None, [9, 10])
    assert {one.role for one in (*done.traffic.serving, *done.traffic.resting)} == {Role.NONE}


@pytest.mark.parametrize("alive", [True, False])
def test_an_agent_that_dies_while_something_is_tried_out_is_succeeded_by_one_that_withdraws_it(alive: bool) -> None:
    state = tried_out(1, 2)
    read = NodeState.from_dict(state.to_dict())
    assert read == state
    recovery = recovered(read, FRESH, lambda one: alive or one.pid != 9)
    assert (recovery.state.canary, recovery.missing) == (None, 0)
    assert [one.pid for one in recovery.state.draining] == ([9] if alive else [])
    assert recovery.state.config == state.config


def nobody(_: ServerRecord) -> bool:
    return False


@pytest.mark.parametrize("in_order", [True, False])
def test_a_node_of_which_nothing_runs_begins_with_what_was_in_force(in_order: bool) -> None:
    state = replace(serving(1, 2, config=NEW), initial=OLD, settings="of yesterday")
    recovery = recovered(NodeState.from_dict((state.down() if in_order else state).to_dict()), FRESH, nobody)
    assert (recovery.state.config, recovery.state.generation, recovery.missing) == (NEW, 3, 2)
    assert recovery.state.servers == ()
    # The processes to come are started with the arguments of today.
    assert recovery.state.settings == "of today"


def test_arguments_that_name_another_configuration_than_before_hold_once_nothing_runs() -> None:
    state = replace(serving(1, config=NEW), initial=OLD.with_values(tensorflow_inter_op_parallelism=1))
    assert recovered(state, FRESH, everyone).state.config == NEW
    recovery = recovered(state.down(), FRESH, nobody)
    assert recovery.state == replace(FRESH, generation=4)
    assert recovery.missing == 1


def test_what_a_version_that_did_not_remember_its_arguments_wrote_goes_on() -> None:
    raw = serving(1, config=NEW).down().to_dict()
    del raw["initial"]
    assert recovered(NodeState.from_dict(raw), FRESH, nobody).state.config == NEW


def test_what_was_taken_back_is_told_until_it_is_ordered_again_whatever_becomes_of_the_agent() -> None:
    taken_back = TakenBack.crashing(3, NEW, "starting\nout of memory\n")
    assert taken_back.why == "Its server processes ended by themselves again and again, at last with: out of memory"
    state = replace(serving(1), taken_back=taken_back, initial=OLD)
    read = NodeState.from_dict(state.to_dict())
    assert read.taken_back == taken_back
    for recovery in (recovered(read, FRESH, everyone), recovered(read.down(), replace(FRESH, initial=NEW), nobody)):
        assert recovery.state.taken_back == taken_back
    assert state.ordered(OLD) == state
    assert state.ordered(NEW).taken_back is None
    old = state.to_dict()
    del old["taken_back"]
    assert NodeState.from_dict(old).taken_back is None


def test_what_a_version_that_knew_no_canaries_wrote_is_read() -> None:
    raw = serving(1).to_dict()
    del raw["canary"]
    assert NodeState.from_dict(raw) == serving(1)


def test_a_process_that_ends_is_forgotten_and_its_replacement_joins() -> None:
    state = serving(1, 2).lost(server(1)).begin([server(5)])
    assert [one.pid for one in state.serving] == [2]
    assert [one.pid for one in state.joined(server(5)).serving] == [2, 5]
    assert state.joined(server(5)).starting == ()


def test_a_new_version_folder_changes_the_configuration_and_not_what_processes_were_started_with() -> None:
    state = serving(1).watching(Versions("/versions/g3", 1, 1)).reversioned(4, NEW, 2)
    assert (state.config, state.launched, state.previous, state.version) == (NEW, OLD, OLD, 2)
    followed = state.reversioned(4, NEW, 3)  # the user's newer version under the same configuration
    assert (followed.previous, followed.version) == (OLD, 3)


@pytest.mark.parametrize("raw", [{}, {"layout": 0}, {"layout": 1}, {**serving(1).to_dict(), "serving": [{}]}])
def test_what_another_version_wrote_is_refused(raw: dict[str, object]) -> None:
    with pytest.raises(StateError):
        NodeState.from_dict(raw)
