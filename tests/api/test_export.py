"""The whole history as one stream."""

from __future__ import annotations

import io
import json

import httpx
from fastapi import FastAPI

from service.store import Store
from tests.support.eventually import eventually


async def test_the_export_is_what_an_import_takes(app: FastAPI, api: httpx.AsyncClient) -> None:
    async def decided() -> bool:
        return bool((await api.get("/v1/models/mnist/decisions")).json()["items"])

    await eventually(decided, what="something was decided")
    answer = await api.get("/v1/history", params={"model": "mnist"})

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/jsonl"
    target = Store.open("sqlite://")
    assert target.take_in(io.BytesIO(answer.content)).decisions >= 1
    target.close()
    nobody = await api.get("/v1/history", params={"model": "nobody"})
    assert [json.loads(line).get("kind") for line in nobody.text.splitlines()] == [None, "end"]


async def test_a_history_that_cannot_be_read_is_a_problem_not_a_broken_stream(
    app: FastAPI, api: httpx.AsyncClient
) -> None:
    with app.state.running.store._database.transaction() as connection:
        connection.exec_driver_sql("ALTER TABLE models RENAME TO gone")
    answer = await api.get("/v1/history")

    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:regulus:problem:history-unavailable"
