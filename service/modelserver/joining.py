"""Joining requests into one call of the model and splitting what it answers. Pure; batches lie along axis 0.

Notation: a request is a list of arrays, one an input, in the signature's order; n_i is its number of examples. Errors
are TensorFlow Serving's (``batching/batching_session.cc``, ``batching/batching_util.cc``).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np

from service.modelserver.status import Code, ServingError

Array = np.ndarray[Any, Any]


def examples_in(inputs: Sequence[Array]) -> int:
    """Number of examples of a request.

    Raises:
        ServingError: INVALID_ARGUMENT: an input has no axis 0, or the inputs disagree about its length.
    """
    if any(array.ndim == 0 for array in inputs):
        raise ServingError(Code.INVALID_ARGUMENT, "Batching Run() input tensors must have at least one dimension")
    sizes = {array.shape[0] for array in inputs}
    if len(sizes) != 1:
        raise ServingError(Code.INVALID_ARGUMENT, "Batching Run() input tensors must have equal 0th-dimension size")
    return int(sizes.pop())


def padded_size(size: int, allowed: Sequence[int]) -> int:
    """The smallest allowed batch size that holds ``size`` examples; ``size`` itself where there is none."""
    index = bisect_left(allowed, size)
    return allowed[index] if index < len(allowed) else size


def groups_of_equal_shape(requests: Sequence[Sequence[Array]]) -> list[list[int]]:
    """Indices of requests that can be joined: equal in every axis but the first. In the order of arrival."""
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for index, inputs in enumerate(requests):
        groups.setdefault(tuple(array.shape[1:] for array in inputs), []).append(index)
    return list(groups.values())


def pad_to_common_shape(requests: Sequence[Sequence[Array]]) -> list[list[Array]]:
    """Grow every input with zeros (empty strings) at its end, so that the requests differ in axis 0 alone.

    Requests whose inputs differ in rank cannot be padded and stay as they are.
    """
    columns = []
    for arrays in zip(*requests, strict=True):
        if len({array.ndim for array in arrays}) != 1 or len({array.shape[1:] for array in arrays}) == 1:
            columns.append(list(arrays))
            continue
        target = tuple(max(sizes) for sizes in zip(*(array.shape[1:] for array in arrays), strict=True))
        columns.append([_grown(array, target) for array in arrays])
    return [list(row) for row in zip(*columns, strict=True)]


def _grown(array: Array, target: tuple[int, ...]) -> Array:
    widths = [(0, 0), *((0, want - have) for want, have in zip(target, array.shape[1:], strict=True))]
    filler: Any = b"" if array.dtype == object else array.dtype.type(0)
    return np.pad(array, widths, constant_values=filler)


def join(requests: Sequence[Sequence[Array]], size: int) -> list[Array]:
    """Concatenate requests of equal shape, padded up to ``size`` examples with repeats of a row that is valid input.

    Returns:
        One array an input, of shape (size, …); a single request that needs no padding is not copied.
    """
    filled = sum(len(inputs[0]) for inputs in requests)
    joined = []
    for arrays in zip(*requests, strict=True):
        parts = list(arrays)
        if filled < size and filled:
            row = next(array for array in reversed(parts) if len(array))[:1]
            parts.append(np.repeat(row, size - filled, axis=0))
        joined.append(parts[0] if len(parts) == 1 else np.concatenate(parts))
    return joined


def split(outputs: Sequence[Array], sizes: Sequence[int], size: int) -> list[list[Array]]:
    """Give each request its rows.

    Args:
        outputs: What the model answered, one array an output.
        sizes: n_i of each request.
        size: Examples in the call, padding included.

    Returns:
        For each request one view for each output.

    Raises:
        ServingError: FAILED_PRECONDITION: an output does not have one row an example.
    """
    for output in outputs:
        if output.ndim == 0:
            raise ServingError(Code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
        if output.shape[0] != size:
            raise ServingError(
                Code.FAILED_PRECONDITION,
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the "
                "input tensors",
            )
    rows = []
    start = 0
    for count in sizes:
        rows.append([output[start : start + count] for output in outputs])
        start += count
    return rows
