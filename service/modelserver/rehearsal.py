"""Rehearsal: the calls that warm a session before clients reach it.

The records that a model brings along are TensorFlow Serving's own warm-up and are replayed as they are when the model
is loaded. Besides that, each new session runs a few batch sizes up to the configuration's largest, because TensorFlow
prepares kernels for each shape it meets; their rows are those of the first record or, without one, zeros. This second
part is a courtesy: what fails there is left to the request that meets it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from service.modelserver.loaded_model import LoadedModel, Session
from service.modelserver.signature import DEFAULT_SIGNATURE_KEY, Signature, check_inputs
from service.modelserver.status import ServingError
from service.modelserver.warmup import read_warmup_requests, warmup_calls

Array = np.ndarray[Any, Any]

#: Seconds after which a session is warm enough: a switch must not take long, and it competes with those who serve.
BUDGET_SECONDS = 0.25

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One call of a signature.

    Attributes:
        signature: What to call.
        inputs: One array for each of its inputs, in its order.
        outputs: Aliases of the wanted outputs.
    """

    signature: Signature
    inputs: Sequence[Array]
    outputs: tuple[str, ...]


class Rehearsal:
    """What is run on a new session.

    Args:
        recorded: Calls that the model brings along.
        probes: One call of one example for each signature that is worth warming at several sizes.
    """

    def __init__(self, recorded: Sequence[Call], probes: Sequence[Call]) -> None:
        self._recorded = recorded
        self._probes = probes

    @classmethod
    def read(cls, path: Path, model: LoadedModel) -> Rehearsal:
        """From the records in the version's directory; synthetic where there are none.

        Raises:
            ServingError: A record cannot be read or does not fit the model.
        """
        recorded = []
        for log in read_warmup_requests(path):
            for call in warmup_calls(log, model.signature_defs):
                signature = model.signatures[call.signature]
                outputs = tuple(check_inputs(signature, call.inputs, call.outputs))
                recorded.append(Call(signature, [call.inputs[alias] for alias in signature.inputs], outputs))
        if not recorded:
            return cls.synthetic(model)
        first: dict[str, Call] = {}
        for one in recorded:
            if one.signature.batchable and all(len(array) for array in one.inputs):
                row = [array[:1] for array in one.inputs]
                first.setdefault(one.signature.key, Call(one.signature, row, tuple(one.signature.outputs)))
        return cls(recorded, list(first.values()))

    @classmethod
    def synthetic(cls, model: LoadedModel) -> Rehearsal:
        """Zeros for the default signature if its shapes say enough; none for strings, where zeros mean nothing."""
        signature = model.signatures.get(DEFAULT_SIGNATURE_KEY)
        row = _zeros(signature) if signature is not None and signature.batchable else None
        if signature is None or row is None:
            return cls([], [])
        return cls([], [Call(signature, row, tuple(signature.outputs))])

    def replay(self, session: Session, iterations: int) -> None:
        """Run every record ``iterations`` times.

        Raises:
            ServingError: One failed.
        """
        for _ in range(max(1, iterations)):
            for call in self._recorded:
                session.run(call.signature, call.inputs, call.outputs)

    def run_sizes(self, session: Session, largest: int) -> None:
        """Run each probe at growing sizes up to ``largest`` examples, until the budget is spent."""
        for probe in self._probes:
            deadline = time.monotonic() + BUDGET_SECONDS / len(self._probes)
            seconds = 0.0
            for size in sizes_up_to(largest):
                # The next call is about four times as long as the last.
                if time.monotonic() + 4 * seconds > deadline and size > 1:
                    break
                try:
                    _, seconds = session.run(
                        probe.signature, [np.repeat(array, size, axis=0) for array in probe.inputs], probe.outputs
                    )
                except ServingError as error:
                    _log.info("warming %s with %d examples failed: %s", probe.signature.key, size, error)
                    break


def sizes_up_to(largest: int) -> list[int]:
    """1, 4, 16, … and ``largest`` itself."""
    sizes = [1]
    while sizes[-1] * 4 < largest:
        sizes.append(sizes[-1] * 4)
    return sizes if largest <= 1 else [*sizes, largest]


def _zeros(signature: Signature) -> list[Array] | None:
    """One example of zeros; None where an input's shape leaves more than its first axis open, or holds strings."""
    arrays = []
    for spec in signature.inputs.values():
        if spec.dtype == object or spec.shape is None or None in spec.shape[1:]:
            return None
        arrays.append(np.zeros((1, *(size or 0 for size in spec.shape[1:])), spec.dtype))
    return arrays
