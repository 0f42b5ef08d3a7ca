"""The REST paths, as ``model_servers/http_rest_api_util.cc`` reads them: case is ignored, names are percent-encoded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from urllib.parse import unquote

from service.modelserver.status import Code, ServingError

_METHODS = ("POST", "GET", "HEAD")
_LARGEST_VERSION = (1 << 63) - 1
_WHICH = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_INFERENCE = re.compile(rf"/v1/models/(?P<name>[^/:]+){_WHICH}:(?P<verb>classify|regress|predict)", re.IGNORECASE)
_INFORMATION = re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_WHICH}(?P<verb>/metadata)?", re.IGNORECASE)


class Verb(StrEnum):
    """What is asked of a model; the first three are also the ``API`` label of REST's metrics."""

    PREDICT = "predict"
    CLASSIFY = "classify"
    REGRESS = "regress"
    STATUS = "status"
    METADATA = "metadata"


@dataclass(frozen=True, slots=True)
class Route:
    """A path, read.

    Attributes:
        verb: What is asked.
        name: The model.
        version: Its version, where the path names one.
        label: The version's label, where the path names one.
    """

    verb: Verb
    name: str
    version: int | None
    label: str | None


def is_api_path(path: str) -> bool:
    """Whether a path belongs to the REST API at all."""
    return path[:4].lower() == "/v1/"


@lru_cache(maxsize=256)
def find_route(method: str, path: str) -> Route:
    """What a request is for.

    Args:
        method: HTTP method; HEAD is taken for GET.
        path: As it was sent, percent-encoded and without the query.

    Raises:
        ServingError: INVALID_ARGUMENT: there is no such path for this method, or its version is no number.
    """
    inference = method == "POST"
    matched = (_INFERENCE if inference else _INFORMATION).fullmatch(path) if method in _METHODS else None
    verb = _verb(matched["verb"], inference) if matched else None
    if matched is None or verb is None:
        raise ServingError(Code.INVALID_ARGUMENT, f"Malformed request: {method} {path}")
    name, version, label = matched["name"], matched["version"], matched["label"]
    if not name:
        raise ServingError(Code.INVALID_ARGUMENT, "Missing model name in request.")
    return Route(verb, unquote(name), _version(version) if version else None, unquote(label) if label else None)


def _version(digits: str) -> int:
    significant = digits.lstrip("0") or "0"
    if len(significant) > len(str(_LARGEST_VERSION)) or int(significant) > _LARGEST_VERSION:
        raise ServingError(Code.INVALID_ARGUMENT, f"Failed to convert version: {digits} to numeric.")
    return int(significant)


def _verb(found: str | None, inference: bool) -> Verb | None:
    """TensorFlow Serving ignores case in the path but not in the verb."""
    if inference:
        return Verb(found) if found in tuple(Verb) else None
    return Verb.METADATA if found == "/metadata" else Verb.STATUS
