"""The tf.Example APIs, pure: what Classify and Regress do with an Input, a signature and the tensors it answers.

The rules and messages are TensorFlow Serving's (``servables/tensorflow/classifier.cc``, ``regressor.cc``, ``util.cc``).
Arrays of strings have the dtype ``object`` and hold ``bytes``; n is the number of examples in a request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow.python.framework.dtypes import as_dtype
from tensorflow_serving.apis.classification_pb2 import ClassificationResult
from tensorflow_serving.apis.input_pb2 import Input
from tensorflow_serving.apis.regression_pb2 import RegressionResult

from service.modelserver.status import Code, ServingError

Array = np.ndarray[Any, Any]

#: The one input both methods have: serialized tf.Examples, shape (n,).
INPUTS = "inputs"
CLASSES, SCORES, OUTPUTS = "classes", "scores", "outputs"


def serialized_examples(given: Input) -> Array:
    """The examples of a request as the model's input tensor.

    Features of the context are merged into each example; a feature that the example holds itself wins.

    Returns:
        Serialized tf.Examples, dtype object, shape (n,), n ≥ 1.

    Raises:
        ServingError: INVALID_ARGUMENT when there is no example.
    """
    examples, context = given.example_list.examples, b""
    if given.WhichOneof("kind") == "example_list_with_context":
        examples = given.example_list_with_context.examples
        context = given.example_list_with_context.context.SerializeToString()
    if not examples:
        raise ServingError(Code.INVALID_ARGUMENT, "Input is empty.")
    array = np.empty(len(examples), dtype=object)
    for index, example in enumerate(examples):
        # Concatenated messages parse as their merge, the later one winning.
        array[index] = context + example.SerializeToString()
    return array


@dataclass(frozen=True, slots=True)
class ExampleMethod:
    """One of the two ways to answer for tf.Examples.

    Attributes:
        name: As in ``SignatureDef.method_name`` and ``InferenceTask.method_name``.
        kind: For messages.
        outputs_of: Output aliases that a signature of one input offers to this method; refuses one that does not fit.
        result_of: The result message from ``{alias: array}`` and n.
    """

    name: str
    kind: str
    outputs_of: Callable[[SignatureDef], tuple[str, ...]]
    result_of: Callable[[Mapping[str, Array], int], Any]

    def check(self, signature: SignatureDef, *, method_name: bool = False) -> tuple[str, ...]:
        """The output aliases to fetch.

        Args:
            signature: The model's.
            method_name: Whether the signature must also bear this method's name
                (``enable_signature_method_name_check``); TF2 models cannot, all theirs are named predict.

        Raises:
            ServingError: INVALID_ARGUMENT when the signature cannot be used in this way.
        """
        if method_name and signature.method_name != self.name:
            raise _invalid(
                f"Expected {self.kind} signature method_name to be {self.name}. Was: {signature.method_name}"
            )
        if len(signature.inputs) != 1:
            raise _invalid("Expected one input Tensor.")
        return self.outputs_of(signature)


def _classification_outputs(signature: SignatureDef) -> tuple[str, ...]:
    count = len(signature.outputs)
    if count not in (1, 2):
        raise _invalid(f"Expected one or two output Tensors, found {count}")
    _require_inputs(signature, "classification")
    aliases = tuple(alias for alias in (CLASSES, SCORES) if alias in signature.outputs)
    if not aliases:
        raise _invalid(
            f'Expected classification signature outputs to contain at least one of "{CLASSES}" or "{SCORES}". '
            f"Signature was: {signature}"
        )
    return aliases


def _regression_outputs(signature: SignatureDef) -> tuple[str, ...]:
    if len(signature.outputs) != 1:
        raise _invalid("Expected one output Tensor.")
    _require_inputs(signature, "regression")
    if OUTPUTS not in signature.outputs:
        raise _invalid(f"No regression outputs found in SignatureDef: {signature}")
    return (OUTPUTS,)


def _require_inputs(signature: SignatureDef, kind: str) -> None:
    if INPUTS not in signature.inputs:
        raise _invalid(f"No {kind} inputs found in SignatureDef: {signature}")


def _classification_result(outputs: Mapping[str, Array], count: int) -> ClassificationResult:
    classes, scores = outputs.get(CLASSES), outputs.get(SCORES)
    for alias, array, wanted in ((CLASSES, classes, "DT_STRING"), (SCORES, scores, "DT_FLOAT")):
        if array is None:
            continue
        if array.ndim != 2:
            raise _invalid(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
        if _dtype(array) != wanted:
            raise _invalid(f"Expected {alias} Tensor of {wanted}. Got: {_dtype(array)}")
        if len(array) != count:
            raise _invalid(f"Expected {alias} output batch size of {count}. Got: {len(array)}")
    if classes is not None and scores is not None and classes.shape != scores.shape:
        raise _invalid(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    labels = None if classes is None else classes.tolist()
    numbers = None if scores is None else scores.tolist()
    width = next(array.shape[1] for array in (classes, scores) if array is not None)
    result = ClassificationResult()
    for row in range(count):
        entry = result.classifications.add()
        for column in range(width):
            one = entry.classes.add()
            if labels is not None:
                one.label = _text(labels[row][column])
            if numbers is not None:
                one.score = numbers[row][column]
    return result


def _regression_result(outputs: Mapping[str, Array], count: int) -> RegressionResult:
    array = outputs[OUTPUTS]
    if not (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)):
        raise _invalid(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shape(array)}"
        )
    if len(array) != count:
        raise _invalid(f"Input batch size did not match output batch size: {count} vs. {len(array)}")
    if _dtype(array) != "DT_FLOAT":
        raise _invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_dtype(array)}")
    result = RegressionResult()
    for value in array.ravel().tolist():
        result.regressions.add().value = value
    return result


CLASSIFY = ExampleMethod(
    "tensorflow/serving/classify", "classification", _classification_outputs, _classification_result
)
REGRESS = ExampleMethod("tensorflow/serving/regress", "regression", _regression_outputs, _regression_result)
METHODS: Mapping[str, ExampleMethod] = {method.name: method for method in (CLASSIFY, REGRESS)}


def _invalid(message: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, message)


def _shape(array: Array) -> str:
    """As TensorFlow's ``TensorShape::DebugString`` writes it."""
    return "[" + ",".join(str(size) for size in array.shape) + "]"


def _dtype(array: Array) -> str:
    """As TensorFlow's ``DataType_Name`` writes it."""
    return str(types_pb2.DataType.Name(as_dtype(array.dtype).as_datatype_enum))


def _text(label: bytes | str) -> str:
    """A label as a proto string, which must be UTF-8; other bytes are shown as escapes rather than lost."""
    return label if isinstance(label, str) else label.decode("utf-8", errors="backslashreplace")
