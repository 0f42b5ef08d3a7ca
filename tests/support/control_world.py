"""World: a whole control service on a fake clock.

Supervisor, loop, scraper, windows, store and (unless a test scripts it) policy are the real ones; nodes are simulated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
from prometheus_client import CollectorRegistry

from service.control.learner import PolicyFactory
from service.control.settings import LoopSettings, ModelSettings, SloSettings
from service.control.status import ModelStatus
from service.control.supervisor import Supervisor, default_policy
from service.domain.decision import Action, Decision, Intent, Mode, Recommendation
from service.domain.histogram import Interval
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window
from service.domain.workload import Workload
from service.learning.space import ConfigSpace
from service.store import Store
from service.telemetry.own_metrics import ControlMetrics
from tests.support.agents import NodeTransport, SimulatedNode
from tests.support.fake_clock import FakeClock

#: Tasks of one model that sleep on the clock, and of the supervisor itself.
TASKS_A_MODEL, TASKS_OF_SUPERVISOR = 2, 1


class World:
    """Nodes, and a control service that steers them; the service may be stopped and started again."""

    def __init__(self, clock: FakeClock, store: Store) -> None:
        self.clock = clock
        self.store = store
        self.nodes: dict[str, SimulatedNode] = {}
        self.registry = CollectorRegistry()
        self._supervisor: Supervisor | None = None
        self._models: list[ModelSettings] = []
        self._settings = LoopSettings()
        self._policy_factory: PolicyFactory = default_policy

    @property
    def supervisor(self) -> Supervisor:
        assert self._supervisor is not None, "start the world first"
        return self._supervisor

    def add(self, node: SimulatedNode, *, bound: float = 0.05, mode: Mode = Mode.AUTO, **more: Any) -> SimulatedNode:
        """Have a node steered from the next start on."""
        self.nodes[node.name] = node
        root = f"http://{node.name}.test"
        self._models.append(
            ModelSettings(
                name=node.name,
                agent_url=root,
                metrics_url=f"{root}/metrics",
                slo=SloSettings(bound_seconds=bound),
                mode=mode,
                **more,
            )
        )
        return node

    async def start(self, *, policy: PolicyFactory | None = None, **settings: Any) -> Supervisor:
        """Start the control service; policy and settings stay the same after a restart unless given anew."""
        if settings:
            self._settings = LoopSettings(**settings)
        self._policy_factory = policy or self._policy_factory
        self.registry = CollectorRegistry()
        nodes = iter(self._models)
        self._supervisor = Supervisor(
            self._models,
            self._settings,
            self.store,
            clock=self.clock,
            metrics=ControlMetrics(self.registry, version="test"),
            client_factory=lambda: httpx.AsyncClient(transport=NodeTransport(self.nodes[next(nodes).name])),
            policy_factory=self._policy_factory,
        )
        self.clock.sleepers = TASKS_A_MODEL * len(self._models) + TASKS_OF_SUPERVISOR
        await self._supervisor.start()
        return self._supervisor

    async def stop(self) -> None:
        if self._supervisor is not None:
            await self._supervisor.stop()

    def status(self, model: str = "m") -> ModelStatus:
        return self.supervisor.status(model)

    def decisions(self, *actions: Action, model: str = "m") -> list[Decision]:
        """Of these actions, or all; oldest first."""
        wanted = frozenset(actions) or None
        return self.store.decisions(model, limit=500, actions=wanted)[::-1]

    async def until(self, condition: Callable[[], bool], within: float = 120.0) -> None:
        await self.clock.run_until(condition, within)

    async def run_for(self, seconds: float) -> None:
        await self.clock.run_for(seconds)


Choose = Callable[[Workload, ServingConfig, bool], ServingConfig]
"""The configuration for a workload, given the incumbent and whether exploring is allowed."""


class ScriptedPolicy:
    """A policy that says what a test tells it to. What it observes is kept.

    Args:
        choose: Names the configuration; the incumbent means to stay.
        intent: Why, when it is another than the incumbent.
        predicted: The tail it predicts, seconds; None predicts nothing.
    """

    name = "scripted"

    def __init__(self, choose: Choose, intent: Intent = Intent.EXPLOIT, predicted: float | None = 0.001) -> None:
        self._choose = choose
        self._intent = intent
        self._predicted = predicted
        self.asked: list[tuple[Workload, ServingConfig, bool]] = []
        self.observed: list[tuple[Workload, ServingConfig, Window]] = []

    def __call__(self, space: ConfigSpace) -> ScriptedPolicy:
        """So that it is its own factory."""
        return self

    def suggest(
        self, workload: Workload, incumbent: ServingConfig, slo: Slo, *, explore: bool = True
    ) -> Recommendation:
        self.asked.append((workload, incumbent, explore))
        config = self._choose(workload, incumbent, explore)
        intent = Intent.STAY if config == incumbent else self._intent
        return self._say(workload, config, intent)

    def predict(self, workload: Workload, config: ServingConfig, slo: Slo) -> Recommendation:
        return self._say(workload, config, Intent.STAY)

    def observe(self, workload: Workload, config: ServingConfig, window: Window) -> None:
        self.observed.append((workload, config, window))

    def _say(self, workload: Workload, config: ServingConfig, intent: Intent) -> Recommendation:
        p = self._predicted
        tail = None if p is None else Interval(p * 0.9, p, p * 1.1)
        return Recommendation(
            config=config, intent=intent, explanation="as told", workload=workload, predicted_tail=tail, confidence=0.5
        )


def always(config: ServingConfig) -> Choose:
    """Names one configuration whatever happens."""
    return lambda workload, incumbent, explore: config


def stay(workload: Workload, incumbent: ServingConfig, explore: bool) -> ServingConfig:
    """Names the incumbent."""
    return incumbent


def in_turn(*configs: ServingConfig) -> Choose:
    """Names the first that is not yet in force, then the next; the last for ever."""
    left = list(configs)

    def choose(workload: Workload, incumbent: ServingConfig, explore: bool) -> ServingConfig:
        if len(left) > 1 and incumbent == left[0]:
            left.pop(0)
        return left[0]

    return choose
