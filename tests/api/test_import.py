"""A history comes in through the API: whole or not at all, within bounds, one at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.api.app import create_app
from service.api.routes import take_in
from service.domain.decision import Action
from service.store import Store
from tests.support.api_service import PATIENT, client_of, settings_for
from tests.support.history import CONFIG, WORKLOAD, a_decision, a_window
from tests.support.served_node import Served

PATH = "/v1/history"
LINES = {"content-type": "application/jsonl"}


@pytest.fixture(scope="module")
def exported() -> bytes:
    """Of a model that the service does not steer; larger than other bodies may be."""
    store = Store.open("sqlite://")
    for number in range(20):
        store.add_observation("other", WORKLOAD, CONFIG, a_window(number))
    store.add_decision(a_decision(1, model="other", action=Action.APPLY))
    store.put_incumbent("other", CONFIG, 3)
    lines = "".join(store.export()).encode()
    store.close()
    assert len(lines) > 65_536
    return lines


@asynccontextmanager
async def service_with(served: Served, **limits: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings_for(served, server={**PATIENT, **limits}))
    async with app.router.lifespan_context(app), client_of(app) as api:
        yield api


def told(lines: bytes) -> list[dict[str, Any]]:
    """What an export says, but for when it was made and for the numbers of decisions."""
    parsed = [json.loads(line) for line in lines.splitlines()]
    return [{name: value for name, value in line.items() if name != "id"} for line in parsed[1:]]


async def in_pieces(content: bytes, size: int = 10_000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


@pytest.mark.parametrize("media", take_in.MEDIA_TYPES)
async def test_what_was_exported_comes_in_once(app: FastAPI, api: httpx.AsyncClient, exported, media) -> None:
    for expected in (
        {"observations": 20, "decisions": 1, "states": 1, "known": 0},
        {"observations": 0, "decisions": 0, "states": 0, "known": 22},
    ):
        answer = await api.post(PATH, content=in_pieces(exported), headers={"content-type": f"{media}; charset=utf-8"})
        assert (answer.status_code, answer.json()) == (200, expected)
    again = await api.get(PATH, params={"model": "other"})
    assert told(again.content) == told(exported)


async def test_a_line_that_cannot_be_used_is_named_and_nothing_comes_in(
    app: FastAPI, api: httpx.AsyncClient, exported: bytes
) -> None:
    answer = await api.post(PATH, content=exported.replace(b'"cv"', b'"vc"', 1), headers=LINES)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "line 3"
    assert app.state.running.store.observations("other") == []


async def test_one_that_is_cut_off_is_noticed(api: httpx.AsyncClient, exported: bytes) -> None:
    answer = await api.post(PATH, content=exported[:70_000], headers=LINES)
    assert answer.status_code == 422
    assert "cut off" in answer.json()["detail"]


@pytest.mark.parametrize("announced", [True, False])
async def test_one_that_is_too_large_is_not_taken(served: Served, exported: bytes, announced: bool) -> None:
    sent = []

    async def pieces() -> AsyncIterator[bytes]:
        async for piece in in_pieces(exported):
            sent.append(piece)
            yield piece

    headers = LINES | ({"content-length": str(len(exported))} if announced else {})
    async with service_with(served, max_import_bytes=25_000) as api:
        answer = await api.post(PATH, content=pieces(), headers=headers)
    assert answer.status_code == 413
    assert "at most 25000 bytes (server.max_import_bytes)" in answer.json()["detail"]
    assert len(sent) <= (0 if announced else 3)


@pytest.mark.parametrize("slow", ["silent", "dripping"])
async def test_a_sender_who_is_slow_is_not_waited_for(served: Served, monkeypatch, slow: str) -> None:
    monkeypatch.setattr(take_in, "SLOWEST_BYTES_PER_SECOND", 1e9)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"{"
        while True:
            await asyncio.sleep(1000 if slow == "silent" else 0.01)
            yield b" "

    async with service_with(served, body_timeout_seconds=0.1) as api:
        answer = await api.post(PATH, content=pieces(), headers=LINES)
    assert answer.status_code == 408


async def test_without_room_for_the_file_nothing_is_taken_in_and_it_is_said(
    api: httpx.AsyncClient, exported: bytes, monkeypatch
) -> None:
    before = told((await api.get(f"{PATH}/export")).content)
    # A device of the kernel on which nothing ever fits.
    monkeypatch.setattr(take_in.tempfile, "TemporaryFile", partial(Path("/dev/full").open, "r+b"))
    answer = await api.post(PATH, content=exported, headers=LINES)
    assert answer.status_code == 503
    assert "No space left on device" in answer.json()["detail"]
    assert told((await api.get(f"{PATH}/export")).content) == before


async def test_one_comes_in_at_a_time(api: httpx.AsyncClient, exported: bytes) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield exported[:10]
        begun.set()
        await go_on.wait()
        yield exported[10:]

    first = asyncio.create_task(api.post(PATH, content=pieces(), headers=LINES))
    await begun.wait()
    second = await api.post(PATH, content=exported, headers=LINES)
    go_on.set()
    assert (second.status_code, (await first).status_code) == (503, 200)
    assert "another import is in progress" in second.json()["detail"]


@pytest.mark.parametrize("media", ["", "application/json", "text/plain"])
async def test_what_a_page_of_another_site_could_send_is_refused(api: httpx.AsyncClient, media: str) -> None:
    answer = await api.post(PATH, content=b"{}", headers={"content-type": media} if media else {})
    assert answer.status_code == 415
    assert "application/jsonl" in answer.json()["detail"]


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No room for temporary files."""
    with Path("/dev/full").open("wb", buffering=0) as device:
        monkeypatch.setattr(take_in.tempfile, "TemporaryFile", lambda: device)
        yield


@pytest.mark.usefixtures("full")
async def test_no_room_for_it_is_said(api: httpx.AsyncClient, exported: bytes) -> None:
    answer = await api.post(PATH, content=exported, headers=LINES)
    assert answer.status_code == 503
    assert "No space left on device" in answer.json()["detail"]
