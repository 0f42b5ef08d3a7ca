"""JSON as TensorFlow Serving speaks it: bare ``NaN`` and ``Infinity``, ``{"b64": …}`` for bytes, and its error texts.

orjson does the work; a document that it refuses is read again by Python's own parser if the reason may be one of the
bare tokens. Messages are those of ``util/json_tensor.cc``.
"""

from __future__ import annotations

import binascii
import json
from typing import Any

import orjson

from service.modelserver.status import Code, ServingError

#: The one key of an object that stands for bytes.
BASE64_KEY = "b64"

#: How much of an offending value an error message shows.
_SHOWN_CHARS = 200


def invalid(message: str) -> ServingError:
    """INVALID_ARGUMENT, as nearly everything wrong with a document is."""
    return ServingError(Code.INVALID_ARGUMENT, message)


def parse_object(body: bytes) -> dict[str, Any]:
    """Read a request body, which must hold a JSON object.

    Raises:
        ServingError: INVALID_ARGUMENT: empty, not JSON, or not an object.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        document = _parse_with_bare_tokens(body, error)
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {shown(document)} Is not object")
    return document


def _parse_with_bare_tokens(body: bytes, first_error: orjson.JSONDecodeError) -> Any:
    if b"NaN" not in body and b"Infinity" not in body:
        raise invalid(f"JSON Parse error: {first_error.msg} at offset: {first_error.pos}")
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from None
    except (ValueError, RecursionError) as error:  # not UTF-8; a number of thousands of digits; nested too deeply
        raise invalid(f"JSON Parse error: {error}") from None


def may_hold_booleans(body: bytes) -> bool:
    """Whether ``true`` or ``false`` occurs anywhere; a single letter is sought first, because that is much faster."""
    return (b"l" in body and b"false" in body) or (b"r" in body and b"true" in body)


def is_base64(value: Any) -> bool:
    """Whether the value is an object that stands for bytes."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get(BASE64_KEY), str)


def decode_base64(value: Any) -> bytes:
    """The bytes that a ``{"b64": …}`` object stands for. White space is skipped and padding may be left out.

    Raises:
        ServingError: INVALID_ARGUMENT: another object, or not base64.
    """
    if not is_base64(value):
        raise invalid(f"JSON Value: {shown(value)} not formatted correctly for base64 data")
    text = "".join(value[BASE64_KEY].split()).rstrip("=")
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError:  # binascii.Error, and characters outside ASCII
        raise invalid("Unable to base64 decode") from None


def encode_base64(data: bytes) -> dict[str, str]:
    """Bytes as a ``{"b64": …}`` object."""
    return {BASE64_KEY: binascii.b2a_base64(data, newline=False).decode("ascii")}


def encode_text(text: str) -> bytes:
    """A JSON string as the bytes of a string tensor.

    Raises:
        ServingError: INVALID_ARGUMENT: it holds half of a surrogate pair and so has no UTF-8 form.
    """
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise invalid(f"JSON Value: {shown(text)} is not valid Unicode") from None


def shown(value: Any) -> str:
    """A value as JSON, cut, for an error message. Costs no more for a large value than for a small one."""
    text = ""
    for part in json.JSONEncoder().iterencode(value):
        text += part
        if len(text) > _SHOWN_CHARS:
            return text[:_SHOWN_CHARS] + "…"
    return text


def type_name(value: Any) -> str:
    """The value's JSON type, as TensorFlow Serving names it."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, (int, float)):
        return "Number"
    if isinstance(value, str):
        return "String"
    return "Array" if isinstance(value, list) else "Object"
