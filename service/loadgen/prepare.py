"""prepared: everything between "load this server" and the first request: connect, ask, make the payloads, try one."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import numpy as np

from service.loadgen.payloads import RequestSpec, make_pool
from service.loadgen.rest_transport import RestTransport
from service.loadgen.target import Protocol, Target
from service.loadgen.transport import Transport, probe


@contextlib.asynccontextmanager
async def prepared(
    target: Target,
    request: RequestSpec,
    rng: np.random.Generator,
    *,
    timeout: float,
    connections: int,
    max_inflight: int,
) -> AsyncIterator[tuple[Transport, list[bytes]]]:
    """Warm connections to the server and the requests to send over them; closes them when the block ends.

    Args:
        target: The server.
        request: What to send.
        rng: Draws the payloads.
        timeout: Deadline of each request, seconds.
        connections: gRPC connections, and connections that are warm at the start.
        max_inflight: Most requests that the caller will have in flight.

    Raises:
        TargetError: The server, model or signature is not there, or it refuses a first request.
        InvalidValueError: The request does not fit the model or the protocol.
    """
    transport = _open(target, timeout, connections, max_inflight)
    try:
        encoding = transport.encoding(request.encoding)
        signature = await transport.signature(request.model, request.signature)
        bodies = make_pool(signature, request, encoding, rng)
        pool = [transport.frame(request.model, body) for body in bodies]
        await probe(transport, pool[0], str(target))
        yield transport, pool
    finally:
        await transport.close()


def _open(target: Target, timeout: float, connections: int, max_inflight: int) -> Transport:
    if target.protocol is Protocol.REST:
        return RestTransport(target, timeout, max_inflight, connections)
    # Imported where it is needed: gRPC is heavy, and REST does without it.
    from service.loadgen.grpc_transport import GrpcTransport

    return GrpcTransport(target, timeout, connections)
