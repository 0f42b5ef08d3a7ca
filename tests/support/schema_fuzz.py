"""schemathesis on a running service: requests made from its OpenAPI document, answers held against it.

REGULUS_FUZZ_EXAMPLES says how many requests an operation gets; ``make fuzz-api`` sets a large number.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import schemathesis
import uvicorn
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
from starlette.types import ASGIApp

from tests.support.processes import wait_until

EXAMPLES = int(os.environ.get("REGULUS_FUZZ_EXAMPLES", "6"))

MODES = list(GenerationMode)


@schemathesis.serializer("application/jsonl", "application/x-ndjson")
def _lines(_context: schemathesis.SerializationContext, value: Any) -> bytes:
    """A body of lines, or whatever is to be sent in its place."""
    return value.encode("utf-8", "replace") if isinstance(value, str) else repr(value).encode()


_CONFORMS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@contextlib.contextmanager
def listening(make: Callable[[], ASGIApp]) -> Iterator[str]:
    """An application on a real socket, made and served in a thread of its own; yields its URL."""
    made: list[uvicorn.Server] = []

    async def serve() -> None:
        made.append(uvicorn.Server(uvicorn.Config(make(), port=0, log_config=None, ws="none")))
        await made[0].serve()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    try:
        wait_until(lambda: bool(made and made[0].started) or not thread.is_alive(), what="the service listens")
        yield f"http://127.0.0.1:{made[0].servers[0].sockets[0].getsockname()[1]}"
    finally:
        made[0].should_exit = True
        thread.join(60)


def ask_everything(
    document: dict[str, Any],
    url: str,
    mode: GenerationMode,
    path_parameters: Mapping[str, Any],
    allowed: Collection[int] = (),
) -> set[str]:
    """Send every operation some requests, good ones or bad ones; the ids of those that were asked.

    Args:
        document: OpenAPI.
        url: Where the service is.
        mode: Whether requests keep to the document or break it.
        path_parameters: Values for paths that have these.
        allowed: Server errors that are right for a while, such as 503.

    Raises:
        schemathesis.errors.FailureGroup: An answer does not conform, or is a fault of the service's own.
    """
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=url)
    asked = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        given_path = {name: value for name, value in path_parameters.items() if f"{{{name}}}" in operation.path}
        with contextlib.suppress(Unsatisfiable):  # what takes nothing cannot be given anything wrong
            _ask(operation, mode, {"path_parameters": given_path} if given_path else {}, allowed)
            asked.add(str(operation.definition.raw["operationId"]))
    return asked


def _ask(operation: Any, mode: GenerationMode, fixed: Mapping[str, Any], allowed: Collection[int]) -> None:
    @given(case=operation.as_strategy(generation_mode=mode, **fixed))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def conforms(case: Any) -> None:
        answer = case.call()
        checks = _CONFORMS if answer.status_code in allowed else [not_a_server_error, *_CONFORMS]
        case.validate_response(answer, checks=checks)

    conforms()
