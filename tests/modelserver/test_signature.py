"""Checking requests against signatures."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from service.modelserver.signature import DTYPE_NAMES, NUMPY_DTYPES, Signature, TensorSpec, check_inputs
from service.modelserver.status import Code, ServingError

FLOAT = np.dtype(np.float32)
X = TensorSpec(FLOAT, 1, (None, 2), "x:0")
WORD = TensorSpec(np.dtype(object), 7, (None,), "w:0")
ANY = TensorSpec(FLOAT, 1, None, "any:0")
SIGNATURE = Signature("s", "", {"x": X, "w": WORD}, {"y": ANY, "z": ANY})

GOOD = {"x": np.zeros((3, 2), np.float32), "w": np.array([b"a"], object)}


def refusal(inputs: dict[str, np.ndarray], output_filter: tuple[str, ...] = ()) -> str:
    with pytest.raises(ServingError) as raised:
        check_inputs(SIGNATURE, inputs, output_filter)
    assert raised.value.code is Code.INVALID_ARGUMENT
    return raised.value.message


@pytest.mark.parametrize("number", sorted(NUMPY_DTYPES))
def test_every_type_is_tensorflows_own(number: int) -> None:
    dtype = tf.dtypes.as_dtype(number)
    assert np.dtype(dtype.as_numpy_dtype) == NUMPY_DTYPES[number]
    assert DTYPE_NAMES[number] == {"float32": "float", "float64": "double", "float16": "half"}.get(
        dtype.name, dtype.name
    )


def test_all_outputs_are_wanted_unless_some_are_named() -> None:
    assert check_inputs(SIGNATURE, GOOD) == ("y", "z")
    assert check_inputs(SIGNATURE, GOOD, ("z",)) == ("z",)


def test_missing_and_extra_inputs_are_named() -> None:
    assert refusal({**GOOD, "q": GOOD["x"], "p": GOOD["x"]}) == (
        "input size does not match signature: 4!=2 len({p,q,w,x}) != len({w,x}). Sent extra: {p,q}. "
        "Missing but required: {}."
    )
    assert "Missing but required: {w,x}." in refusal({})
    assert refusal({"x": GOOD["x"], "v": GOOD["w"]}) == (
        "input tensor alias not found in signature: v. Inputs expected to be in the set {w,x}."
    )


@pytest.mark.parametrize(
    ("alias", "array", "message"),
    [
        ("x", np.zeros((1, 2), np.float64), "Expects x to be float but double is provided"),
        ("w", np.zeros(1, np.float32), "Expects w to be string but float is provided"),
        ("x", np.array([[b"a", b"b"]], object), "Expects x to be float but string is provided"),
        ("x", np.zeros((1, 3), np.float32), "input x has shape [1,3], which does not fit the signature's [?,2]"),
        ("x", np.zeros(2, np.float32), "input x has shape [2], which does not fit the signature's [?,2]"),
    ],
)
def test_types_and_shapes_must_fit(alias: str, array: np.ndarray, message: str) -> None:
    assert refusal({**GOOD, alias: array}) == message


def test_wanted_outputs_must_exist_and_be_named_once() -> None:
    assert refusal(GOOD, ("nope",)) == (
        "output tensor alias not found in signature: nope Outputs expected to be in the set {y,z}."
    )
    assert refusal(GOOD, ("y", "y")) == "duplicate output tensor alias: y"


def test_an_unknown_rank_admits_every_shape() -> None:
    assert ANY.admits(())
    assert ANY.admits((1, 2, 3))


def test_only_a_free_first_axis_can_be_batched() -> None:
    fixed = TensorSpec(FLOAT, 1, (2,), "f:0")
    scalar = TensorSpec(FLOAT, 1, (), "s:0")
    assert SIGNATURE.batchable
    assert Signature("s", "", {"a": ANY}, {}).batchable
    assert not Signature("s", "", {"x": X, "f": fixed}, {}).batchable
    assert not Signature("s", "", {"s": scalar}, {}).batchable
    assert not Signature("s", "", {}, {}).batchable
