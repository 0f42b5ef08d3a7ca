"""The OpenAPI document is valid, complete, true to what is sent, and stable."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from fastapi.openapi.models import OpenAPI
from pydantic import BaseModel

from service.api import docs, openapi, problems, schemas
from service.api.app import create_app
from service.api.scopes import OPEN_OPERATIONS, SCOPES, STREAMED_OPERATIONS
from service.api.settings import Settings
from service.domain.clock import SystemClock
from tests.support.agents import SimulatedNode
from tests.support.api_service import settings_for
from tests.support.served_node import Served, latency

SCHEMAS: dict[str, type[BaseModel]] = {
    name: cls
    for module in (schemas, problems)
    for name, cls in inspect.getmembers(module, inspect.isclass)
    if issubclass(cls, BaseModel) and cls is not BaseModel and cls.__module__ == module.__name__
}


def _settings() -> Settings:
    return settings_for(Served(SimulatedNode(SystemClock(), latency), "http://127.0.0.1"))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi.document(create_app(_settings()))


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            else:
                yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def test_the_document_is_openapi_and_its_references_lead_somewhere(document: dict[str, Any]) -> None:
    OpenAPI.model_validate(document)
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}

    assert document["openapi"].startswith("3.1")
    assert set(_references(document)) <= known
    assert "#/components/schemas/Problem" in set(_references(document))


def test_operations_are_those_whose_scope_is_stated(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for operation in openapi.operations(document)]

    assert sorted(ids) == sorted({*SCOPES, *OPEN_OPERATIONS}), "say in service/api/scopes.py which scope each needs"


def test_every_operation_is_described_and_tagged(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    for operation in openapi.operations(document):
        assert operation["description"]
        assert set(operation["tags"]) <= tags
        for parameter in operation.get("parameters", []):
            assert parameter["description"]


def test_every_error_is_documented_as_a_problem_with_an_example_of_its_kind(document: dict[str, Any]) -> None:
    for operation in openapi.operations(document):
        errors = {status: answer for status, answer in operation["responses"].items() if int(status) >= 400}
        assert {"401", "403", "421", "429", "500", "503"} <= set(errors)
        assert ("requestBody" in operation) <= ({"400", "408", "413", "415", "422"} <= set(errors))
        for status, answer in errors.items():
            assert list(answer["content"]) == ["application/problem+json"]
            content = answer["content"]["application/problem+json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
            for slug, example in content["examples"].items():
                assert problems.Problem.model_validate(example["value"]).status == int(status)
                assert example["value"]["type"].endswith(slug)
            if int(status) in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
                assert "Retry-After" in answer["headers"]


def test_every_kind_of_problem_that_an_exception_becomes_is_documented_somewhere(document: dict[str, Any]) -> None:
    documented = {
        slug
        for operation in openapi.operations(document)
        for answer in operation["responses"].values()
        for slug in answer.get("content", {}).get("application/problem+json", {}).get("examples", {})
    }

    assert {kind.slug for kind in problems.PROBLEMS.values()} <= documented


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_schema_has_an_example_that_it_accepts_and_would_send(name: str) -> None:
    schema = SCHEMAS[name]
    examples = schema.model_json_schema()["examples"]

    for example in examples:
        # Sent as it stands: no field is missing, none is unknown, none has another type.
        sent = schema.model_validate(example).model_dump(mode="json", exclude_unset=True)
        assert sent == example
        assert set(schema.model_fields) - set(example) <= {"errors", "models"}


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_field_is_described(name: str) -> None:
    for field in SCHEMAS[name].model_fields.values():
        assert field.description


def test_what_comes_in_admits_no_unknown_names(document: dict[str, Any]) -> None:
    bodies = {
        operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for operation in openapi.operations(document)
        if "requestBody" in operation and operation["operationId"] not in STREAMED_OPERATIONS
    }

    assert bodies == {"SloBody", "ModeBody", "WhatIf", "ConfigBody", "KillSwitchBody"}
    for name in (*bodies, "WorkloadBody"):
        assert document["components"]["schemas"][name]["additionalProperties"] is False


def test_every_operation_states_its_scope_and_the_probes_need_none(document: dict[str, Any]) -> None:
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for operation in openapi.operations(document):
        name = operation["operationId"]
        needed = [] if name in OPEN_OPERATIONS else [{"token": [SCOPES[name].value]}, {}]
        assert operation["security"] == needed


@pytest.mark.parametrize("name", sorted(docs.GENERATED))
def test_the_pages_in_docs_are_up_to_date(name: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / name).read_text(encoding="utf-8")

    assert docs.refreshed(text, docs.GENERATED[name]()) == text, "run: python -m service.api.docs"
