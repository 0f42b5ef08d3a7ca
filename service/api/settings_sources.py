"""Where settings come from: flags over environment over file over defaults, with errors that name the place.

Environment: ``REGULUS_SERVER__PORT=8510`` sets ``server.port``; lists are JSON. File: TOML.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from service.access.redaction import mask_url
from service.api.settings import Settings
from service.domain.errors import RegulusError

ENV_PREFIX = "REGULUS_"
ENV_DELIMITER = "__"

#: Read when it exists and no other file is named.
DEFAULT_FILE = Path("regulus.toml")

#: Variables of the same prefix that the command line reads.
CLIENT_VARIABLES = frozenset(
    {
        "REGULUS_URL",
        "REGULUS_TOKEN",
        "REGULUS_TOKEN_FILE",
        "REGULUS_CA",
        "REGULUS_CLIENT_CERTIFICATE",
        "REGULUS_CLIENT_KEY",
        "REGULUS_CONFIG",
        "REGULUS_AGENT_TOKEN_FILE",
        "REGULUS_TFS_BINARY",
        "REGULUS_ENVOY",
    }
)

#: What Kubernetes puts into every container beside a Service named "regulus"; not meant for us.
_SERVICE_LINK = re.compile(r"REGULUS_(SERVICE_(HOST|PORT)|PORT)(_.*)?")

Location = tuple[str | int, ...]


class SettingsError(RegulusError):
    """Settings cannot be used; the message has one line for each fault: where it was written, which field, what."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A value given on the command line.

    Attributes:
        name: The flag as the user wrote it, such as ``--port``.
        path: Where in the settings it goes.
        value: What was given.
    """

    name: str
    path: tuple[str | int, ...]
    value: Any


@dataclass(frozen=True, slots=True)
class _Source:
    """One layer of values, and how to name a place in it."""

    values: Mapping[str, Any]
    name: str

    def holds(self, location: Location) -> bool:
        """Whether this layer has a value at, or (for a missing one) just above, a location."""
        node: Any = self.values
        for part in location:
            try:
                node = node[part]
            except (KeyError, IndexError, TypeError):
                return False
        return True


def load(
    file: Path | None = None, flags: Sequence[Flag] = (), environment: Mapping[str, str] | None = None
) -> Settings:
    """All settings, validated.

    Args:
        file: TOML file; None takes ``regulus.toml`` in the working directory where there is one.
        flags: From the command line.
        environment: Environment variables; None takes the process's own.

    Raises:
        SettingsError: Something is missing, unknown or not allowed.
    """
    variables = {
        name: value
        for name, value in (os.environ if environment is None else environment).items()
        if name.startswith(ENV_PREFIX) and name not in CLIENT_VARIABLES and not _SERVICE_LINK.fullmatch(name)
    }
    chosen = file if file is not None else DEFAULT_FILE if DEFAULT_FILE.exists() else None
    from_file = _read_file(chosen) if chosen is not None else {}
    from_environment = _read_environment(variables)
    from_flags = _nest(flags)
    merged = _merge(_merge(from_file, from_environment), from_flags)
    try:
        return Settings(**merged)
    except ValidationError as error:
        layers = [
            _Source(from_flags, "flags"),
            _Source(from_environment, "environment"),
            _Source(from_file, str(chosen)),
        ]
        lines = [_fault(e, layers, flags, variables) for e in error.errors(include_url=False)]
        raise SettingsError("\n".join(lines)) from None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: is not TOML: {error}") from error


class _FromEnvironment(Settings, BaseSettings):
    """Tells pydantic-settings what variables there may be; never made."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_nested_delimiter=ENV_DELIMITER)


class _Environment(EnvSettingsSource):
    """pydantic-settings' own reader, on given variables instead of the process's."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        super().__init__(_FromEnvironment)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._variables.items()}


def _read_environment(variables: Mapping[str, str]) -> dict[str, Any]:
    known = list(Settings.model_fields)
    for name in variables:
        top = name.removeprefix(ENV_PREFIX).split(ENV_DELIMITER)[0].lower()
        if top not in known:
            raise SettingsError(f"environment variable {name}: {_unknown(top, known)}")
        if ENV_DELIMITER not in name.removeprefix(ENV_PREFIX):
            _check_json(name, variables[name])
    return dict(_Environment(variables)())


def _check_json(name: str, value: str) -> None:
    try:
        json.loads(value)
    except json.JSONDecodeError as error:
        raise SettingsError(f"environment variable {name}: sections and lists are written as JSON: {error}") from error


def _nest(flags: Sequence[Flag]) -> dict[str, Any]:
    """Flags as a tree. A number in a path makes a list; flags name its first entry only."""
    tree: dict[str, Any] = {}
    for flag in flags:
        node: Any = tree
        for part, following in zip(flag.path, flag.path[1:], strict=False):
            empty: Any = [{}] if isinstance(following, int) else {}
            node = node[part] if isinstance(part, int) else node.setdefault(part, empty)
        node[flag.path[-1]] = flag.value
    return tree


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid on ``under``: tables are merged, everything else (lists too) is replaced."""
    merged = dict(under)
    for name, value in over.items():
        below = merged.get(name)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[name] = _merge(below, value)
        else:
            merged[name] = value
    return merged


def _fault(
    error: Mapping[str, Any], layers: Sequence[_Source], flags: Sequence[Flag], variables: Mapping[str, str]
) -> str:
    """One line: where it was written, which field, what is wrong."""
    location: Location = error["loc"]
    cause = error.get("ctx", {}).get("error")
    message = str(getattr(cause, "message", error["msg"]))
    inner = getattr(cause, "field", None)
    # A check of several fields together names the one at fault itself.
    full: Location = (*location, *_parts(inner)) if inner else location
    if error["type"] == "missing":
        return f"{_written(full)}: is required{_where_missing(full, layers)}"
    if error["type"] == "extra_forbidden":
        message = _unknown(str(location[-1]), _known_at(location[:-1]))
    else:
        message = message.removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
        given = error.get("input")
        if isinstance(given, (str, int, float)) and cause is None and "token" not in str(full[-1:]):
            message += f", not {given!r}"
    return f"{_place(full, layers, flags, variables)}{_written(full)}: {mask_url(message)}"


def _unknown(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return f"{name!r} is not a setting here; {hint}"


def _known_at(location: Location) -> list[str]:
    """The names a section of settings has."""
    section: Any = Settings
    for part in location:
        if isinstance(part, str):
            annotation = section.model_fields[part].annotation
            section = next(iter(get_args(annotation)), annotation)
    return list(section.model_fields)


def _place(location: Location, layers: Sequence[_Source], flags: Sequence[Flag], variables: Mapping[str, str]) -> str:
    """The flag, the variable or the file that a value came from, as a prefix of the line."""
    for length in range(len(location), 0, -1):
        part = location[:length]
        for layer in layers:
            if not layer.holds(part):
                continue
            if layer.name == "flags":
                named = [flag.name for flag in flags if flag.path[: len(part)] == part]
                return f"{', '.join(named)}: "
            if layer.name == "environment":
                return f"environment variable {_variable(part, variables)}: "
            return f"{layer.name}: "
    return ""


def _where_missing(location: Location, layers: Sequence[_Source]) -> str:
    for length in range(len(location) - 1, 0, -1):
        for layer in layers:
            if layer.name not in ("flags", "environment") and layer.holds(location[:length]):
                return f" ({layer.name} has {_written(location[:length])} without it)"
    return ""


def _variable(location: Location, variables: Mapping[str, str]) -> str:
    """The variable that gave a location, those that gave what is in it, or the one that gave the JSON around it."""
    for length in range(len(location), 0, -1):
        name = (ENV_PREFIX + ENV_DELIMITER.join(str(part) for part in location[:length])).upper()
        given = [v for v in variables if v.upper() == name or v.upper().startswith(name + ENV_DELIMITER)]
        if given:
            return ", ".join(given)
    raise LookupError(f"no variable gave {_written(location)}")


def _parts(field: str) -> Location:
    """``models[1].name`` as a location."""
    return tuple(int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", field))


def _written(location: Location) -> str:
    """A location as people write it: ``models[0].slo.bound_seconds``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
