"""A small, real server that answers metadata and Predict over gRPC and REST, without TensorFlow.

Model ``echo``: signature ``serving_default`` takes ``x`` (float, [?, 4]); ``tokens`` takes ``ids`` (int32, [?, ?]) and
``text`` (string, [?]). Predict gives the inputs back. While ``gate`` is closed no Predict is answered; ``refusal``
makes every Predict fail. ``python -m tests.support.echo_server`` serves in a process of its own and prints where.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc

from service.loadgen import messages

MODEL = "echo"
SIGNATURES = {
    "serving_default": {"x": (1, (-1, 4))},
    "tokens": {"ids": (3, (-1, -1)), "text": (7, (-1,))},
}
_DTYPES = {1: "DT_FLOAT", 3: "DT_INT32", 7: "DT_STRING"}


@dataclass
class EchoServer:
    """What tests see and steer."""

    grpc_port: int = 0
    rest_port: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    refusal: grpc.StatusCode | None = None
    requests: list[bytes] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    in_service: int = 0
    most_in_service: int = 0

    @property
    def grpc_url(self) -> str:
        return f"grpc://127.0.0.1:{self.grpc_port}"

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self.rest_port}"

    async def stall(self, seconds: float) -> None:
        """Answer no Predict for that long; whatever comes meanwhile is answered afterwards."""
        self.gate.clear()
        await asyncio.sleep(seconds)
        self.gate.set()

    async def until_requests(self, count: int) -> None:
        """Wait until that many Predict requests have come in all."""
        while len(self.requests) < count:
            self.arrived.clear()
            await self.arrived.wait()

    async def admit(self, body: bytes) -> None:
        """Common to both protocols: remember, count, wait for the gate."""
        self.requests.append(body)
        self.arrived.set()
        self.in_service += 1
        self.most_in_service = max(self.most_in_service, self.in_service)
        try:
            await self.gate.wait()
        finally:
            self.in_service -= 1

    # gRPC

    async def predict(self, body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        request = messages.PredictRequest.FromString(body)
        if request.model_spec.name != MODEL:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {request.model_spec.name}")
        await self.admit(body)
        if self.refusal is not None:
            await context.abort(self.refusal, "refused by the test")
        response = messages.PredictResponse(model_spec=request.model_spec)
        for name, tensor in request.inputs.items():
            response.outputs[name].CopyFrom(tensor)
        answer: bytes = response.SerializeToString()
        return answer

    async def metadata(self, body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        request = messages.GetModelMetadataRequest.FromString(body)
        if request.model_spec.name != MODEL:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {request.model_spec.name}")
        signatures = messages.SignatureDefMap()
        for key, inputs in SIGNATURES.items():
            for name, (dtype, shape) in inputs.items():
                info = signatures.signature_def[key].inputs[name]
                info.dtype = dtype
                for size in shape:
                    info.tensor_shape.dim.add(size=size)
        response = messages.GetModelMetadataResponse(model_spec=request.model_spec)
        response.metadata["signature_def"].type_url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
        response.metadata["signature_def"].value = signatures.SerializeToString()
        answer: bytes = response.SerializeToString()
        return answer

    # REST

    async def serve_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One keep-alive connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, path, _ = head[0].split(" ")
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                status, document = await self.answer(method, path, body)
                data = json.dumps(document).encode()
                writer.write(b"HTTP/1.1 %d Some Reason\r\nContent-Length: %d\r\n\r\n" % (status, len(data)) + data)
                await writer.drain()
        writer.close()

    async def answer(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        if path == f"/v1/models/{MODEL}/metadata" and method == "GET":
            signature_def = {
                key: {
                    "inputs": {
                        name: {
                            "dtype": _DTYPES[dtype],
                            "tensor_shape": {"dim": [{"size": str(size)} for size in shape], "unknown_rank": False},
                        }
                        for name, (dtype, shape) in inputs.items()
                    }
                }
                for key, inputs in SIGNATURES.items()
            }
            return 200, {"model_spec": {"name": MODEL}, "metadata": {"signature_def": {"signature_def": signature_def}}}
        if path == f"/v1/models/{MODEL}:predict" and method == "POST":
            document = json.loads(body)
            await self.admit(body)
            if self.refusal is not None:
                return 503, {"error": "refused by the test"}
            return 200, {"predictions": document.get("instances", document.get("inputs"))}
        return 404, {"error": f"Servable not found for request: {path}"}


@contextlib.asynccontextmanager
async def echo_server() -> AsyncIterator[EchoServer]:
    """Serve on free loopback ports until the block ends."""
    state = EchoServer()
    state.gate.set()
    handlers = {
        "Predict": grpc.unary_unary_rpc_method_handler(state.predict),
        "GetModelMetadata": grpc.unary_unary_rpc_method_handler(state.metadata),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", handlers),)
    )
    state.grpc_port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    rest = await asyncio.start_server(state.serve_http, "127.0.0.1", 0)
    state.rest_port = rest.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        state.gate.set()
        rest.close()
        await server.stop(0)


async def _main() -> None:
    async with echo_server() as server:
        print(json.dumps({"grpc": server.grpc_url, "rest": server.rest_url}), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main())
