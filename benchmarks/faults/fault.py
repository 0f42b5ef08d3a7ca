"""Fault: something that goes wrong, where it is tried, and the registry of all of them."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from benchmarks.faults.trial import Trial

Run = Callable[[Trial], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        name: For the command line and the table.
        on: The kind of stand that it is tried on.
        run: Injects it, lifts it, waits for the recovery, and checks on the way.
        soak: Whether it may be part of a soak: it costs no history and leaves all as it was.
        renews: Whether a process whose memory a soak looks at is another one afterwards.
    """

    name: str
    on: str
    run: Run
    soak: bool
    renews: bool

    @property
    def must_hold(self) -> str:
        """What must hold: the first line of the docstring."""
        return (inspect.getdoc(self.run) or "").partition("\n")[0]


#: All faults, in the order of the table.
FAULTS: dict[str, Fault] = {}


def fault(name: str, on: str, *, soak: bool = True, renews: bool = False) -> Callable[[Run], Run]:
    """Enter a function into the registry; its docstring says what must hold.

    Args:
        name: Of the fault.
        on: Kind of stand.
        soak: Whether it may be part of a soak: it costs no history and leaves all as it was.
        renews: Whether the control service, the agent or Envoy is another process afterwards.
    """

    def enter(run: Run) -> Run:
        FAULTS[name] = Fault(name, on, run, soak, renews)
        return run

    return enter
