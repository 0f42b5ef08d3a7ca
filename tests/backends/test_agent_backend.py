from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from service.backends.agent_backend import CONTROLLER_HEADER, MAX_ANSWER_BYTES, AgentBackend, controller_name
from service.domain.clock import SystemClock
from service.domain.errors import (
    ApplyTimeoutError,
    BackendUnavailableError,
    InfeasibleConfigError,
    LeaseHeldError,
    StaleGenerationError,
)
from service.domain.serving_config import ServingConfig
from tests.support.agents import SimulatedNode, serving
from tests.support.processes import free_port

BATCHING = ServingConfig(enable_batching=True, max_batch_size=8)


@pytest.fixture
def node() -> SimulatedNode:
    return SimulatedNode(SystemClock(), lambda config, rate: 0.01)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as open_client:
        yield open_client


@pytest.fixture
async def backend(node: SimulatedNode, client: httpx.AsyncClient) -> AsyncIterator[AgentBackend]:
    async with serving(node) as url:
        yield AgentBackend(url, client, read_timeout_seconds=5.0, apply_timeout_seconds=5.0)


def answering(status: int, content: bytes | dict[str, Any], content_type: str = "application/json") -> AgentBackend:
    """A backend whose agent always gives one answer."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    transport = httpx.MockTransport(
        lambda request: httpx.Response(status, content=body, headers={"content-type": content_type})
    )
    return AgentBackend("http://agent.test", httpx.AsyncClient(transport=transport))


async def test_unknown_parts_of_an_answer_are_kept_as_details(backend):
    assert (await backend.read()).details == {"models": [{"name": "m"}]}


async def test_an_order_carries_the_time_out(node, client):
    async with serving(node) as url:
        await AgentBackend(url, client, apply_timeout_seconds=3.5).apply(BATCHING, 1)
    assert node.orders == [(1, BATCHING)]


async def test_the_time_out_reaches_the_agent():
    sent = {}

    def agent(request: httpx.Request) -> httpx.Response:
        sent.update(json.loads(request.content))
        return httpx.Response(504, json={"detail": "too slow"})

    client = httpx.AsyncClient(transport=httpx.MockTransport(agent))
    with pytest.raises(ApplyTimeoutError, match="too slow"):
        await AgentBackend("http://agent.test/", client, apply_timeout_seconds=3.5).apply(BATCHING, 7)
    assert sent == {"generation": 7, "config": BATCHING.to_dict(), "timeout_seconds": 3.5}


async def test_a_conflict_without_a_number_is_still_a_stale_generation():
    with pytest.raises(StaleGenerationError) as refused:
        await answering(409, {"title": "Stale"}, "application/problem+json").apply(BATCHING, 3)
    assert refused.value.current is None


@pytest.mark.parametrize(
    ("told", "read"),
    [
        ({"holder": "c2", "since": 5, "expires": 7.5}, ("c2", 5.0, 7.5)),
        ({"holder": "c2", "since": "long ago", "expires": None}, ("c2", None, None)),
        ({}, ("another controller", None, None)),
    ],
)
async def test_a_lease_of_another_is_told_apart_with_what_is_known_of_it(told, read):
    with pytest.raises(LeaseHeldError) as refused:
        await answering(423, told, "application/problem+json").apply(BATCHING, 3)
    assert (refused.value.holder, refused.value.since, refused.value.expires) == read


async def test_names_of_controllers_are_unique_and_fit_into_a_header():
    names = {controller_name() for _ in range(3)}
    assert len(names) == 3
    assert all(name.isascii() and 0 < len(name) <= 128 for name in names)


async def test_closing_after_the_agent_or_the_connections_are_gone_is_no_error(client):
    backend = AgentBackend(f"http://127.0.0.1:{free_port()}", client, controller="c1", apply_timeout_seconds=1)
    with pytest.raises(BackendUnavailableError):
        await backend.apply(BATCHING, 1)
    await backend.close()
    with pytest.raises(BackendUnavailableError):
        await backend.apply(BATCHING, 1)
    await client.aclose()
    await backend.close()


async def test_an_infeasible_configuration_without_fields_names_the_configuration():
    with pytest.raises(InfeasibleConfigError, match="needs more memory") as refused:
        await answering(422, {"detail": "needs more memory"}, "application/problem+json").apply(BATCHING, 1)
    assert refused.value.field == "config"


async def test_time_that_runs_out_at_the_agent_is_no_loss_of_contact(node, backend):
    node.faults["order"] = "timeout"
    with pytest.raises(ApplyTimeoutError, match="kept serving"):
        await backend.apply(BATCHING, 1)


async def test_an_agent_that_fails_says_why(node, backend):
    node.faults["order"] = "error"
    with pytest.raises(BackendUnavailableError, match=r"500 .*out of memory"):
        await backend.apply(BATCHING, 1)


async def test_nobody_there_is_told_with_the_address(client):
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(BackendUnavailableError, match=url):
        await AgentBackend(url, client).read()


async def test_an_agent_that_hangs_is_left_after_the_time_out(node, client):
    node.faults["read"] = "hang"
    async with serving(node) as url:
        with pytest.raises(BackendUnavailableError, match=r"no answer to GET within 0\.05 s"):
            await AgentBackend(url, client, read_timeout_seconds=0.05).read()


async def test_an_answer_that_drips_is_cut_off_as_a_whole():
    # Each byte arrives well before any time-out between bytes; only a limit on the whole can end this.
    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while not caller_left.is_set():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.close()
        drip_ended.set()

    caller_left, drip_ended = asyncio.Event(), asyncio.Event()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with server, httpx.AsyncClient(trust_env=False) as client:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(BackendUnavailableError, match="no answer"):
            await AgentBackend(url, client, read_timeout_seconds=0.2).read()
        caller_left.set()
        await drip_ended.wait()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"]] not json", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "lacks 'generation'"),
        (b" " * (MAX_ANSWER_BYTES + 1), "exceeds"),
    ],
    ids=["text", "bytes", "deep", "list", "empty", "huge"],
)
async def test_an_answer_that_is_no_agents_is_told_apart(content, told):
    with pytest.raises(BackendUnavailableError, match=told):
        await answering(200, content).read()


def described(**changes: Any) -> dict[str, Any]:
    return SimulatedNode(SystemClock(), lambda config, rate: 0.01).describe() | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"generation": -1},
        {"generation": "7"},
        {"generation": True},
        {"config": {"max_batch_size": 0, "enable_batching": True}},
        {"config": {"no_such_knob": 1}},
        {"config": None},
        {"state": "asleep"},
        {"support": None},
        {"support": {"knobs": {"instances": {"min": 3, "max": 1}}, "cpus": 2}},
        {"support": {"knobs": {"instances": {"min": 1}}, "cpus": 2}},
        {"support": {"knobs": {}, "cpus": "many"}},
        {"support": {"knobs": {}, "cpus": 0}},
        {"support": {"knobs": {}, "cpus": float("nan")}},
        {"server": "tensorflow"},
        {"lease": "mine"},
    ],
    ids=str,
)
async def test_an_answer_that_makes_no_sense_is_never_believed(changes):
    with pytest.raises(BackendUnavailableError, match=r"makes no sense|lacks"):
        await answering(200, json.dumps(described(**changes)).encode()).read()


async def test_an_error_page_of_something_in_between_is_no_verdict():
    with pytest.raises(BackendUnavailableError, match="502"):
        await answering(502, b"<html>bad gateway</html>", "text/html").apply(BATCHING, 1)


async def test_a_redirect_is_not_followed():
    with pytest.raises(BackendUnavailableError, match="307"):
        await answering(307, b"", "text/plain").read()


class TestALeaseOfTheDead:
    """A simulated agent with a lease, as the real one's door answers."""

    def agent(self, holder: str | None) -> tuple[httpx.AsyncClient, list[str]]:
        freed: list[str] = []

        def answer(request: httpx.Request) -> httpx.Response:
            if request.method == "DELETE":
                freed.append(request.headers[CONTROLLER_HEADER])
                return httpx.Response(204)
            lease = {"holder": holder, "since": 1.0, "expires": 2.0} if holder and holder not in freed else None
            return httpx.Response(200, json=described(lease=lease))

        return httpx.AsyncClient(transport=httpx.MockTransport(answer)), freed

    async def test_is_given_back_once_and_no_longer_told(self):
        client, freed = self.agent("dead")
        backend = AgentBackend("http://agent.test", client, controller="heir")
        backend.succeed("dead")
        assert (await backend.read()).lease_holder is None
        assert (await backend.read()).lease_holder is None
        assert freed == ["dead"]

    async def test_is_left_to_anybody_else(self):
        client, freed = self.agent("somebody alive")
        backend = AgentBackend("http://agent.test", client, controller="heir")
        backend.succeed("dead")
        assert (await backend.read()).lease_holder == "somebody alive"
        assert freed == []

    async def test_is_given_back_only_at_the_first_look(self):
        """Should the dead be alive after all, the two must not take the lease from each other for ever."""
        client, freed = self.agent(None)
        backend = AgentBackend("http://agent.test", client, controller="heir")
        backend.succeed("dead")
        await backend.read()
        other, taken = self.agent("dead")
        backend._client = other
        assert (await backend.read()).lease_holder == "dead"
        assert freed == taken == []

    async def test_is_given_back_with_the_next_look_where_the_agent_did_not_take_it(self):
        refusals = [httpx.Response(503), httpx.ReadTimeout("no answer in time")]
        client, freed = self.agent("dead")

        async def refuse_first(request: httpx.Request) -> httpx.Response:
            if request.method == "DELETE" and refusals:
                refusal = refusals.pop(0)
                if isinstance(refusal, Exception):
                    raise refusal
                return refusal
            return await client.send(request)

        backend = AgentBackend(
            "http://agent.test", httpx.AsyncClient(transport=httpx.MockTransport(refuse_first)), controller="heir"
        )
        backend.succeed("dead")
        assert [(await backend.read()).lease_holder for _ in range(4)] == ["dead", "dead", None, None]
        assert freed == ["dead"]

    async def test_waits_until_the_agent_answers(self):
        backend = answering(503, {})
        backend.succeed("dead")
        with pytest.raises(BackendUnavailableError):
            await backend.read()
        backend._client, freed = self.agent("dead")
        await backend.read()
        assert freed == ["dead"]
