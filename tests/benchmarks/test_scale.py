"""Simulated nodes speak as the control service expects, and the table says what was found."""

from __future__ import annotations

import asyncio
import json
import sys
from itertools import pairwise

import httpx
import pytest

from benchmarks.processes import read_line, running
from benchmarks.scale.__main__ import parse, summary, table
from benchmarks.scale.nodes import FAST, FLOOD, GARBAGE, MEAN_OVER_MEDIAN, SLOW
from benchmarks.scale.steered import LateClock
from service.backends.agent_backend import AgentBackend
from service.domain.clock import SystemClock
from service.domain.errors import BackendUnavailableError, StaleGenerationError, TelemetryError
from service.domain.serving_config import ServingConfig
from service.telemetry.metrics_page import MetricsPage
from service.telemetry.reading import difference

BATCHING = ServingConfig(enable_batching=True, max_batch_size=8)


async def test_a_simulated_node_is_read_and_reconfigured_like_a_real_one_and_hostile_ones_are_refused(tmp_path):
    command = [sys.executable, "-m", "benchmarks.scale.nodes", "1", "2", GARBAGE, FLOOD]
    async with running("nodes", command, tmp_path / "log", talk=True) as child, httpx.AsyncClient() as client:
        good, garbage, flood = json.loads(await read_line(child, 30))
        page = MetricsPage(f"http://127.0.0.1:{good}/metrics", client, SystemClock())
        backend = AgentBackend(f"http://127.0.0.1:{good}/m0-1", client)
        assert (await backend.read()).config == ServingConfig()
        assert (await backend.apply(BATCHING, 1)).config == BATCHING
        with pytest.raises(StaleGenerationError):
            await backend.apply(BATCHING.with_values(max_batch_size=16), 1)

        async def means(name: str) -> float:
            readings = []
            for _ in range(6):
                readings.append((await page.read()).page.reading(model=name, monotonic=0, time=0))
                await asyncio.sleep(0.05)
            assert [later.discontinuity(one) for one, later in pairwise(readings)] == [None] * 5
            more = difference(readings[-1].latency, readings[0].latency)
            assert more is not None
            return more.mean

        # Requests are counted whole while their seconds are not, so the mean of a few readings is out by a little.
        assert await means("m0-0") == pytest.approx(SLOW * MEAN_OVER_MEDIAN, rel=0.15)
        assert await means("m0-1") == pytest.approx(FAST * MEAN_OVER_MEDIAN, rel=0.15)
        for port in (garbage, flood):
            with pytest.raises(TelemetryError):
                await MetricsPage(f"http://127.0.0.1:{port}/metrics", client, SystemClock()).read()
            with pytest.raises(BackendUnavailableError):
                await AgentBackend(f"http://127.0.0.1:{port}/x", client).read()


async def test_a_loop_is_as_late_as_its_rounds_are_longer_than_its_sleeps():
    clock = LateClock()

    async def rounds() -> None:
        for _ in range(3):
            await clock.sleep(0.01)

    await asyncio.create_task(rounds(), name="steer:m")
    await asyncio.create_task(rounds(), name="watch:bad-hang")
    assert {key: len(late) for key, late in clock.late.items()} == {("steer", False): 2, ("watch", True): 2}
    assert min(clock.late["steer", False]) >= 0
    clock.forget()
    assert not clock.late


def found(models: int, resident: float) -> dict[str, object]:
    raw = {
        "models": models,
        "start_seconds": 1.0,
        "seconds": 30.0,
        "cpu_seconds": 3.0,
        "resident_bytes": resident,
        "late": {"steer": [0.001, 0.002, 0.1], "watch": [0.004]},
    }
    return summary(raw, 1, [])


def test_the_table_says_what_a_further_model_takes():
    rows = table([found(1, 200e6), found(11, 230e6)]).rows
    assert rows[0][8] == "–"
    assert rows[1][8] == "3.00"
    assert rows[1][5] == f"{3.0 / 30 * 60 / 11:.2f}"
    assert rows[0][1:5] == ["2.00", "100", "4.00", "4.00"]


def test_a_wrong_command_line_is_refused(capsys):
    with pytest.raises(SystemExit):
        parse(["--seconds", "0"])
    assert "error:" in capsys.readouterr().err
