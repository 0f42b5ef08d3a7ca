"""Playing: one variant steers one replayed server through a scenario, in the control service's loop or without it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from benchmarks.guarded.clock import VirtualClock
from benchmarks.guarded.variants import Variant
from benchmarks.guarded.world import SLOT_SECONDS, ReplayedBackend, ReplayedMetrics, ReplayedServer, Stretch
from benchmarks.live.steering import Steering
from benchmarks.replay.policies import factory_of
from benchmarks.replay.scenarios import Scenario
from benchmarks.replay.world import Terrain
from service.control.kill_switch import KillSwitch
from service.control.loop import ModelLoop
from service.control.settings import LoopSettings, ModelSettings, SloSettings
from service.control.workers import Workers
from service.domain.decision import Action, Mode, Reason
from service.domain.slo import Slo
from service.learning.policy import Policy
from service.store import Store
from service.telemetry.own_metrics import ControlMetrics

#: Tasks that share the clock: the loop's two, and the one that waits for the end.
_SLEEPERS = 3
#: Nobody asks these addresses; settings want one.
_NOWHERE = "http://replayed.invalid"
#: What the loop says while it goes on as it should, besides what guardrails say.
ACTING = "acting"
#: Decisions that show that a run is worth nothing.
_BROKEN = frozenset({Reason.INTERNAL_ERROR, Reason.STORE_UNAVAILABLE, Reason.METRICS_MISSING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What happened in a run.

    Attributes:
        history: What the server did, in order.
        switches: Changes of its configuration.
        rollbacks: How many of them were returns that the loop ordered; 0 without a loop.
        said: For each reason for doing nothing, the share of the slots at whose end the loop gave it;
            :data:`ACTING` where it gave none. Empty without a loop.
        closed: For each gate, the share of the slots at whose end it was closed by what the loop said then. Gates
            about a choice are asked only where the ones before it were open. Empty without a loop.
    """

    history: tuple[Stretch, ...]
    switches: int
    rollbacks: int
    said: Mapping[str, float]
    closed: Mapping[str, float]


Look = Callable[[ReplayedServer], None]


def play(
    variant: Variant,
    scenario: Scenario,
    known: Mapping[str, Terrain],
    slo: Slo,
    seed: int,
    look: Look = lambda _: None,
    database: str = "sqlite://",
) -> Played:
    """One run, from the default configuration and with a policy that knows nothing. The same every time.

    Args:
        variant: Who steers.
        scenario: What is met.
        known: Its landscapes.
        slo: What is to be kept.
        seed: Of policy and noise.
        look: Called at the end of each slot.
        database: URL of the history, a new one; by default in memory.

    Raises:
        RuntimeError: The loop itself failed, so the run says nothing.
    """
    return asyncio.run(_play(variant, scenario, known, slo, seed, look, database))


async def _play(
    variant: Variant,
    scenario: Scenario,
    known: Mapping[str, Terrain],
    slo: Slo,
    seed: int,
    look: Look,
    database: str,
) -> Played:
    clock = VirtualClock(_SLEEPERS)
    server = ReplayedServer(scenario, known, slo, seed, clock)
    policy = factory_of(variant.policy, known)(server.terrain.space, seed)
    settings = LoopSettings.model_validate(dict(variant.settings))
    slots = len(scenario.schedule)
    if variant.guarded:
        return await _guarded(policy, server, slo, settings, clock, slots, look, database)
    steering = Steering(policy, ReplayedBackend(server), ReplayedMetrics(server), slo, settings, clock)
    # It ends by the machine's clock where nobody ends it before.
    await _until_the_end(asyncio.create_task(steering.run(float("inf"))), clock, slots, lambda: look(server))
    return _played(server, rollbacks=0, said={}, closed={})


async def _guarded(
    policy: Policy,
    server: ReplayedServer,
    slo: Slo,
    settings: LoopSettings,
    clock: VirtualClock,
    slots: int,
    look: Look,
    database: str,
) -> Played:
    name = server.terrain.landscape.model
    model = ModelSettings(
        name=name,
        agent_url=_NOWHERE,
        metrics_url=_NOWHERE,
        slo=SloSettings(**slo.to_dict()),
        mode=Mode.AUTO,
    )
    store, workers = Store.open(database, clock=clock), Workers()
    try:
        loop = ModelLoop(
            model,
            settings,
            backend=ReplayedBackend(server),
            scraper=ReplayedMetrics(server),
            store=store,
            # The lattice that was measured, in place of what the loop would make of the node's limits.
            policy_factory=lambda _: policy,
            workers=workers,
            kill_switch=KillSwitch(store, workers),
            clock=clock,
            metrics=ControlMetrics(CollectorRegistry(), version="benchmark"),
        )
        said: Counter[str] = Counter()
        closed: Counter[str] = Counter()

        def listen() -> None:
            hold = loop.status().hold
            said[hold.reason if hold else ACTING] += 1
            gates = hold.inputs.get("gates", {}) if hold else {}
            closed.update(gate for gate, state in gates.items() if state != "open")
            look(server)

        await _until_the_end(asyncio.create_task(loop.run()), clock, slots, listen)
        decisions = store.decisions(name, limit=10_000)
    finally:
        await workers.close()
        store.close()
    failed = next((decision for decision in decisions if decision.reason in _BROKEN), None)
    if failed is not None:
        raise RuntimeError(f"the loop failed: {failed.explanation}")
    rollbacks = sum(decision.action is Action.ROLLBACK for decision in decisions)
    return _played(server, rollbacks=rollbacks, said=_shares(said, slots), closed=_shares(closed, slots))


async def _until_the_end(
    steering: asyncio.Task[object], clock: VirtualClock, slots: int, at_each_slot: Callable[[], None]
) -> None:
    """Let time pass slot by slot, then end whoever steers.

    Raises:
        Exception: What ended it before its time.
    """

    async def pass_time() -> None:
        for _ in range(slots):
            await clock.sleep(SLOT_SECONDS)
            at_each_slot()

    passing = asyncio.create_task(pass_time())
    await asyncio.wait((steering, passing), return_when=asyncio.FIRST_COMPLETED)
    if steering.done():
        passing.cancel()
        steering.result()
        raise RuntimeError("whoever steers ended before the run")
    steering.cancel()
    await asyncio.wait((steering,))
    passing.result()


def _played(
    server: ReplayedServer, *, rollbacks: int, said: Mapping[str, float], closed: Mapping[str, float]
) -> Played:
    server.let_requests_come()
    return Played(
        history=tuple(server.history), switches=server.switches, rollbacks=rollbacks, said=said, closed=closed
    )


def _shares(counts: Counter[str], slots: int) -> dict[str, float]:
    return {str(name): count / slots for name, count in sorted(counts.items())}
