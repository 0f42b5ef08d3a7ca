"""The routes of guardrails and reasons against a running supervisor, store and node."""

from __future__ import annotations

from typing import Any

import httpx

from service.api import examples
from tests.support.api_service import MODEL as M
from tests.support.api_service import in_force, judged
from tests.support.eventually import eventually


async def test_the_kill_switch_can_be_read_and_put_and_is_seen_in_the_status(api: httpx.AsyncClient) -> None:
    assert (await api.get("/v1/kill-switch")).json() == {"on": False}
    assert (await api.put("/v1/kill-switch", json={"on": True})).json() == {"on": True}
    assert (await api.get(M)).json()["kill_switch"] is True
    assert (await api.put("/v1/kill-switch", json={"on": "yes"})).status_code == 422
    assert (await api.put("/v1/kill-switch", json={"on": False})).json() == {"on": False}


async def test_the_error_budget_is_in_the_status(api: httpx.AsyncClient) -> None:
    budget = (await judged(api)) and (await api.get(M)).json()["error_budget"]

    assert budget["remaining_ratio"] < 1
    assert budget["burn"] in ("healthy", "slow", "fast")
    assert set(budget["rates"]) == {"5m", "1h", "30m", "6h"}


async def test_the_learning_period_can_be_ended(api: httpx.AsyncClient) -> None:
    await in_force(api)
    answer = await api.post(f"{M}/skip-learning")
    assert answer.json()["reason"] == "user"
    assert (await api.get(M)).json()["learning"] is None


async def test_why_is_the_newest_decision_in_full(api: httpx.AsyncClient) -> None:
    await judged(api)

    async def told() -> dict[str, Any] | None:
        newest = (await api.get(f"{M}/why")).json()
        return dict(newest) if "gates" in newest.get("inputs", {}) else None

    newest = await eventually(told, what="a decision with all that went into it")
    assert newest["inputs"]["gates"]["mode_allows_choosing"].startswith("the mode is off")


async def test_the_ledger_tells_what_was_recommended_and_not_done(api: httpx.AsyncClient) -> None:
    assert (await api.get(f"{M}/ledger")).json()["entries"] == []
    await api.put(f"{M}/mode", json={"mode": "recommend"})

    async def measured() -> dict[str, Any] | None:
        book = (await api.get(f"{M}/ledger")).json()
        return dict(book) if book["windows"] else None

    book = await eventually(measured, what="a recommendation was held against a window")
    assert book["entries"][0]["kept"] == examples.DEFAULT_CONFIG
    assert book["entries"][0]["changes"]
    assert book["violated"] >= book["avoidable"]
