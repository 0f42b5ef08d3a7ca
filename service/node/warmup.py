"""Warm-up: the first requests of a new process, so that no client's is. The building of the request is pure.

TensorFlow Serving itself replays ``assets.extra/tf_serving_warmup_requests`` before a model is AVAILABLE, and that is
the best there is. For a model without it the node sends some of its own, straight to the new process: the user's
request where one is given, else zeros of the shape that the model's signature asks for.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from math import prod
from typing import Any

import httpx

#: More numbers in a request of zeros would take longer to read than they are worth.
MAX_ELEMENTS = 2_000_000

_REQUEST_SECONDS = 30.0
_NUMBERS = {
    **dict.fromkeys(("DT_FLOAT", "DT_DOUBLE", "DT_HALF", "DT_BFLOAT16"), 0.0),
    **dict.fromkeys(("DT_INT8", "DT_INT16", "DT_INT32", "DT_INT64", "DT_UINT8", "DT_UINT16", "DT_UINT32"), 0),
    "DT_UINT64": 0,
    "DT_BOOL": False,
    "DT_STRING": "",
}


def zero_request(metadata: Mapping[str, Any]) -> bytes | None:
    """A REST Predict body of one example of zeros, from ``GET /v1/models/NAME/metadata``; None where it tells no shape.

    A dimension that is left open is 1.
    """
    try:
        signatures = metadata["metadata"]["signature_def"]["signature_def"]
        inputs = {name: _zeros(info) for name, info in signatures["serving_default"]["inputs"].items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return json.dumps({"inputs": inputs}).encode() if inputs else None


def _zeros(info: Mapping[str, Any]) -> Any:
    shape = info["tensor_shape"]
    if shape.get("unknown_rank"):
        raise ValueError("unknown rank")
    sizes = [max(int(dimension["size"]), 1) for dimension in shape.get("dim") or ()]
    if prod(sizes) > MAX_ELEMENTS:
        raise ValueError("too large")
    value: Any = _NUMBERS[info["dtype"]]
    for size in reversed(sizes):
        value = [value] * size
    return value


async def warm_up(
    client: httpx.AsyncClient, root: str, model: str, *, body: bytes | None, rounds: int, at_once: int
) -> int:
    """Send ``rounds`` times ``at_once`` requests to one server.

    What it answers does not matter: a model that takes no zeros says so, and its client's requests are the first.

    Args:
        client: Connections.
        root: The server's REST, ``http://127.0.0.1:PORT``.
        model: The model's name.
        body: What to send; None for zeros.
        rounds: One after the other.
        at_once: Together, so that every batch thread has one.

    Returns:
        How many were answered well.
    """
    url = f"{root}/v1/models/{model}"
    if body is None:
        try:
            answer = await client.get(f"{url}/metadata", timeout=_REQUEST_SECONDS)
            body = zero_request(answer.json())
        except (httpx.HTTPError, ValueError):
            return 0
    if body is None:
        return 0
    content = body

    async def ask() -> bool:
        try:
            answer = await client.post(f"{url}:predict", content=content, timeout=_REQUEST_SECONDS)
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK

    good = 0
    for _ in range(rounds):
        answers = await asyncio.gather(*(ask() for _ in range(at_once)))
        good += sum(answers)
        if not any(answers):
            break
    return good
