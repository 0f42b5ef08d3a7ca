"""GetModelMetadata."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap

from service.modelserver.manager import ModelManager
from service.modelserver.metadata import get_model_metadata
from service.modelserver.status import Code, ServingError
from tests.support.half_plus_two import NAME, add_version, model, serving


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[ModelManager]:
    add_version(tmp_path / NAME, 5)
    async with serving([model(tmp_path / NAME)]) as started:
        yield started


def request_for(*fields: str, name: str | None = NAME) -> GetModelMetadataRequest:
    request = GetModelMetadataRequest(metadata_field=fields)
    if name is not None:
        request.model_spec.name = name
    return request


async def test_the_signatures_are_answered_in_an_any(manager: ModelManager) -> None:
    response = get_model_metadata(manager, request_for("signature_def"))
    assert (response.model_spec.name, response.model_spec.version.value) == (NAME, 5)
    signatures = SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert {key: definition.method_name for key, definition in signatures.signature_def.items()} == {
        "serving_default": "tensorflow/serving/predict",
        "regress_x_to_y": "tensorflow/serving/regress",
        "regress_x_to_y2": "tensorflow/serving/regress",
        "regress_x2_to_y3": "tensorflow/serving/regress",
        "classify_x_to_y": "tensorflow/serving/classify",
        "classify_x2_to_y3": "tensorflow/serving/classify",
    }
    assert list(signatures.signature_def["serving_default"].inputs) == ["x"]


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (request_for("signature_def", name=None), Code.INVALID_ARGUMENT, "Missing ModelSpec"),
        (request_for("signature_def", name="x"), Code.NOT_FOUND, "Servable not found for request: Latest(x)"),
        (request_for(), Code.INVALID_ARGUMENT, "GetModelMetadataRequest must specify at least one metadata_field"),
        (request_for("graph_def"), Code.INVALID_ARGUMENT, "Metadata field graph_def is not supported"),
        (request_for("signature_def", "x"), Code.INVALID_ARGUMENT, "Metadata field x is not supported"),
    ],
)
async def test_what_cannot_be_answered_says_why(
    manager: ModelManager, request_: GetModelMetadataRequest, code: Code, message: str
) -> None:
    with pytest.raises(ServingError) as raised:
        get_model_metadata(manager, request_)
    assert (raised.value.code, raised.value.message) == (code, message)
