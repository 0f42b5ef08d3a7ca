"""Sessions on real SavedModels, TF1 and TF2."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow.core.protobuf import config_pb2

from models import export_model
from service.modelserver.session import ModelGraph, ModelSession
from service.modelserver.signature import Signature
from service.modelserver.status import Code, ServingError
from tests.support.processes import wait_until
from tests.support.tiny_models import save_many


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> ModelGraph:
    return ModelGraph(save_many(tmp_path_factory.mktemp("many") / "1"))


@pytest.fixture(scope="module")
def half_plus_two(tmp_path_factory: pytest.TempPathFactory) -> ModelGraph:
    return ModelGraph(export_model("half_plus_two", tmp_path_factory.mktemp("zoo")))


def run(session: ModelSession, signature: Signature, **inputs: Any) -> dict[str, Any]:
    ordered = [np.asarray(inputs[alias], spec.dtype) for alias, spec in signature.inputs.items()]
    outputs = tuple(signature.outputs)
    arrays, seconds = session.run(signature, ordered, outputs)
    assert seconds > 0
    return {alias: array.tolist() for alias, array in zip(outputs, arrays, strict=True)}


def tasks() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def test_a_tf1_model_is_run(half_plus_two: ModelGraph) -> None:
    session = half_plus_two.open_session(inter_op=1, intra_op=1)
    assert run(session, half_plus_two.signatures["serving_default"], x=[2.0, 4.0]) == {"y": [3.0, 4.0]}
    session.close()


def test_a_tf2_model_with_several_inputs_and_outputs_is_run(many: ModelGraph) -> None:
    session = many.open_session(inter_op=1, intra_op=1)
    answer = run(session, many.signatures["serving_default"], a=[[1, 2], [3, 4]], b=[5, 6])
    assert answer == {"sum": [35.0, 76.0], "text": [b"5", b"6"]}
    session.close()


def test_tables_are_filled_from_assets_and_strings_are_taken(many: ModelGraph) -> None:
    session = many.open_session(inter_op=0, intra_op=0)
    assert run(session, many.signatures["lookup"], word=[b"plum", b"apple", b"?"]) == {"id": [2, 0, -1]}
    session.close()


def test_signatures_say_types_shapes_and_names(many: ModelGraph) -> None:
    signature = many.signatures["serving_default"]
    assert signature.inputs["a"].shape == (None, None)
    assert signature.inputs["a"].dtype == np.float32
    assert signature.inputs["b"].dtype == np.int64
    assert signature.outputs["text"].dtype == object
    assert list(signature.outputs) == ["sum", "text"]
    assert signature.batchable
    assert not many.signatures["fixed"].batchable


def test_some_outputs_alone_can_be_asked_for_however_many_ways(many: ModelGraph) -> None:
    session = many.open_session(inter_op=1, intra_op=1)
    signature = many.signatures["serving_default"]
    inputs = [np.ones((1, 1), np.float32), np.array([3])]
    for _ in range(2):
        for outputs in [("text",), ("sum",), ("text", "sum"), ("sum", "text")] + [("sum",) * n for n in range(2, 30)]:
            arrays, _seconds = session.run(signature, inputs, outputs)
            expected = {"text": [b"3"], "sum": [13.0]}
            assert [array.tolist() for array in arrays] == [expected[alias] for alias in outputs]
    session.close()


def test_what_the_graph_refuses_keeps_its_code_and_message(many: ModelGraph) -> None:
    session = many.open_session(inter_op=1, intra_op=1)
    with pytest.raises(ServingError, match="x must not be negative") as raised:
        run(session, many.signatures["positive"], x=[1.0, -1.0])
    assert raised.value.code is Code.INVALID_ARGUMENT
    assert run(session, many.signatures["positive"], x=[1.0]) == {"y": [1.0]}
    session.close()


def test_sessions_of_one_graph_are_independent(half_plus_two: ModelGraph) -> None:
    first = half_plus_two.open_session(inter_op=1, intra_op=1)
    second = half_plus_two.open_session(inter_op=1, intra_op=2)
    signature = half_plus_two.signatures["serving_default"]
    assert run(first, signature, x=[2.0]) == {"y": [3.0]}
    first.close()
    assert run(second, signature, x=[2.0]) == {"y": [3.0]}
    second.close()


def test_each_session_has_threads_of_its_own_and_gives_them_back(half_plus_two: ModelGraph) -> None:
    signature = half_plus_two.signatures["serving_default"]

    def opened(inter_op: int, intra_op: int) -> ModelSession:
        session = half_plus_two.open_session(inter_op=inter_op, intra_op=intra_op)
        run(session, signature, x=[2.0])
        return session

    opened(1, 1).close()
    before = tasks()
    narrow = opened(1, 1)
    cost_of_narrow = tasks() - before
    wide = opened(3, 5)
    cost_of_wide = tasks() - before - cost_of_narrow
    # A pool of n threads is the caller's and n - 1 more, or n; whichever, six more threads were asked for.
    assert cost_of_wide - cost_of_narrow == 6
    wide.close()
    narrow.close()
    wait_until(lambda: tasks() == before, what="threads given back")


def test_many_rounds_of_opening_and_closing_leave_no_thread(many: ModelGraph) -> None:
    def rounds(count: int) -> None:
        for _ in range(count):
            session = many.open_session(inter_op=2, intra_op=2)
            run(session, many.signatures["lookup"], word=[b"pear"])
            session.close()

    rounds(1)
    before = tasks()
    rounds(8)
    wait_until(lambda: tasks() <= before, what="thread count back to what it was")


def test_the_users_session_configuration_is_kept_but_for_the_thread_counts(half_plus_two: ModelGraph) -> None:
    base = config_pb2.ConfigProto(intra_op_parallelism_threads=7, operation_timeout_in_ms=60_000)
    base.session_inter_op_thread_pool.add(num_threads=2)
    session = half_plus_two.open_session(inter_op=1, intra_op=1, base=base)
    assert run(session, half_plus_two.signatures["serving_default"], x=[2.0]) == {"y": [3.0]}
    assert base.intra_op_parallelism_threads == 7
    session.close()


def test_calls_from_several_threads_at_once_are_answered_each_with_its_own(half_plus_two: ModelGraph) -> None:
    session = half_plus_two.open_session(inter_op=2, intra_op=1)
    signature = half_plus_two.signatures["serving_default"]
    wrong: list[float] = []

    def ask(x: float) -> None:
        wrong.extend(x for _ in range(50) if run(session, signature, x=[x]) != {"y": [x / 2 + 2]})

    threads = [threading.Thread(target=ask, args=(float(n),)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    session.close()


def test_a_folder_without_a_model_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="Could not find a SavedModel") as raised:
        ModelGraph(tmp_path)
    assert raised.value.code is Code.NOT_FOUND


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"not a model")
    with pytest.raises(ServingError):
        ModelGraph(tmp_path)


def test_missing_variables_are_an_error_of_the_load(tmp_path: Path) -> None:
    path = export_model("half_plus_two", tmp_path)
    for file in (path / "variables").iterdir():
        file.unlink()
    with pytest.raises(ServingError):
        ModelGraph(path).open_session(inter_op=1, intra_op=1)
