"""Compiled: numba's compiler, with its results kept on disk where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """``function`` as machine code, made at its first call and kept for later processes.

    Numba keeps it beside the source or in the user's cache folder. In a container with a read-only file system and no
    home it can write to neither and refuses; then each process compiles anew.
    """
    try:
        return cast("Callable[P, R]", njit(cache=True, nogil=True, error_model="numpy")(function))
    except RuntimeError:
        return cast("Callable[P, R]", njit(nogil=True, error_model="numpy")(function))
