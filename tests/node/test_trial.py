"""Trials: who may try something out, and how a trial ends when nobody ends it; processes are real in test_canary.py."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from prometheus_client import CollectorRegistry

from service.domain.errors import InfeasibleConfigError
from service.domain.serving_config import ServingConfig
from service.node.changes import Changes
from service.node.errors import TooFewError
from service.node.files import Ledger, NodeFolder
from service.node.state import Canary, NodeState, ServerRecord
from service.node.trial import Trials
from tests.support.fake_clock import FakeClock

TWO = ServingConfig(instances=2)
TRIED = TWO.with_values(tensorflow_intra_op_parallelism=2)


def server(pid: int) -> ServerRecord:
    return ServerRecord(pid=pid, started_ticks=1, generation=0, grpc_port=pid, rest_port=pid + 1, log="")


class Processes:
    """What Changes does to the ledger, without the processes."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def try_out(self, config: ServingConfig, generation: int) -> ServerRecord:
        canary = Canary(generation=generation, config=config, server=server(9))
        self._ledger.write(self._ledger.state.begin([canary.server]).try_out(canary))
        return canary.server

    async def withdraw(self) -> None:
        self._ledger.write(self._ledger.state.withdraw())


@pytest.fixture
def clock() -> FakeClock:
    clock = FakeClock()
    clock.sleepers = 0
    return clock


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    folder = NodeFolder(tmp_path)
    folder.take()
    state = NodeState(generation=3, config=TWO, launched=TWO, serving=(server(1), server(2)))
    yield Ledger(folder, state)
    folder.leave()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def trials(ledger: Ledger, clock: FakeClock, registry: CollectorRegistry) -> Iterator[Trials]:
    trials = Trials(cast(Changes, Processes(ledger)), ledger, asyncio.Lock(), clock, 600.0, registry)
    yield trials
    trials.stop()


async def test_a_trial_that_nobody_ends_ends_by_itself(
    trials: Trials, ledger: Ledger, clock: FakeClock, registry: CollectorRegistry
) -> None:
    await trials.begin(TRIED, 4)
    assert trials.last is not None
    assert trials.last.ended is None
    await clock.run_for(599)
    assert ledger.state.canary is not None
    await clock.run_for(2)
    assert ledger.state.canary is None
    assert trials.last is not None
    assert "nobody decided on it within 600 s" in (trials.last.ended or "")
    assert registry.get_sample_value("regulus_node_canaries_total", {"outcome": "expired"}) == 1


async def test_the_time_of_one_trial_does_not_end_the_next(trials: Trials, ledger: Ledger, clock: FakeClock) -> None:
    await trials.begin(TRIED, 4)
    await clock.run_for(400)
    await trials.end("enough was seen")
    await trials.begin(TRIED, 4)
    await clock.run_for(400)
    assert ledger.state.canary is not None


async def test_a_stranger_that_dies_is_no_canary(trials: Trials, ledger: Ledger) -> None:
    await trials.begin(TRIED, 4)
    assert not await trials.died(server(1), "")
    assert ledger.state.canary is not None


async def test_what_cannot_be_compared_is_not_tried_out(trials: Trials) -> None:
    with pytest.raises(InfeasibleConfigError) as refused:
        await trials.begin(TRIED.with_values(instances=3), 4)
    assert refused.value.field == "instances"
    assert trials.last is None


async def test_while_one_of_two_is_started_again_a_trial_is_refused_for_now_and_not_for_good(
    trials: Trials, ledger: Ledger
) -> None:
    ledger.write(ledger.state.lost(server(1)))
    with pytest.raises(TooFewError, match="1 of 2"):
        await trials.begin(TRIED, 4)
    assert trials.last is None
    ledger.write(ledger.state.joined(server(3)))
    await trials.begin(TRIED, 4)
