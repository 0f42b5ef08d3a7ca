"""ServingError: a canonical status code and a message, as every TensorFlow Serving API answers with.

The codes are gRPC's; how they map to HTTP is TensorFlow Serving's own (``model_servers/http_server.cc``).
"""

from __future__ import annotations

from enum import IntEnum
from http import HTTPStatus

#: TensorFlow Serving cuts the message of a status at this many characters (``model_servers/grpc_status_util.cc``).
MAX_MESSAGE_CHARS = 1024


class Code(IntEnum):
    """Canonical status codes, numbered as in gRPC."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16

    @property
    def http_status(self) -> HTTPStatus:
        """The HTTP status under which TensorFlow Serving's REST API reports this code."""
        return _HTTP.get(self, HTTPStatus.INTERNAL_SERVER_ERROR)


_HTTP = {
    Code.OK: HTTPStatus.OK,
    Code.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    Code.FAILED_PRECONDITION: HTTPStatus.BAD_REQUEST,
    Code.OUT_OF_RANGE: HTTPStatus.BAD_REQUEST,
    Code.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    Code.ABORTED: HTTPStatus.CONFLICT,
    Code.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    Code.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    Code.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
}


class ServingError(Exception):
    """A request, a load or a flag was refused.

    Args:
        code: Canonical code; must not be OK.
        message: For the caller; cut at :data:`MAX_MESSAGE_CHARS`.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message[:MAX_MESSAGE_CHARS])
        self.code = code

    @property
    def message(self) -> str:
        """What was wrong."""
        return str(self.args[0])
