"""The node with real processes: Envoy, servers, clients of both protocols; and nothing is lost.

The server is ``tensorflow_model_server`` where REGULUS_TFS_BINARY names one, else the embedded one under its flags.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from service.backends.protocol import BackendPhase
from service.domain.clock import SystemClock
from service.domain.errors import InfeasibleConfigError
from service.domain.serving_config import ServingConfig
from service.domain.window import WindowQuality
from service.telemetry.scraper import Scraper
from service.telemetry.windows import WindowBuilder, WindowSettings
from tests.node.running_node import MODEL, Asked, Load, RunningNode, load, running_node
from tests.support.eventually import eventually

BATCHED = ServingConfig(enable_batching=True, max_batch_size=8, batch_timeout_micros=500, num_batch_threads=2)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[RunningNode]:
    async with running_node(tmp_path, options=("--slo-p99-ms=50",)) as running:
        yield running


async def test_switches_lose_nothing_and_a_server_that_does_not_start_leaves_the_old_one(node: RunningNode) -> None:
    backend = node.backend
    before = await backend.read()
    [first] = await node.pids()
    async with load(node) as seen:
        await seen.more()
        applied = await backend.apply(BATCHED, 1)
        assert (applied.config, applied.generation, applied.phase) == (BATCHED, 1, BackendPhase.SERVING)
        [second] = await node.pids()
        assert second != first
        await seen.more()
        await backend.apply(BATCHED.with_values(instances=2), 2)
        both = await node.pids()
        assert second in both
        await seen.more()
        # One process fewer: it finishes what it has.
        await backend.apply(BATCHED, 3)
        assert await node.pids() == [second]
        await seen.more()

        (node.folder / "fail").touch()
        refused = await node.put({"generation": 4, "config": {}})
        assert refused.status_code == 500
        assert "these are my last words" in refused.json()["detail"]
        with pytest.raises(InfeasibleConfigError):
            await backend.apply(BATCHED.with_values(instances=before.support.bounds["instances"][1] + 1), 4)
        (node.folder / "fail").unlink()
        # What two generations of such a model would take is more memory than there is.
        huge = node.folder / "models" / MODEL / "1" / "huge"
        with huge.open("wb") as sparse:
            sparse.truncate(1 << 42)
        with pytest.raises(InfeasibleConfigError, match="MiB") as too_large:
            await backend.apply(ServingConfig(), 4)
        assert too_large.value.field == "instances"
        huge.unlink()
        state = await backend.read()
        assert (state.config, state.generation, await node.pids()) == (BATCHED, 3, [second])
        await seen.more()

        await node.settled(2)  # Envoy and one server
    assert seen.lost == []


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this kernel knows no autogroups")
async def test_a_new_server_gets_ready_on_what_the_serving_one_leaves_and_then_competes(node: RunningNode) -> None:
    [first] = await node.pids()

    def share(pid: int) -> str:
        try:
            return Path(f"/proc/{pid}/autogroup").read_text().split()[-1]
        except OSError:
            return "it has ended"

    order = asyncio.create_task(node.backend.apply(BATCHED, 1))

    async def another_yields() -> bool:
        return "19" in {share(process.pid) for process in node.processes() if process.pid != first}

    await eventually(another_yields, what="a process that yields")
    assert share(first) == "0"
    await order
    [second] = await node.pids()
    assert share(second) == "0"


async def test_a_killed_agent_is_succeeded_by_one_that_goes_on_with_all_that_runs(node: RunningNode) -> None:
    await node.backend.apply(BATCHED, 5)
    before = await node.backend.read()
    async with load(node) as seen:
        await node.settled(2)
        # Killed while it starts a new generation, which nobody then wants.
        order = asyncio.create_task(node.put({"generation": 6, "config": {}}))
        await node.settled(3)
        await node.signal(signal.SIGKILL)
        with pytest.raises(httpx.HTTPError):
            await order
        await seen.more()
        running = {process.pid for process in node.processes()}
        await node.start()
        assert await node.backend.read() == before
        left = {process.pid for process in node.processes()}
        assert len(left) == 2
        assert left < running
        # The next is started with other arguments for the server: its processes are replaced.
        await node.signal(signal.SIGKILL)
        node.arguments = (*node.arguments, "--file_system_poll_wait_seconds=2")
        await node.start()
        state = await node.backend.read()
        assert (state.config, state.generation) == (before.config, 6)
        assert not set(await node.pids()) & left
        await seen.more()
    assert seen.lost == []
    await node.signal(signal.SIGKILL)
    await node.down()
    assert node.processes() == []


async def test_a_killed_server_costs_what_it_had_in_hand_and_a_crash_loop_is_taken_back(node: RunningNode) -> None:
    await node.backend.apply(BATCHED.with_values(instances=2), 1)
    first, second = await node.pids()

    async def the_other_goes_on() -> bool:
        return await node.pids() == [second]

    async def replaced() -> bool:
        return bool(set(await node.pids()) - {second})

    async def taken_back() -> bool:
        state = await node.backend.read()
        return (state.config, state.generation) == (ServingConfig(), 2)

    async with load(node) as seen:
        await _costs_what_it_has_in_hand(node, seen, first, the_other_goes_on)
        await _costs_what_it_has_in_hand(node, seen, second, replaced)
        assert (await node.backend.read()).details["taken_back"] is None
        await _costs_what_it_has_in_hand(node, seen, (await node.pids())[0], taken_back)
    assert "taken back" in node.log.read_text()
    await _tells_what_it_took_back_until_somebody_orders_it(node)


async def _tells_what_it_took_back_until_somebody_orders_it(node: RunningNode) -> None:
    crashing = BATCHED.with_values(instances=2)
    for agent in ("the same", "the next"):
        if agent == "the next":
            await node.signal(signal.SIGKILL)
            await node.start()
        told = (await node.backend.read()).details["taken_back"]
        assert (told["generation"], told["config"]) == (1, crashing.to_dict()), agent
        assert "ended by themselves" in told["why"]
    await node.backend.apply(BATCHED, 3)
    assert (await node.backend.read()).details["taken_back"] is not None
    await node.backend.apply(crashing, 4)
    assert (await node.backend.read()).details["taken_back"] is None


async def _costs_what_it_has_in_hand(
    node: RunningNode, seen: Load, pid: int, well: Callable[[], Awaitable[bool]]
) -> None:
    await seen.more()
    ended, lost = seen.ended, len(seen.lost)
    await node.kill(pid)
    in_hand = seen.ended + seen.in_hand - ended
    await eventually(well, what=f"{well.__name__} after process {pid}")
    await seen.more()
    assert len(seen.lost) - lost <= in_hand, seen.lost


async def test_a_killed_envoy_is_started_again_and_servers_of_a_model_config_file_serve_on(tmp_path: Path) -> None:
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "{MODEL}" base_path: "{tmp_path / "models" / MODEL}" '
        'model_platform: "tensorflow" } }'
    )
    async with running_node(tmp_path, f"--model_config_file={config}") as node, load(node) as seen:
        await seen.more()
        servers = await node.pids()
        [envoy] = {process.pid for process in node.processes()} - set(servers)
        killed = time.monotonic()
        await node.kill(envoy)
        gone = time.monotonic()

        async def answers() -> bool:
            before = len(seen.lost)
            await seen.more()
            return len(seen.lost) == before

        await eventually(answers, what="fifty answers in a row")
        assert await node.pids() == servers
        page = (await node.client.get(node.metrics_url)).text
        assert 'regulus_node_crashes_total{process="envoy"} 1.0' in page
        lost = len(seen.lost)
        assert (await node.backend.apply(BATCHED, 1)).config == BATCHED
        await seen.more()
        assert len(seen.lost) == lost
    assert [one for one in seen.lost if not _could_not_be_saved(one, seen, killed, gone)] == []


def _could_not_be_saved(one: Asked, seen: Load, killed: float, gone: float) -> bool:
    """Whether a request was in Envoy's hand when it was killed, or nobody listened when it was sent.

    What the kernel accepts for a process that is dying is in its hand too. Somebody listens again from the first good
    answer on; only a gRPC client that waits before it connects anew does not send even then, and says so.
    """
    if one.sent <= gone:
        return one.ended >= killed
    listening = min(
        other.ended for other in seen.asked if other.target == one.target and other.sent > gone and not other.error
    )
    return one.sent < listening or "failed to connect to all addresses" in (one.error or "")


async def test_its_metrics_make_windows_for_the_control_service(node: RunningNode) -> None:
    clock = SystemClock()
    windows = WindowBuilder(WindowSettings(window_seconds=1.0, min_requests=100, blanking_seconds=0.1), clock)
    scraper = Scraper(node.metrics_url, MODEL, node.client, clock)
    await node.backend.apply(BATCHED, 1)
    async with load(node) as seen:

        async def judged() -> object:
            windows.add(await scraper.read())
            window = windows.current()
            enough = (WindowQuality.GOOD, WindowQuality.NOT_STATIONARY)
            return window if window is not None and window.quality in enough else None

        await eventually(judged, what="a window")
        window = windows.current()
        assert window is not None
        assert window.succeeded >= 100
        assert (window.failed, window.rejected) == (0, 0)
        assert window.latency.count > 0
        assert 0.0002 < window.latency.quantile(0.5) < 0.5
        assert window.batch_size is not None
        assert window.batch_size.count > 0
        assert window.workload.rate_per_second > 0
        await node.backend.apply(BATCHED.with_values(instances=2), 2)
        await eventually(judged, what="a window of the next configuration")
        assert windows.last_restart is not None
        assert "generation 1 to 2" in windows.last_restart.reason
    assert seen.lost == []


async def test_sizes_and_timeouts_change_without_a_restart_where_each_version_has_its_own(tmp_path: Path) -> None:
    flags = ("--enable_batching=true", "--enable_per_model_batching_parameters=true")
    async with running_node(tmp_path, *flags) as node:
        async with load(node) as seen:
            await _change_by_version(node, seen)
        assert seen.lost == []
        await node.signal(signal.SIGTERM)
        assert node.processes() == []


async def _change_by_version(node: RunningNode, seen: Load) -> None:
    backend = node.backend
    [pid] = await node.pids()
    first = await backend.read()
    wanted = first.config.with_values(max_batch_size=16, batch_timeout_micros=700)
    applied = await backend.apply(wanted, 1)
    assert applied.config == wanted
    assert applied.details["models"] == [{"name": MODEL, "versions": [2]}]
    await backend.apply(ServingConfig(), 2)
    assert await node.pids() == [pid]
    await seen.more()
    (base,) = (node.state_dir / "versions").iterdir()
    assert [version.name for version in base.iterdir()] == ["3"]
    # The user's next version goes the same way.
    source = node.folder / "models" / MODEL
    (source / "1").rename(source / "8")

    async def followed() -> bool:
        return (await backend.read()).details["models"] == [{"name": MODEL, "versions": [8]}]

    await eventually(followed, what="the user's next version")
    assert await node.pids() == [pid]
    # Threads need new processes.
    await backend.apply(BATCHED.with_values(num_batch_threads=3), 3)
    assert await node.pids() != [pid]
    await seen.more()


async def test_sigterm_finishes_what_is_in_hand_leaves_no_process_and_the_next_agent_goes_on(node: RunningNode) -> None:
    await node.backend.apply(BATCHED, 1)
    before = await node.backend.read()
    async with load(node) as seen:
        await seen.more()
    await node.signal(signal.SIGTERM)
    assert node.process is not None
    assert node.process.returncode == 0
    assert node.processes() == []
    assert seen.lost == []
    await node.start()
    after = await node.backend.read()
    assert (after.config, after.generation) == (before.config, before.generation)
    await node.settled(2)


async def test_a_configuration_that_no_longer_starts_gives_way_to_the_arguments(node: RunningNode) -> None:
    before = await node.backend.read()
    await node.backend.apply(BATCHED, 1)
    await node.signal(signal.SIGTERM)
    (node.folder / "fail-batching").touch()
    await node.start()
    state = await node.backend.read()
    assert (state.config, state.generation) == (before.config, 2)
    assert "what was in force does not start" in node.log.read_text()
    assert "these are my last words" in node.log.read_text()


async def test_a_configuration_is_not_forgotten_where_the_arguments_do_not_start_either(node: RunningNode) -> None:
    await node.backend.apply(BATCHED, 1)
    await node.signal(signal.SIGTERM)
    (node.folder / "fail").touch()
    assert await node.fails_to_start()
    assert "what was in force does not start" in node.log.read_text()
    (node.folder / "fail").unlink()
    await node.start()
    state = await node.backend.read()
    assert (state.config, state.generation) == (BATCHED, 1)


async def test_a_node_that_is_given_up_begins_with_its_arguments(node: RunningNode) -> None:
    before = await node.backend.read()
    await node.backend.apply(BATCHED, 1)
    await node.down()
    assert node.processes() == []
    await node.start()
    state = await node.backend.read()
    assert (state.config, state.generation) == (before.config, 0)
