"""Interpreter: one ``tf.lite.Interpreter``, called by signature, whether or not its file has any."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from service.modelserver.signature import DEFAULT_SIGNATURE_KEY
from service.modelserver.status import Code, ServingError

Array = np.ndarray[Any, Any]

#: What TensorFlow Lite tells of a tensor: ``name``, ``dtype`` (a NumPy type), ``shape_signature`` (-1 for open axes).
Details = Mapping[str, Any]

# TensorFlow 2.21 has the interpreter but announces at each construction that it will move to another package.
warnings.filterwarnings("ignore", message=r"\s*Warning: tf\.lite\.Interpreter is deprecated", category=UserWarning)


class Interpreter:
    """A copy of a TensorFlow Lite model. Not for use from several threads at once.

    Args:
        content: The file; several interpreters share it.
        threads: Threads inside one operation, at least 1.

    Attributes:
        shapes: Signature key → shapes of the inputs that memory is laid out for; calls with others cost more.

    Raises:
        ServingError: INVALID_ARGUMENT: this is no TensorFlow Lite model; INTERNAL: it needs an operation that the
            interpreter does not have.
    """

    def __init__(self, content: bytes, threads: int) -> None:
        try:
            interpreter = tf.lite.Interpreter(model_content=content, num_threads=threads)
        except (ValueError, RuntimeError) as error:
            raise ServingError(Code.INVALID_ARGUMENT, f"Cannot build FlatBufferModel from buffer: {error}") from error
        try:
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ServingError(Code.INTERNAL, f"Failed to allocate tensors: {error}") from error
        keys = interpreter.get_signature_list()
        self._calls: dict[str, Any] = {key: interpreter.get_signature_runner(key) for key in keys}
        if not keys:
            self._calls[DEFAULT_SIGNATURE_KEY] = _WholeModel(interpreter)
        self.shapes: dict[str, tuple[tuple[int, ...], ...]] = {}

    def details(self) -> dict[str, tuple[dict[str, Details], dict[str, Details]]]:
        """Signature key → inputs and outputs, by alias."""
        return {key: (call.get_input_details(), call.get_output_details()) for key, call in self._calls.items()}

    def call(self, key: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one signature; releases Python's lock meanwhile.

        Args:
            key: Of the signature.
            inputs: By alias; other shapes than those of the last call make the interpreter lay out its memory anew.

        Returns:
            All its outputs, by alias.

        Raises:
            ServingError: INTERNAL: the model cannot take these shapes, or failed; INVALID_ARGUMENT: an input cannot be
                converted.
        """
        self.shapes.pop(key, None)
        try:
            outputs: dict[str, Array] = self._calls[key](**inputs)
        except RuntimeError as error:
            raise ServingError(Code.INTERNAL, f"Failed to invoke TfLite interpreter: {error}") from error
        except (TypeError, ValueError) as error:
            raise ServingError(Code.INVALID_ARGUMENT, f"The inputs cannot be given to the model: {error}") from error
        self.shapes[key] = tuple(array.shape for array in inputs.values())
        return outputs


class _WholeModel:
    """The inputs and outputs of a file without signatures, with the interface of TensorFlow Lite's signature runner.

    Aliases are the names of the tensors without a number after a colon, as in TensorFlow Serving.
    """

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        self._inputs = _by_alias(interpreter.get_input_details, "Input")
        self._outputs = _by_alias(interpreter.get_output_details, "Output")

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        # Both are over at once where the shape is what it was.
        for alias, array in inputs.items():
            self._interpreter.resize_tensor_input(self._inputs[alias]["index"], array.shape)
        self._interpreter.allocate_tensors()
        for alias, array in inputs.items():
            self._interpreter.set_tensor(self._inputs[alias]["index"], array)
        self._interpreter.invoke()
        return {alias: self._interpreter.get_tensor(details["index"]) for alias, details in self._outputs.items()}

    def get_input_details(self) -> dict[str, Details]:
        return self._inputs

    def get_output_details(self) -> dict[str, Details]:
        return self._outputs


def _by_alias(read: Callable[[], list[Details]], kind: str) -> dict[str, Details]:
    found: dict[str, Details] = {}
    for details in read():
        alias = details["name"].partition(":")[0]
        if alias in found:
            raise ServingError(Code.ALREADY_EXISTS, f"{kind} tensor name: {alias} has multiple indices")
        found[alias] = details
    return found
