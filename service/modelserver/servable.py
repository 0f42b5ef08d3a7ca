"""Servable: one loaded version of a model, whose configuration can be changed while it serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from service.domain.serving_config import ServingConfig
from service.modelserver.signature import Signature

if TYPE_CHECKING:
    from service.modelserver.metrics import ServerMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeOptions:
    """How models are loaded and run, whatever their configuration.

    Attributes:
        max_unbatched_concurrency: Session calls in flight with batching off (``grpc_max_threads``).
        session_config: ``ConfigProto`` of ``tensorflow_session_config_file``; None for TensorFlow's defaults. The
            thread counts in it are overwritten by the configuration's.
        warmup: Whether to replay ``assets.extra/tf_serving_warmup_requests`` (``enable_model_warmup``).
        warmup_iterations: How often each of its records is replayed (``num_request_iterations_for_warmup``; 0 means 1).
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
    """A configuration that is loaded and warm beside the one in force, waiting for :meth:`commit` or :meth:`discard`.

    Several servables are switched together, all or none, by preparing each first.
    """

    def commit(self) -> None:
        """Route new requests to it, at once; the old one drains and closes in the background."""
        raise NotImplementedError

    async def discard(self) -> None:
        """Release it; the configuration in force has not been touched."""
        raise NotImplementedError


class Servable:
    """One loaded model version."""

    name: str
    version: int
    path: Path
    signatures: Mapping[str, Signature]
    signature_defs: Mapping[str, Any]
    config: ServingConfig

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
    ) -> Servable:
        """Read the SavedModel at ``path`` and warm it. Blocking: call it in a thread.

        Raises:
            ServingError: The model cannot be read, or its warm-up fails.
        """
        raise NotImplementedError

    def signature(self, key: str = "") -> Signature:
        """The signature of that name; ``serving_default`` when empty.

        Raises:
            ServingError: FAILED_PRECONDITION: the model has none of that name.
        """
        raise NotImplementedError

    async def run(
        self, signature: Signature, inputs: Mapping[str, np.ndarray[Any, Any]], outputs: Sequence[str]
    ) -> list[np.ndarray[Any, Any]]:
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
        raise NotImplementedError

    async def prepare(self, config: ServingConfig) -> PreparedSwitch:
        """Load and warm ``config`` beside the one in force, which serves on untouched."""
        raise NotImplementedError

    async def switch(self, config: ServingConfig) -> None:
        """Put ``config`` in force without losing a request; returns when new requests are served by it."""
        raise NotImplementedError

    async def close(self) -> None:
        """Finish what is queued and running, then release sessions and threads. Idempotent."""
        raise NotImplementedError
