"""Workers: threads for what would block the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

#: Threads in which policies think, for all models together. Two keep one slow model from holding up the others
#: without taking the processors away from the servers that may share the machine.
THINKERS = 2

#: Threads that read and write the history. Writers take turns at the database anyway.
SCRIBES = 4

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """Two pools, so that a policy that thinks long never keeps a decision from being written."""

    def __init__(self) -> None:
        self._thinkers = ThreadPoolExecutor(THINKERS, thread_name_prefix="policy")
        self._scribes = ThreadPoolExecutor(SCRIBES, thread_name_prefix="history")

    async def think(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Compute in a thread. A caller that is cancelled does not stop it."""
        return await _in_thread(self._thinkers, call, *args, **kwargs)

    async def store(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Read or write in a thread. A caller that is cancelled does not stop it."""
        return await _in_thread(self._scribes, call, *args, **kwargs)

    async def close(self) -> None:
        """Wait for what is being done; drop what has not begun. Idempotent."""
        for pool in (self._thinkers, self._scribes):
            await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)


async def _in_thread(pool: Executor, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return await asyncio.get_running_loop().run_in_executor(pool, partial(call, *args, **kwargs))
