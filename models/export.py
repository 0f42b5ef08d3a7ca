"""Exporting: a model of the zoo becomes a version directory that a model server can load.

A version appears whole or not at all: it is written beside its place and renamed, because servers poll the folder.
"""

from __future__ import annotations

import importlib
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from models.zoo import ZOO, InputSpec, ZooModel

#: Where TensorFlow Serving looks for requests to replay before a version becomes AVAILABLE.
WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"

#: Batch sizes among the warm-up requests: the first call of each new shape is the slow one.
WARMUP_BATCH_SIZES = (1, 2, 8)


class ExportError(Exception):
    """A model could not be exported; the message says what to do."""


def export_model(name: str, out_dir: Path, *, version: int = 1, seed: int = 0, replace: bool = False) -> Path:
    """Write ``out_dir/NAME/VERSION`` as a SavedModel with warm-up requests.

    Args:
        name: A name of :data:`models.zoo.ZOO`.
        out_dir: Folder of all models; made if it is missing.
        version: Number of the version directory.
        seed: Seed of the weights; the same seed gives the same answers.
        replace: Whether an existing version is written anew; else it is left alone and returned.

    Returns:
        The version directory.

    Raises:
        ExportError: The name is unknown, the version is negative, or the folder cannot be written.
    """
    if name not in ZOO:
        raise ExportError(f"no model named {name!r} in the zoo; there are {', '.join(ZOO)}")
    if version < 0:
        raise ExportError(f"version must be 0 or more, not {version}")
    entry = ZOO[name]
    target = out_dir / name / str(version)
    if target.exists() and not replace:
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that the rename stays inside one file system; the name is no number, so no server
        # takes it for a version.
        with tempfile.TemporaryDirectory(prefix=f".{version}-", dir=target.parent) as scratch:
            written = Path(scratch) / "model"
            _save(entry, written, seed)
            _write_warmup(entry, written, seed)
            _move_into_place(written, target, Path(scratch) / "old")
    except OSError as error:
        raise ExportError(f"cannot write {target}: {error}") from error
    return target


def _save(entry: ZooModel, path: Path, seed: int) -> None:
    module = importlib.import_module(entry.module)
    with warnings.catch_warnings():
        # Keras and TensorFlow warn about their own internals while saving.
        warnings.simplefilter("ignore")
        getattr(module, f"save_{entry.name}")(path, seed)


def _move_into_place(written: Path, target: Path, discarded: Path) -> None:
    if target.exists():
        target.rename(discarded)
    try:
        written.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        # Another process exported the same version meanwhile; both are the same model.
    shutil.rmtree(discarded, ignore_errors=True)


def example_inputs(entry: ZooModel, batch_size: int, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    """Seeded inputs of ``serving_default`` for a batch: arrays of shape (batch_size, *shape of one example)."""
    generator = np.random.default_rng(seed)
    return {name: _draw(generator, spec, batch_size) for name, spec in entry.inputs.items()}


def _draw(generator: np.random.Generator, spec: InputSpec, batch_size: int) -> np.ndarray[Any, Any]:
    values = generator.random((batch_size, *spec.shape)) * spec.upper
    return values.astype(spec.dtype)


def _write_warmup(entry: ZooModel, path: Path, seed: int) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    target = path / WARMUP_FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(target)) as writer:
        for batch_size in WARMUP_BATCH_SIZES:
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = entry.name
            request.model_spec.signature_name = "serving_default"
            for name, values in example_inputs(entry, batch_size, seed).items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
            writer.write(log.SerializeToString())
