"""Labels: names such as ``stable`` and ``canary`` for versions, so that clients need not know numbers. Pure.

The rules are those of ``ServerCore::UpdateModelVersionLabelMap`` in TensorFlow Serving.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from service.modelserver.model_config import ModelConfig
from service.modelserver.status import Code, ServingError

#: Model name → label → version.
Labels = Mapping[str, Mapping[str, int]]


def checked_labels(
    models: Iterable[ModelConfig],
    held: Labels,
    *,
    serves: Callable[[str, int], bool],
    allow_unavailable: bool,
) -> Labels:
    """The labels that a model list assigns.

    Args:
        models: The list.
        held: The labels in force before.
        serves: Whether a model's version is available.
        allow_unavailable: Whether a label that is new, or already names that version, may name one that is not
            available (``allow_version_labels_for_unavailable_models``). A label is never moved to such a version.

    Raises:
        ServingError: FAILED_PRECONDITION: a label would name a version that does not serve.
    """
    for model in models:
        for label, version in model.labels.items():
            unmoved = held.get(model.name, {}).get(label, version) == version
            if not (allow_unavailable and unmoved) and not serves(model.name, version):
                raise ServingError(
                    Code.FAILED_PRECONDITION,
                    f"Request to assign label to version {version} of model {model.name}, "
                    "which is not currently available for inference",
                )
    return {model.name: dict(model.labels) for model in models}


def version_labelled(labels: Labels, name: str, label: str) -> int:
    """The version that a label names.

    Raises:
        ServingError: INVALID_ARGUMENT for an unknown one.
    """
    try:
        return labels[name][label]
    except KeyError:
        raise ServingError(Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}") from None
