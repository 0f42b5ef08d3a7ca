"""schemathesis over the agent: every answer conforms to the document, and none is a fault of its own."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from schemathesis.generation import GenerationMode
from starlette.types import ASGIApp

from service.agent.api import Agent
from service.agent.door import Door
from service.agent.lease import LeaseBook
from service.agent.openapi import document
from service.domain.clock import SystemClock
from tests.agent.test_api import HeldNode
from tests.support.schema_fuzz import MODES, ask_everything, listening


def _agent() -> ASGIApp:
    agent = Agent(HeldNode(), LeaseBook(SystemClock()), server=("held", "1.2"), cpus=1.5, memory_bytes=None)
    return Door(agent.app(), None, SystemClock(), local=True)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with listening(_agent) as made:
        yield made


@pytest.mark.parametrize("mode", MODES)
def test_every_answer_conforms_to_the_document(url: str, mode: GenerationMode) -> None:
    asked = ask_everything(document(), url, mode, {})

    assert "putConfig" in asked


def test_the_agent_shows_its_document(url: str) -> None:
    assert httpx.get(f"{url}/agent/v1/openapi.json").json() == document()
