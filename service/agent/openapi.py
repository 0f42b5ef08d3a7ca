"""The agent API as an OpenAPI 3.1 document, served at ``/agent/v1/openapi.json``.

Written by hand, since both nodes answer it and neither is made from it; a test holds real answers against it.
"""

from __future__ import annotations

from typing import Any

from service import __version__

_WHOLE = {"type": "integer", "minimum": 0}
_PROBLEM = {"$ref": "#/components/schemas/Problem"}

_CONFIG = {
    "description": "A configuration, in TensorFlow Serving's own knobs and units. What is left out takes its default.",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "enable_batching": {"type": "boolean"},
        "max_batch_size": _WHOLE,
        "batch_timeout_micros": _WHOLE,
        "num_batch_threads": _WHOLE,
        "max_enqueued_batches": _WHOLE,
        "allowed_batch_sizes": {"type": "array", "items": _WHOLE},
        "tensorflow_inter_op_parallelism": _WHOLE,
        "tensorflow_intra_op_parallelism": _WHOLE,
        "instances": _WHOLE,
    },
}

_ORDER = {
    "description": "A configuration to be put in force under a number that is newer than the one in force.",
    "type": "object",
    "additionalProperties": False,
    "required": ["generation", "config"],
    "properties": {
        "generation": _WHOLE,
        "config": {"$ref": "#/components/schemas/Config"},
        "timeout_seconds": {"type": "number", "exclusiveMinimum": 0, "maximum": 3600, "default": 60},
        "force": {"type": "boolean", "default": False, "description": "Also while another controller has the lease."},
        "canary": {
            "type": "boolean",
            "default": False,
            "description": "One of several server processes tries it out with its share of the requests, where support "
            "says canary. Ordered again without, under the same number, it comes into force.",
        },
    },
}

_STATE = {
    "description": "What is in force, and what the node can do.",
    "type": "object",
    "required": ["config", "generation", "state", "support", "server", "lease", "models"],
    "properties": {
        "config": {"$ref": "#/components/schemas/Config"},
        "generation": _WHOLE,
        "state": {"enum": ["serving", "switching"]},
        "support": {
            "type": "object",
            "required": ["knobs", "cpus", "memory_bytes"],
            "properties": {
                "knobs": {
                    "type": "object",
                    "additionalProperties": {
                        "type": "object",
                        "required": ["min", "max"],
                        "properties": {"min": {"type": "integer"}, "max": {"type": "integer"}},
                    },
                },
                "cpus": {"type": "number", "exclusiveMinimum": 0},
                "memory_bytes": {"type": ["integer", "null"]},
                "canary": {"type": "boolean", "description": "Whether one process can try a configuration out."},
            },
        },
        "server": {
            "type": "object",
            "required": ["kind", "version"],
            "properties": {"kind": {"type": "string"}, "version": {"type": "string"}},
        },
        "lease": {
            "type": ["object", "null"],
            "required": ["holder", "since", "expires"],
            "properties": {
                "holder": {"type": "string"},
                "since": {"type": "number", "description": "Unix seconds."},
                "expires": {"type": "number", "description": "Unix seconds, unless it is renewed."},
            },
        },
        "canary": {
            "description": "What one process tries out, or tried out last and was not put in force.",
            "type": ["object", "null"],
            "required": ["generation", "config", "ended"],
            "properties": {
                "generation": _WHOLE,
                "config": {"$ref": "#/components/schemas/Config"},
                "ended": {"type": ["string", "null"], "description": "Why it ended; null while it lasts."},
            },
        },
        "taken_back": {
            "description": "What the node took back last by itself, unless it was ordered again since.",
            "type": ["object", "null"],
            "required": ["generation", "config", "why"],
            "properties": {
                "generation": _WHOLE,
                "config": {"$ref": "#/components/schemas/Config"},
                "why": {"type": "string"},
            },
        },
        "models": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "versions"],
                "properties": {
                    "name": {"type": "string"},
                    "versions": {"type": "array", "items": {"type": "integer"}},
                },
            },
        },
    },
}

_PROBLEM_SCHEMA = {
    "description": "An error, as RFC 9457 describes it.",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "current_generation": {"type": "integer", "description": "With 409, 500 and 504: the number in force."},
        "errors": {
            "description": "With 422: each value that was refused.",
            "type": "array",
            "items": {"type": "object", "required": ["field", "message"]},
        },
    },
}

_CONTROLLER = {
    "name": "Regulus-Controller",
    "in": "header",
    "description": "Name of a controller that steers by itself; see lease.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
}

#: What every operation may answer, whatever it does.
_COMMON = {
    "400": "The request is malformed.",
    "401": "A valid bearer token is required.",
    "403": "The token does not allow this.",
    "421": "Without a token: the Host header names another machine.",
    "429": "Too many requests without a valid token.",
}


def document() -> dict[str, Any]:
    """The document."""
    state = {"description": "The state.", "content": _json({"$ref": "#/components/schemas/State"})}
    text = {"description": "Prometheus text.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    health = {"description": "Something is served.", "content": _json({"type": "object", "required": ["status"]})}
    refused = {
        "409": "The number is not newer than the one in force.",
        "413": "The body is too large.",
        "422": "The node cannot run it; names the field.",
        "423": "Another controller has the lease.",
        "500": "It could not be put in force; the old configuration has kept serving.",
        "504": "It was not ready in time; the old configuration has kept serving.",
    }
    order = {"required": True, "content": _json({"$ref": "#/components/schemas/Order"})}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Regulus agent",
            "version": __version__,
            "description": "Reads and changes the configuration of a model server while it serves.",
        },
        "paths": {
            "/agent/v1/config": {
                "get": _operation("getConfig", "The configuration in force.", "read", {"200": state}, {}, lease=True),
                "put": {
                    **_operation(
                        "putConfig",
                        "Put a configuration in force; answers when requests are served by it.",
                        "operate",
                        {"200": state},
                        refused,
                        lease=True,
                    ),
                    "requestBody": order,
                },
            },
            "/agent/v1/canary": {
                "delete": _operation(
                    "deleteCanary",
                    "Withdraw what one process tries out; nothing happens where none does.",
                    "operate",
                    {"204": {"description": "Nothing is tried out."}},
                    {"423": refused["423"]},
                    lease=True,
                )
            },
            "/agent/v1/lease": {
                "delete": _operation(
                    "deleteLease",
                    "Give the lease back; nothing happens where another holds it.",
                    "operate",
                    {"204": {"description": "It is not held by this controller."}},
                    {},
                    lease=True,
                )
            },
            "/agent/v1/health": {
                "get": _operation(
                    "getHealth", "Whether requests are served.", None, {"200": health}, {"503": "They are not."}
                )
            },
            "/agent/v1/metrics": {
                "get": _operation(
                    "getMetrics", "The node's metrics.", "read", {"200": text}, {"503": "They cannot be had now."}
                )
            },
        },
        "components": {
            "schemas": {"Config": _CONFIG, "Order": _ORDER, "State": _STATE, "Problem": _PROBLEM_SCHEMA},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "Where the agent was given tokens."}
            },
        },
    }


def _operation(
    name: str,
    about: str,
    scope: str | None,
    answers: dict[str, Any],
    problems: dict[str, str],
    *,
    lease: bool = False,
) -> dict[str, Any]:
    refusals = {**(_COMMON if scope is not None else {}), **problems}
    content = {"application/problem+json": {"schema": _PROBLEM}}
    return {
        "operationId": name,
        "description": about,
        "security": [{"token": [scope]}, {}] if scope is not None else [],
        **({"parameters": [_CONTROLLER]} if lease else {}),
        "responses": {
            **answers,
            **{status: {"description": text, "content": content} for status, text in refusals.items()},
        },
    }


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
