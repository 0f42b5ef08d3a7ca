"""The cheapest faults of ``make faults`` on the real control service; its node is simulated, so nothing is served."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio

from benchmarks.faults.registry import FAULTS
from benchmarks.faults.stand import Stand
from benchmarks.faults.suite import trial_begins
from benchmarks.faults.trial import Trial
from tests.support.light_stand import light_stand

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stand(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stand]:
    async with light_stand(tmp_path_factory.mktemp("stand")) as present:
        yield present


@pytest.mark.parametrize(
    "name",
    [
        "metrics NaN",
        "metrics missing",
        "counters reset",
        "disk of the history full",
        "control service killed (−9) right after a switch was ordered",
    ],
)
async def test_all_holds_that_must(stand: Stand, name: str) -> None:
    trial = Trial(stand, np.random.default_rng(0))
    await trial_begins(trial)
    before = await stand.control.decisions()
    async with trial.listening():
        await FAULTS[name].run(trial)
        await trial.hear_decisions(before)
    assert [check for check in trial.checks if not check.held] == []
    assert {"it recovers", "no acknowledged decision is lost"} <= {check.what for check in trial.checks}
