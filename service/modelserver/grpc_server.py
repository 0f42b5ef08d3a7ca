"""GrpcServer: TensorFlow Serving's gRPC services on grpc.aio, and the standard health service.

Predict, the hot path, takes and gives bytes, so that a message that cannot be read is answered as clearly as any other
mistake. When a client cancels or its deadline passes, grpc.aio cancels the handler, and its request leaves the queue.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.regression_pb2 import RegressionRequest

from service.modelserver.config_files import TlsConfig
from service.modelserver.flags import ServerFlags
from service.modelserver.grpc_methods import GRPC_CODES, given_up, model_methods, prediction_methods
from service.modelserver.manager import ModelManager
from service.modelserver.predict import predict
from service.modelserver.status import Code, ServingError

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
HEALTH_SERVICE = "grpc.health.v1.Health"

#: Largest message in bytes. TensorFlow Serving sets no limit, which leaves protobuf's own of 2 GiB; another can be
#: given with ``--grpc_channel_arguments=grpc.max_receive_message_length=…``.
MAX_MESSAGE_BYTES = 1 << 30

#: Requests that may wait for the event loop to take them. From 1000 on gRPC would refuse some at random, as CANCELLED,
#: and from 3000 on all: fewer than what is held while a killed server is replaced, and then comes at once.
MAX_WAITING_REQUESTS = 100_000

_REQUESTS: dict[str, Any] = {
    "Classify": ClassificationRequest,
    "Regress": RegressionRequest,
    "MultiInference": MultiInferenceRequest,
    "GetModelMetadata": GetModelMetadataRequest,
    "GetModelStatus": GetModelStatusRequest,
    "HandleReloadConfigRequest": ReloadConfigRequest,
}

#: ``grpc.health.v1.HealthCheckResponse{status: SERVING}``.
_SERVING = b"\x08\x01"

_log = logging.getLogger(__name__)

Handler = Callable[[Any, Any], Awaitable[Any]]


class GrpcServer:
    """Listens on the port and the UNIX socket that the flags name.

    Args:
        manager: Whose models are served, and whose metrics count the requests.
        flags: Addresses, channel arguments and whether there is a health service.
        tls: Makes the port secure; None for plain text. The socket is never encrypted.
    """

    def __init__(self, manager: ModelManager, flags: ServerFlags, tls: TlsConfig | None = None) -> None:
        self._manager = manager
        self._flags = flags
        self._tls = tls
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Begin to answer.

        Raises:
            ServingError: UNAVAILABLE: the port is taken or the socket cannot be made.
        """
        server = grpc.aio.server(options=self._options())
        server.add_generic_rpc_handlers(tuple(self._handlers()))
        flags = self._flags
        if flags.port:
            self._bind(server, f"{flags.host}:{flags.port}", self._tls)
        if flags.grpc_socket_path:
            self._bind(server, f"unix:{flags.grpc_socket_path}", None)
        await server.start()
        self._server = server

    async def stop(self, grace_seconds: float) -> None:
        """Take no new requests, finish those in flight, cancel what is left after ``grace_seconds``. Idempotent."""
        if self._server is not None:
            await self._server.stop(grace_seconds)

    def _options(self) -> list[tuple[str, Any]]:
        # What the user gives wins, because it comes last. With gRPC's default, which TensorFlow Serving keeps, a second
        # server on the same port would silently take half of the requests; sharing is for those who ask for it.
        return [
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.server.max_pending_requests", MAX_WAITING_REQUESTS),
            ("grpc.server.max_pending_requests_hard_limit", MAX_WAITING_REQUESTS),
            *self._flags.channel_options,
        ]

    @staticmethod
    def _bind(server: grpc.aio.Server, address: str, tls: TlsConfig | None) -> None:
        try:
            if tls is None:
                server.add_insecure_port(address)
                return
            credentials = grpc.ssl_server_credentials(
                [(tls.server_key, tls.server_cert)],
                root_certificates=tls.custom_ca or None,
                require_client_auth=tls.client_verify,
            )
            server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise ServingError(
                Code.UNAVAILABLE, f"gRPC cannot listen on {address}: it is taken or not allowed. Choose another."
            ) from error

    def _handlers(self) -> list[Any]:
        prediction = {name: _typed(name, method) for name, method in prediction_methods(self._manager).items()}
        prediction["Predict"] = grpc.unary_unary_rpc_method_handler(_predict_handler(self._manager))
        services = {
            PREDICTION_SERVICE: prediction,
            MODEL_SERVICE: {name: _typed(name, method) for name, method in model_methods(self._manager).items()},
        }
        if self._flags.enable_grpc_healthcheck_service:
            services[HEALTH_SERVICE] = {"Check": grpc.unary_unary_rpc_method_handler(_healthy)}
        return [grpc.method_handlers_generic_handler(service, methods) for service, methods in services.items()]


def _typed(name: str, method: Handler) -> Any:
    return grpc.unary_unary_rpc_method_handler(
        method,
        request_deserializer=_REQUESTS[name].FromString,
        response_serializer=lambda response: response.SerializeToString(),
    )


def _predict_handler(manager: ModelManager) -> Handler:
    metrics = manager.metrics

    async def handle(raw: bytes, context: Any) -> bytes:
        started = time.monotonic()
        model, code, problem, answer = "", Code.OK, "", b""
        try:
            request = PredictRequest.FromString(raw)
            model = request.model_spec.name
        except DecodeError as error:
            code, problem = Code.INVALID_ARGUMENT, f"The request is not a tensorflow.serving.PredictRequest: {error}"
        metrics.arrival(model, started)
        try:
            if code is Code.OK:
                answer = (await predict(manager, request)).SerializeToString()
        except ServingError as error:
            code, problem = error.code, error.message
        except asyncio.CancelledError:
            code = given_up(context)
            raise
        except Exception as error:
            _log.exception("Predict failed unexpectedly")
            code, problem = Code.INTERNAL, f"{type(error).__name__}: {error}"
        finally:
            metrics.request(model, "Predict", "GRPC", code.name, time.monotonic() - started)
        if code is not Code.OK:
            await context.abort(GRPC_CODES[code], problem)
        return answer

    return handle


async def _healthy(_request: bytes, _context: Any) -> bytes:
    return _SERVING
