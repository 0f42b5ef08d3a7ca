"""Sample: one measurement; and the names of everything that the model server's benchmark measures. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

BARE = "bare"
ECHO = "echo"
PEER = "peer"
GRPC_ON = "grpc/batching/tensor_content"
REST_ON = "rest/batching/row"

#: Batches put together by hand, in examples, where there are enough clients to fill them.
HAND_BATCHES = (4, 8, 16, 32)
#: More threads than this that each call with a batch only wait for each other.
_MOST_BATCH_THREADS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one subject did in one round.

    Attributes:
        model: Name of the model.
        round: Number of the round, from 0.
        subject: Which thing was measured; see :func:`label`.
        concurrency: Requests in flight.
        requests_per_second: Good answers a second, of one example each.
        p50: Median latency, seconds; NaN when nothing was answered.
        p99: 99th percentile, seconds.
        failed: Requests that got no good answer.
        client_cpu: Processors that the client was using, on average; 0 where there is no client.
    """

    model: str
    round: int
    subject: str
    concurrency: int
    requests_per_second: float
    p50: float
    p99: float
    failed: int = 0
    client_cpu: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; NaN becomes null."""
        return {name: None if value != value else value for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class BareVariant:
    """One way to call the bare session.

    Attributes:
        intra_op: Intra-op threads; 0 for TensorFlow's default.
        batch: Examples a call.
    """

    intra_op: int
    batch: int

    @property
    def subject(self) -> str:
        """Its name."""
        return f"{BARE}/{'intra1' if self.intra_op else 'default'}/{self.batch}"


def bare_variants(concurrency: int) -> tuple[BareVariant, ...]:
    """How the bare session is called with that many examples in flight.

    One by one, with TensorFlow's threads and with intra-op 1; in batches with intra-op 1; and in the largest batches
    with TensorFlow's threads as well.
    """
    sizes = [size for size in HAND_BATCHES if size <= concurrency <= size * _MOST_BATCH_THREADS]
    variants = [BareVariant(intra_op=intra, batch=size) for intra, size in [(0, 1), (1, 1), *((1, s) for s in sizes)]]
    if sizes:
        variants.append(BareVariant(intra_op=0, batch=sizes[-1]))
    return tuple(variants)


def label(subject: str) -> str:
    """For people."""
    parts = subject.split("/")
    if parts[0] == BARE:
        threads = "intra-op 1" if parts[1] == "intra1" else "default threads"
        return f"session call, {threads}" + ("" if parts[2] == "1" else f", batches of {parts[2]}")
    if parts[0] == ECHO:
        return "grpc.aio echo"
    if parts[0] == PEER:
        return f"{parts[1]}, REST"
    return f"Regulus, {'gRPC' if parts[0] == 'grpc' else 'REST'} {parts[2]}, {parts[1]}"


def order_of(subject: str) -> tuple[int, str, int]:
    """Sorts subjects as the tables show them."""
    parts = subject.split("/")
    rank = [BARE, ECHO, "grpc", "rest", PEER].index(parts[0])
    return rank, subject if rank else parts[1], int(parts[2]) if rank == 0 else 0


def subjects_of(samples: Sequence[Sample]) -> list[str]:
    """All that occur, in order."""
    return sorted({sample.subject for sample in samples}, key=order_of)
