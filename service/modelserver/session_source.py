"""SessionSource: makes the warm sessions of one model version, at its load and for each later configuration."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.domain.serving_config import ServingConfig
from service.modelserver.loaded_model import LoadedModel, Session
from service.modelserver.rehearsal import Rehearsal
from service.modelserver.session import ModelGraph
from service.modelserver.status import ServingError
from service.modelserver.tflite import TFLITE_FILE, TfliteModel, TfliteOptions

if TYPE_CHECKING:
    from service.modelserver.metrics import ServerMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeOptions:
    """How models are loaded and run, whatever their configuration.

    Attributes:
        max_unbatched_concurrency: Session calls in flight with batching off (``grpc_max_threads``).
        session_config: ``ConfigProto`` of ``tensorflow_session_config_file``; None for TensorFlow's defaults. The
            thread counts in it are overwritten by the configuration's.
        warmup: Whether to replay ``assets.extra/tf_serving_warmup_requests`` at the load (``enable_model_warmup``).
        warmup_iterations: How often each of its records is replayed (``num_request_iterations_for_warmup``, at
            least 1).
        pad_variable_length_inputs: Whether inputs of one batch that differ in later axes are padded with zeros.
        max_execution_batch_size: Requests larger than this are split and executed in parts; 0 splits none
            (``enable_large_batch_splitting`` off).
        tflite: How a version's ``model.tflite`` is run; None if its SavedModel is (``prefer_tflite_model`` off).
    """

    max_unbatched_concurrency: int = 16
    session_config: Any = None
    warmup: bool = True
    warmup_iterations: int = 1
    pad_variable_length_inputs: bool = False
    max_execution_batch_size: int = 0
    tflite: TfliteOptions | None = None


class SessionSource:
    """Opens sessions on one model version. All methods block: call them in a thread.

    Args:
        path: The version's directory.
        runtime: Warm-up and session options.
        metrics: Told of the load and the warm-up.

    Raises:
        ServingError: The model or its warm-up requests cannot be read.
    """

    def __init__(self, path: Path, runtime: RuntimeOptions, metrics: ServerMetrics) -> None:
        self._path = path
        self._runtime = runtime
        self._metrics = metrics
        self.model = _read(path, runtime.tflite)
        self._rehearsal = Rehearsal.read(path, self.model) if runtime.warmup else Rehearsal.synthetic(self.model)

    def first(self, config: ServingConfig) -> list[Session]:
        """The sessions that a version begins with; the records that it brings along have been replayed on each.

        Raises:
            ServingError: A session could not be opened, or a record failed.
        """
        sessions = self._open(config, config.instances)
        try:
            self._replay(sessions)
        except ServingError:
            close_sessions(sessions)
            raise
        self._rehearse(sessions, config)
        return sessions

    def more(self, config: ServingConfig, count: int) -> list[Session]:
        """``count`` sessions for a configuration that is about to come into force.

        Raises:
            ServingError: A session could not be opened.
        """
        sessions = self._open(config, count)
        self._rehearse(sessions, config)
        return sessions

    def _open(self, config: ServingConfig, count: int) -> list[Session]:
        sessions: list[Session] = []
        try:
            while len(sessions) < count:
                session = self.model.open_session(
                    inter_op=config.tensorflow_inter_op_parallelism,
                    intra_op=config.tensorflow_intra_op_parallelism,
                    base=self._runtime.session_config,
                )
                sessions.append(session)
        except ServingError:
            close_sessions(sessions)
            raise
        return sessions

    def _replay(self, sessions: Sequence[Session]) -> None:
        if not self._runtime.warmup:
            return
        started = time.monotonic()
        ok = False
        try:
            for session in sessions:
                self._rehearsal.replay(session, self._runtime.warmup_iterations)
            ok = True
        finally:
            self._metrics.warmup(str(self._path), ok, time.monotonic() - started)

    def _rehearse(self, sessions: Sequence[Session], config: ServingConfig) -> None:
        """Run the batch sizes that the configuration will bring, so that no client's request is the first of them."""
        for session in sessions:
            self._rehearsal.run_sizes(session, config.max_batch_size if config.enable_batching else 1)


def _read(path: Path, tflite: TfliteOptions | None) -> LoadedModel:
    file = path / TFLITE_FILE
    return TfliteModel(file, tflite) if tflite is not None and file.is_file() else ModelGraph(path)


def close_sessions(sessions: Sequence[Session]) -> None:
    """Close all of them. Blocking; no call may be running."""
    for session in sessions:
        session.close()
