"""The replayed server does what was recorded, to everybody the same; a switch costs what it was measured to cost."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from benchmarks.guarded.clock import VirtualClock
from benchmarks.guarded.world import SESSION_SWITCH_SECONDS, SLOT_SECONDS, ReplayedBackend, ReplayedServer
from benchmarks.replay.scenarios import Scenario
from benchmarks.replay.world import Terrain
from service.domain.errors import StaleGenerationError
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.telemetry.reading import difference

Server = tuple[VirtualClock, ReplayedServer]


def serving(known: Mapping[str, Terrain], scenario: Scenario, slo: Slo, seed: int = 0) -> Server:
    clock = VirtualClock(1)
    return clock, ReplayedServer(scenario, known, slo, seed, clock)


async def test_what_it_shows_is_what_was_recorded(known: Mapping[str, Terrain], scenario: Scenario, slo: Slo) -> None:
    terrain = next(iter(known.values()))
    tails, shares = [], []
    for seed in range(4):
        clock, server = serving(known, scenario, slo, seed)
        first = server.reading()
        await clock.sleep(len(scenario.schedule) * SLOT_SECONDS)
        last = server.reading()
        assert last.discontinuity(first) is None
        latency = difference(last.latency, first.latency)
        assert latency is not None
        tails.append(latency.quantile(0.99))
        shares.append(sum(one.broken for one in server.history) / sum(one.requests for one in server.history))
        assert sum(one.requests for one in server.history) == last.arrivals == sum(last.requests.values())
        rate = last.arrivals / clock.monotonic()
        assert rate == pytest.approx(terrain.landscape.workload.rate_per_second, rel=0.05)
    # Noise of 6 % in 48 stretches leaves 1 %, buckets of 8 % a little more.
    assert np.mean(tails) == pytest.approx(terrain.tails[terrain.start], rel=0.05)
    assert np.mean(shares) == pytest.approx(terrain.violating(slo)[terrain.start], rel=0.2)


async def test_the_same_seed_meets_the_same_requests_and_the_same_noise_whatever_was_done_before(
    known: Mapping[str, Terrain], scenario: Scenario, slo: Slo
) -> None:
    histories = []
    for wandering in (False, True):
        clock, server = serving(known, scenario, slo)
        best = server.terrain.configs[server.terrain.best]
        for generation, config in enumerate((best, server.config), start=1) if wandering else ():
            await ReplayedBackend(server).apply(config, generation)
        await clock.sleep(2 * SLOT_SECONDS - clock.monotonic())
        server.let_requests_come()
        await clock.sleep(SLOT_SECONDS)
        server.let_requests_come()
        histories.append([one for one in server.history if one.slot == 2])
    assert histories[0] == histories[1]
    assert histories[0] != []


async def test_new_sessions_take_a_second_at_three_times_the_latency_and_batching_alone_nearly_nothing(
    known: Mapping[str, Terrain], scenario: Scenario, slo: Slo
) -> None:
    clock, server = serving(known, scenario, slo)
    backend = ReplayedBackend(server)
    before = server.config
    batching = server.terrain.replay.measured(
        before.with_values(enable_batching=True, max_batch_size=8, num_batch_threads=2)
    )
    await backend.apply(batching, 1)
    assert clock.monotonic() < 0.1
    assert not any(one.spoilt for one in server.history)
    other = batching.with_values(tensorflow_intra_op_parallelism=3 - batching.tensorflow_intra_op_parallelism)
    await clock.sleep(1)
    server.let_requests_come()
    steady = server.history[-1]
    state = await backend.apply(other, 2)
    switching = server.history[-1]
    assert (state.config, state.generation, server.switches) == (other, 2, 2)
    assert switching.seconds == pytest.approx(SESSION_SWITCH_SECONDS)
    # The old configuration has served meanwhile.
    assert server.terrain.configs[switching.config] == batching
    assert switching.spoilt
    assert switching.broken / switching.requests > 2 * steady.broken / steady.requests


async def test_the_agent_refuses_what_is_stale_and_rounds_what_was_not_measured(
    known: Mapping[str, Terrain], scenario: Scenario, slo: Slo
) -> None:
    _, server = serving(known, scenario, slo)
    backend = ReplayedBackend(server)
    odd = ServingConfig(enable_batching=True, max_batch_size=7)
    state = await backend.apply(odd, 5)
    assert state.config == server.terrain.replay.measured(odd) != odd
    with pytest.raises(StaleGenerationError):
        await backend.apply(odd, 5)
    assert (await backend.read()).support.bounds["max_batch_size"] == (0, 64)
