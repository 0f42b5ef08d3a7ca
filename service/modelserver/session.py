"""ModelGraph and ModelSession: a SavedModel read once, and the TensorFlow sessions that run it.

The graph is imported once for each model version, under Python's lock; a session on it is made almost wholly in C++,
so one can be opened beside those that serve without holding them up. Every session has its own variables and its own
intra-op and inter-op thread pools (:mod:`service.modelserver` sets what that needs before TensorFlow is imported).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.saved_model import loader_impl

from service.modelserver.signature import (
    NUMPY_DTYPES,
    Signature,
    TensorSpec,
)
from service.modelserver.status import Code, ServingError

Array = np.ndarray[Any, Any]

TAGS = ("serve",)

#: Sets of outputs for which a session keeps a prepared call, a signature; further sets run with all outputs.
_MAX_OUTPUT_SETS = 16


class ModelGraph:
    """The graph, signatures and variables of one SavedModel directory. Opened sessions are independent of each other.

    Args:
        path: The version's directory, holding ``saved_model.pb``.

    Raises:
        ServingError: NOT_FOUND: no SavedModel there, or none with the tag ``serve``; INVALID_ARGUMENT or whatever
            TensorFlow says when the graph cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opening = threading.Lock()
        try:
            self._loader = loader_impl.SavedModelLoader(str(path))
            meta_graph = self._loader.get_meta_graph_def_from_tags(TAGS)
        except (OSError, RuntimeError) as error:
            raise ServingError(
                Code.NOT_FOUND, f"Could not find a SavedModel with the tag {TAGS[0]!r} at {path}: {error}"
            ) from error
        self.signature_defs: Mapping[str, Any] = dict(meta_graph.signature_def)
        self.signatures: Mapping[str, Signature] = {
            key: _signature(key, definition) for key, definition in self.signature_defs.items()
        }
        self._graph = tf.Graph()
        try:
            self._saver, _ = self._loader.load_graph(self._graph, TAGS)
            with self._graph.as_default():
                self._initialises = _does_something(loader_impl.get_init_op(meta_graph))
        except (tf.errors.OpError, ValueError, KeyError) as error:
            raise _as_serving_error(error) from error

    def open_session(self, *, inter_op: int, intra_op: int, base: Any = None) -> ModelSession:
        """A session with its variables restored and tables initialised. Blocking.

        Args:
            inter_op: Operations run at once; 0 lets TensorFlow choose.
            intra_op: Threads inside one operation; 0 lets TensorFlow choose.
            base: ``ConfigProto`` to start from; its thread counts are overwritten. None for TensorFlow's defaults.

        Raises:
            ServingError: Variables, assets or tables could not be loaded.
        """
        config = config_pb2.ConfigProto()
        if base is not None:
            config.CopyFrom(base)
        else:
            # Prepares what is run instead of the whole graph for each of its parts: opens large models twice as fast,
            # and they then run no slower.
            config.graph_options.place_pruned_graph = True
        config.use_per_session_threads = True
        config.inter_op_parallelism_threads = inter_op
        config.intra_op_parallelism_threads = intra_op
        # TensorFlow's graph and saver objects are not made for use from several threads.
        with self._opening:
            session = tf.compat.v1.Session(graph=self._graph, config=config)
            try:
                self._loader.restore_variables(session, self._saver)
                if self._initialises:
                    self._loader.run_init_ops(session, TAGS)
            except (tf.errors.OpError, ValueError, KeyError) as error:
                session.close()
                raise _as_serving_error(error) from error
        return ModelSession(session, self.signatures)


class ModelSession:
    """One loaded copy of a model. :meth:`run` may be called from several threads at once."""

    def __init__(self, session: Any, signatures: Mapping[str, Signature]) -> None:
        self._session = session
        self._calls: dict[tuple[str, tuple[str, ...]], Callable[..., list[Array]]] = {}
        self._preparing = threading.Lock()
        self._signatures = signatures

    def run(self, signature: Signature, inputs: Sequence[Array], outputs: tuple[str, ...]) -> tuple[list[Array], float]:
        """Run the model. Blocking; the lock of Python is released while TensorFlow computes.

        Args:
            signature: One of the model's.
            inputs: One array for each of its inputs, in its order.
            outputs: Aliases of the wanted outputs.

        Returns:
            One array for each of ``outputs``, and the seconds the call took.

        Raises:
            ServingError: What TensorFlow says went wrong.
        """
        call = self._calls.get((signature.key, outputs)) or self._prepared(signature, outputs)
        started = time.perf_counter()
        try:
            arrays = call(*inputs)
        except tf.errors.OpError as error:
            raise _as_serving_error(error) from error
        except (TypeError, ValueError) as error:
            raise ServingError(Code.INVALID_ARGUMENT, f"The inputs cannot be given to the model: {error}") from error
        return arrays, time.perf_counter() - started

    def close(self) -> None:
        """Release memory and threads. Blocking; no call may be running. Idempotent."""
        self._calls.clear()
        self._session.close()

    def _prepared(self, signature: Signature, outputs: tuple[str, ...]) -> Callable[..., list[Array]]:
        every = tuple(signature.outputs)
        with self._preparing:
            kept = sum(1 for key, _ in self._calls if key == signature.key)
            if outputs == every or kept < _MAX_OUTPUT_SETS:
                return self._make(signature, outputs)
            call = self._make(signature, every)
        positions = [every.index(alias) for alias in outputs]

        def pick(*inputs: Array) -> list[Array]:
            arrays = call(*inputs)
            return [arrays[position] for position in positions]

        return pick

    def _make(self, signature: Signature, outputs: tuple[str, ...]) -> Callable[..., list[Array]]:
        key = (signature.key, outputs)
        if key not in self._calls:
            options = config_pb2.CallableOptions()
            options.feed.extend(spec.name for spec in signature.inputs.values())
            options.fetch.extend(signature.outputs[alias].name for alias in outputs)
            try:
                # The public make_callable goes through Session.run when there are feeds, which costs 40 % more.
                self._calls[key] = self._session._make_callable_from_options(options)
            except tf.errors.OpError as error:
                raise _as_serving_error(error) from error
        return self._calls[key]


def first_session() -> None:
    """Open and close an empty session: TensorFlow looks for devices at the first, and says so on stderr."""
    tf.compat.v1.Session(graph=tf.Graph()).close()


def _signature(key: str, definition: Any) -> Signature:
    """Our view of a ``SignatureDef``; aliases sorted, as TensorFlow Serving's maps are."""
    return Signature(
        key=key,
        method_name=definition.method_name,
        inputs={alias: _spec(info) for alias, info in sorted(definition.inputs.items())},
        outputs={alias: _spec(info) for alias, info in sorted(definition.outputs.items())},
    )


def _spec(info: Any) -> TensorSpec:
    shape = None if info.tensor_shape.unknown_rank else tuple(_size(dim.size) for dim in info.tensor_shape.dim)
    return TensorSpec(NUMPY_DTYPES.get(info.dtype, np.dtype(object)), info.dtype, shape, info.name)


def _does_something(init_op: Any) -> bool:
    """Whether running a model's initialiser has an effect; it costs as much as running a model for the first time."""
    operation = getattr(init_op, "op", init_op)
    return operation is not None and (operation.type != "NoOp" or bool(operation.control_inputs))


def _size(size: int) -> int | None:
    return None if size < 0 else size


def _as_serving_error(error: Exception) -> ServingError:
    if isinstance(error, tf.errors.OpError):
        return ServingError(Code(error.error_code), error.message)
    return ServingError(Code.INVALID_ARGUMENT, f"The SavedModel cannot be loaded: {error}")
