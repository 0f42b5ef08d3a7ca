"""The few TensorFlow Serving messages a client needs, without TensorFlow.

Importing the official ``tensorflow_serving.apis`` imports all of TensorFlow (seconds, hundreds of megabytes). These are
the same messages, by the public schema's names and field numbers and so the same bytes, declared in a descriptor pool
of their own, which lets them live beside the official ones in one process. Fields that a load generator neither
sends nor reads are left out; protobuf keeps them as unknown fields. Enumerations are declared as ``int32``, which
has the same encoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from google.protobuf import any_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_TYPES: Final = {
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
    "uint64": FieldDescriptorProto.TYPE_UINT64,
    "float": FieldDescriptorProto.TYPE_FLOAT,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "string": FieldDescriptorProto.TYPE_STRING,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
}

#: One field: (label, type, name, number). A label is "" (singular), "repeated", "map" (string keys; the type is the
#: values') or the name of the oneof that the field belongs to.
_Field = tuple[str, str, str, int]


def _fill(message: DescriptorProto, full_name: str, fields: Sequence[_Field]) -> None:
    """Declare ``fields`` on ``message``, whose absolute name is ``full_name``."""
    oneofs: dict[str, int] = {}
    for label, kind, name, number in fields:
        field = message.field.add(name=name, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
        if label == "map":
            entry = message.nested_type.add(name="".join(part.capitalize() for part in name.split("_")) + "Entry")
            entry.options.map_entry = True
            _fill(entry, f"{full_name}.{entry.name}", [("", "string", "key", 1), ("", kind, "value", 2)])
            kind, label = f"{full_name}.{entry.name}", "repeated"
        if label == "repeated":
            field.label = FieldDescriptorProto.LABEL_REPEATED
        elif label:
            if label not in oneofs:
                oneofs[label] = len(oneofs)
                message.oneof_decl.add(name=label)
            field.oneof_index = oneofs[label]
        if kind in _TYPES:
            field.type = _TYPES[kind]
        else:
            field.type = FieldDescriptorProto.TYPE_MESSAGE
            field.type_name = kind


def _file(name: str, package: str, dependencies: Sequence[str], messages: dict[str, Sequence[_Field]]) -> bytes:
    """A serialised proto3 file; ``Outer.Inner`` nests a message in one declared before it."""
    file = FileDescriptorProto(name=name, package=package, syntax="proto3", dependency=dependencies)
    declared: dict[str, DescriptorProto] = {}
    for path, fields in messages.items():
        outer, _, inner = path.rpartition(".")
        declared[path] = declared[outer].nested_type.add(name=inner) if outer else file.message_type.add(name=inner)
        _fill(declared[path], f".{package}.{path}", fields)
    return file.SerializeToString()


# tensorflow/core/framework/{tensor,tensor_shape}.proto and tensorflow/core/protobuf/meta_graph.proto
_TENSORFLOW = _file(
    "regulus/tensorflow.proto",
    "tensorflow",
    (),
    {
        "TensorShapeProto": [
            ("repeated", ".tensorflow.TensorShapeProto.Dim", "dim", 2),
            ("", "bool", "unknown_rank", 3),
        ],
        "TensorShapeProto.Dim": [("", "int64", "size", 1), ("", "string", "name", 2)],
        "TensorProto": [
            ("", "int32", "dtype", 1),
            ("", ".tensorflow.TensorShapeProto", "tensor_shape", 2),
            ("", "int32", "version_number", 3),
            ("", "bytes", "tensor_content", 4),
            ("repeated", "int32", "half_val", 13),
            ("repeated", "float", "float_val", 5),
            ("repeated", "double", "double_val", 6),
            ("repeated", "int32", "int_val", 7),
            ("repeated", "bytes", "string_val", 8),
            ("repeated", "int64", "int64_val", 10),
            ("repeated", "bool", "bool_val", 11),
            ("repeated", "uint32", "uint32_val", 16),
            ("repeated", "uint64", "uint64_val", 17),
        ],
        "TensorInfo": [
            ("encoding", "string", "name", 1),
            ("", "int32", "dtype", 2),
            ("", ".tensorflow.TensorShapeProto", "tensor_shape", 3),
        ],
        "SignatureDef": [
            ("map", ".tensorflow.TensorInfo", "inputs", 1),
            ("map", ".tensorflow.TensorInfo", "outputs", 2),
            ("", "string", "method_name", 3),
        ],
    },
)

# tensorflow_serving/apis/{model,predict,get_model_metadata}.proto
_SERVING = _file(
    "regulus/serving.proto",
    "tensorflow.serving",
    ("regulus/tensorflow.proto", "google/protobuf/any.proto", "google/protobuf/wrappers.proto"),
    {
        "ModelSpec": [
            ("", "string", "name", 1),
            ("version_choice", ".google.protobuf.Int64Value", "version", 2),
            ("version_choice", "string", "version_label", 4),
            ("", "string", "signature_name", 3),
        ],
        "PredictRequest": [
            ("", ".tensorflow.serving.ModelSpec", "model_spec", 1),
            ("map", ".tensorflow.TensorProto", "inputs", 2),
            ("repeated", "string", "output_filter", 3),
        ],
        "PredictResponse": [
            ("", ".tensorflow.serving.ModelSpec", "model_spec", 2),
            ("map", ".tensorflow.TensorProto", "outputs", 1),
        ],
        "GetModelMetadataRequest": [
            ("", ".tensorflow.serving.ModelSpec", "model_spec", 1),
            ("repeated", "string", "metadata_field", 2),
        ],
        "GetModelMetadataResponse": [
            ("", ".tensorflow.serving.ModelSpec", "model_spec", 1),
            ("map", ".google.protobuf.Any", "metadata", 2),
        ],
        "SignatureDefMap": [("map", ".tensorflow.SignatureDef", "signature_def", 1)],
    },
)

_pool = DescriptorPool()
for _serialised in (any_pb2.DESCRIPTOR.serialized_pb, wrappers_pb2.DESCRIPTOR.serialized_pb, _TENSORFLOW, _SERVING):
    _pool.AddSerializedFile(_serialised)


def _message(name: str) -> Any:
    """The message class; ``Any`` because its fields exist at run time alone."""
    return GetMessageClass(_pool.FindMessageTypeByName(name))


TensorShapeProto: Final[Any] = _message("tensorflow.TensorShapeProto")
TensorProto: Final[Any] = _message("tensorflow.TensorProto")
TensorInfo: Final[Any] = _message("tensorflow.TensorInfo")
SignatureDef: Final[Any] = _message("tensorflow.SignatureDef")
ModelSpec: Final[Any] = _message("tensorflow.serving.ModelSpec")
PredictRequest: Final[Any] = _message("tensorflow.serving.PredictRequest")
PredictResponse: Final[Any] = _message("tensorflow.serving.PredictResponse")
GetModelMetadataRequest: Final[Any] = _message("tensorflow.serving.GetModelMetadataRequest")
GetModelMetadataResponse: Final[Any] = _message("tensorflow.serving.GetModelMetadataResponse")
SignatureDefMap: Final[Any] = _message("tensorflow.serving.SignatureDefMap")

#: gRPC method paths of PredictionService.
PREDICT_METHOD: Final = "/tensorflow.serving.PredictionService/Predict"
METADATA_METHOD: Final = "/tensorflow.serving.PredictionService/GetModelMetadata"
