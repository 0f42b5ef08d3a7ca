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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from service.domain.clock import Clock, SystemClock
from service.domain.serving_config import ServingConfig
from service.modelserver.batching import BatchLimits
from service.modelserver.execution import BatchedEngine, DirectEngine, Engine
from service.modelserver.rehearsal import Rehearsal
from service.modelserver.session import ModelGraph, ModelSession
from service.modelserver.signature import DEFAULT_SIGNATURE_KEY, Signature
from service.modelserver.status import Code, ServingError

if TYPE_CHECKING:
    from service.modelserver.metrics import ServerMetrics

Array = np.ndarray[Any, Any]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeOptions:
    """How models are loaded and run, whatever their configuration.

    Attributes:
        max_unbatched_concurrency: Session calls in flight with batching off (``grpc_max_threads``).
        session_config: ``ConfigProto`` of ``tensorflow_session_config_file``; None for TensorFlow's defaults. The
            thread counts in it are overwritten by the configuration's.
        warmup: Whether to replay ``assets.extra/tf_serving_warmup_requests`` (``enable_model_warmup``).
        warmup_iterations: How often each of its records is replayed when the model is loaded
            (``num_request_iterations_for_warmup``, at least 1).
        pad_variable_length_inputs: Whether inputs of one batch that differ in later axes are padded with zeros.
        max_execution_batch_size: Requests larger than this are split and executed in parts; 0 splits none
            (``enable_large_batch_splitting`` off).
    """

    max_unbatched_concurrency: int = 16
    session_config: Any = None
    warmup: bool = True
    warmup_iterations: int = 1
    pad_variable_length_inputs: bool = False
    max_execution_batch_size: int = 0


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
        graph: ModelGraph,
        rehearsal: Rehearsal,
        runtime: RuntimeOptions,
        metrics: ServerMetrics,
        clock: Clock,
    ) -> None:
        self.name = name
        self.version = version
        self.path = graph.path
        self.signatures = graph.signatures
        self.signature_defs = graph.signature_defs
        self._graph = graph
        self._rehearsal = rehearsal
        self._runtime = runtime
        self._metrics = metrics
        self._clock = clock
        self._switching = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()

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
        """Read the SavedModel at ``path`` and warm it. Blocking: call it in a thread.

        Raises:
            ServingError: The model cannot be read, or its warm-up fails.
        """
        started = time.monotonic()
        try:
            graph = ModelGraph(path)
            rehearsal = Rehearsal.read(path, graph) if runtime.warmup else Rehearsal.synthetic(graph)
            servable = cls(name, version, graph, rehearsal, runtime, metrics, clock or SystemClock())
            sessions = servable._open_sessions(config, config.instances)
        except ServingError:
            metrics.load(str(path), False, time.monotonic() - started)
            raise
        metrics.load(str(path), True, time.monotonic() - started)
        if runtime.warmup:
            servable._replay(sessions)
        servable._rehearse(sessions, config)
        servable._engine = servable._make_engine(config, sessions)
        servable.config = config
        return servable

    config: ServingConfig
    _engine: Engine

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
            ServingError: A session could not be opened or warmed.
        """
        await self._switching.acquire()
        try:
            await self._retired()
            kept = self._reusable_sessions(config)
            loading = asyncio.ensure_future(asyncio.to_thread(self._prepare_sessions, config, kept))
        except BaseException:
            self._switching.release()
            raise
        try:
            sessions = await asyncio.shield(loading)
        except asyncio.CancelledError:
            # The thread cannot be stopped: what it opens is closed when it is done, and only then may others switch.
            self._in_background(self._abandon(loading, kept))
            raise
        except BaseException:
            self._switching.release()
            raise
        return PreparedSwitch(self, config, self._make_engine(config, sessions))

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
            sessions, engine = self._engine.sessions, self._engine
            await engine.drain()
            await engine.close()
            await asyncio.to_thread(_close_sessions, sessions)

    def _commit(self, config: ServingConfig, engine: Engine) -> None:
        old, self._engine = self._engine, engine
        self.config = config
        self._in_background(self._retire(old, kept=engine.sessions))
        self._switching.release()

    async def _discard(self, engine: Engine) -> None:
        await engine.close()
        spare = [session for session in engine.sessions if session not in self._engine.sessions]
        await asyncio.to_thread(_close_sessions, spare)
        self._switching.release()

    async def _retire(self, engine: Engine, kept: Sequence[ModelSession]) -> None:
        await engine.drain()
        await engine.close()
        await asyncio.to_thread(_close_sessions, [session for session in engine.sessions if session not in kept])

    async def _abandon(self, loading: asyncio.Future[list[ModelSession]], kept: Sequence[ModelSession]) -> None:
        try:
            sessions = await loading
            await asyncio.to_thread(_close_sessions, [session for session in sessions if session not in kept])
        except ServingError as error:
            _log.info("model %s: an abandoned switch failed: %s", self.name, error)
        finally:
            self._switching.release()

    def _in_background(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _retired(self) -> None:
        while self._retiring:
            await asyncio.wait(self._retiring)

    def _reusable_sessions(self, config: ServingConfig) -> list[ModelSession]:
        """Sessions in force that the new configuration can go on using: those with the same thread pools."""
        if (
            self.config.tensorflow_inter_op_parallelism != config.tensorflow_inter_op_parallelism
            or self.config.tensorflow_intra_op_parallelism != config.tensorflow_intra_op_parallelism
        ):
            return []
        return list(self._engine.sessions[: config.instances])

    def _prepare_sessions(self, config: ServingConfig, kept: Sequence[ModelSession]) -> list[ModelSession]:
        """The kept sessions and as many new ones as are missing, warm. In a thread."""
        opened = self._open_sessions(config, config.instances - len(kept))
        try:
            self._rehearse(opened, config)
        except ServingError:
            _close_sessions(opened)
            raise
        return [*kept, *opened]

    def _open_sessions(self, config: ServingConfig, count: int) -> list[ModelSession]:
        sessions: list[ModelSession] = []
        try:
            while len(sessions) < count:
                session = self._graph.open_session(
                    inter_op=config.tensorflow_inter_op_parallelism,
                    intra_op=config.tensorflow_intra_op_parallelism,
                    base=self._runtime.session_config,
                )
                sessions.append(session)
        except ServingError:
            _close_sessions(sessions)
            raise
        return sessions

    def _replay(self, sessions: Sequence[ModelSession]) -> None:
        """Run every warm-up record that the model brings; one that fails, fails the load."""
        started = time.monotonic()
        try:
            for session in sessions:
                self._rehearsal.replay(session, self._runtime.warmup_iterations)
        except ServingError:
            self._metrics.warmup(str(self.path), False, time.monotonic() - started)
            _close_sessions(sessions)
            raise
        self._metrics.warmup(str(self.path), True, time.monotonic() - started)

    def _rehearse(self, sessions: Sequence[ModelSession], config: ServingConfig) -> None:
        """Run the batch sizes that the configuration will bring, so that no client is the first to."""
        for session in sessions:
            self._rehearsal.run_sizes(session, config.max_batch_size if config.enable_batching else 1)

    def _make_engine(self, config: ServingConfig, sessions: Sequence[ModelSession]) -> Engine:
        name = f"{self.name}-{self.version}"
        if not config.enable_batching:
            return DirectEngine(sessions, self._runtime.max_unbatched_concurrency, name, self._metrics)
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


def _close_sessions(sessions: Sequence[ModelSession]) -> None:
    for session in sessions:
        session.close()
