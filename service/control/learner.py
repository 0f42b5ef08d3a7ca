"""Learner: one model's policy, kept off the event loop and fed from the history."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from service.backends.protocol import Support
from service.control.feasible import fixed_knobs, node_space, within_limits
from service.control.workers import Workers
from service.domain.decision import Recommendation
from service.domain.errors import BackendUnavailableError
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window
from service.domain.workload import Workload
from service.learning.policy import Policy
from service.learning.space import ConfigSpace
from service.store.records import StoredObservation

PolicyFactory = Callable[[ConfigSpace], Policy]


class Learner:
    """Serialises all questions to a policy and lets it think in a worker thread.

    So neither the other models nor the API ever wait for it.

    Args:
        policy_factory: Makes the policy once the node has said what it can do.
        bounds: The owner's limits, by knob.
        pinned: Knobs that keep one value.
        workers: Threads to think in.
    """

    def __init__(
        self,
        policy_factory: PolicyFactory,
        bounds: Mapping[str, tuple[int, int]],
        pinned: Mapping[str, int],
        workers: Workers,
    ) -> None:
        self._policy_factory = policy_factory
        self._bounds = dict(bounds)
        self._pinned = dict(pinned)
        self._workers = workers
        self._lock = asyncio.Lock()
        self._policy: Policy | None = None
        self._support: Support | None = None
        self._fixed: dict[str, int] = {}
        self.space: ConfigSpace | None = None
        self.observations = 0

    def fits(self, support: Support, incumbent: ServingConfig) -> bool:
        """Whether :meth:`prepare` was called for a node that can do just this."""
        return self._policy is not None and support == self._support and fixed_knobs(support, incumbent) == self._fixed

    def admits(self, config: ServingConfig) -> bool:
        """Whether the owner's bounds and pins allow a configuration."""
        return within_limits(config, self._bounds, self._pinned)

    async def prepare(
        self, support: Support, incumbent: ServingConfig, history: Callable[[], Iterable[StoredObservation]]
    ) -> None:
        """Make the policy for what a node can do and let it learn again what is remembered.

        Args:
            support: What the node can do.
            incumbent: In force; knobs that the node cannot change stay as they are in it.
            history: Reads the observations, oldest first; called in the worker thread.

        Raises:
            InvalidValueError: Bounds, pins and support leave nothing to choose; names the knob.
            StoreError: The history could not be read.
        """

        def make() -> tuple[ConfigSpace, Policy, int]:
            space = node_space(support, incumbent, self._bounds, self._pinned)
            policy = self._policy_factory(space)
            count = 0
            for stored in history():
                policy.observe(stored.workload, stored.config, stored.window)
                count += 1
            return space, policy, count

        async with self._lock:
            self.space, self._policy, self.observations = await self._workers.think(make)
            self._support = support
            self._fixed = fixed_knobs(support, incumbent)

    async def observe(self, workload: Workload, config: ServingConfig, window: Window) -> None:
        """Let the policy learn from a usable window."""
        async with self._lock:
            await self._workers.think(self._ready().observe, workload, config, window)
            self.observations += 1

    async def learn_failure(self, present: Window, config: ServingConfig) -> None:
        """Let the policy learn that ``config`` cannot be brought up, or it would name it again and again.

        It is learnt as if it did just as ``present``, the window under the configuration in force: tried, and no gain.
        As a disaster it would keep the policy away from its neighbours too, of which nothing is known. None of that
        is part of the history, for nothing was measured.
        """
        async with self._lock:
            await self._workers.think(self._ready().observe, present.workload, config, present)

    async def suggest(self, workload: Workload, incumbent: ServingConfig, slo: Slo, *, explore: bool) -> Recommendation:
        """Ask the policy; see :meth:`service.learning.policy.Policy.suggest`.

        Raises:
            BackendUnavailableError: The node has not said yet what it can do.
        """
        async with self._lock:
            policy = self._ready()
            return await self._workers.think(lambda: policy.suggest(workload, incumbent, slo, explore=explore))

    async def predict(self, workload: Workload, config: ServingConfig, slo: Slo) -> Recommendation:
        """What the policy expects of one configuration; see :meth:`service.learning.policy.Policy.predict`.

        Raises:
            BackendUnavailableError: The node has not said yet what it can do.
        """
        async with self._lock:
            return await self._workers.think(self._ready().predict, workload, config, slo)

    def _ready(self) -> Policy:
        if self._policy is None:
            raise BackendUnavailableError("the agent has not answered yet, so it is not known what can be chosen from")
        return self._policy
