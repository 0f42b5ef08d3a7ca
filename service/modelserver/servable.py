"""Servable: one loaded version of a model, whose configuration can be changed while it serves.

A change is made in two steps, so that several servables can change together or not at all: :meth:`Servable.prepare`
loads and warms what is missing beside the engine in force, :meth:`PreparedSwitch.commit` routes new requests to it at
once. The old engine then answers what it had accepted and is closed. A change that leaves the sessions' thread pools
alone keeps the sessions and is over in a millisecond.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from service.domain.clock import Clock, SystemClock
from service.domain.serving_config import ServingConfig
from service.modelserver.batched_engine import BatchedEngine
from service.modelserver.batching import BatchLimits
from service.modelserver.engine import DirectEngine, Engine
from service.modelserver.loaded_model import Session
from service.modelserver.session_source import RuntimeOptions, SessionSource, close_sessions
from service.modelserver.signature import DEFAULT_SIGNATURE_KEY, Signature
from service.modelserver.status import Code, ServingError

if TYPE_CHECKING:
    from service.modelserver.metrics import ServerMetrics

__all__ = ["PreparedSwitch", "RuntimeOptions", "Servable"]

Array = np.ndarray[Any, Any]

_log = logging.getLogger(__name__)


class PreparedSwitch:
    """A configuration that is loaded and warm beside the one in force. Exactly one of both methods must be called.

    Made by :meth:`Servable.prepare`; until then no other switch of that servable can be prepared.
    """

    def __init__(self, servable: Servable, config: ServingConfig, engine: Engine) -> None:
        self._servable = servable
        self._config = config
        self._engine = engine

    def commit(self) -> None:
        """Route new requests to it, at once; the old engine drains and closes in the background."""
        self._servable._commit(self._config, self._engine)

    async def discard(self) -> None:
        """Release it; the configuration in force has not been touched."""
        await self._servable._discard(self._engine)


class Servable:
    """One loaded model version. Made by :meth:`load`; from then on it belongs to one event loop.

    Attributes:
        name: Of the model.
        version: Of the model.
        path: The version's directory.
        signatures: By key.
        signature_defs: The same as TensorFlow's own messages.
        config: The configuration in force.
    """

    def __init__(
        self,
        name: str,
        version: int,
        path: Path,
        config: ServingConfig,
        *,
        source: SessionSource,
        sessions: Sequence[Session],
        runtime: RuntimeOptions,
        metrics: ServerMetrics,
        clock: Clock,
    ) -> None:
        self.name = name
        self.version = version
        self.path = path
        self.config = config
        self.signatures = source.model.signatures
        self.signature_defs = source.model.signature_defs
        self._source = source
        self._runtime = runtime
        self._metrics = metrics
        self._clock = clock
        self._engine = self._make_engine(config, sessions)
        self._switching = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self._closed = False

    @classmethod
    def load(
        cls,
        name: str,
        version: int,
        path: Path,
        config: ServingConfig,
        *,
        runtime: RuntimeOptions,
        metrics: ServerMetrics,
        clock: Clock | None = None,
    ) -> Servable:
        """Read the model at ``path`` and warm it. Blocking: call it in a thread.

        Raises:
            ServingError: The model cannot be read, or its warm-up fails.
        """
        started = time.monotonic()
        ok = False
        try:
            source = SessionSource(path, runtime, metrics)
            sessions = source.first(config)
            ok = True
        finally:
            metrics.load(str(path), ok, time.monotonic() - started)
        return cls(
            name,
            version,
            path,
            config,
            source=source,
            sessions=sessions,
            runtime=runtime,
            metrics=metrics,
            clock=clock or SystemClock(),
        )

    def signature(self, key: str = "") -> Signature:
        """The signature of that name; ``serving_default`` when empty.

        Raises:
            ServingError: FAILED_PRECONDITION: the model has none of that name.
        """
        key = key or DEFAULT_SIGNATURE_KEY
        found = self.signatures.get(key)
        if found is None:
            raise ServingError(Code.FAILED_PRECONDITION, f'Serving signature key "{key}" not found.')
        return found

    async def run(self, signature: Signature, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Run the model, in a batch with others where the configuration says so.

        Args:
            signature: One of :attr:`signatures`.
            inputs: Checked arrays (:func:`~service.modelserver.signature.check_inputs`), by alias.
            outputs: Aliases of the wanted outputs.

        Returns:
            One array for each of ``outputs``.

        Raises:
            ServingError: UNAVAILABLE (queue full), INVALID_ARGUMENT (larger than max_batch_size), or what the
                graph says.
        """
        ordered = [inputs[alias] for alias in signature.inputs]
        return await self._engine.run(signature, ordered, tuple(outputs))

    async def prepare(self, config: ServingConfig) -> PreparedSwitch:
        """Load and warm ``config`` beside the one in force, which serves on untouched.

        Waits for a switch that is under way, its draining included, so that never more than two engines exist.

        Raises:
            ServingError: A session could not be opened, or the servable was closed meanwhile.
        """
        await self._switching.acquire()
        try:
            if self._closed:
                raise ServingError(Code.UNAVAILABLE, f"Version {self.version} of model {self.name} is unloaded")
            await self._retired()
            kept = self._reusable_sessions(config)
            loading = asyncio.ensure_future(asyncio.to_thread(self._source.more, config, config.instances - len(kept)))
        except BaseException:
            self._switching.release()
            raise
        try:
            opened = await asyncio.shield(loading)
        except asyncio.CancelledError:
            # The thread cannot be stopped: what it opens is closed when it is done, and only then may others switch.
            self._in_background(self._abandon(loading))
            raise
        except BaseException:
            self._switching.release()
            raise
        return PreparedSwitch(self, config, self._make_engine(config, [*kept, *opened]))

    async def switch(self, config: ServingConfig) -> None:
        """Put ``config`` in force without losing a request; returns when new requests are served by it.

        Raises:
            ServingError: As :meth:`prepare`; the old configuration has kept serving.
        """
        (await self.prepare(config)).commit()

    async def close(self) -> None:
        """Finish what is queued and running, then release sessions and threads. Idempotent."""
        async with self._switching:
            await self._retired()
            if not self._closed:
                self._closed = True
                await self._retire(self._engine, kept=())

    def _commit(self, config: ServingConfig, engine: Engine) -> None:
        old, self._engine = self._engine, engine
        self.config = config
        old.hand_over(engine)
        self._in_background(self._retire(old, kept=engine.sessions))
        self._switching.release()

    async def _discard(self, engine: Engine) -> None:
        await engine.close()
        spare = [session for session in engine.sessions if session not in self._engine.sessions]
        await asyncio.to_thread(close_sessions, spare)
        self._switching.release()

    async def _retire(self, engine: Engine, kept: Sequence[Session]) -> None:
        await engine.drain()
        await engine.close()
        await asyncio.to_thread(close_sessions, [session for session in engine.sessions if session not in kept])

    async def _abandon(self, loading: asyncio.Future[list[Session]]) -> None:
        try:
            await asyncio.to_thread(close_sessions, await loading)
        except ServingError as error:
            _log.info("model %s: an abandoned switch failed: %s", self.name, error)
        finally:
            self._switching.release()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _retired(self) -> None:
        while self._retiring:
            await asyncio.wait(self._retiring)

    def _reusable_sessions(self, config: ServingConfig) -> list[Session]:
        """Sessions in force that the new configuration can go on using: those with the same thread pools."""
        if (
            self.config.tensorflow_inter_op_parallelism != config.tensorflow_inter_op_parallelism
            or self.config.tensorflow_intra_op_parallelism != config.tensorflow_intra_op_parallelism
        ):
            return []
        return list(self._engine.sessions[: config.instances])

    def _make_engine(self, config: ServingConfig, sessions: Sequence[Session]) -> Engine:
        name = f"{self.name}-{self.version}"
        if not config.enable_batching:
            return DirectEngine(sessions, self._runtime.max_unbatched_concurrency, name, self._metrics, self._clock)
        return BatchedEngine(
            sessions,
            limits=BatchLimits.of(config, self._runtime.max_execution_batch_size),
            threads=config.num_batch_threads * config.instances,
            allowed_sizes=config.allowed_batch_sizes,
            pad_inputs=self._runtime.pad_variable_length_inputs,
            name=name,
            metrics=self._metrics,
            clock=self._clock,
        )
