"""Trial: one injection of one fault: when it was, what was said meanwhile, and whether all held that must."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.faults.programs import until
from benchmarks.faults.stand import Stand
from benchmarks.open_loop import Requests
from service.domain.decision import Action

#: How often the control service is asked what it says.
_WATCH_SECONDS = 0.15

#: Requests due up to this long after the recovery are the fault's own.
AFTER_SECONDS = 1.0

#: gRPC's pause between two attempts to connect, with its jitter.
RECONNECT_SECONDS = 1.3

_NUMBERS = re.compile(r"\d[\d.,]*")
_URLS = re.compile(r"\bat https?://\S+|https?://\S+")
_PROBLEM_WORDS = 7


@dataclass(frozen=True, slots=True)
class Check:
    """Something that must hold, and whether it did.

    Attributes:
        what: What must hold.
        held: Whether it did.
        detail: What was seen instead.
    """

    what: str
    held: bool
    detail: str = ""


@dataclass
class Trial:
    """One injection.

    Attributes:
        stand: The system.
        rng: Draws moments and kinds.
        said: Reasons and problems, in the order in which they were first heard.
        heard: The same as whole sentences.
        checks: In order.
        in_hand: Whether what the process that was killed had in hand may be lost.
        unreachable: Whether what came until the recovery may be lost: nobody listened. Clients then wait up to
            :data:`RECONNECT_SECONDS` before they connect again, and refuse what they are given meanwhile.
        history_lost: Whether the history itself was destroyed.
        load: Times the usual rate.
    """

    stand: Stand
    rng: np.random.Generator
    said: list[str] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    in_hand: bool = False
    unreachable: bool = False
    history_lost: bool = False
    load: float = 1.0
    injected: float = float("nan")
    gone: float = float("nan")
    lifted: float = float("nan")
    recovered: float = float("nan")
    _last_doing: int | None = None

    def inject(self) -> None:
        """The fault begins now."""
        self.injected = self.gone = self.lifted = time.monotonic()
        # What was said before is not said of the fault.
        self.said.clear()
        self.heard.clear()

    def is_gone(self) -> None:
        """What was killed has ended now."""
        self.gone = time.monotonic()

    def lift(self) -> None:
        """The cause ends now; recovery counts from here."""
        self.lifted = time.monotonic()

    def expect(self, what: str, held: bool, detail: object = "") -> None:
        """Note whether something held."""
        self.checks.append(Check(what, bool(held), "" if held else str(detail)))

    async def recovers(self, well: Callable[[], Awaitable[bool]], within: float = 60.0) -> None:
        """Wait until all is well again; that it came to be so is a check."""
        held = await until(well, within)
        self.recovered = time.monotonic()
        self.expect("it recovers", held, f"not within {within:g} s; {await self._as_it_is()}")

    async def _as_it_is(self) -> str:
        status = await self.stand.control.status()
        if status is None:
            return "the control service does not answer"
        told = ("verdict", "problem", "hold_reason", "hold_explanation", "metrics_age_seconds", "switches_left")
        return ", ".join(f"{name} {status[name]}" for name in told)

    async def says(self, *words: str, within: float = 20.0) -> None:
        """Wait until the control service says one of these; that it does is a check."""

        async def heard() -> bool:
            return any(word in sentence for word in words for sentence in (*self.said, *self.heard))

        held = await until(heard, within)
        self.expect("the reason is visible", held, f"none of {', '.join(words)} in {self.said}")

    async def holds(self, seconds: float) -> None:
        """For so long the loop itself must change nothing."""
        before = await self._doings()
        await asyncio.sleep(seconds)
        more = [doing for key, doing in (await self._doings()).items() if key not in before]
        self.expect("the loop holds", not more, [doing["explanation"] for doing in more])

    async def _doings(self) -> dict[int, dict[str, Any]]:
        decisions = await self.stand.control.decisions()
        doing = (Action.APPLY.value, Action.ROLLBACK.value)
        return {key: one for key, one in decisions.items() if one["action"] in doing}

    @property
    def recovery_seconds(self) -> float:
        """From the end of the cause until all was well."""
        return self.recovered - self.lifted

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Hear what the control service says, until the block ends."""
        task = asyncio.create_task(self._listen())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _listen(self) -> None:
        while True:
            status = await self.stand.control.status()
            if status is not None:
                self._hear(status["problem"], problem=True)
                self._hear(status["hold_reason"], problem=False)
                self._hear(status["hold_explanation"], problem=True, shown=False)
                if status["verdict"] == "violated":
                    self._hear("violated", problem=False, shown=False)
                self._hear_doing(status["last_decision"])
            await asyncio.sleep(_WATCH_SECONDS)

    def _hear_doing(self, decision: dict[str, Any] | None) -> None:
        if decision is None or decision["id"] == self._last_doing:
            return
        if self._last_doing is not None:
            self._hear(f"{decision['action']}: {decision['reason']}", problem=False)
        self._last_doing = decision["id"] or 0

    def _hear(self, text: str | None, *, problem: bool, shown: bool = True) -> None:
        if text is None:
            return
        if text not in self.heard:
            self.heard.append(text)
        brief = in_brief(text) if problem else text
        if shown and brief not in self.said:
            self.said.append(brief)

    async def hear_decisions(self, before: dict[int, dict[str, Any]]) -> None:
        """Add what was written to the history since ``before``."""
        after = await self.stand.control.decisions()
        for key in sorted(after.keys() - before.keys()):
            decision = after[key]
            if decision["decided_at"]:
                name = decision["reason"]
                text = name if decision["action"] == Action.HOLD.value else f"{decision['action']}: {name}"
                self._hear(text, problem=False)
        if not self.history_lost:
            lost = {key for key, one in before.items() if after.get(key) != one}
            self.expect("no acknowledged decision is lost", not lost, f"{len(lost)} of {len(before)}")


@dataclass(frozen=True, slots=True)
class Losses:
    """What became of the requests of one trial.

    Attributes:
        sent: All of them.
        lost: Those that got no good answer.
        in_hand: Of the lost, those that the killed process had in hand.
        unserved: Of the lost, those that came while nobody listened.
        outcomes: Of the lost, their codes.
    """

    sent: int
    lost: int
    in_hand: int
    unserved: int
    outcomes: dict[str, int]


def losses(requests: Requests, trial: Trial) -> Losses:
    """Count a trial's requests."""
    bad = ~requests.good
    answered = np.where(np.isnan(requests.answered), np.inf, requests.answered)
    in_hand = (requests.sent <= trial.gone) & (answered > trial.injected)
    unserved = (requests.intended > trial.injected) & (requests.intended <= trial.recovered + RECONNECT_SECONDS)
    codes = [requests.outcome[int(index)] or "NO_ANSWER" for index in np.flatnonzero(bad)]
    return Losses(
        sent=len(requests.intended),
        lost=int(bad.sum()),
        in_hand=int((bad & in_hand).sum()) if trial.in_hand else 0,
        unserved=int((bad & unserved & ~(in_hand & trial.in_hand)).sum()) if trial.unreachable else 0,
        outcomes={code: codes.count(code) for code in sorted(set(codes))},
    )


def in_brief(problem: str) -> str:
    """A problem without its numbers and details."""
    words = _NUMBERS.sub("…", _URLS.sub("", problem).split(": ")[0]).split()
    return " ".join(words[:_PROBLEM_WORDS])
