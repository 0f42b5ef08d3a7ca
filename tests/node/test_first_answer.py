"""First answer: those that hang hold nobody up."""

from __future__ import annotations

import asyncio

from service.node.first_answer import first_answer


class Asked:
    """Somebody who is asked."""

    def __init__(self) -> None:
        self.given_up = 0

    async def hangs(self) -> int | None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        return 0

    async def says(self, answer: int | None) -> int | None:
        return answer


async def test_one_answer_is_enough_and_those_that_hang_are_asked_no_longer() -> None:
    asked = Asked()
    questions = [*(asked.hangs() for _ in range(5)), asked.says(None), asked.says(7)]
    assert await first_answer(questions, within_seconds=600) == 7
    assert asked.given_up == 5


async def test_where_nobody_answers_in_time_there_is_no_answer() -> None:
    asked = Asked()
    assert await first_answer([asked.hangs(), asked.says(None)], within_seconds=0.01) is None
    assert asked.given_up == 1
    assert await first_answer([asked.says(None)], within_seconds=600) is None
    assert await first_answer([], within_seconds=600) is None
