"""Predict over REST: the request body to input arrays, and output arrays to the response body.

The row format holds ``instances``, one item an example, and is answered with ``predictions``; the columnar format
holds ``inputs``, whole tensors, and is answered with ``outputs``. Rules and messages: ``util/json_tensor.cc``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.modelserver.json_tensor import (
    Array,
    dumps,
    read_tensor,
    read_tensor_fast,
    walk_tensor,
    write_tensor,
)
from service.modelserver.json_values import invalid, is_base64, may_hold_booleans, parse_object, shown
from service.modelserver.signature import Signature, TensorSpec
from service.modelserver.status import ServingError

_INSTANCES = "instances"
_INPUTS = "inputs"


@dataclass(frozen=True, slots=True)
class PredictInput:
    """A request body, read.

    Attributes:
        signature: What it is for.
        inputs: By alias.
        by_row: Whether it came in the row format, and is to be answered so.
    """

    signature: Signature
    inputs: Mapping[str, Array]
    by_row: bool


def read_predict(body: bytes, find_signature: Callable[[str], Signature]) -> PredictInput:
    """Read the body of a predict request.

    Args:
        body: JSON.
        find_signature: Signature of the key in the body, empty when it names none; raises ServingError.

    Raises:
        ServingError: INVALID_ARGUMENT: not JSON, or not a request for this signature.
    """
    document = parse_object(body)
    signature = find_signature(signature_name(document))
    if not signature.inputs:
        raise invalid(f"Failed to get input map for signature: {signature_name(document) or 'DEFAULT'}")
    booleans = may_hold_booleans(body)
    if _INSTANCES in document:
        if _INPUTS in document:
            raise invalid(
                f"JSON Value: {shown(document)} Not formatted correctly expecting only one of '{_INPUTS}' or "
                f"'{_INSTANCES}' keys to exist "
            )
        instances = document[_INSTANCES]
        if not isinstance(instances, list):
            raise invalid(f"JSON Value: {shown(document)} Excepting '{_INSTANCES}' to be an list/array")
        if not instances:
            raise invalid(f"JSON Value: {shown(document)} No values in '{_INSTANCES}' array")
        return PredictInput(signature, _read_rows(instances, signature.inputs, booleans), by_row=True)
    if _INPUTS in document:
        return PredictInput(signature, _read_columns(document[_INPUTS], signature.inputs, booleans), by_row=False)
    raise invalid(f"Missing '{_INPUTS}' or '{_INSTANCES}' key")


def signature_name(document: Mapping[str, Any]) -> str:
    """The signature that a request names; empty for the default.

    Raises:
        ServingError: INVALID_ARGUMENT: it is no string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {shown(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


def _read_rows(instances: list[Any], specs: Mapping[str, TensorSpec], booleans: bool) -> Mapping[str, Array]:
    first = instances[0]
    if not isinstance(first, dict) and len(specs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    named = _is_object(first)
    columns: Mapping[str, list[Any]] | None
    columns = _columns_of(instances, specs) if named else {next(iter(specs)): instances}
    if columns is not None:
        arrays = {
            alias: read_tensor_fast(values, specs[alias].dtype, booleans=booleans) for alias, values in columns.items()
        }
        if all(array is not None for array in arrays.values()):
            return {alias: array for alias, array in arrays.items() if array is not None}
    return _walk_rows(instances, specs, named)


def _columns_of(instances: Sequence[Any], specs: Mapping[str, TensorSpec]) -> Mapping[str, list[Any]] | None:
    """The values of each input; None when an instance is no object with just these keys."""
    count = len(specs)
    if not all(type(instance) is dict and len(instance) == count for instance in instances):
        return None
    try:
        return {alias: [instance[alias] for instance in instances] for alias in specs}
    except KeyError:
        return None


def _walk_rows(instances: list[Any], specs: Mapping[str, TensorSpec], named: bool) -> Mapping[str, Array]:
    """Instance by instance, for the error message or for what the fast way does not take."""
    rows: dict[str, list[Array]] = {alias: [] for alias in specs}
    for at, instance in enumerate(instances):
        if not named:
            if _is_object(instance):
                raise invalid(f"Expecting value/list but got object at item {at} of input list")
            try:
                _walk_item(instance, next(iter(specs)), specs, rows)
            except ServingError as error:
                raise invalid(f"Failed to process element: {at} of 'instances' list. Error: {_text(error)}") from None
            continue
        if not _is_object(instance):
            raise invalid(f"Expecting object but got list at item {at} of input list")
        for alias, value in instance.items():
            try:
                _walk_item(value, alias, specs, rows)
            except ServingError as error:
                raise invalid(
                    f"Failed to process element: {at} key: {alias} of 'instances' list. Error: {_text(error)}"
                ) from None
        if instance.keys() != specs.keys():
            raise invalid(
                f"Failed to process element: {at} of 'instances' list. JSON object: {shown(instance)} "
                f"keys must be equal to: {','.join(sorted(specs))}"
            )
    return {alias: np.stack(arrays) for alias, arrays in rows.items()}


def _walk_item(value: Any, alias: str, specs: Mapping[str, TensorSpec], rows: Mapping[str, list[Array]]) -> None:
    """One instance's value of one input, which must have the shape of those before it."""
    if alias not in specs:
        raise invalid(f"JSON object: does not have named input: {alias}")
    array = walk_tensor(value, specs[alias])
    earlier = rows[alias]
    if earlier and earlier[0].size != array.size:
        raise invalid(f"Expecting tensor size: {earlier[0].size} but got: {array.size}")
    if earlier and earlier[0].shape != array.shape:
        raise invalid(f"Expecting shape {_shape(earlier[0])} but got: {_shape(array)}")
    earlier.append(array)


def _shape(array: Array) -> str:
    return "[" + ",".join(str(size) for size in array.shape) + "]"


def _text(error: ServingError) -> str:
    return f"{error.code.name}: {error.message}"


def _read_columns(value: Any, specs: Mapping[str, TensorSpec], booleans: bool) -> Mapping[str, Array]:
    if not _is_object(value):
        if len(specs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        ((alias, spec),) = specs.items()
        return {alias: read_tensor(value, spec, booleans=booleans)}
    for alias in specs:
        if alias not in value:
            raise invalid(f"Missing named input: {alias} in 'inputs' object.")
    return {alias: read_tensor(value[alias], spec, booleans=booleans) for alias, spec in specs.items()}


def write_predict(outputs: Mapping[str, Array], *, by_row: bool) -> bytes:
    """The response body.

    Args:
        outputs: By alias; a single one is written without its alias.
        by_row: Whether the request was in the row format; then all outputs need the same first axis.

    Raises:
        ServingError: INVALID_ARGUMENT: outputs that do not fit the row format, or that JSON cannot carry.
    """
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    if by_row:
        _check_rows(outputs)
    written = {alias: write_tensor(alias, array) for alias, array in outputs.items()}
    if len(written) == 1:
        (content,) = written.values()
    elif by_row:
        content = [dict(zip(written, row, strict=True)) for row in zip(*written.values(), strict=True)]
    else:
        content = written
    return dumps({"predictions" if by_row else "outputs": content})


def _check_rows(outputs: Mapping[str, Array]) -> None:
    sizes: dict[str, int] = {}
    for alias, array in outputs.items():
        if array.ndim == 0:
            raise invalid(f"Tensor name: {alias} has no shape information ")
        expected = next(iter(sizes.values()), len(array))
        if len(array) != expected:
            raise invalid(f"Tensor name: {alias} has inconsistent batch size: {len(array)} expecting: {expected}")
        sizes[alias] = len(array)
