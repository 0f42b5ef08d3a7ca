"""Configuration files as textproto, and those messages of TensorFlow Serving that its wheel does not carry.

``tensorflow-serving-api`` ships ``model_server_config`` but neither ``session_bundle_config`` nor ``monitoring_config``
nor ``ssl_config``; their few messages are described here (field names, numbers and types are TensorFlow Serving's:
``servables/tensorflow/session_bundle_config.proto``, ``config/monitoring_config.proto``, ``config/ssl_config.proto``),
so that the official textproto parser reads the files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from google.protobuf.message import Message

from service.modelserver.status import Code, ServingError

#: A configuration file larger than this is a mistake, not a configuration.
MAX_FILE_BYTES = 16 << 20

_PACKAGE = "tensorflow.serving"
_SCALARS = {
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
}

#: message → field → (number, type); ``repeated`` and the wrapper types are written as in a .proto file.
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "BatchingParameters": {
        "max_batch_size": (1, "Int64Value"),
        "batch_timeout_micros": (2, "Int64Value"),
        "max_enqueued_batches": (3, "Int64Value"),
        "num_batch_threads": (4, "Int64Value"),
        "thread_pool_name": (5, "StringValue"),
        "allowed_batch_sizes": (6, "repeated int64"),
        "pad_variable_length_inputs": (7, "bool"),
        "enable_large_batch_splitting": (8, "BoolValue"),
        "max_execution_batch_size": (9, "Int64Value"),
    },
    "PrometheusConfig": {"enable": (1, "bool"), "path": (2, "string")},
    "MonitoringConfig": {"prometheus_config": (1, "PrometheusConfig")},
    "SSLConfig": {
        "server_key": (1, "string"),
        "server_cert": (2, "string"),
        "custom_ca": (3, "string"),
        "client_verify": (4, "bool"),
    },
}


def _declare() -> dict[str, type[Message]]:
    file = descriptor_pb2.FileDescriptorProto(
        name="regulus/tensorflow_serving_config.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, (number, written) in fields.items():
            kind = written.removeprefix("repeated ")
            field = described.field.add(name=name, number=number)
            field.label = field.LABEL_REPEATED if kind != written else field.LABEL_OPTIONAL
            if kind in _SCALARS:
                field.type = _SCALARS[kind]
            else:
                field.type = field.TYPE_MESSAGE
                field.type_name = f".{_PACKAGE if kind in _MESSAGES else 'google.protobuf'}.{kind}"
    # A pool of its own: an official module imported later may declare the same names in the default pool.
    pool = descriptor_pool.DescriptorPool()
    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    pool.Add(wrappers)
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


MESSAGES = _declare()

M = TypeVar("M", bound=Message)


def new_message(name: str) -> Any:
    """An empty message of the kind ``name``, such as ``BatchingParameters``."""
    return MESSAGES[name]()


def parse(text: str, message: M, source: str) -> M:
    """Fill ``message`` from textproto and return it.

    Args:
        text: The textproto.
        message: Receives the fields.
        source: What the text is, for the error message: a path or a phrase.

    Raises:
        ServingError: INVALID_ARGUMENT with TensorFlow Serving's words and the line at fault.
    """
    try:
        text_format.Parse(text, message)
    except (text_format.ParseError, RecursionError) as error:
        raise ServingError(Code.INVALID_ARGUMENT, f"Invalid protobuf file: '{source}': {error}") from None
    return message


def read(path: str | Path) -> str:
    """The text of a configuration file.

    Raises:
        ServingError: NOT_FOUND when there is none; INVALID_ARGUMENT when it is not readable text.
    """
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise ServingError(Code.NOT_FOUND, f"{path}; No such file or directory") from None
    except (OSError, ValueError) as error:
        raise ServingError(Code.INVALID_ARGUMENT, f"{path} cannot be read: {error}") from None
    if len(raw) > MAX_FILE_BYTES:
        raise ServingError(Code.INVALID_ARGUMENT, f"{path} is larger than {MAX_FILE_BYTES} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise ServingError(Code.INVALID_ARGUMENT, f"Invalid protobuf file: '{path}': not UTF-8: {error}") from None
