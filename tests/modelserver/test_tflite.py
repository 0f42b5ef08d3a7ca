"""TensorFlow Lite models and sessions on real files."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from service.modelserver.session import ModelGraph
from service.modelserver.signature import Signature
from service.modelserver.status import Code, ServingError
from service.modelserver.tflite import TFLITE_FILE, TfliteModel, TfliteOptions, TfliteSession
from tests.support.processes import wait_until
from tests.support.tflite_models import (
    FEATURES,
    MOVE_ANNOUNCED,
    convert,
    half_plus,
    save_both,
    vector,
    without_signatures,
    write,
)

pytestmark = pytest.mark.filterwarnings(MOVE_ANNOUNCED)

Loader = Callable[..., TfliteModel]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_both(tmp_path_factory.mktemp("both") / "1")


@pytest.fixture
def load(tmp_path: Path) -> Loader:
    def loaded(content: bytes, interpreters: int = 1, parts: int = 1) -> TfliteModel:
        return TfliteModel(write(tmp_path, content) / TFLITE_FILE, TfliteOptions(interpreters, parts))

    return loaded


@contextmanager
def opened(model: TfliteModel, intra_op: int = 1) -> Iterator[TfliteSession]:
    session = model.open_session(inter_op=0, intra_op=intra_op)
    yield session
    session.close()


def run(session: TfliteSession, signature: Signature, **inputs: Any) -> dict[str, Any]:
    ordered = [np.asarray(inputs[alias], spec.dtype) for alias, spec in signature.inputs.items()]
    outputs = tuple(signature.outputs)
    arrays, seconds = session.run(signature, ordered, outputs)
    assert seconds > 0
    return {alias: array.tolist() for alias, array in zip(outputs, arrays, strict=True)}


def tasks() -> set[str]:
    return {task.name for task in Path("/proc/self/task").iterdir()}


def test_it_answers_what_the_saved_model_answers_at_every_size(both: Path) -> None:
    model, graph = TfliteModel(both / TFLITE_FILE, TfliteOptions(2)), ModelGraph(both)
    saved = graph.open_session(inter_op=1, intra_op=1)
    with opened(model) as session:
        for size in (1, 5, 2, 64, 0, 1):
            x = np.random.default_rng(size).normal(size=(size, FEATURES)).astype(np.float32)
            (ours,), _ = session.run(model.signatures["serving_default"], [x], ("y",))
            (theirs,), _ = saved.run(graph.signatures["serving_default"], [x], ("y",))
            assert ours.shape == (size, 3)
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    saved.close()


def test_signatures_are_those_of_the_file_and_equal_the_saved_models_but_for_tensor_names(both: Path) -> None:
    model, graph = TfliteModel(both / TFLITE_FILE, TfliteOptions()), ModelGraph(both)
    assert set(model.signatures) == set(graph.signatures) - {"__saved_model_init_op"}
    for key, signature in model.signatures.items():
        ours, theirs = model.signature_defs[key], graph.signature_defs[key]
        assert ours.method_name == theirs.method_name
        for mine, other in ((ours.inputs, theirs.inputs), (ours.outputs, theirs.outputs)):
            assert {alias: info.dtype for alias, info in mine.items()} == {a: info.dtype for a, info in other.items()}
            assert {alias: str(info.tensor_shape) for alias, info in mine.items()} == {
                alias: str(info.tensor_shape) for alias, info in other.items()
            }
        assert signature.batchable
    assert run_all_keys(model) == {"serving_default", "count"}


def run_all_keys(model: TfliteModel) -> set[str]:
    with opened(model) as session:
        x = {"serving_default": np.zeros((2, FEATURES)), "count": np.zeros(2)}
        return {key for key, signature in model.signatures.items() if run(session, signature, x=x[key])}


def test_a_file_without_signatures_gets_one_from_its_inputs_and_outputs(load: Loader) -> None:
    model = load(without_signatures())
    signature = model.signatures["serving_default"]
    assert list(model.signatures) == ["serving_default"]
    assert (list(signature.inputs), list(signature.outputs)) == (["x"], ["y", "z"])
    assert model.signature_defs["serving_default"].method_name == "tensorflow/serving/predict"
    with opened(model) as session:
        assert run(session, signature, x=[2, 4, 6]) == {"y": [3, 4, 5], "z": [6, 12, 18]}
        assert run(session, signature, x=[8]) == {"y": [6], "z": [24]}
        assert session.run(signature, [np.ones(1, np.float32)], ("z",))[0] == [np.array([3.0])]


def test_a_file_made_for_one_example_takes_more_where_the_model_can(load: Loader) -> None:
    weights = tf.constant(np.arange(8, dtype=np.float32).reshape(4, 2))
    model = load(convert(lambda x: {"y": x @ weights}, x=tf.TensorSpec([1, 4], tf.float32)))
    signature = model.signatures["serving_default"]
    assert signature.batchable
    assert signature.outputs["y"].shape == (None, 2)
    with opened(model) as session:
        assert run(session, signature, x=np.ones((3, 4))) == {"y": [[12, 16]] * 3}


@pytest.mark.parametrize(
    "function",
    [
        lambda x: {"y": tf.reshape(x, [1, 2, 2])},
        lambda x: {"y": tf.reduce_sum(x)},
        lambda x: {"y": tf.gather(x, [0])},
    ],
    ids=["cannot be resized", "no rows", "one row whatever comes"],
)
def test_a_file_made_for_one_example_stays_so_where_the_model_cannot(load: Loader, function: Any) -> None:
    model = load(convert(function, x=tf.TensorSpec([1, 4], tf.float32)))
    signature = model.signatures["serving_default"]
    assert signature.inputs["x"].shape == (1, 4)
    assert not signature.batchable
    with opened(model) as session:
        assert np.sum(run(session, signature, x=[[1, 2, 3, 4]])["y"]) == 10


def test_strings_are_bytes_on_both_sides(load: Loader) -> None:
    model = load(convert(lambda word: {"word": tf.gather(word, [1, 0])}, word=tf.TensorSpec([None], tf.string)))
    signature = model.signatures["serving_default"]
    words = np.array([b"pear\0x", b"\xff"], object)
    with opened(model) as session:
        (answer,), _ = session.run(signature, [words], ("word",))
    assert answer.dtype == object
    assert answer.tolist() == [b"\xff", b"pear\0x"]


def test_calls_from_more_threads_than_interpreters_are_answered_each_with_its_own(load: Loader) -> None:
    model = load(half_plus(), interpreters=2)
    signature = model.signatures["serving_default"]
    wrong: list[int] = []

    def ask(session: TfliteSession, number: int) -> None:
        # Sizes differ, so that interpreters are laid out anew under way.
        x = [float(number)] * (1 + number % 3)
        expected = {"y": [number / 2 + 2] * len(x)}
        wrong.extend(number for _ in range(200) if run(session, signature, x=x) != expected)

    with opened(model) as session:
        threads = [threading.Thread(target=ask, args=(session, number)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


@pytest.mark.parametrize(("parts", "expected"), [(1, {600}), (2, {250, 100}), (4, {125, 100})])
def test_a_large_call_is_cut_where_interpreters_share_it(both: Path, parts: int, expected: set[int]) -> None:
    model = TfliteModel(both / TFLITE_FILE, TfliteOptions(2, parts))
    with opened(model) as session:
        rows = run(session, model.signatures["count"], x=np.zeros(600))["rows"]
        assert len(rows) == 600
        assert set(rows) == expected
        x = np.random.default_rng(0).normal(size=(600, FEATURES))
        whole = run(session, model.signatures["serving_default"], x=x)["y"]
        first = run(session, model.signatures["serving_default"], x=x[:3])["y"]
        np.testing.assert_allclose(whole[:3], first, rtol=1e-5)


def test_a_call_whose_answer_has_no_rows_is_never_cut(load: Loader) -> None:
    model = load(convert(lambda x: {"sum": tf.reduce_sum(x)}, x=vector()), interpreters=2, parts=4)
    with opened(model) as session:
        assert run(session, model.signatures["serving_default"], x=np.ones(600)) == {"sum": 600}


def test_an_error_in_a_part_is_the_calls(both: Path) -> None:
    model = TfliteModel(both / TFLITE_FILE, TfliteOptions(2, 2))
    signature = model.signatures["serving_default"]
    with opened(model) as session:
        with pytest.raises(ServingError) as raised:
            session.run(signature, [np.zeros((600, FEATURES + 1), np.float32)], ("y",))
        assert raised.value.code is Code.INTERNAL
        assert run(session, signature, x=np.zeros((1, FEATURES)))


def test_interpreters_have_the_threads_asked_for_and_give_them_back(both: Path) -> None:
    model = TfliteModel(both / TFLITE_FILE, TfliteOptions(2))
    signature = model.signatures["serving_default"]

    def cost(intra_op: int) -> int:
        before = tasks()
        with opened(model, intra_op) as session:
            run(session, signature, x=np.zeros((4, FEATURES)))
            own = tasks() - before
        wait_until(lambda: not own & tasks(), what="threads given back")
        return len(own)

    # The caller's thread is the first of each interpreter; 0 means one.
    assert [cost(0), cost(1), cost(3)] == [0, 0, 4]


def test_what_the_model_cannot_take_is_an_error_and_the_session_lives_on(load: Loader) -> None:
    model = load(convert(lambda x: {"y": x @ tf.ones((4, 2))}, x=vector(4)))
    signature = model.signatures["serving_default"]
    with opened(model) as session:
        for _ in range(2):
            with pytest.raises(ServingError, match="Failed to invoke TfLite interpreter") as raised:
                session.run(signature, [np.zeros((2, 5), np.float32)], ("y",))
            assert raised.value.code is Code.INTERNAL
        with pytest.raises(ServingError, match="cannot be given") as raised:
            session.run(signature, [np.zeros((2, 4), np.int64)], ("y",))
        assert raised.value.code is Code.INVALID_ARGUMENT
        assert run(session, signature, x=np.ones((2, 4))) == {"y": [[4, 4], [4, 4]]}


def test_a_signature_made_of_tensors_is_run_by_the_one_they_belong_to(both: Path) -> None:
    model = TfliteModel(both / TFLITE_FILE, TfliteOptions())
    own, other = model.signatures["count"], model.signatures["serving_default"]
    rows = own.outputs["rows"]
    made = Signature("multi_inference:count", "", {"inputs": own.inputs["x"]}, {rows.name: rows})
    with opened(model) as session:
        assert run(session, made, inputs=[0.0, 0.0]) == {rows.name: [2, 2]}
        mixed = Signature("multi_inference:both", "", other.inputs, {rows.name: rows})
        with pytest.raises(ServingError, match="cannot be run together") as raised:
            session.run(mixed, [np.zeros((1, FEATURES), np.float32)], (rows.name,))
    assert raised.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("content", [b"this is no model", b"", half_plus()[:-200]], ids=["text", "empty", "cut off"])
def test_what_is_no_model_is_refused(load: Loader, content: bytes) -> None:
    with pytest.raises(ServingError, match=TFLITE_FILE) as raised:
        load(content)
    assert raised.value.code is Code.INVALID_ARGUMENT


def test_a_model_whose_operation_is_unknown_is_refused_with_its_name(load: Loader) -> None:
    def parse(inputs: Any) -> dict[str, Any]:
        return {"x": tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([], tf.float32)})["x"]}

    function = tf.function(parse, autograph=False).get_concrete_function(
        inputs=tf.TensorSpec([None], tf.string, name="inputs")
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
    converter.allow_custom_ops = True
    content = bytes(converter.convert())
    with pytest.raises(ServingError, match="ParseExampleV2") as raised:
        load(content)
    assert raised.value.code is Code.INTERNAL


def test_a_file_that_cannot_be_read_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match=TFLITE_FILE) as raised:
        TfliteModel(tmp_path / TFLITE_FILE, TfliteOptions())
    assert raised.value.code is Code.NOT_FOUND
