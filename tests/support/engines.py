"""Engines for tests. The session is a stand-in whose calls can be held up."""

from __future__ import annotations

import threading
from typing import Any, cast

import numpy as np

from service.domain.clock import SystemClock
from service.modelserver.batched_engine import BatchedEngine
from service.modelserver.batching import BatchLimits
from service.modelserver.engine import DirectEngine, Engine
from service.modelserver.metrics import ServerMetrics
from service.modelserver.signature import Signature, TensorSpec
from service.modelserver.status import Code, ServingError

FLOAT = TensorSpec(np.dtype(np.float32), 1, None, "x:0")
SIGNATURE = Signature("double", "", {"x": FLOAT}, {"y": FLOAT, "negative": FLOAT})
OTHER = Signature("other", "", {"x": FLOAT}, {"y": FLOAT, "negative": FLOAT})


class HeldSession:
    """y = 2 x, negative = −x. Calls wait at the gate; a call whose first value is 13 fails."""

    def __init__(self, *, open_gate: bool = True) -> None:
        self.gate = threading.Event()
        if open_gate:
            self.gate.set()
        self.calls: list[tuple[int, ...]] = []
        self.running = 0
        self.most = 0
        self._lock = threading.Lock()

    def run(self, signature: Signature, inputs: Any, outputs: tuple[str, ...]) -> tuple[list[Any], float]:
        (x,) = inputs
        with self._lock:
            self.calls.append(x.shape)
            self.running += 1
            self.most = max(self.most, self.running)
        assert self.gate.wait(20)
        with self._lock:
            self.running -= 1
        if x.size and x.flat[0] == 13:
            raise ServingError(Code.INVALID_ARGUMENT, "13 brings bad luck")
        answers = {"y": 2 * x, "negative": -x}
        return [answers[alias] for alias in outputs], 0.001


def batched(*sessions: HeldSession, threads: int = 1, **options: Any) -> BatchedEngine:
    limits = {"max_batch_size": 4, "timeout": 0.0, "max_enqueued_batches": 10, "max_execution_batch_size": 0}
    limits |= {name: options.pop(name) for name in list(options) if name in limits}
    return BatchedEngine(
        list(sessions),
        limits=BatchLimits(**cast("dict[str, Any]", limits)),
        threads=threads,
        allowed_sizes=options.pop("allowed_sizes", ()),
        pad_inputs=options.pop("pad_inputs", False),
        name="test",
        metrics=ServerMetrics(),
        clock=SystemClock(),
        **options,
    )


def direct(*sessions: HeldSession, threads: int = 4) -> DirectEngine:
    return DirectEngine(list(sessions), threads, "test", ServerMetrics(), SystemClock())


async def ask(
    engine: Engine, *x: float, outputs: tuple[str, ...] = ("y",), signature: Signature = SIGNATURE
) -> list[Any]:
    arrays = await engine.run(signature, [np.array(x, np.float32)], outputs)
    return [array.tolist() for array in arrays]


async def finish(engine: Engine) -> None:
    await engine.drain()
    await engine.close()
