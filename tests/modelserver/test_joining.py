"""Joining and splitting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.modelserver.joining import groups_of_equal_shape, join, pad_to_common_shape, padded_size, split
from service.modelserver.status import ServingError


def floats(*shape: int, value: float = 1.0) -> np.ndarray[Any, Any]:
    return np.full(shape, value, np.float32)


@given(sizes=st.lists(st.integers(0, 5), min_size=1, max_size=8), allowed=st.sets(st.integers(1, 60), max_size=4))
def test_what_is_joined_comes_apart_again(sizes: list[int], allowed: set[int]) -> None:
    requests = [[np.full((n, 2), i, np.float32), np.full(n, f"{i}".encode(), object)] for i, n in enumerate(sizes)]
    total = sum(sizes)
    size = padded_size(total, sorted(allowed))
    assert size >= total
    joined = join(requests, size)
    if total:
        assert [len(array) for array in joined] == [size, size]
        # Padding repeats a row that some request brought.
        assert set(joined[1][total:]) <= set(joined[1][:total])
    rows = split(joined, sizes, len(joined[0]))
    for given_inputs, got in zip(requests, rows, strict=True):
        for want, have in zip(given_inputs, got, strict=True):
            np.testing.assert_array_equal(want, have)


def test_a_single_request_is_not_copied() -> None:
    array = floats(3, 2)
    assert join([[array]], 3)[0] is array


@pytest.mark.parametrize(("size", "expected"), [(1, 2), (2, 2), (3, 8), (8, 8), (9, 9)])
def test_sizes_are_rounded_up_to_the_next_allowed(size: int, expected: int) -> None:
    assert padded_size(size, (2, 8)) == expected
    assert padded_size(size, ()) == size


def test_requests_are_grouped_by_all_axes_but_the_first_of_all_inputs() -> None:
    requests = [
        [floats(1, 2), floats(1)],
        [floats(3, 4), floats(3)],
        [floats(5, 2), floats(5)],
        [floats(1, 2), floats(1, 1)],
    ]
    assert groups_of_equal_shape(requests) == [[0, 2], [1], [3]]


def test_padding_grows_each_input_at_its_end_to_the_largest() -> None:
    short = [floats(1, 1, 2), np.array([[b"a"]], object)]
    wide = [floats(2, 3, 1), np.array([[b"b", b"c"]] * 2, object)]
    padded = pad_to_common_shape([short, wide])
    assert [array.shape for request in padded for array in request] == [(1, 3, 2), (1, 2), (2, 3, 2), (2, 2)]
    assert padded[0][0].tolist() == [[[1, 1], [0, 0], [0, 0]]]
    assert padded[0][1].tolist() == [[b"a", b""]]
    assert padded[1][0].dtype == np.float32


def test_inputs_of_unequal_rank_are_not_padded() -> None:
    requests = [[floats(1, 2)], [floats(1, 2, 3)]]
    assert [request[0].shape for request in pad_to_common_shape(requests)] == [(1, 2), (1, 2, 3)]


@pytest.mark.parametrize(
    ("output", "message"),
    [(np.float32(1).reshape(()), "has 0 dimensions"), (floats(2), "does not equal the sum of the 0th dimension sizes")],
)
def test_an_output_without_a_row_an_example_is_refused(output: np.ndarray[Any, Any], message: str) -> None:
    with pytest.raises(ServingError, match=message):
        split([output], [1, 2], 3)
