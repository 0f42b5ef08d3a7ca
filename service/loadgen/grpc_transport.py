"""GrpcTransport: PredictionService over grpc.aio, with requests and answers as raw bytes."""

from __future__ import annotations

import asyncio
from typing import Final

import grpc

from service.domain.errors import InvalidValueError
from service.loadgen import messages
from service.loadgen.payloads import Encoding
from service.loadgen.signatures import ModelSignature, from_response
from service.loadgen.target import Target, TargetError
from service.loadgen.transport import OK, Done

_CHANNEL_OPTIONS: Final = (
    ("grpc.use_local_subchannel_pool", 1),  # A connection for each channel; by default they would share one.
    ("grpc.enable_retries", 0),  # The first attempt is what counts.
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server that comes back is found within a second, not after gRPC's usual two minutes at worst. (The minimum
    # stays at its default: it is also the time that connecting may take.)
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class GrpcTransport:
    """Several channels, used in turn.

    Args:
        target: The server.
        timeout: Deadline of each request, seconds.
        connections: Channels, each with a connection of its own.
    """

    def __init__(self, target: Target, timeout: float, connections: int) -> None:
        self._target = target
        self._timeout = timeout
        self._channels = [
            grpc.aio.insecure_channel(target.address, options=_CHANNEL_OPTIONS) for _ in range(connections)
        ]
        self._methods = [channel.unary_unary(messages.PREDICT_METHOD, None, None) for channel in self._channels]
        self._next = 0
        self._running: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        """Number of channels."""
        return len(self._channels)

    def encoding(self, wanted: Encoding | None) -> Encoding:
        """``tensor_content`` unless ``typed`` is wanted."""
        encoding = wanted or Encoding.TENSOR_CONTENT
        if encoding not in (Encoding.TENSOR_CONTENT, Encoding.TYPED):
            raise InvalidValueError("payload", f"over gRPC is tensor_content or typed, not {encoding}")
        return encoding

    async def signature(self, model: str, name: str) -> ModelSignature:
        """By GetModelMetadata."""
        request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = model
        method = self._channels[0].unary_unary(messages.METADATA_METHOD, None, None)
        try:
            answer = await method(request.SerializeToString(), timeout=self._timeout)
        except grpc.aio.AioRpcError as error:
            raise TargetError(self._explain(model, error)) from error
        return from_response(answer, model, name)

    def _explain(self, model: str, error: grpc.aio.AioRpcError) -> str:
        details = error.details() or error.code().name
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            return f"no gRPC server answers at {self._target}: {details}"
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"{self._target} did not answer within {self._timeout:g} s"
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return f"{self._target} does not serve model {model!r}: {details}"
        return f"{self._target} does not tell what model {model!r} wants: {error.code().name}: {details}"

    def frame(self, model: str, body: bytes) -> bytes:
        """The body as it is."""
        return body

    def send(self, framed: bytes, done: Done) -> None:
        """On the next channel. The task per call costs no more than a callback on it would (measured)."""
        method = self._methods[self._next]
        self._next = (self._next + 1) % len(self._methods)
        task = asyncio.get_running_loop().create_task(self._call(method(framed, timeout=self._timeout), done))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    @staticmethod
    async def _call(call: grpc.aio.UnaryUnaryCall[bytes, bytes], done: Done) -> None:
        try:
            await call
        except grpc.aio.AioRpcError as error:
            done(error.code().name, error.details() or "")
        else:
            done(OK, "")

    async def close(self) -> None:
        """Cancel what is in flight, then close the channels."""
        for task in tuple(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        for channel in self._channels:
            await channel.close(None)
