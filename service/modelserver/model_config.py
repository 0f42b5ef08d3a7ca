"""ModelConfig: which models are served, from where, and which of their versions.

Read from ``--model_config_file``, from HandleReloadConfigRequest, or from ``--model_name`` and ``--model_base_path``.
What is accepted and refused follows ``model_servers/server_core.cc`` and
``sources/storage_path/file_system_storage_path_source.cc`` of TensorFlow Serving.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from tensorflow_serving.config import model_server_config_pb2

from service.modelserver import textproto
from service.modelserver.flags import ServerFlags
from service.modelserver.status import Code, ServingError

#: The one platform that is served.
TENSORFLOW_PLATFORM = "tensorflow"

_ModelType = model_server_config_pb2.ModelType


class PolicyKind(StrEnum):
    """How the versions to serve are chosen among the numbered folders."""

    LATEST = "latest"
    ALL = "all"
    SPECIFIC = "specific"


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Which versions are served.

    Attributes:
        kind: Latest few, all, or those named.
        num_versions: For ``LATEST``: how many of the highest numbers.
        versions: For ``SPECIFIC``: the numbers.
    """

    kind: PolicyKind = PolicyKind.LATEST
    num_versions: int = 1
    versions: tuple[int, ...] = ()

    def choose(self, available: list[int]) -> list[int]:
        """The versions to serve among those on disk, ascending; a named version that is absent is left out."""
        ordered = sorted(available)
        if self.kind is PolicyKind.LATEST:
            return ordered[-self.num_versions :]
        if self.kind is PolicyKind.ALL:
            return ordered
        return [version for version in ordered if version in self.versions]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """One served model.

    Attributes:
        name: What requests call it.
        base_path: Folder whose numbered subfolders are versions.
        policy: Which of them are served.
        labels: Names for versions, such as ``{"stable": 3}``.
        logs_requests: Whether request logging was asked for; it is not supported and the manager says so once.
    """

    name: str
    base_path: Path
    policy: VersionPolicy = VersionPolicy()
    labels: Mapping[str, int] = field(default_factory=dict)
    logs_requests: bool = False


def model_configs(flags: ServerFlags) -> list[ModelConfig]:
    """The models that the flags name; a model_config_file wins over model_name and model_base_path.

    Raises:
        ServingError: The file is missing or wrong.
    """
    if flags.model_config_file:
        return read_model_config_file(flags.model_config_file)
    return [ModelConfig(name=flags.model_name, base_path=_base_path(flags.model_base_path, flags.model_name))]


def read_model_config_file(path: str | Path, *, again: bool = False) -> list[ModelConfig]:
    """Read and check a ModelServerConfig textproto.

    Args:
        path: The file.
        again: Whether models of an earlier reading are served. Then a file that holds nothing is refused, as
            TensorFlow Serving does: somebody may just be writing it. An empty ``model_config_list {}`` is an order.

    Raises:
        ServingError: NOT_FOUND without such a file; INVALID_ARGUMENT when it is wrong; FAILED_PRECONDITION when it
            holds nothing and must not.
    """
    message = textproto.parse(textproto.read(path), model_server_config_pb2.ModelServerConfig(), str(path))
    if again and message.WhichOneof("config") is None:
        raise ServingError(
            Code.FAILED_PRECONDITION,
            "Cannot transition to requested config."
            " It is only legal to transition from one ModelConfigList to another.",
        )
    return model_configs_from_proto(message)


def model_configs_from_proto(config: Any) -> list[ModelConfig]:
    """Check a ModelServerConfig message; an empty one lists no model.

    Raises:
        ServingError: INVALID_ARGUMENT for a model listed twice, without a name or base path, of another platform, or
            with a senseless version policy; UNIMPLEMENTED for a custom_model_config.
    """
    if config.WhichOneof("config") == "custom_model_config":
        raise ServingError(Code.UNIMPLEMENTED, "ModelServer does not yet support custom model config.")
    models: dict[str, ModelConfig] = {}
    for entry in config.model_config_list.config:
        if not entry.name:
            raise _refuse("Every model of a model_config_list needs a name; one has none")
        if entry.name in models:
            raise _refuse(f"Illegal to list model {entry.name} multiple times in config list")
        _check_platform(entry)
        models[entry.name] = ModelConfig(
            name=entry.name,
            base_path=_base_path(entry.base_path, entry.name),
            policy=_policy(entry),
            labels=dict(entry.version_labels),
            logs_requests=entry.HasField("logging_config"),
        )
    return list(models.values())


def _refuse(message: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, message)


def _base_path(path: str, name: str) -> Path:
    if not path:
        raise _refuse(f"Invalid config: base_path of model {name} is empty")
    if "://" in path:
        raise ServingError(Code.UNIMPLEMENTED, f"base_path of model {name} must be a local folder, not {path}")
    if path.startswith("~"):
        raise _refuse(f"base_path of model {name} is not expanded by the server; write it in full: {path}")
    return Path(path).absolute()


def _check_platform(entry: Any) -> None:
    """Exactly one of the platform and its deprecated forerunner must be set, to TensorFlow."""
    legacy = entry.model_type
    platform = entry.model_platform
    if legacy != _ModelType.MODEL_TYPE_UNSPECIFIED:
        if platform:
            raise _refuse(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                f"ModelServerConfig::model_platform. (model {entry.name})"
            )
        if legacy != _ModelType.TENSORFLOW:
            raise _refuse(f"ModelServerConfig::model_type choice {legacy} not supported. (model {entry.name})")
        return
    if not platform:
        raise _refuse(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform."
            f" (model {entry.name} needs model_platform: '{TENSORFLOW_PLATFORM}')"
        )
    if platform != TENSORFLOW_PLATFORM:
        raise _refuse(f"Model {entry.name} requests unsupported platform {platform}")


def _policy(entry: Any) -> VersionPolicy:
    chosen = entry.model_version_policy
    match chosen.WhichOneof("policy_choice"):
        case "all":
            return VersionPolicy(PolicyKind.ALL)
        case "specific":
            versions = tuple(sorted(set(chosen.specific.versions)))
            if not versions:
                raise _refuse(f"model_version_policy specific of model {entry.name} names no version")
            if versions[0] < 0:
                raise _refuse(f"model_version_policy specific of model {entry.name} has a negative version")
            return VersionPolicy(PolicyKind.SPECIFIC, versions=versions)
        case _:
            # 0 is what an empty `latest {}` holds; TensorFlow Serving takes it for 1.
            return VersionPolicy(PolicyKind.LATEST, num_versions=max(chosen.latest.num_versions, 1))
