"""The pool that shares interpreters among threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from service.modelserver.tflite_interpreter import Interpreter
from service.modelserver.tflite_pool import InterpreterPool
from tests.support.processes import wait_until
from tests.support.tflite_models import MOVE_ANNOUNCED, half_plus

pytestmark = pytest.mark.filterwarnings(MOVE_ANNOUNCED)

KEY = "serving_default"


@pytest.fixture(scope="module")
def content() -> bytes:
    return half_plus()


def shapes(size: int) -> tuple[tuple[int, ...], ...]:
    return ((size,),)


def use(pool: InterpreterPool, size: int) -> Interpreter:
    interpreter = pool.take(KEY, shapes(size))
    assert interpreter.call(KEY, {"x": np.full(size, 2, np.float32)})["y"].tolist() == [3.0] * size
    pool.give_back(interpreter)
    return interpreter


def test_the_interpreter_that_is_laid_out_for_the_call_is_preferred(content: bytes) -> None:
    pool = InterpreterPool([Interpreter(content, 1) for _ in range(3)])
    laid_out = {size: use(pool, size) for size in (1, 2, 4)}
    assert len(set(map(id, laid_out.values()))) == 3
    for size in (4, 1, 2, 2, 4, 1):
        assert use(pool, size) is laid_out[size]


def test_a_new_shape_takes_the_interpreter_that_was_idle_longest(content: bytes) -> None:
    pool = InterpreterPool([Interpreter(content, 1) for _ in range(2)])
    one, two = use(pool, 1), use(pool, 2)
    assert use(pool, 1) is one
    assert use(pool, 8) is two


def test_a_taker_waits_until_one_is_given_back(content: bytes) -> None:
    pool = InterpreterPool([Interpreter(content, 1)])
    first = pool.take(KEY, shapes(1))
    taken: list[Interpreter] = []
    waiting = threading.Thread(target=lambda: taken.append(pool.take(KEY, shapes(1))))
    waiting.start()
    waiting.join(0.05)
    assert taken == []
    pool.give_back(first)
    wait_until(lambda: taken == [first], what="the waiting thread has the interpreter")
    waiting.join()
