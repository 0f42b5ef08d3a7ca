"""Classify and Regress over REST: JSON objects as tf.Examples, and their results as JSON (``util/json_tensor.cc``)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tensorflow_serving.apis.classification_pb2 import ClassificationResult
from tensorflow_serving.apis.input_pb2 import Input
from tensorflow_serving.apis.regression_pb2 import RegressionResult

from service.modelserver.json_predict import signature_name
from service.modelserver.json_tensor import dumps, write_tensor
from service.modelserver.json_values import (
    decode_base64,
    encode_text,
    invalid,
    is_base64,
    parse_object,
    shown,
    type_name,
)

_CONTEXT = "context"
_EXAMPLES = "examples"
_INT64_LIMITS = (-(1 << 63), (1 << 63) - 1)
_LARGEST_FLOAT = float(np.finfo(np.float32).max)

_KINDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


def read_examples(body: bytes) -> tuple[str, Input]:
    """Read the body of a classify or regress request.

    A whole number becomes an int64 feature and a decimal one a float feature; booleans become 0 and 1.

    Returns:
        The signature's key, empty for the default, and the examples.

    Raises:
        ServingError: INVALID_ARGUMENT: not JSON, no examples, or a value that no feature can hold.
    """
    document = parse_object(body)
    key = signature_name(document)
    given = Input()
    examples: Any = given.example_list.examples
    if _CONTEXT in document:
        with_context = given.example_list_with_context
        with_context.SetInParent()
        _read_example(document[_CONTEXT], with_context.context)
        examples = with_context.examples
    if _EXAMPLES not in document:
        raise invalid(
            f"JSON Value: {shown(document)} When method is classify, key '{_EXAMPLES}' is expected and was not found"
        )
    listed = document[_EXAMPLES]
    if not isinstance(listed, list):
        raise invalid(f"JSON Value: {shown(document)} Expecting '{_EXAMPLES}' value to be an list/array")
    if not listed:
        raise invalid(f"JSON Value: {shown(document)} '{_EXAMPLES}' value is an empty array")
    for item in listed:
        _read_example(item, examples.add())
    return key, given


def _read_example(value: Any, example: Any) -> None:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {type_name(value)}")
    for name, content in value.items():
        feature = example.features.feature[_feature_name(name)]
        for element in content if isinstance(content, list) else (content,):
            _add_value(name, element, feature)


def _feature_name(name: str) -> str:
    encode_text(name)  # protobuf's own error for half a surrogate pair is a traceback
    return name


def _add_value(name: str, value: Any, feature: Any) -> None:
    if value is None or isinstance(value, list) or (isinstance(value, dict) and not is_base64(value)):
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")
    if isinstance(value, (str, dict)):
        data = encode_text(value) if isinstance(value, str) else decode_base64(value)
        _list_of(name, feature, "bytes_list").append(data)
    elif isinstance(value, float):
        if math.isfinite(value) and abs(value) > _LARGEST_FLOAT:
            raise invalid(f"Cannot convert JSON value: {shown(value)} to float without loss of precision.")
        _list_of(name, feature, "float_list").append(value)
    else:
        low, high = _INT64_LIMITS
        if not low <= value <= high:
            raise invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
        _list_of(name, feature, "int64_list").append(int(value))


def _list_of(name: str, feature: Any, kind: str) -> Any:
    """The feature's list of that kind; a feature has one kind only."""
    present = feature.WhichOneof("kind")
    if present not in (None, kind):
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {_KINDS[present]}")
    return getattr(feature, kind).value


def write_classification(result: ClassificationResult) -> bytes:
    """``{"results": [[[label, score], …], …]}``, one inner list an example."""
    scores = np.array([one.score for entry in result.classifications for one in entry.classes], dtype=np.float32)
    written = iter(write_tensor("scores", scores))
    return dumps(
        {
            "results": [
                [[one.label, score] for one, score in zip(entry.classes, written, strict=False)]
                for entry in result.classifications
            ]
        }
    )


def write_regression(result: RegressionResult) -> bytes:
    """``{"results": [value, …]}``, one value an example."""
    values = np.array([one.value for one in result.regressions], dtype=np.float32)
    return dumps({"results": write_tensor("values", values)})
