"""Versions: the cheap path. A new version folder brings new sizes and timeouts to servers that go on running.

With ``--enable_per_model_batching_parameters`` a server reads ``batching_params.pbtxt`` in the folder of each version
as it loads it, and loads a new version beside the old one before it lets go of that. So the node keeps a folder of its
own with the user's newest version in it, made of hard links, under ever higher numbers; each change is one more.
The first has the user's own number.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from service.domain.serving_config import ServingConfig
from service.node.errors import StartError

PARAMETERS_FILE = "batching_params.pbtxt"

#: What differs between two configurations that the cheap path can tell apart.
_CHEAP_FIELDS = frozenset(
    {"enable_batching", "max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "allowed_batch_sizes"}
)


def is_cheap(launched: ServingConfig, wanted: ServingConfig, grpc_threads: tuple[int, int]) -> bool:
    """Whether running processes can be brought to a configuration without being started anew.

    Args:
        launched: What they were started with.
        wanted: What is to be in force.
        grpc_threads: What they have of them, and what ``wanted`` asks for.
    """
    different = set(launched.differences(wanted))
    if not wanted.enable_batching:
        different.discard("num_batch_threads")  # nothing uses them
    return different <= _CHEAP_FIELDS and grpc_threads[1] <= grpc_threads[0]


def newest(base_path: Path) -> int | None:
    """The highest version number in a folder; None where there is none."""
    try:
        numbers = [int(entry.name) for entry in base_path.iterdir() if entry.name.isdigit() and entry.is_dir()]
    except OSError:
        return None
    return max(numbers, default=None)


def publish(source: Path, base_path: Path, parameters: str | None) -> int:
    """Make a further version of what the user's folder of one version holds.

    Args:
        source: The user's folder of one version, named by its number.
        base_path: The node's folder of versions.
        parameters: Content of the batching file; None for a version without batching.

    Returns:
        Its number: the user's own where that is higher than all before it.

    Raises:
        StartError: It could not be made.
    """
    number = max(int(source.name), (newest(base_path) or 0) + 1)
    # Beside the folder of versions, not in it: a server must never see half a version.
    building = base_path.with_name(f".{base_path.name}.{number}")
    try:
        base_path.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(building, ignore_errors=True)
        shutil.copytree(source, building, copy_function=_link)
        file = building / PARAMETERS_FILE
        file.unlink(missing_ok=True)
        if parameters is not None:
            file.write_text(parameters, encoding="utf-8")
        building.rename(base_path / str(number))
    except (OSError, shutil.Error) as error:
        shutil.rmtree(building, ignore_errors=True)
        raise StartError(f"a version folder could not be made from {source}: {error}") from error
    return number


def tidy(base_path: Path, wanted: int) -> None:
    """Remove all versions but one."""
    for entry in base_path.iterdir():
        if entry.name.isdigit() and int(entry.name) != wanted:
            shutil.rmtree(entry, ignore_errors=True)


def _link(source: str, target: str) -> None:
    """A hard link, or across file systems a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
