"""KillSwitch: one switch that ends every automatic action of every model at once, and outlives a restart."""

from __future__ import annotations

from service.control.workers import Workers
from service.domain.decision import Mode
from service.store.store import Store

#: The name under which the history keeps what holds for all models; no model can have it.
ALL_MODELS = "*"


class KillSwitch:
    """Shared by all loops, which ask it before each automatic action. What a person commands is not stopped by it.

    In the history it is a mode of all models: ``off`` while it is on.

    Args:
        store: Where it is remembered.
        workers: Threads to read and write in.
    """

    def __init__(self, store: Store, workers: Workers) -> None:
        self._store = store
        self._workers = workers
        self._known = False
        self.on = False
        """Whether nothing may be done automatically. False until :meth:`resume` or :meth:`turn` has been called."""

    async def resume(self) -> None:
        """Read once what an earlier run was told. Loops wait for it before they do anything.

        Raises:
            StoreError: The history cannot be read; the next call tries again.
        """
        if self._known:
            return
        remembered = await self._workers.store(self._store.state, ALL_MODELS)
        if not self._known:  # a person may have turned it meanwhile
            self.on = remembered is not None and remembered.mode is Mode.OFF
            self._known = True

    async def turn(self, *, on: bool) -> None:
        """Turn it. On takes effect at once, whether it can be remembered or not; off only once it is remembered.

        Raises:
            StoreError: It could not be remembered: on holds until this process ends, off has not come into effect.
        """
        if on:
            self.on = self._known = True
        await self._workers.store(self._store.put_mode, ALL_MODELS, Mode.OFF if on else Mode.AUTO)
        self.on, self._known = on, True
