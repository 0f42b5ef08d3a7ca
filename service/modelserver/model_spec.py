"""ModelSpec: how a request names a model, a version and a signature, and how the answer says which it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tensorflow_serving.apis.model_pb2 import ModelSpec

from service.modelserver.signature import DEFAULT_SIGNATURE_KEY
from service.modelserver.status import Code, ServingError

if TYPE_CHECKING:
    from service.modelserver.manager import ModelManager
    from service.modelserver.servable import Servable


def required_spec(request: Any) -> ModelSpec:
    """The ``model_spec`` of a request.

    Raises:
        ServingError: INVALID_ARGUMENT: it has none.
    """
    if not request.HasField("model_spec"):
        raise ServingError(Code.INVALID_ARGUMENT, "Missing ModelSpec")
    return request.model_spec


def chosen_version(spec: ModelSpec) -> tuple[int | None, str | None]:
    """The version's number or its label; both None for the latest."""
    choice = spec.WhichOneof("version_choice")
    return (
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )


def servable_for(manager: ModelManager, spec: ModelSpec) -> Servable:
    """The servable that a ModelSpec names.

    Raises:
        ServingError: As :meth:`~service.modelserver.manager.ModelManager.servable`.
    """
    version, label = chosen_version(spec)
    return manager.servable(spec.name, version, label)


def resolved(spec: ModelSpec, servable: Servable) -> ModelSpec:
    """The spec for the answer: with the version that answered and the signature that was used."""
    answer = ModelSpec(name=spec.name, signature_name=spec.signature_name or DEFAULT_SIGNATURE_KEY)
    answer.version.value = servable.version
    return answer
