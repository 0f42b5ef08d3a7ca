"""schemathesis over the OpenAPI document: whatever it makes of it, the answer conforms and is none of our own faults.

REGULUS_FUZZ_EXAMPLES says how many requests an operation gets; ``make fuzz-api`` sets a large number.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import schemathesis
import uvicorn
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.api import openapi
from service.api.app import create_app
from tests.support.api_service import settings_for
from tests.support.processes import wait_until
from tests.support.served_node import served_node

EXAMPLES = int(os.environ.get("REGULUS_FUZZ_EXAMPLES", "8"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
#: What is right for a while, such as without a window to judge by, and says when to come back.
PASSING = {httpx.codes.SERVICE_UNAVAILABLE}


@contextmanager
def _listening(app: FastAPI) -> Iterator[str]:
    """The application on a real socket, in a thread of its own."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, ws="none"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), what="the service listens")
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)


@pytest.fixture(scope="module")
def service() -> Iterator[tuple[str, FastAPI]]:
    with served_node() as served:
        app = create_app(settings_for(served))
        with _listening(app) as url:
            wait_until(lambda: httpx.get(f"{url}/readyz").is_success, what="the service is ready")
            yield url, app


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_answer_conforms_to_the_document(service: tuple[str, FastAPI], mode: GenerationMode) -> None:
    url, app = service
    document = openapi.document(app)
    # The only model there is: else nearly every request would end at an unknown name.
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=url)
    operations = [result.ok() for result in schema.get_all_operations()]
    asked: set[str] = set()
    for operation in operations:
        named = {"path_parameters": {"model": "mnist"}} if "{model}" in operation.path else {}
        with contextlib.suppress(Unsatisfiable):  # what takes nothing cannot be given anything wrong
            asked.add(_ask(operation, mode, named))

    everything = {operation["operationId"] for operation in openapi.operations(document)}
    takes = {o["operationId"] for o in openapi.operations(document) if "requestBody" in o or "parameters" in o}
    assert asked >= (everything if mode is GenerationMode.POSITIVE else takes)


def _ask(operation: Any, mode: GenerationMode, named: dict[str, Any]) -> str:
    """Send an operation some requests; its id."""

    @given(case=operation.as_strategy(generation_mode=mode, **named))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def conforms(case: Any) -> None:
        answer = case.call()
        if answer.status_code not in PASSING:
            case.validate_response(answer, checks=CHECKS)

    conforms()
    return str(operation.definition.raw["operationId"])
