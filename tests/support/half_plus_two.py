"""A manager in this process that serves half_plus_two (y = x/2 + 2), and what its tests send and wait for."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models import export_model
from service.domain.clock import Clock
from service.domain.serving_config import ServingConfig
from service.modelserver.flags import ServerFlags
from service.modelserver.manager import ModelManager
from service.modelserver.metrics import ServerMetrics
from service.modelserver.model_config import ModelConfig
from service.modelserver.servable import Servable

NAME = "half_plus_two"
UNBATCHED = ServingConfig()
BATCHED = ServingConfig(enable_batching=True, max_batch_size=4, num_batch_threads=2, batch_timeout_micros=1000)


def add_version(base_path: Path, version: int) -> Path:
    """Let a version appear, whole at once, under ``base_path``."""
    made = export_model(NAME, base_path.parent / f".{base_path.name}-exported", version=version)
    base_path.mkdir(parents=True, exist_ok=True)
    return made.rename(base_path / str(version))


def add_broken_version(base_path: Path, version: int) -> Path:
    """Let a version appear that cannot be loaded."""
    path = base_path / str(version)
    path.mkdir(parents=True)
    (path / "saved_model.pb").write_bytes(b"this is no SavedModel")
    return path


def remove_version(base_path: Path, version: int) -> None:
    """Let a version vanish, whole at once."""
    gone = base_path.parent / f".gone-{base_path.name}-{version}"
    (base_path / str(version)).rename(gone)
    shutil.rmtree(gone)


def model(base_path: Path, name: str = NAME, **fields: Any) -> ModelConfig:
    """A model list's entry."""
    return ModelConfig(name=name, base_path=base_path, **fields)


def new_manager(
    models: Sequence[ModelConfig], config: ServingConfig = UNBATCHED, clock: Clock | None = None, **flags: Any
) -> ModelManager:
    """A manager that polls only when told and does not retry, unless the flags say otherwise."""
    chosen: dict[str, Any] = {"file_system_poll_wait_seconds": 0, "max_num_load_retries": 0} | flags
    return ModelManager(models, ServerFlags(**chosen), config, ServerMetrics(), clock=clock)


@contextlib.asynccontextmanager
async def serving(
    models: Sequence[ModelConfig], config: ServingConfig = UNBATCHED, clock: Clock | None = None, **flags: Any
) -> AsyncIterator[ModelManager]:
    """A manager that has started; stopped at the end."""
    manager = new_manager(models, config, clock, **flags)
    await manager.start()
    try:
        yield manager
    finally:
        await manager.stop()


async def ask(servable: Servable, x: float) -> float:
    """One Predict of one example."""
    signature = servable.signature()
    (y,) = await servable.run(signature, {"x": np.array([x], np.float32)}, tuple(signature.outputs))
    return float(y[0])


async def eventually(condition: Callable[[], object], what: str, timeout: float = 30.0) -> None:
    """Wait until ``condition`` holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {timeout} s")
        await asyncio.sleep(0.005)


class QuickClock:
    """Real time, but nobody sleeps longer than a hundredth of a second.

    Attributes:
        naps: How often somebody slept to the end.
    """

    def __init__(self) -> None:
        self.naps = 0

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))
        self.naps += 1
