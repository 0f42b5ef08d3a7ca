"""ModelService: which versions are in which state, and which models the server is to serve.

Rules and messages are TensorFlow Serving's (``model_servers/get_model_status_impl.cc``, ``model_service_impl.cc``).
"""

from __future__ import annotations

import logging

from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, GetModelStatusResponse
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest, ReloadConfigResponse

from service.modelserver.manager import ModelManager
from service.modelserver.model_config import model_configs_from_proto
from service.modelserver.model_spec import chosen_version, required_spec
from service.modelserver.status import Code, ServingError

_log = logging.getLogger(__name__)


def get_model_status(manager: ModelManager, request: GetModelStatusRequest) -> GetModelStatusResponse:
    """Answer a GetModelStatusRequest for one version or all of a model, the newest first.

    Raises:
        ServingError: NOT_FOUND for a model or version that was never known.
    """
    spec = required_spec(request)
    version, label = chosen_version(spec)
    response = GetModelStatusResponse()
    for known in manager.statuses(spec.name, version, label):
        entry = response.model_version_status.add(version=known.version, state=int(known.state))
        # Said even when nothing went wrong, as TensorFlow Serving does.
        entry.status.error_code = int(known.error.code) if known.error else int(Code.OK)
        entry.status.error_message = known.error.message if known.error else ""
    return response


async def handle_reload_config_request(manager: ModelManager, request: ReloadConfigRequest) -> ReloadConfigResponse:
    """Replace the list of served models; answers when the new ones are available.

    Raises:
        ServingError: The list is invalid or cannot be served; the old one stays in force.
    """
    if request.config.WhichOneof("config") != "model_config_list":
        raise ServingError(
            Code.INVALID_ARGUMENT,
            "ServerModelConfig type not supported by HandleReloadConfigRequest."
            " Only ModelConfigList is currently supported",
        )
    try:
        await manager.reload(model_configs_from_proto(request.config))
    except ServingError as error:
        _log.error("the model list was refused, the old one stays in force: %s", error.message)
        raise
    response = ReloadConfigResponse()
    response.status.error_code = int(Code.OK)
    return response
