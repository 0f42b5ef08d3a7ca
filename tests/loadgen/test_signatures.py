from __future__ import annotations

from typing import Any

import pytest

from service.loadgen import messages
from service.loadgen.signatures import ModelSignature, TensorInput, from_json, from_response
from service.loadgen.target import TargetError

EXPECTED = ModelSignature(
    "m",
    "serving_default",
    (
        TensorInput("a", "DT_FLOAT", (None, 3)),
        TensorInput("b", "DT_STRING", None),
        TensorInput("c", "DT_VARIANT", ()),
    ),
)


def over_grpc() -> bytes:
    signatures = messages.SignatureDefMap()
    inputs = signatures.signature_def["serving_default"].inputs
    inputs["a"].dtype = 1
    inputs["a"].tensor_shape.dim.add(size=-1)
    inputs["a"].tensor_shape.dim.add(size=3)
    inputs["b"].dtype = 7
    inputs["b"].tensor_shape.unknown_rank = True
    inputs["c"].dtype = 21
    response = messages.GetModelMetadataResponse()
    response.metadata["signature_def"].value = signatures.SerializeToString()
    payload: bytes = response.SerializeToString()
    return payload


def over_rest() -> dict[str, Any]:
    sizes = [{"size": "-1", "name": ""}, {"size": "3", "name": ""}]
    inputs = {
        "b": {"dtype": "DT_STRING", "tensor_shape": {"dim": [], "unknown_rank": True}, "name": "b:0"},
        "a": {"dtype": "DT_FLOAT", "tensor_shape": {"dim": sizes, "unknown_rank": False}, "name": "a:0"},
        "c": {"dtype": "DT_VARIANT", "tensor_shape": {"dim": [], "unknown_rank": False}, "name": "c:0"},
    }
    return {"metadata": {"signature_def": {"signature_def": {"serving_default": {"inputs": inputs}}}}}


def test_both_protocols_tell_the_same() -> None:
    assert from_json(over_rest(), "m", "serving_default") == EXPECTED
    grpc = from_response(over_grpc(), "m", "serving_default")
    # A type that cannot be sent has its number for a name over gRPC.
    assert grpc.inputs[:2] == EXPECTED.inputs[:2]
    assert grpc.inputs[2] == TensorInput("c", "DT_21", ())


def test_a_missing_signature_names_those_there_are() -> None:
    with pytest.raises(TargetError, match="has no signature 'x'; it has serving_default"):
        from_response(over_grpc(), "m", "x")
    with pytest.raises(TargetError, match="has no signature 'x'; it has serving_default"):
        from_json(over_rest(), "m", "x")


@pytest.mark.parametrize("document", [[], {}, {"metadata": None}, {"error": "no"}])
def test_an_answer_that_is_no_metadata_is_refused(document: Any) -> None:
    with pytest.raises(TargetError, match="cannot be understood"):
        from_json(document, "m", "serving_default")


def test_metadata_without_signatures_is_refused() -> None:
    with pytest.raises(TargetError, match="holds no signatures"):
        from_response(b"", "m", "serving_default")
