"""The folder of a model: which of its versions are to be served. Blocking reads of the file system."""

from __future__ import annotations

import os
from pathlib import Path

from service.modelserver.model_config import ModelConfig
from service.modelserver.status import Code, ServingError
from service.modelserver.versions import versions_among


def versions_on_disk(model: ModelConfig) -> dict[int, Path]:
    """The versions that a model's policy chooses in its base path: number → folder.

    Raises:
        ServingError: INVALID_ARGUMENT: the base path cannot be read.
    """
    try:
        with os.scandir(model.base_path) as entries:
            names = versions_among(entry.name for entry in entries if entry.is_dir())
    except OSError as error:
        raise ServingError(
            Code.INVALID_ARGUMENT,
            f"Could not find base path {model.base_path} for servable {model.name} with error {error.strerror}",
        ) from error
    return {version: model.base_path / names[version] for version in model.policy.choose(list(names))}


def no_versions(model: ModelConfig) -> ServingError:
    """What to say of a base path in which the policy finds nothing to serve."""
    return ServingError(
        Code.NOT_FOUND,
        f"Unable to find a numerical version path for servable {model.name} at: {model.base_path}. "
        f"Versions are folders whose names are numbers, such as 1; the policy is {model.policy.kind}.",
    )
