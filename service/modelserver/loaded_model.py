"""LoadedModel and Session: what engines, warm-up and the APIs need of a model, whichever runtime executes it.

:mod:`~service.modelserver.session` executes SavedModels, :mod:`~service.modelserver.tflite` TensorFlow Lite files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from service.modelserver.signature import Signature

Array = np.ndarray[Any, Any]


class Session(Protocol):
    """One loaded copy of a model. :meth:`run` may be called from several threads at once."""

    def run(self, signature: Signature, inputs: Sequence[Array], outputs: tuple[str, ...]) -> tuple[list[Array], float]:
        """Run the model. Blocking; the lock of Python is released while the runtime computes.

        Args:
            signature: One of the model's, or one made of its tensors (MultiInference).
            inputs: One array for each of its inputs, in its order.
            outputs: Aliases of the wanted outputs.

        Returns:
            One array for each of ``outputs``, and the seconds the call took.

        Raises:
            ServingError: What the runtime says went wrong.
        """
        ...

    def close(self) -> None:
        """Release memory and threads. Blocking; no call may be running. Idempotent."""
        ...


class LoadedModel(Protocol):
    """A model version that has been read; the sessions opened on it are independent of each other."""

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """By key."""
        ...

    @property
    def signature_defs(self) -> Mapping[str, Any]:
        """The same as TensorFlow's own messages."""
        ...

    def open_session(self, *, inter_op: int, intra_op: int, base: Any = None) -> Session:
        """A copy that can be run. Blocking.

        Args:
            inter_op: Operations run at once; 0 lets the runtime choose.
            intra_op: Threads inside one operation; 0 lets the runtime choose.
            base: ``ConfigProto`` with further options, for runtimes that know it.

        Raises:
            ServingError: It could not be opened.
        """
        ...
