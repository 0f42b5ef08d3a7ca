"""RestApp: TensorFlow Serving's REST API and the metrics page, as a bare ASGI application.

No framework: at thousands of requests a second its cost would exceed that of the model. Behaviour, codes and messages:
``model_servers/http_rest_api_handler.cc``, ``http_server.cc``. The content type of requests is ignored, as there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

import orjson
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.regression_pb2 import RegressionRequest

from service.modelserver.config_files import metrics_path
from service.modelserver.flags import ServerFlags
from service.modelserver.inference_service import classify, regress
from service.modelserver.json_examples import read_examples, write_classification, write_regression
from service.modelserver.json_predict import read_predict, write_predict
from service.modelserver.manager import ModelManager
from service.modelserver.metadata import SIGNATURE_DEF, get_model_metadata
from service.modelserver.metrics import ServerMetrics
from service.modelserver.model_service import get_model_status
from service.modelserver.rest_body import MAX_BODY_BYTES, BodyTooLargeError, read_body
from service.modelserver.rest_routes import Route, Verb, find_route, is_api_path
from service.modelserver.servable import Servable
from service.modelserver.signature import DEFAULT_SIGNATURE_KEY, Signature, check_inputs
from service.modelserver.status import Code, ServingError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_log = logging.getLogger(__name__)

_JSON: Headers = [(b"content-type", b"application/json")]
_PAGE: Headers = [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")]
_CORS: Headers = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"Content-Type"),
]
_ALLOW: Headers = [(b"allow", b"GET, HEAD, OPTIONS, POST")]


class RestApp:
    """Answers REST requests from the models of a manager. Lives in the manager's event loop.

    Args:
        manager: Has the models.
        metrics: Counts inference requests, and is the metrics page.
        flags: Time-out, CORS, monitoring.
        max_body_bytes: Larger request bodies, after decompression, are refused with 413.

    Raises:
        ServingError: monitoring_config_file is missing or wrong.
    """

    def __init__(
        self,
        manager: ModelManager,
        metrics: ServerMetrics,
        flags: ServerFlags,
        *,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self._manager = manager
        self._metrics = metrics
        self._metrics_path = metrics_path(flags)
        self._timeout_ms = flags.rest_api_timeout_in_ms
        self._timeout_seconds = flags.rest_api_timeout_in_ms / 1000 or None
        self._cors = flags.rest_api_enable_cors_support
        self._json_headers = _JSON + _CORS if self._cors else _JSON
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"only HTTP is served here, not {scope['type']}")
        method: str = scope["method"]
        path: str = scope["raw_path"].decode("latin-1")
        try:
            if path == self._metrics_path and method in ("GET", "HEAD"):
                await _answer(send, HTTPStatus.OK, self._metrics.render().encode(), _PAGE)
            elif not is_api_path(path):
                await self._refuse(send, HTTPStatus.NOT_FOUND, f"Not Found: {method} {path}")
            elif method == "OPTIONS":
                await self._preflight(scope, send)
            else:
                route = find_route(method, path)
                if method == "POST":
                    await self._infer(route, scope, receive, send)
                else:
                    await _answer(send, HTTPStatus.OK, self._describe(route), self._json_headers)
        except ServingError as error:
            await self._refuse(send, error.code.http_status, error.message)

    async def _infer(self, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
        """Run a model, counting the request whatever becomes of it."""
        started = time.monotonic()
        self._metrics.arrival(route.name, started)
        code = Code.CANCELLED
        try:
            async with asyncio.timeout(self._timeout_seconds):
                body = await read_body(scope["headers"], receive, self._max_body_bytes)
                answer = await self._run(route, body)
            code = Code.OK
        except ServingError as error:
            code = error.code
            raise
        except TimeoutError:
            code = Code.DEADLINE_EXCEEDED
            raise ServingError(code, f"Request took longer than rest_api_timeout_in_ms={self._timeout_ms}") from None
        except BodyTooLargeError as error:
            code = Code.RESOURCE_EXHAUSTED
            # What was not read makes the connection unusable.
            await self._refuse(send, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error), extra=[(b"connection", b"close")])
            return
        except ConnectionError:
            return  # the client has gone; nobody is left to be answered
        except Exception as error:
            code = Code.INTERNAL
            _log.exception("%s of %s failed unexpectedly", route.verb, route.name)
            raise ServingError(code, f"{type(error).__name__}: {error}") from error
        finally:
            self._metrics.request(route.name, route.verb, "REST", code.name, time.monotonic() - started)
        await _answer(send, HTTPStatus.OK, answer, self._json_headers)

    async def _run(self, route: Route, body: bytes) -> bytes:
        if route.verb is Verb.PREDICT:
            return await self._predict(route, body)
        key, given = read_examples(body)
        spec = _spec(route, key)
        if route.verb is Verb.CLASSIFY:
            request = ClassificationRequest(model_spec=spec, input=given)
            return write_classification((await classify(self._manager, request)).result)
        return write_regression((await regress(self._manager, RegressionRequest(model_spec=spec, input=given))).result)

    async def _predict(self, route: Route, body: bytes) -> bytes:
        found: list[Servable] = []

        def find(key: str) -> Signature:
            # Only now, so that a body which is no JSON is reported before a model that is not there.
            found.append(self._manager.servable(route.name, route.version, route.label))
            return _signature(found[0], key)

        request = read_predict(body, find)
        (servable,) = found
        wanted = check_inputs(request.signature, request.inputs)
        started = time.monotonic()
        arrays = await servable.run(request.signature, request.inputs, wanted)
        self._metrics.runtime(servable.name, "Predict", "TF1", time.monotonic() - started)
        return write_predict(dict(zip(wanted, arrays, strict=True)), by_row=request.by_row)

    def _describe(self, route: Route) -> bytes:
        """A model's status or metadata."""
        spec = _spec(route)
        if route.verb is Verb.STATUS:
            status = get_model_status(self._manager, GetModelStatusRequest(model_spec=spec))
            return _pretty(_fields(status))
        metadata = get_model_metadata(
            self._manager, GetModelMetadataRequest(model_spec=spec, metadata_field=[SIGNATURE_DEF])
        )
        signatures = SignatureDefMap()
        metadata.metadata[SIGNATURE_DEF].Unpack(signatures)
        return _pretty({"model_spec": _fields(metadata.model_spec), "metadata": {SIGNATURE_DEF: _fields(signatures)}})

    async def _preflight(self, scope: Scope, send: Send) -> None:
        """OPTIONS: what a browser asks before it lets a page call."""
        if not self._cors:
            await _answer(send, HTTPStatus.NO_CONTENT, b"", _ALLOW)
            return
        if not any(name == b"origin" for name, _ in scope["headers"]):
            raise ServingError(Code.FAILED_PRECONDITION, "Origin header is missing in CORS preflight")
        await _answer(send, HTTPStatus.OK, b"", self._json_headers)

    async def _refuse(self, send: Send, status: HTTPStatus, message: str, extra: Headers | None = None) -> None:
        await _answer(send, status, orjson.dumps({"error": message}), self._json_headers + (extra or []))


def _signature(servable: Servable, key: str) -> Signature:
    """REST's own error for an unknown signature; gRPC answers another."""
    key = key or DEFAULT_SIGNATURE_KEY
    signature = servable.signatures.get(key)
    if signature is None:
        raise ServingError(Code.INVALID_ARGUMENT, f'Serving signature name: "{key}" not found in signature def')
    return signature


def _spec(route: Route, signature_name: str = "") -> ModelSpec:
    spec = ModelSpec(name=route.name, signature_name=signature_name)
    if route.version is not None:
        spec.version.value = route.version
    elif route.label is not None:
        spec.version_label = route.label
    return spec


def _fields(message: Message) -> dict[str, Any]:
    """A message as JSON, with the names of the .proto file and with fields that hold their default."""
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def _pretty(document: Any) -> bytes:
    """People read these answers."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


async def _answer(send: Send, status: HTTPStatus, body: bytes, headers: Headers) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": int(status), "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
