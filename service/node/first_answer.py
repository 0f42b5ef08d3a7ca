"""First answer: several are asked the same at once, and whoever answers first is believed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

Answer = TypeVar("Answer")


async def first_answer(questions: Sequence[Coroutine[Any, Any, Answer | None]], within_seconds: float) -> Answer | None:
    """The first answer that is not None; None where there is none in time, however many are asked.

    Args:
        questions: Each asks one of them.
        within_seconds: For all together.
    """
    waiting = {asyncio.ensure_future(question) for question in questions}
    asked = tuple(waiting)
    try:
        async with asyncio.timeout(within_seconds):
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for one in done:
                    if (answer := one.result()) is not None:
                        return answer
    except TimeoutError:
        pass
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    return None
