"""Faults of the control service itself: it is killed, told the wrong time, or not alone."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from benchmarks.faults.fault import fault
from benchmarks.faults.programs import until
from benchmarks.faults.stand import CONFIGS, EMBEDDED
from benchmarks.faults.trial import Trial

_HOUR = 3600.0

#: One of these is in the words of a service that is not alone.
_NOT_ALONE = ("lease", "another control", "somebody else", "writes to this node", "config_changed_outside")
_TOLD_AS = ("lease_held", "config_changed_outside", "reconciled")


@fault("control service killed (−9)", EMBEDDED, renews=True)
async def control_killed(trial: Trial) -> None:
    """The server serves on with what is in force; the next start goes on from the history and steers at once."""
    stand, control = trial.stand, trial.stand.control
    trial.inject()
    await control.program.kill()
    await asyncio.sleep(float(trial.rng.uniform(0.0, 1.0)))
    trial.lift()
    await control.program.start()
    await trial.recovers(stand.agreed)
    await trial.says("reconciled", "as the history has it")
    # The dead one never gave back its lease of the node.
    answer = await control.order(await stand.another())
    trial.expect("an order is carried out", answer is not None and answer.is_success, answer and answer.text)


@fault("control service killed (−9) right after a switch was ordered", EMBEDDED, renews=True)
async def control_killed_after_order(trial: Trial) -> None:
    """What was acknowledged is in the history; what is in force afterwards is known to it, whoever put it there."""
    stand = trial.stand
    config = await stand.another()
    ordering = asyncio.create_task(stand.control.order(config))
    await asyncio.sleep(float(trial.rng.uniform(0.0, 0.06)))
    trial.inject()
    await stand.control.program.kill()
    answer = await ordering
    trial.lift()
    await stand.control.program.start()
    await trial.recovers(stand.agreed)
    decisions = await stand.control.decisions()
    if answer is not None and answer.is_success:
        trial.expect("the acknowledged switch is in the history", answer.json()["id"] in decisions, answer.json()["id"])
    present = await stand.in_force()
    known = [one for one in decisions.values() if one["config_after"] is not None]
    trial.expect(
        "the history knows what is in force",
        present is not None and any(one["config_after"] == _raw(present.to_dict()) for one in known),
        present,
    )


def _raw(config: dict[str, object]) -> dict[str, object]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in config.items()}


@fault("clock jumps an hour ahead, then back", EMBEDDED)
async def clock_jumps(trial: Trial) -> None:
    """The loop goes on judging as if nothing had been, switches are counted as before, and nothing is undone."""
    control = trial.stand.control
    before = await control.status()
    trial.inject()
    control.jump(_HOUR)
    await asyncio.sleep(3.0)
    during = await control.status()
    control.jump(-_HOUR)
    await asyncio.sleep(3.0)
    control.jump(0.0)
    trial.lift()
    if before is None or during is None:
        trial.expect("it answers", held=False)
        return

    async def judging() -> bool:
        status = await control.status()
        return status is not None and status["observations"] > during["observations"] and status["problem"] is None

    await trial.recovers(judging)
    age = during["metrics_age_seconds"]
    trial.expect("readings stay fresh", age is not None and age < 2.0, age)
    spent = before["switches_left"] - during["switches_left"]
    trial.expect("the budget of switches is as it was", 0 <= spent <= 5, spent)
    doings = await control.decisions()
    newest = [one["decided_at"] for _, one in sorted(doings.items())][-3:]
    trial.expect("decisions are still written", bool(newest))


@fault("two control services on one node", EMBEDDED, soak=False)
async def two_services(trial: Trial) -> None:
    """Orders of both take turns or are refused: never do two hold different things in force, and each says so."""
    stand = trial.stand
    other = stand.second_control()
    before = await stand.control.decisions()
    trial.inject()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(other.program.stop)
        await other.program.start()
        granted, refused = [], []
        for index in range(4):
            mine, theirs = CONFIGS if index % 2 else CONFIGS[::-1]
            answers = await asyncio.gather(stand.control.order(mine), other.order(theirs))
            granted += [answer.json() for answer in answers if answer is not None and answer.is_success]
            refused += [answer.text for answer in answers if answer is not None and not answer.is_success]
            await asyncio.sleep(0.5)

        async def other_agrees() -> bool:
            status, present = await other.status(), await stand.in_force()
            if status is None or present is None or status["config"] is None:
                return False
            return bool(status["config"] == _raw(present.to_dict()))

        trial.expect("both know what is in force", await until(other_agrees, 10.0))
        numbers = [one["generation"] for one in granted if one["action"] != "hold"]
        trial.expect("no two orders had the same number", len(numbers) == len(set(numbers)), numbers)
        # Whoever has the lease has nothing to say of it; the other one has.
        told = [await other.decisions(), await stand.control.decisions()]
        new = [one for decisions in told for key, one in decisions.items() if before.get(key) != one]
        refused += [f"{one['reason']}: {one['explanation']}" for one in new]
        trial.said += sorted({one["reason"] for one in new if one["reason"] in _TOLD_AS})
        known = any(word in text for text in (*refused, *trial.heard) for word in _NOT_ALONE)
        trial.expect("the reason is visible", known, refused)
    trial.lift()
    await trial.recovers(stand.agreed)
