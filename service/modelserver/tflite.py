"""TfliteModel and TfliteSession: a ``model.tflite`` read once, and the pools of interpreters that run it.

What ``--prefer_tflite_model`` serves; after TensorFlow Serving's ``servables/tensorflow/tflite_session.cc``. There, a
version has one pool; here each of its sessions has, so that ``instances`` means the same for both kinds of model.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from service.modelserver.signature import Signature
from service.modelserver.status import Code, ServingError
from service.modelserver.tflite_interpreter import Array, Interpreter
from service.modelserver.tflite_pool import InterpreterPool
from service.modelserver.tflite_signatures import own_signature, read_signatures, signature_def

#: Where the model lies inside a version's directory.
TFLITE_FILE = "model.tflite"

#: Examples that TensorFlow Serving shares out among the interpreters of a pool (``kInitialBatchSize``).
_SHARED_EXAMPLES = 500


@dataclass(frozen=True, slots=True)
class TfliteOptions:
    """How TensorFlow Lite models are run.

    Attributes:
        interpreters: In the pool of a session, and so calls that compute at once (``num_tflite_pools``; 0 means 1).
        parts: Over 1, larger calls are cut and their parts run at once (``num_tflite_interpreters_per_pool``).
    """

    interpreters: int = 1
    parts: int = 1

    @property
    def part_size(self) -> int:
        """Examples above which a call is cut into parts of this size; 0 cuts none."""
        return -(-_SHARED_EXAMPLES // self.parts) if self.parts > 1 else 0


class TfliteModel:
    """The content and signatures of a ``model.tflite``.

    Args:
        file: The model.
        options: How many interpreters, and how they share work.

    Raises:
        ServingError: The file cannot be read, is no TensorFlow Lite model or needs an operation that is not there.
    """

    def __init__(self, file: Path, options: TfliteOptions) -> None:
        self._options = options
        try:
            self._content = file.read_bytes()
        except OSError as error:
            raise ServingError(Code.NOT_FOUND, f"Could not read {file}: {error.strerror}") from error
        try:
            self.signatures: Mapping[str, Signature] = read_signatures(lambda: Interpreter(self._content, 1))
        except ServingError as error:
            raise ServingError(error.code, f"{file}: {error.message}") from error
        self.signature_defs: Mapping[str, Any] = {key: signature_def(one) for key, one in self.signatures.items()}

    def open_session(self, *, inter_op: int, intra_op: int, base: Any = None) -> TfliteSession:
        """A pool of interpreters. Blocking.

        Args:
            inter_op: Unused: an interpreter runs one operation after another.
            intra_op: Threads inside one operation; 0 means 1.
            base: Unused: ``ConfigProto`` is TensorFlow's own.

        Raises:
            ServingError: Memory could not be laid out.
        """
        count = max(self._options.interpreters, 1)
        pool = [Interpreter(self._content, max(intra_op, 1)) for _ in range(count)]
        return TfliteSession(pool, self.signatures, self._options.part_size)


class TfliteSession:
    """One pool of interpreters. :meth:`run` may be called from several threads at once.

    Args:
        interpreters: Copies of the model.
        signatures: The model's.
        part_size: Examples above which a call is cut into parts of this size that run at once; 0 cuts none.
    """

    def __init__(
        self, interpreters: Sequence[Interpreter], signatures: Mapping[str, Signature], part_size: int = 0
    ) -> None:
        self._pool = InterpreterPool(interpreters)
        self._signatures = signatures
        self._part_size = part_size
        self._divisible = {key for key, one in signatures.items() if part_size and _answers_by_rows(one)}
        self._threads = ThreadPoolExecutor(len(interpreters), "tflite-part") if self._divisible else None

    def run(self, signature: Signature, inputs: Sequence[Array], outputs: tuple[str, ...]) -> tuple[list[Array], float]:
        """As :meth:`service.modelserver.loaded_model.Session.run`; waits for an idle interpreter.

        The seconds are those of the call alone, where it is not cut.
        """
        own, fed, fetched = own_signature(signature, outputs, self._signatures)
        named = dict(zip(fed, inputs, strict=True))
        if self._threads is not None and own.key in self._divisible and len(inputs[0]) > self._part_size:
            answer, seconds = self._in_parts(self._threads, own.key, named, len(inputs[0]))
        else:
            answer, seconds = self._call(own.key, named)
        return [answer[alias] for alias in fetched], seconds

    def close(self) -> None:
        """Release memory and threads. Blocking; no call may be running. Idempotent."""
        if self._threads is not None:
            self._threads.shutdown()
        self._pool.clear()

    def _call(self, key: str, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], float]:
        interpreter = self._pool.take(key, tuple(array.shape for array in inputs.values()))
        started = time.perf_counter()
        try:
            answer = interpreter.call(key, inputs)
        finally:
            self._pool.give_back(interpreter)
        return answer, time.perf_counter() - started

    def _in_parts(
        self, threads: ThreadPoolExecutor, key: str, inputs: Mapping[str, Array], size: int
    ) -> tuple[dict[str, Array], float]:
        started = time.perf_counter()
        calls = []
        for at in range(0, size, self._part_size):
            part = {alias: array[at : at + self._part_size] for alias, array in inputs.items()}
            calls.append(threads.submit(self._call, key, part))
        answers = [call.result()[0] for call in calls]
        whole = {alias: np.concatenate([answer[alias] for answer in answers]) for alias in answers[0]}
        return whole, time.perf_counter() - started


def _answers_by_rows(signature: Signature) -> bool:
    """Whether examples can be run apart: each input and output has a row for each."""
    return signature.batchable and all(spec.shape and spec.shape[0] is None for spec in signature.outputs.values())
