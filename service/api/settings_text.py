"""Settings as text: an example file, the effective values, the reference in docs/. All made from the descriptions."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, get_args

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from service.access.redaction import mask_url
from service.api.settings import Settings
from service.api.settings_sources import ENV_DELIMITER, ENV_PREFIX
from service.control.settings import ModelSettings, SloSettings

_WIDTH = 100

#: Stands in the example for what has no default.
_EXAMPLES: dict[str, Any] = {
    "name": "mobilenet_v2",
    "agent_url": "http://127.0.0.1:8600",
    "metrics_url": "http://127.0.0.1:8600/agent/v1/metrics",
    "bound_seconds": 0.05,
    "auth_token": "at-least-16-characters",
    "auth_token_file": "/run/secrets/regulus-token",
    "tokens_file": "/etc/regulus/tokens.json",
    "tls_certificate": "/etc/regulus/tls/tls.crt",
    "tls_key": "/etc/regulus/tls/tls.key",
    "tls_client_ca": "/etc/regulus/tls/clients-ca.crt",
    "file": "/var/log/regulus/audit.jsonl",
    "token": "at-least-16-characters",
    "token_file": "/run/secrets/agent-token",
    "ca": "/etc/regulus/agents/ca.crt",
    "client_certificate": "/etc/regulus/agents/tls.crt",
    "client_key": "/etc/regulus/agents/tls.key",
}

_HIDDEN = "***"


def example_file() -> str:
    """A TOML file with every setting, described; what has a default is commented out. It can be used as it is."""
    lines = [
        "# Regulus, the control service. What is commented out shows its default.",
        f"# Each value can also be given by environment variable ({ENV_PREFIX}SERVER{ENV_DELIMITER}PORT for",
        "# server.port), and some by flag. Flags win over the environment, the environment over this file.",
    ]
    for name, field in Settings.model_fields.items():
        if name == "models":
            lines += _example_section("[[models]]", ModelSettings, field)
            lines += _example_section("[models.slo]", SloSettings, ModelSettings.model_fields["slo"])
        else:
            lines += _example_section(f"[{name}]", _section(field), field)
    return "\n".join(lines) + "\n"


def _example_section(header: str, section: type[BaseModel], field: FieldInfo) -> list[str]:
    lines = ["", f"# {field.description}", header]
    for name, inner in section.model_fields.items():
        if _is_section(inner):
            continue
        lines += ["", *textwrap.wrap(str(inner.description), _WIDTH, initial_indent="# ", subsequent_indent="# ")]
        default = inner.get_default(call_default_factory=True, validated_data={})
        value = _EXAMPLES[name] if inner.is_required() or default is None else default
        lines.append(f"{'' if inner.is_required() else '# '}{name} = {_toml(value)}")
    return lines


def effective(settings: Settings) -> str:
    """The values in force as TOML, secrets masked."""
    lines: list[str] = []
    values = settings.model_dump()
    for name in Settings.model_fields:
        if name == "models":
            for model in values["models"]:
                slo = model.pop("slo")
                lines += ["[[models]]", *_assignments(model), "", "[models.slo]", *_assignments(slo), ""]
        else:
            lines += [f"[{name}]", *_assignments(values[name]), ""]
    return "\n".join(lines)


def _assignments(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        if value is None:
            yield f"# {name} is not set"
        else:
            yield f"{name} = {_toml(value)}"


def _toml(value: Any) -> str:
    if isinstance(value, SecretStr):
        return json.dumps(_HIDDEN)
    if isinstance(value, Enum):
        return json.dumps(value.value)
    if isinstance(value, (str, Path)):
        return json.dumps(mask_url(str(value)), ensure_ascii=False)
    if isinstance(value, Mapping):
        inside = ", ".join(f"{json.dumps(key)} = {_toml(inner)}" for key, inner in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, Sequence):
        return f"[{', '.join(_toml(inner) for inner in value)}]"
    return json.dumps(value)


def reference() -> str:
    """docs/configuration.md's tables: one a section, one row a setting."""
    parts = []
    for name, field in Settings.model_fields.items():
        if name == "models":
            parts.append(_table("[[models]]", f"{field.description}", ModelSettings, None))
            parts.append(_table("[models.slo]", str(ModelSettings.model_fields["slo"].description), SloSettings, None))
        else:
            parts.append(_table(f"[{name}]", str(field.description), _section(field), name))
    return "\n".join(parts)


def _table(header: str, about: str, section: type[BaseModel], env_section: str | None) -> str:
    lines = [f"### `{header}`", "", about, ""]
    if env_section is not None:
        lines += [f"By environment: `{ENV_PREFIX}{env_section.upper()}{ENV_DELIMITER}…`, the name in capitals.", ""]
    lines += ["| setting | type | default | meaning |", "|---|---|---|---|"]
    for name, field in section.model_fields.items():
        if _is_section(field):
            continue
        default = field.get_default(call_default_factory=True, validated_data={})
        shown = "required" if field.is_required() else "unset" if default is None else f"`{_toml(default)}`"
        lines.append(f"| `{name}` | {_type_name(field.annotation)} | {shown} | {field.description} |")
    return "\n".join([*lines, ""])


def _type_name(annotation: Any) -> str:
    """A type in a reader's words."""
    if isinstance(annotation, UnionType):
        return _type_name(next(arm for arm in get_args(annotation) if arm is not type(None)))
    arguments = get_args(annotation)
    if arguments and annotation.__origin__ is dict:
        return f"table of {_type_name(arguments[1])}"
    if arguments and annotation.__origin__ is tuple:
        return " and ".join(_type_name(argument) for argument in arguments)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " or ".join(f"`{member.value}`" for member in annotation)
    names = {
        str: "text",
        int: "whole number",
        float: "number",
        bool: "true or false",
        SecretStr: "text, secret",
        Path: "path",
    }
    return names.get(annotation, str(getattr(annotation, "__name__", annotation)))


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _section(field: FieldInfo) -> type[BaseModel]:
    annotation = field.annotation
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        raise TypeError(f"{annotation} is not a section of settings")
    return annotation
