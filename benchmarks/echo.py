"""The echo: a grpc.aio server that answers at once with recorded bytes, and so the least that gRPC in Python costs.

``python -m benchmarks.echo METADATA ANSWER``, both files; prints its port. It runs as the embedded server does: on
uvloop, in one process, with handlers that take and give bytes.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import uvloop


async def serve(metadata: bytes, answer: bytes) -> None:
    """Answer every GetModelMetadata with ``metadata`` and every Predict with ``answer`` until cancelled."""

    async def predict(_request: bytes, _context: Any) -> bytes:
        return answer

    async def get_model_metadata(_request: bytes, _context: Any) -> bytes:
        return metadata

    handlers = {
        "Predict": grpc.unary_unary_rpc_method_handler(predict),
        "GetModelMetadata": grpc.unary_unary_rpc_method_handler(get_model_metadata),
    }
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await server.stop(0)


if __name__ == "__main__":
    uvloop.run(serve(*(Path(name).read_bytes() for name in sys.argv[1:3])))
