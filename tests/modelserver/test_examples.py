"""tf.Examples to a tensor, signatures that fit, and tensors to results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tensorflow.core.example.example_pb2 import Example
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow_serving.apis.input_pb2 import Input

from service.modelserver.examples import CLASSIFY, REGRESS, ExampleMethod, serialized_examples
from service.modelserver.status import Code, ServingError

PREDICT_NAME = "tensorflow/serving/predict"


def example(**features: float) -> Example:
    made = Example()
    for name, value in features.items():
        made.features.feature[name].float_list.value.append(value)
    return made


def signature(inputs: list[str], outputs: list[str], method_name: str = PREDICT_NAME) -> SignatureDef:
    made = SignatureDef(method_name=method_name)
    for alias in inputs:
        made.inputs[alias].dtype = types_pb2.DT_STRING
    for alias in outputs:
        made.outputs[alias].dtype = types_pb2.DT_FLOAT
    return made


def refusal(method: ExampleMethod, fitting: SignatureDef, *, method_name: bool = False) -> str:
    with pytest.raises(ServingError) as raised:
        method.check(fitting, method_name=method_name)
    assert raised.value.code is Code.INVALID_ARGUMENT
    return raised.value.message


def result_refusal(method: ExampleMethod, outputs: dict[str, Any], count: int) -> str:
    with pytest.raises(ServingError) as raised:
        method.result_of(outputs, count)
    assert raised.value.code is Code.INVALID_ARGUMENT
    return raised.value.message


def test_examples_are_serialized_in_order() -> None:
    given = Input()
    given.example_list.examples.extend([example(x=1), example(x=2)])
    array = serialized_examples(given)
    assert array.dtype == object
    assert [Example.FromString(one) for one in array] == [example(x=1), example(x=2)]


def test_the_context_is_merged_into_each_example_which_wins() -> None:
    given = Input()
    given.example_list_with_context.context.CopyFrom(example(x=9, y=8))
    given.example_list_with_context.examples.extend([example(x=1), example(z=3)])
    array = serialized_examples(given)
    assert [Example.FromString(one) for one in array] == [example(x=1, y=8), example(x=9, y=8, z=3)]


@pytest.mark.parametrize("kind", [None, "example_list", "example_list_with_context"])
def test_an_input_without_examples_is_refused(kind: str | None) -> None:
    given = Input()
    if kind is not None:
        getattr(given, kind).SetInParent()
    with pytest.raises(ServingError) as raised:
        serialized_examples(given)
    assert (raised.value.code, raised.value.message) == (Code.INVALID_ARGUMENT, "Input is empty.")


def test_classification_takes_classes_scores_or_both() -> None:
    assert CLASSIFY.check(signature(["inputs"], ["scores"])) == ("scores",)
    assert CLASSIFY.check(signature(["inputs"], ["classes"])) == ("classes",)
    assert CLASSIFY.check(signature(["inputs"], ["scores", "classes"])) == ("classes", "scores")
    assert CLASSIFY.check(signature(["inputs"], ["scores", "other"])) == ("scores",)


@pytest.mark.parametrize(
    ("fitting", "message"),
    [
        (signature(["inputs", "more"], ["scores"]), "Expected one input Tensor."),
        (signature(["inputs"], []), "Expected one or two output Tensors, found 0"),
        (signature(["inputs"], ["scores", "classes", "x"]), "Expected one or two output Tensors, found 3"),
        (signature(["x"], ["scores"]), "No classification inputs found in SignatureDef: "),
        (
            signature(["inputs"], ["y"]),
            'Expected classification signature outputs to contain at least one of "classes" or "scores". ',
        ),
    ],
)
def test_a_signature_that_does_not_classify_is_refused(fitting: SignatureDef, message: str) -> None:
    assert refusal(CLASSIFY, fitting).startswith(message)


@pytest.mark.parametrize(
    ("fitting", "message"),
    [
        (signature([], ["outputs"]), "Expected one input Tensor."),
        (signature(["inputs"], ["outputs", "more"]), "Expected one output Tensor."),
        (signature(["x"], ["outputs"]), "No regression inputs found in SignatureDef: "),
        (signature(["inputs"], ["y"]), "No regression outputs found in SignatureDef: "),
    ],
)
def test_a_signature_that_does_not_regress_is_refused(fitting: SignatureDef, message: str) -> None:
    assert refusal(REGRESS, fitting).startswith(message)


def test_the_method_name_counts_only_where_that_is_asked_for() -> None:
    predicts = signature(["inputs"], ["scores"])
    assert CLASSIFY.check(predicts) == ("scores",)
    assert refusal(CLASSIFY, predicts, method_name=True) == (
        "Expected classification signature method_name to be tensorflow/serving/classify. "
        "Was: tensorflow/serving/predict"
    )
    assert refusal(REGRESS, signature(["inputs"], ["outputs"]), method_name=True) == (
        "Expected regression signature method_name to be tensorflow/serving/regress. Was: tensorflow/serving/predict"
    )
    named = signature(["inputs"], ["scores"], "tensorflow/serving/classify")
    assert CLASSIFY.check(named, method_name=True) == ("scores",)


def test_classes_and_scores_are_paired() -> None:
    outputs = {
        "classes": np.array([[b"cat", b"dog"], [b"cat", b"caf\xc3\xa9"]], dtype=object),
        "scores": np.array([[0.25, 0.75], [1.0, 0.0]], np.float32),
    }
    result = CLASSIFY.result_of(outputs, 2)
    assert [[(one.label, one.score) for one in row.classes] for row in result.classifications] == [
        [("cat", 0.25), ("dog", 0.75)],
        [("cat", 1.0), ("café", 0.0)],
    ]


def test_classes_or_scores_alone_are_enough() -> None:
    labels = CLASSIFY.result_of({"classes": np.array([[b"a"]], dtype=object)}, 1)
    assert [(one.label, one.score) for one in labels.classifications[0].classes] == [("a", 0.0)]
    scores = CLASSIFY.result_of({"scores": np.array([[0.5]], np.float32)}, 1)
    assert [(one.label, one.score) for one in scores.classifications[0].classes] == [("", 0.5)]


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"scores": np.zeros(2, np.float32)}, "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        ({"scores": np.zeros((2, 3), np.float64)}, "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
        ({"scores": np.zeros((3, 3), np.float32)}, "Expected scores output batch size of 2. Got: 3"),
        ({"classes": np.zeros((2, 1, 1), object)}, "Expected Tensor shape: [batch_size num_classes] but got [2,1,1]"),
        ({"classes": np.zeros((2, 3), np.float32)}, "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
        (
            {"classes": np.full((2, 3), b"", object), "scores": np.zeros((2, 4), np.float32)},
            "Tensors class and score should match in dim_size(1). Got 3 vs. 4",
        ),
    ],
)
def test_tensors_that_are_no_classification_are_refused(outputs: dict[str, Any], message: str) -> None:
    assert result_refusal(CLASSIFY, outputs, 2) == message


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_regressions_may_be_a_column_or_a_vector(shape: tuple[int, ...]) -> None:
    outputs = {"outputs": np.array([1.5, 2.5, 3.5], np.float32).reshape(shape)}
    assert [one.value for one in REGRESS.result_of(outputs, 3).regressions] == [1.5, 2.5, 3.5]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.zeros((2, 2), np.float32),
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]",
        ),
        (np.float32(1), "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got []"),
        (np.zeros(3, np.float32), "Input batch size did not match output batch size: 2 vs. 3"),
        (np.zeros(2, np.int64), "Expected output Tensor of DT_FLOAT.  Got: DT_INT64"),
    ],
)
def test_a_tensor_that_is_no_regression_is_refused(array: Any, message: str) -> None:
    assert result_refusal(REGRESS, {"outputs": np.asarray(array)}, 2) == message
