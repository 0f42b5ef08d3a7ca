"""Versions of a model, pure: which folders are versions, what states a version goes through, what to do next.

The rules are TensorFlow Serving's: ``sources/storage_path/file_system_storage_path_source.cc`` for the folders,
``core/servable_state.h`` for the states, ``core/availability_preserving_policy.cc`` for the order of loads and unloads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from service.modelserver.status import ServingError

_LARGEST_VERSION = 2**63 - 1


class State(IntEnum):
    """Where a version is in its life; numbered as ``ModelVersionStatus.State``."""

    START = 10
    """Known, waiting for its load."""
    LOADING = 20
    """Being loaded and warmed, or waiting for another attempt."""
    AVAILABLE = 30
    """Serving."""
    UNLOADING = 40
    """Takes no new requests; those under way are finished."""
    END = 50
    """Gone; with an error if it never became available."""


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """What is known of one version.

    Attributes:
        version: Its number.
        state: Where it is in its life.
        error: Why it is not served; None when nothing went wrong.
    """

    version: int
    state: State
    error: ServingError | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What may be started now.

    Attributes:
        load: Versions to begin loading, the newest first.
        unload: Versions to take out of service.
        drop: Versions that are not served and need not be any more: give up what was begun, forget what failed.
    """

    load: tuple[int, ...] = ()
    unload: tuple[int, ...] = ()
    drop: tuple[int, ...] = ()


def versions_among(names: Iterable[str]) -> dict[int, str]:
    """Version number → folder name, for those names that are non-negative decimal numbers.

    Of several spellings of one number (``1``, ``01``) the one that sorts last is used.
    """
    found: dict[int, str] = {}
    for name in sorted(names):
        if name.isascii() and name.isdigit() and int(name) <= _LARGEST_VERSION:
            found[int(name)] = name
    return found


def plan(aspired: Collection[int], managed: Mapping[int, State]) -> Plan:
    """What to start so that the aspired versions, and no others, are served without a gap.

    A version that should go serves on until an aspired one is available; it goes at once when nothing is aspired.
    A version whose load failed stays managed, so that it is not loaded again until it has been dropped.

    Args:
        aspired: Numbers that should be served.
        managed: State of each version that was begun and neither unloaded nor dropped; END means that its load failed.
    """
    load = sorted((version for version in aspired if version not in managed), reverse=True)
    unwanted = sorted(version for version in managed if version not in aspired)
    may_unload = not aspired or any(managed.get(version) is State.AVAILABLE for version in aspired)
    return Plan(
        load=tuple(load),
        unload=tuple(version for version in unwanted if may_unload and managed[version] is State.AVAILABLE),
        drop=tuple(version for version in unwanted if managed[version] in (State.START, State.LOADING, State.END)),
    )
