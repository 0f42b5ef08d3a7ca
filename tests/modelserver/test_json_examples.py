from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_serving.apis.classification_pb2 import ClassificationResult
from tensorflow_serving.apis.regression_pb2 import RegressionResult

from service.modelserver.json_examples import read_examples, write_classification, write_regression
from service.modelserver.json_predict import read_predict
from service.modelserver.signature import NUMPY_DTYPES, Signature, TensorSpec
from service.modelserver.status import ServingError


def features(body: dict[str, Any]) -> dict[str, Any]:
    """The features of the only example, as plain values."""
    _, given_input = read_examples(json.dumps(body).encode())
    (example,) = given_input.example_list.examples
    return {
        name: (feature.WhichOneof("kind"), list(getattr(feature, feature.WhichOneof("kind")).value))
        for name, feature in example.features.feature.items()
    }


def test_each_json_type_becomes_its_kind_of_feature() -> None:
    example = {
        "whole": 3,
        "decimal": 3.0,
        "flag": True,
        "text": "fünf",
        "bytes": {"b64": "/wA="},
        "several": [1.5, 2.5],
    }
    assert features({"examples": [example]}) == {
        "whole": ("int64_list", [3]),
        "decimal": ("float_list", [3.0]),
        "flag": ("int64_list", [1]),
        "text": ("bytes_list", ["fünf".encode()]),
        "bytes": ("bytes_list", [b"\xff\x00"]),
        "several": ("float_list", [1.5, 2.5]),
    }


def test_an_empty_list_is_a_feature_without_values() -> None:
    _, given_input = read_examples(b'{"examples": [{"x": []}]}')
    assert given_input.example_list.examples[0].features.feature["x"].WhichOneof("kind") is None


def test_a_context_is_kept_beside_the_examples() -> None:
    key, given_input = read_examples(b'{"signature_name": "s", "context": {"c": 1}, "examples": [{"x": 2}, {"x": 3}]}')
    assert key == "s"
    with_context = given_input.example_list_with_context
    assert with_context.context.features.feature["c"].int64_list.value == [1]
    assert [e.features.feature["x"].int64_list.value[0] for e in with_context.examples] == [2, 3]


def test_an_empty_context_is_a_context() -> None:
    _, given_input = read_examples(b'{"context": {}, "examples": [{"x": 2}]}')
    assert given_input.WhichOneof("kind") == "example_list_with_context"


@pytest.mark.parametrize("name", ["x", "\\ud800"])
def test_half_a_surrogate_pair_is_refused(name: str) -> None:
    body = f'{{"y": NaN, "examples": [{{"{name}": "\\ud800"}}]}}'
    with pytest.raises(ServingError, match="is not valid Unicode"):
        read_examples(body.encode())


def test_results_keep_their_order_and_their_digits() -> None:
    result = ClassificationResult()
    for scores in ((0.1, math.nan), (), (1.0,)):
        entry = result.classifications.add()
        for number, score in enumerate(scores):
            entry.classes.add(label=f"class {number}", score=score)
    assert write_classification(result) == b'{"results":[[["class 0",0.1],["class 1",NaN]],[],[["class 0",1.0]]]}'
    regression = RegressionResult()
    for value in (0.1, -math.inf):
        regression.regressions.add(value=value)
    assert write_regression(regression) == b'{"results":[0.1,-Infinity]}'


ANY_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just({"b64": "aGk="})),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=10,
)
KEYS = st.sampled_from(["instances", "inputs", "examples", "context", "signature_name"])


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=40),
        ANY_JSON.map(lambda value: json.dumps(value).encode()),
        st.dictionaries(KEYS, ANY_JSON, max_size=3).map(lambda value: json.dumps(value).encode()),
    ),
    st.sampled_from(sorted(NUMPY_DTYPES)),
    st.integers(1, 2),
)
def test_no_body_causes_anything_but_a_clear_error(body: bytes, dtype: int, inputs: int) -> None:
    spec = TensorSpec(NUMPY_DTYPES[dtype], dtype, None)
    signature = Signature("s", "", {f"x{number}": spec for number in range(inputs)}, {})
    with contextlib.suppress(ServingError):
        assert read_predict(body, lambda key: signature).inputs.keys() == signature.inputs.keys()
    with contextlib.suppress(ServingError):
        assert read_examples(body)[1].ByteSize() > 0
