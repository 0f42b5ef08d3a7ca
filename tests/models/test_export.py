"""Exporting models of the zoo: what is written loads, answers the same each time, and appears whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.export import WARMUP_BATCH_SIZES, WARMUP_FILE, ExportError, example_inputs, export_model
from models.zoo import ZOO

# TensorFlow runs in a process of its own: it cannot be unloaded, and its settings would leak into other tests.
_RUN = """
import json, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from pathlib import Path
import tensorflow as tf
from models.export import example_inputs, export_model, WARMUP_FILE
from models.zoo import ZOO
from tensorflow_serving.apis import prediction_log_pb2

def export_and_run(name, out, seed):
    path = export_model(name, out, seed=seed)
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(path))
        signature = meta.signature_def["serving_default"]
        inputs = example_inputs(ZOO[name], 3, seed=7)
        feeds = {signature.inputs[alias].name: value for alias, value in inputs.items()}
        outputs = session.run({a: t.name for a, t in signature.outputs.items()}, feeds)
    methods = {key: s.method_name for key, s in meta.signature_def.items()}
    sizes = []
    for record in tf.data.TFRecordDataset(str(path / WARMUP_FILE)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        sizes.append([t.tensor_shape.dim[0].size for t in log.predict_log.request.inputs.values()][0])
    return {
        "inputs": sorted(signature.inputs), "methods": methods, "warmup": sizes,
        "outputs": {alias: value.tolist() for alias, value in outputs.items()},
    }
name, out, *seeds = sys.argv[1:]
print(json.dumps([export_and_run(name, Path(out) / seed, int(seed)) for seed in seeds]))
"""


def _export_and_run(name: str, out: Path, *seeds: int) -> list[dict[str, Any]]:
    """In one process, what the exports with these seeds are."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN, name, str(out), *map(str, seeds)], capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return results


@pytest.mark.parametrize("name", ["cnn", "mobilenet_v2", "transformer"])
def test_an_exported_model_loads_into_a_v1_session_and_answers_a_batch(name: str, tmp_path: Path) -> None:
    [result] = _export_and_run(name, tmp_path, 0)

    assert result["inputs"] == sorted(ZOO[name].inputs)
    assert result["warmup"] == list(WARMUP_BATCH_SIZES)
    (probabilities,) = result["outputs"].values()
    assert len(probabilities) == 3
    np.testing.assert_allclose(np.sum(probabilities, axis=-1), 1.0, rtol=1e-4)


def test_the_same_seed_gives_the_same_answers_and_another_seed_others(tmp_path: Path) -> None:
    first, other = _export_and_run("mlp", tmp_path / "first", 0, 1)
    [again] = _export_and_run("mlp", tmp_path / "again", 0)

    assert first["outputs"] == again["outputs"]
    assert first["outputs"] != other["outputs"]


def test_half_plus_two_has_every_kind_of_signature(tmp_path: Path) -> None:
    [result] = _export_and_run("half_plus_two", tmp_path, 0)

    x = example_inputs(ZOO["half_plus_two"], 3, seed=7)["x"]
    np.testing.assert_allclose(result["outputs"]["y"], x / 2 + 2, rtol=1e-6)
    kinds = {method.rsplit("/", 1)[-1] for method in result["methods"].values()}
    assert kinds == {"predict", "classify", "regress"}


def test_an_existing_version_is_left_alone(tmp_path: Path) -> None:
    version = tmp_path / "mlp" / "1"
    version.mkdir(parents=True)
    (version / "mine").write_text("keep")

    assert export_model("mlp", tmp_path) == version
    assert [entry.name for entry in version.iterdir()] == ["mine"]


def test_a_failed_export_leaves_nothing_that_a_server_could_take_for_a_version(tmp_path: Path) -> None:
    blocked = tmp_path / "mlp"
    blocked.write_text("a file where a folder must be")

    with pytest.raises(ExportError, match="cannot write"):
        export_model("mlp", tmp_path)
    assert blocked.read_text() == "a file where a folder must be"


@pytest.mark.parametrize(("name", "version", "message"), [("nope", 1, "there are half_plus_two"), ("mlp", -1, "0 or")])
def test_a_request_that_makes_no_sense_is_refused(name: str, version: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        export_model(name, tmp_path, version=version)


def test_the_warm_up_file_lies_where_tensorflow_serving_looks_for_it() -> None:
    assert Path("assets.extra/tf_serving_warmup_requests") == WARMUP_FILE
