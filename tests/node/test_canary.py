"""A configuration that one of several processes tries out, with real processes: its share, its end, and its success."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from service.domain.serving_config import ServingConfig
from tests.node.running_node import RunningNode, load, running_node
from tests.support.eventually import eventually

TWO = ServingConfig(instances=2)
TRIED = ServingConfig(enable_batching=True, max_batch_size=8, batch_timeout_micros=500, instances=2)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[RunningNode]:
    async with running_node(tmp_path, options=("--instances=2",)) as running:
        yield running


async def try_out(node: RunningNode, generation: int) -> None:
    order = {"generation": generation, "config": TRIED.to_dict(), "canary": True}
    answer = await node.put(order)
    assert answer.status_code == httpx.codes.OK, answer.text
    assert answer.json()["canary"] == {"generation": generation, "config": TRIED.to_dict(), "ended": None}
    assert (answer.json()["generation"], answer.json()["config"]) == (0, TWO.to_dict())


async def counts(node: RunningNode) -> tuple[int, int]:
    """Requests that canaries and their controls have answered so far."""
    page = (await node.client.get(node.metrics_url)).text
    return (answered(page, "canary"), answered(page, "control"))


def answered(page: str, role: str) -> int:
    return sum(int(line.split()[-1]) for line in page.splitlines() if "request_count" in line and f'"{role}"' in line)


async def tried_by(node: RunningNode, old: list[int]) -> int:
    """The process that tries something out."""
    envoy = json.loads((node.state_dir / "envoy.json").read_text())["pid"]
    [pid] = {one.pid for one in node.processes()} - {*old, envoy}
    return pid


async def test_a_canary_gets_its_share_and_is_withdrawn_dies_or_comes_into_force_without_a_loss(
    node: RunningNode,
) -> None:
    old = await node.pids()
    async with load(node) as seen:
        await seen.more()
        await try_out(node, 1)
        canary, control = await counts(node)
        await seen.more(200)
        after = await counts(node)
        canary, control = after[0] - canary, after[1] - control
        assert min(canary, control) > 50
        # Every other one, by each of the threads that split.
        assert abs(canary - control) <= 8
        assert (await node.client.delete(f"{node.agent}/agent/v1/canary")).status_code == httpx.codes.NO_CONTENT
        when_withdrawn = await counts(node)
        await seen.more()
        assert await counts(node) == when_withdrawn
        assert await node.pids() == old
        await node.settled(3)

        await try_out(node, 1)
        pid = await tried_by(node, old)
        assert seen.lost == []
        before = seen.ended
        await node.kill(pid)
        in_hand = seen.ended + seen.in_hand - before

        async def ended() -> bool:
            canary = (await node.client.get(f"{node.agent}/agent/v1/config")).json()["canary"]
            return canary["ended"] is not None and "ended by itself" in canary["ended"]

        await eventually(ended, what="the end of the trial")
        await seen.more()
        assert len(seen.lost) <= in_hand
        assert await node.pids() == old
        lost = len(seen.lost)

        await try_out(node, 1)
        pid = await tried_by(node, old)
        applied = await node.backend.apply(TRIED, 1)
        assert (applied.config, applied.generation) == (TRIED, 1)
        assert pid in await node.pids()
        assert len(await node.pids()) == 2
        await seen.more()
        await node.settled(3)
        assert len(seen.lost) == lost


async def test_one_that_dies_while_another_is_started_is_replaced_by_then_or_afterwards(node: RunningNode) -> None:
    await node.backend.apply(TWO.with_values(instances=1), 1)
    await node.settled(2)
    [first] = await node.pids()
    order = asyncio.create_task(node.backend.apply(TWO, 2))
    await node.settled(3)
    await node.kill(first)
    assert (await order).config == TWO

    async def complete() -> bool:
        return len(await node.pids()) == 2

    await eventually(complete, what="the second process")
    await node.settled(3)
    assert first not in await node.pids()
