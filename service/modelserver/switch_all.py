"""Switching all servables to a new configuration together, or none of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from service.domain.serving_config import ServingConfig
from service.modelserver.servable import PreparedSwitch, Servable
from service.modelserver.status import ServingError

# Discards that are under way; the event loop itself keeps no reference to its tasks.
_discarding: set[asyncio.Task[None]] = set()


async def switch_all(
    config: ServingConfig, live: Callable[[], Collection[Servable]], committed: Callable[[], None]
) -> None:
    """Make ``config`` ready beside the one in force everywhere; only then switch all, at once.

    Also a caller that is cancelled leaves either all or none switched.

    Args:
        config: What to put in force.
        live: The servables that serve at this moment.
        committed: Called in the moment of the switch, before anything else can happen.

    Raises:
        ServingError: One of them cannot run it; none has switched.
    """
    prepared: dict[Servable, PreparedSwitch] = {}
    try:
        # Versions that became available meanwhile are prepared in the next round; nothing waits after the last one.
        while missing := [servable for servable in live() if servable not in prepared]:
            for servable in missing:
                try:
                    prepared[servable] = await servable.prepare(config)
                except ServingError:
                    if servable in live():  # else it was unloaded under our hands
                        raise
        for servable in live():
            prepared.pop(servable).commit()
        committed()
    finally:
        # Not awaited: whoever gives up waiting for us must not stop these half-way.
        for switch in prepared.values():
            task = asyncio.ensure_future(switch.discard())
            _discarding.add(task)
            task.add_done_callback(_discarding.discard)
