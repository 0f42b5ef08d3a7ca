"""Kill: a process that is killed under load, and what its clients lost. The counting is pure.

A request that a server had in hand when it died is lost: it may have been computed, so it must not be sent again. Every
other one can be answered: those that come later wait at the router until another process is up. A process that is
killed has its connections for as long as the kernel takes to free its memory; what is sent to it meanwhile is in its
hand too.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.open_loop import Requests
from benchmarks.progress import Progress
from benchmarks.servers import Node
from benchmarks.statistics import quantile
from benchmarks.tables import Table, milliseconds
from service.domain.errors import BackendError
from service.domain.serving_config import ServingConfig

#: Requests due up to this long after the end of a kill are its own, seconds.
AFTER_SECONDS = 1.0
_REPLACED_SECONDS = 120.0

PROCESSES = AGENT, SERVER, NEW_SERVER = "agent", "server", "server just switched to"


@dataclass(frozen=True, slots=True)
class Kill:
    """One.

    Attributes:
        what: :data:`AGENT`, :data:`SERVER` or :data:`NEW_SERVER`.
        killed: When, ``time.monotonic()`` seconds.
        gone: When the kernel had closed its connections.
        recovered: When it had been replaced.
    """

    what: str
    killed: float
    gone: float
    recovered: float


@dataclass(frozen=True, slots=True)
class Loss:
    """What it cost.

    Attributes:
        kill: The kill.
        in_hand: Requests that were sent before the process was gone and not answered before it was killed.
        requests: Requests due from the kill until all was well again.
        lost: Of both kinds, those that got no good answer.
        p99: p99 of those that did, seconds.
    """

    kill: Kill
    in_hand: int
    requests: int
    lost: int
    p99: float

    @property
    def bearable(self) -> bool:
        """Whether no more was lost than has to be."""
        return self.lost <= (0 if self.kill.what == AGENT else self.in_hand)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "what": self.kill.what,
            "seconds": self.kill.recovered - self.kill.killed,
            "in_hand": self.in_hand,
            "requests": self.requests,
            "lost": self.lost,
            "p99": None if np.isnan(self.p99) else self.p99,
        }


def losses(requests: Requests, kills: Sequence[Kill]) -> list[Loss]:
    """Find what each kill cost.

    Args:
        requests: Of the whole run.
        kills: In order.
    """
    good, found = requests.good, []
    # An answer that never came is one that came after everything.
    answered = np.where(np.isnan(requests.answered), np.inf, requests.answered)
    held = [(requests.sent <= kill.gone) & (answered > kill.killed) for kill in kills]
    for index, kill in enumerate(kills):
        later = (requests.intended > kill.killed) & (requests.intended <= kill.recovered + AFTER_SECONDS)
        mine = held[index] | later
        for other in held[index + 1 :]:
            mine &= ~other  # whatever became of it is the next one's doing
        p99 = quantile(requests.latency[mine & good], 0.99)
        found.append(Loss(kill, int(held[index].sum()), int(later.sum()), int((mine & ~good).sum()), p99))
    return found


def table(losses_seen: Sequence[Loss]) -> Table:
    """For people."""
    rows = [
        [
            f"{loss.kill.what}, kill −9",
            str(loss.in_hand),
            str(loss.lost),
            str(loss.requests),
            milliseconds(loss.kill.recovered - loss.kill.killed),
            milliseconds(loss.p99),
        ]
        for loss in losses_seen
    ]
    header = ["process", "in hand", "lost", "requests until well", "ms until replaced", "p99 ms"]
    note = (
        "In hand: sent before the process was gone and not answered before it was killed. "
        "Lost: of those and of the requests until well."
    )
    return Table("What a kill costs", header, rows, note)


async def carry_out(node: Node, other: ServingConfig, progress: Progress) -> list[Kill]:
    """Kill the agent; when that has been replaced a server; and one that has only just taken over from another.

    Args:
        node: Empty is the answer where there is no agent of its own.
        other: A configuration that takes new processes; one is killed while the old ones finish what they have.
        progress: Counts one step for each of :data:`PROCESSES`.

    Raises:
        TimeoutError: The server was not replaced.
    """
    if node.restart_agent is None:
        return []
    progress.begin(f"kill −9: {AGENT}")
    killed = time.monotonic()
    await node.restart_agent()
    kills = [Kill(AGENT, killed, killed, time.monotonic())]
    await asyncio.sleep(AFTER_SECONDS)
    progress.done()
    progress.begin(f"kill −9: {SERVER}")
    kills.append(await _kill_server(node, SERVER))
    progress.done()
    progress.begin(f"kill −9: {NEW_SERVER}")
    await node.put(other)
    kills.append(await _kill_server(node, NEW_SERVER))
    progress.done()
    return kills


async def _kill_server(node: Node, what: str) -> Kill:
    before = await node.server_pids()
    killed = time.monotonic()
    await _kill(before[0])
    gone = time.monotonic()
    async with asyncio.timeout(_REPLACED_SECONDS):
        while True:
            if await _replaced(node, before):
                break
            await asyncio.sleep(0.05)
    kill = Kill(what, killed, gone, time.monotonic())
    await asyncio.sleep(AFTER_SECONDS)
    return kill


async def _kill(pid: int) -> None:
    """Kill a process, whoever's child it is, and wait until it is gone."""
    descriptor = os.pidfd_open(pid)
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, gone.set)
    try:
        os.kill(pid, signal.SIGKILL)
        await gone.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def _replaced(node: Node, before: Sequence[int]) -> bool:
    try:
        present = await node.server_pids()
    except BackendError:
        return False
    return len(present) == len(before) and before[0] not in present
