"""Our messages against the official ones, which run in a process of their own because they import TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.loadgen import messages

ROOT = Path(__file__).parents[2]

NAMES = [
    "TensorShapeProto",
    "TensorProto",
    "TensorInfo",
    "SignatureDef",
    "ModelSpec",
    "PredictRequest",
    "PredictResponse",
    "GetModelMetadataRequest",
    "GetModelMetadataResponse",
    "SignatureDefMap",
]

#: Fills any set of classes with the same values; run here on ours and there on the official ones.
FILL = """
def filled(find):
    request = find("PredictRequest")()
    request.model_spec.name = "m"
    request.model_spec.version.value = 7
    request.model_spec.signature_name = "s"
    request.output_filter.append("y")
    x = request.inputs["x"]
    x.dtype = 1
    x.tensor_shape.dim.add(size=2, name="batch")
    x.tensor_shape.dim.add(size=-1)
    x.tensor_content = b"12345678"
    t = request.inputs["typed"]
    t.dtype = 2
    t.half_val.extend([1, 2])
    t.float_val.extend([1.5, -2.5])
    t.double_val.extend([1e300])
    t.int_val.extend([-1, 5])
    t.int64_val.extend([-(2**60)])
    t.string_val.extend([b"a", b"\\xff"])
    t.bool_val.extend([True, False])
    t.uint32_val.extend([2**32 - 1])
    t.uint64_val.extend([2**64 - 1])
    labelled = find("PredictRequest")()
    labelled.model_spec.version_label = "canary"
    response = find("PredictResponse")()
    response.model_spec.name = "m"
    response.outputs["y"].float_val.extend([3.0])
    ask = find("GetModelMetadataRequest")(metadata_field=["signature_def"])
    ask.model_spec.name = "m"
    signatures = find("SignatureDefMap")()
    signature = signatures.signature_def["serving_default"]
    signature.method_name = "tensorflow/serving/predict"
    signature.inputs["x"].name = "x:0"
    signature.inputs["x"].dtype = 9
    signature.inputs["x"].tensor_shape.unknown_rank = True
    answer = find("GetModelMetadataResponse")()
    answer.metadata["signature_def"].type_url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    answer.metadata["signature_def"].value = signatures.SerializeToString(deterministic=True)
    made = (request, labelled, response, ask, signatures, answer)
    return [message.SerializeToString(deterministic=True).hex() for message in made]


def described(descriptor):
    integers = {"enum", "int32"}
    names = {1: "double", 2: "float", 3: "int64", 4: "uint64", 5: "int32", 8: "bool", 9: "string", 11: "message",
             12: "bytes", 13: "uint32", 14: "enum"}
    fields = {}
    for field in descriptor.fields:
        kind = names[field.type]
        fields[field.name] = [
            field.number,
            "integer" if kind in integers else kind,
            field.is_repeated,
            field.containing_oneof.name if field.containing_oneof else None,
            field.message_type.full_name if kind == "message" else None,
        ]
    return fields
"""

OFFICIAL = """
import json, sys
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2, predict_pb2
modules = (tensor_pb2, tensor_shape_pb2, meta_graph_pb2, get_model_metadata_pb2, model_pb2, predict_pb2)
def find(name):
    return next(getattr(module, name) for module in modules if name in module.DESCRIPTOR.message_types_by_name)
names = json.loads(sys.argv[1])
json.dump({"bytes": filled(find), "fields": {n: described(find(n).DESCRIPTOR) for n in names}}, sys.stdout)
"""


def ours() -> dict[str, Any]:
    scope: dict[str, Any] = {}
    exec(FILL, scope)  # noqa: S102 — the same code runs in both processes
    return {
        "bytes": scope["filled"](lambda name: getattr(messages, name)),
        "fields": {name: scope["described"](getattr(messages, name).DESCRIPTOR) for name in NAMES},
    }


@pytest.fixture(scope="module")
def official() -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, "-c", FILL + OFFICIAL, json.dumps(NAMES)], capture_output=True, text=True, timeout=110
    )
    assert run.returncode == 0, run.stderr[-2000:]
    answer: dict[str, Any] = json.loads(run.stdout)
    return answer


def test_messages_have_the_same_bytes_as_the_official_ones(official: dict[str, Any]) -> None:
    assert ours()["bytes"] == official["bytes"]


@pytest.mark.parametrize("name", NAMES)
def test_every_field_is_the_official_one(official: dict[str, Any], name: str) -> None:
    mine, theirs = ours()["fields"][name], official["fields"][name]
    assert mine == {field: theirs.get(field) for field in mine}


def test_what_the_official_ones_wrote_is_read() -> None:
    request = messages.PredictRequest.FromString(bytes.fromhex(ours()["bytes"][0]))
    assert request.model_spec.version.value == 7
    assert list(request.inputs["typed"].int64_val) == [-(2**60)]


def test_the_load_generator_does_not_import_tensorflow() -> None:
    code = (
        "import sys, service.cli.load, service.loadgen.grpc_transport;"
        "print([m for m in sys.modules if m.split('.')[0] in ('tensorflow', 'tensorflow_serving', 'keras')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert run.stdout.strip() == "[]", run.stderr
