"""The node in the agent's words: what it cannot do now is told apart from what it can never run."""

from __future__ import annotations

from typing import cast

import pytest

from service.agent.errors import NotInForceError
from service.domain.errors import InfeasibleConfigError
from service.domain.serving_config import ServingConfig
from service.node.errors import HeadRoomError, NodeError, TooFewError
from service.node.node import Node
from service.node.steered import SteeredNode


class Failing:
    """A node that does nothing it is asked."""

    def __init__(self, failure: Exception) -> None:
        self._failure = failure

    async def reconfigure(self, _config: ServingConfig, _generation: int) -> None:
        raise self._failure

    try_out = reconfigure


@pytest.mark.parametrize(
    "failure", [HeadRoomError("needs about 9 MiB"), TooFewError("1 of 2 processes"), NodeError("it did not come up")]
)
async def test_what_cannot_be_done_now_is_not_in_force_and_not_infeasible(failure: NodeError) -> None:
    steered = SteeredNode(cast(Node, Failing(failure)), "m")
    for order in (steered.reconfigure, steered.try_out):
        with pytest.raises(NotInForceError, match=str(failure)):
            await order(ServingConfig(), 1)


async def test_what_the_node_can_never_run_stays_infeasible() -> None:
    steered = SteeredNode(cast(Node, Failing(InfeasibleConfigError("instances", "too many"))), "m")
    with pytest.raises(InfeasibleConfigError, match="too many"):
        await steered.reconfigure(ServingConfig(), 1)
