"""Simulated nodes: agents and metrics pages of many models, cheap enough that a thousand fit beside what is measured.

``python -m benchmarks.scale.nodes NODES MODELS``: one port a node, on loopback; the first line of standard output is a
JSON list of the ports. Each node shows one metrics page, ``/metrics``, for all its models, and an agent for each under
``/MODEL/``. Requests are not sent: the counters grow as if they were. Names of misbehaviours after the two numbers add
a node each that hangs, answers garbage, or sends a gigabyte.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from service.domain.histogram import exponential_bounds
from service.domain.serving_config import ServingConfig

#: What else a node may do than its work.
HANG, GARBAGE, FLOOD = "hang", "garbage", "flood"
MISBEHAVIOURS = (HANG, GARBAGE, FLOOD)

#: Requests a second of each model, and the median of their latency in seconds without and with batching.
RATE = 100.0
SLOW, FAST = 0.02, 0.008

_BOUNDS = exponential_bounds(1e-3, 1.15, 60)
_SIGMA = 0.3
#: Of a log-normal latency.
MEAN_OVER_MEDIAN = math.exp(_SIGMA**2 / 2)
_FLOOD_BYTES = 1 << 30
_CHUNK = b"# a line that says nothing\n" * 4096
_KNOBS = {
    "max_batch_size": (0, 1024),
    "batch_timeout_micros": (0, 100_000),
    "num_batch_threads": (1, 64),
    "tensorflow_inter_op_parallelism": (0, 64),
    "tensorflow_intra_op_parallelism": (0, 64),
}


@dataclass
class _Model:
    """One model: what is in force, and its counters as of a moment."""

    name: str
    config: ServingConfig = field(default_factory=ServingConfig)
    generation: int = 0
    seen: float = field(default_factory=time.monotonic)
    requests: float = 0.0
    counts: list[float] = field(default_factory=lambda: [0.0] * (len(_BOUNDS) + 1))
    seconds: float = 0.0

    def __post_init__(self) -> None:
        label = f'model_name="{self.name}"'
        latency = "regulus_modelserver_request_latency_seconds"
        edges = [*(repr(bound) for bound in _BOUNDS), "+Inf"]
        self._buckets = [f'{latency}_bucket{{{label},le="{edge}"}} ' for edge in edges]
        self._rest = (
            f':tensorflow:serving:request_count{{{label},status="OK"}} ',
            f"{latency}_sum{{{label}}} ",
            *(f"regulus_modelserver_interarrival_seconds_{m}{{{label}}} " for m in ("count", "sum", "sum_of_squares")),
        )
        self._shares = _shares(self._median)

    @property
    def _median(self) -> float:
        return FAST if self.config.enable_batching else SLOW

    def put(self, config: ServingConfig, generation: int) -> None:
        """Another configuration comes into force."""
        self._grow()
        self.config, self.generation = config, generation
        self._shares = _shares(self._median)

    def _grow(self) -> None:
        now = time.monotonic()
        more, self.seen = (now - self.seen) * RATE, now
        self.requests += more
        self.seconds += more * self._median * MEAN_OVER_MEDIAN
        for index, share in enumerate(self._shares):
            self.counts[index] += more * share

    def lines(self) -> list[str]:
        """Its part of the metrics page."""
        self._grow()
        found, n = [], 0
        for prefix, count in zip(self._buckets, self.counts, strict=True):
            n += int(count)  # each bucket by itself, so that none ever goes down
            found.append(f"{prefix}{n}")
        values = (n, self.seconds, n, n / RATE, 2 * n / RATE**2)
        return [*found, *(f"{prefix}{value}" for prefix, value in zip(self._rest, values, strict=True))]

    def describe(self) -> dict[str, Any]:
        """What its agent says."""
        return {
            "config": self.config.to_dict(),
            "generation": self.generation,
            "state": "serving",
            "support": {
                "knobs": {knob: {"min": low, "max": high} for knob, (low, high) in _KNOBS.items()},
                "cpus": 4.0,
                "memory_bytes": None,
            },
            "server": {"kind": "simulated", "version": "1"},
        }


def _shares(median: float) -> list[float]:
    """Shares of log-normal latencies that fall into each bucket."""
    below = [0.5 * (1 + math.erf(math.log(bound / median) / (_SIGMA * math.sqrt(2)))) for bound in _BOUNDS]
    return [b - a for a, b in zip([0.0, *below], [*below, 1.0], strict=True)]


class _Node:
    """One port.

    Args:
        models: Names of its models.
        misbehaviour: What it does instead of answering; None for a good one.
    """

    def __init__(self, models: Sequence[str], misbehaviour: str | None) -> None:
        self._models = {name: _Model(name) for name in models}
        self._misbehaviour = misbehaviour

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until the client leaves."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                method, path, _ = head.split(" ", 2)
                lengths = [line.split(":")[1] for line in head.lower().split("\r\n") if line.startswith("content-len")]
                body = await reader.readexactly(int(lengths[0])) if lengths else b""
                await self._answer(writer, method, path, body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, method: str, path: str, body: bytes) -> None:
        if self._misbehaviour == HANG:
            await asyncio.Event().wait()
        if self._misbehaviour == FLOOD:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % _FLOOD_BYTES)
            for _ in range(_FLOOD_BYTES // len(_CHUNK)):
                writer.write(_CHUNK)
                await writer.drain()
            return
        if self._misbehaviour == GARBAGE:
            status, content = 200, b"]] \xff not what you think {{" * 1000
        elif path == "/metrics":
            lines = [line for model in self._models.values() for line in model.lines()]
            status, content = 200, ("\n".join(lines) + "\n").encode()
        else:
            status, content = self._agent(self._models[path.split("/")[1]], method, body)
        writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(content), content))
        await writer.drain()

    def _agent(self, model: _Model, method: str, body: bytes) -> tuple[int, bytes]:
        if method == "PUT":
            order = json.loads(body)
            if order["generation"] <= model.generation:
                return 409, json.dumps({"current_generation": model.generation}).encode()
            model.put(ServingConfig.from_dict(order["config"]), order["generation"])
        elif method != "GET":
            return 405, b"{}"
        return 200, json.dumps(model.describe()).encode()


async def _serve(nodes: int, models: int, misbehaviours: Sequence[str]) -> None:
    good = [_Node([f"m{node}-{index}" for index in range(models)], None) for node in range(nodes)]
    bad = [_Node([f"bad-{what}"], what) for what in misbehaviours]
    listeners = [await asyncio.start_server(node.talk, "127.0.0.1", 0) for node in (*good, *bad)]
    print(json.dumps([listener.sockets[0].getsockname()[1] for listener in listeners]), flush=True)
    # Whoever started this holds the other end of standard input, and is gone when that is closed.
    await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    """The program."""
    nodes, models, *misbehaviours = sys.argv[1:]
    loop = asyncio.new_event_loop()
    loop.run_until_complete(_serve(int(nodes), int(models), misbehaviours))


if __name__ == "__main__":
    main()
