"""The API's reference as Markdown, made from its OpenAPI document; served at /docs and kept in docs/api.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_JSON = "application/json"


def markdown(document: Mapping[str, Any], *, level: int = 2) -> str:
    """All operations by tag, then all schemas.

    Args:
        document: An OpenAPI 3.1 document.
        level: Level of the outermost headings.
    """
    lines: list[str] = []
    top = "#" * level
    for tag in document["tags"]:
        lines += [f"{top} {tag['name'].capitalize()}", "", tag["description"], ""]
        for path, item in document["paths"].items():
            for method, operation in item.items():
                if tag["name"] in operation["tags"]:
                    lines += [f"{top}# `{method.upper()} {path}`", "", *_operation(operation)]
    lines += [f"{top} Schemas", ""]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += [f"{top}# {name}", "", *_schema(schema)]
    return "\n".join(lines).rstrip() + "\n"


def _operation(operation: Mapping[str, Any]) -> Iterator[str]:
    yield from (operation["description"], "")
    if security := operation.get("security"):
        yield from (f"Scope: `{security[0]['token'][0]}`.", "")
    if parameters := operation.get("parameters"):
        yield from ("| parameter | in | type | meaning |", "|---|---|---|---|")
        for parameter in parameters:
            kind = _type(parameter["schema"])
            yield f"| `{parameter['name']}` | {parameter['in']} | {kind} | {parameter['description']} |"
        yield ""
    if body := operation.get("requestBody"):
        schema = body["content"].get(_JSON, {}).get("schema")
        kinds = " or ".join(f"`{media}`" for media in body["content"])
        yield from (f"Body: {_type(schema)}." if schema else f"Body: {kinds}. {body['description']}", "")
    yield from ("| status | answer |", "|---|---|")
    for status, answer in operation["responses"].items():
        content = answer.get("content", {}).get(_JSON)
        meaning = _type(content["schema"]) if content else answer["description"]
        yield f"| {status} | {meaning} |"
    yield ""


def _schema(schema: Mapping[str, Any]) -> Iterator[str]:
    yield from (_one_line(schema.get("description", "")), "")
    if values := schema.get("enum"):
        yield from ("One of " + ", ".join(f"`{value}`" for value in values) + ".", "")
        return
    required = schema.get("required", [])
    yield from ("| field | type | meaning |", "|---|---|---|")
    for name, field in schema["properties"].items():
        default = "" if name in required else _default(field)
        yield f"| `{name}` | {_type(field)}{_limits(field)} | {field.get('description', '')}{default} |"
    yield ""
    for example in schema.get("examples", []):
        yield from ("```json", json.dumps(example, indent=2, ensure_ascii=False), "```", "")


def _type(schema: Mapping[str, Any]) -> str:
    """A schema in a reader's words, with links to named ones."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(arm) for arm in schema["anyOf"])
    match schema.get("type"):
        case "array" if "prefixItems" in schema:
            return "[" + ", ".join(_type(item) for item in schema["prefixItems"]) + "]"
        case "array":
            return f"list of {_type(schema['items'])}"
        case "object":
            inner = schema.get("additionalProperties")
            return f"table of {_type(inner)}" if isinstance(inner, dict) and inner else "table"
        case None:
            return "anything"
        case kind:
            return str(kind)


def _limits(schema: Mapping[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[name]:g}" for name, sign in signs.items() if name in schema]
    return f", {', '.join(limits)}" if limits else ""


def _default(field: Mapping[str, Any]) -> str:
    if field.get("default") is None:
        return " May be left out."
    return f" `{json.dumps(field['default'])}` when left out."


def _one_line(text: str) -> str:
    return " ".join(text.split())
