"""Small TensorFlow Lite files, alone or beside a SavedModel of the same function."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from service.modelserver.tflite import TFLITE_FILE

#: For pytest: the interpreter announces at each construction that it will move to another package. The server silences
#: that for the process; pytest sets the filters anew for each test.
MOVE_ANNOUNCED = r"ignore:\s*Warning. tf.lite.Interpreter is deprecated:UserWarning"

FEATURES = 16


def convert(function: Callable[..., Any], **inputs: Any) -> bytes:
    """A file with the signature ``serving_default``: a function of ``inputs``, TensorSpecs, that returns a dict."""
    concrete = _concrete(function, inputs)
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module()).convert())


def write(path: Path, content: bytes) -> Path:
    """A version directory with the file; other files in it stay."""
    path.mkdir(parents=True, exist_ok=True)
    (path / TFLITE_FILE).write_bytes(content)
    return path


def vector(*rest: int) -> Any:
    """Spec of a float input with an open first axis."""
    return tf.TensorSpec([None, *rest], tf.float32)


def half_plus(constant: float = 2.0) -> bytes:
    """``x`` float [?] → ``y`` = x/2 + constant."""
    return convert(lambda x: {"y": x / 2 + constant}, x=vector())


def without_signatures() -> bytes:
    """Input ``x`` and outputs ``y`` = x/2 + 2 and ``z`` = 3 x, all float [?], and no signature."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], name="x")
        outputs = [tf.identity(x / 2 + 2, name="y"), tf.identity(x * 3, name="z")]
        return bytes(v1.lite.TFLiteConverter.from_session(session, [x], outputs).convert())


def save_both(path: Path) -> Path:
    """A version directory with a SavedModel and the TensorFlow Lite file converted from it.

    Signatures, ``?`` being any size:

    - ``serving_default``: ``x`` float [?, 16] → ``y`` float [?, 3], a small network
    - ``count``: ``x`` float [?] → ``rows``, the number of examples in the call, int32 [?]
    """
    generator = np.random.default_rng(7)
    module = tf.Module()
    module.hidden = tf.Variable(generator.normal(size=(FEATURES, 32)).astype(np.float32))
    module.output = tf.Variable(generator.normal(size=(32, 3)).astype(np.float32))

    def network(x: Any) -> dict[str, Any]:
        return {"y": tf.nn.softmax(tf.nn.relu(x @ module.hidden) @ module.output)}

    def count(x: Any) -> dict[str, Any]:
        return {"rows": tf.cast(x * 0, tf.int32) + tf.shape(x)[0]}

    signatures = {
        "serving_default": _concrete(network, {"x": vector(FEATURES)}),
        "count": _concrete(count, {"x": vector()}),
    }
    tf.saved_model.save(module, str(path), signatures=signatures)
    return write(path, bytes(tf.lite.TFLiteConverter.from_saved_model(str(path)).convert()))


def only_tflite(path: Path, target: Path) -> Path:
    """A version directory ``target`` with nothing but the TensorFlow Lite file of ``path``."""
    target.mkdir(parents=True)
    shutil.copy(path / TFLITE_FILE, target)
    return target


def _concrete(function: Callable[..., Any], inputs: Mapping[str, Any]) -> Any:
    named = {name: tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in inputs.items()}
    return tf.function(function, autograph=False).get_concrete_function(**named)
