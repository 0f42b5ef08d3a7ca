"""GetModelMetadata: what a model takes and gives, as its signatures say (``get_model_metadata_impl.cc``)."""

from __future__ import annotations

from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    SignatureDefMap,
)

from service.modelserver.manager import ModelManager
from service.modelserver.model_spec import required_spec, servable_for
from service.modelserver.status import Code, ServingError

#: The one kind of metadata there is.
SIGNATURE_DEF = "signature_def"


def get_model_metadata(manager: ModelManager, request: GetModelMetadataRequest) -> GetModelMetadataResponse:
    """Answer a GetModelMetadataRequest: a SignatureDefMap in an Any.

    Raises:
        ServingError: NOT_FOUND for the model or version; INVALID_ARGUMENT when no metadata is asked for, or another
            kind than ``signature_def``.
    """
    spec = required_spec(request)
    if not request.metadata_field:
        raise ServingError(Code.INVALID_ARGUMENT, "GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != SIGNATURE_DEF:
            raise ServingError(Code.INVALID_ARGUMENT, f"Metadata field {field} is not supported")
    servable = servable_for(manager, spec)
    signatures = SignatureDefMap()
    for key, definition in servable.signature_defs.items():
        signatures.signature_def[key].CopyFrom(definition)
    response = GetModelMetadataResponse()
    response.model_spec.name = servable.name
    response.model_spec.version.value = servable.version
    response.metadata[SIGNATURE_DEF].Pack(signatures)
    return response
