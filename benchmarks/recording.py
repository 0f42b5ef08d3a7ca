"""Recording: what the embedded server says of a model, so that the echo and the peers can stand in for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import numpy as np

from benchmarks.servers import Node
from service.loadgen import messages
from service.loadgen.payloads import Encoding, RequestSpec, make_pool
from service.loadgen.signatures import DEFAULT_SIGNATURE, from_response
from service.loadgen.target import parse_target

_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Answers of the embedded server about one model.

    Attributes:
        metadata: File: the serialised GetModelMetadataResponse.
        answer: File: a serialised PredictResponse.
        rest_metadata: File: the metadata as JSON.
        rest_body: One request body in row format.
        rest_answer: What it answers to that.
    """

    metadata: Path
    answer: Path
    rest_metadata: Path
    rest_body: bytes
    rest_answer: Any


async def record(node: Node, model: str, folder: Path) -> Recording:
    """Ask a running server.

    Args:
        node: The server.
        model: Name of the model.
        folder: Where the files go.

    Raises:
        grpc.aio.AioRpcError, httpx.HTTPError: It does not answer.
    """
    metadata_request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
    metadata_request.model_spec.name = model
    async with grpc.aio.insecure_channel(parse_target(node.grpc).address) as channel:
        ask = channel.unary_unary(messages.METADATA_METHOD, None, None)
        metadata: bytes = await ask(metadata_request.SerializeToString(), timeout=_TIMEOUT_SECONDS)
        signature = from_response(metadata, model, DEFAULT_SIGNATURE)
        spec, rng = RequestSpec(model=model, pool_size=1), np.random.default_rng(0)
        [request] = make_pool(signature, spec, Encoding.TENSOR_CONTENT, rng)
        predict = channel.unary_unary(messages.PREDICT_METHOD, None, None)
        answer: bytes = await predict(request, timeout=_TIMEOUT_SECONDS)
    [body] = make_pool(signature, spec, Encoding.ROW, rng)
    async with httpx.AsyncClient(base_url=node.rest, timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
        rest_metadata = (await client.get(f"/v1/models/{model}/metadata")).raise_for_status()
        rest_answer = (await client.post(f"/v1/models/{model}:predict", content=body)).raise_for_status()
    files = {"metadata": metadata, "answer": answer, "rest_metadata": rest_metadata.content}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return Recording(
        metadata=folder / "metadata",
        answer=folder / "answer",
        rest_metadata=folder / "rest_metadata",
        rest_body=body,
        rest_answer=rest_answer.json(),
    )


def same_numbers(answer: bytes, expected: Any, tolerance: float = 1e-4) -> bool:
    """Whether two JSON answers hold the same numbers in the same order, whatever wraps them."""
    try:
        ours, theirs = _numbers(expected), _numbers(json.loads(answer))
    except ValueError:
        return False
    return len(ours) == len(theirs) and bool(np.allclose(ours, theirs, rtol=tolerance, atol=tolerance))


def _numbers(document: Any) -> list[float]:
    if isinstance(document, dict):
        document = list(document.values())
    if isinstance(document, list):
        return [number for item in document for number in _numbers(item)]
    return [float(document)]
