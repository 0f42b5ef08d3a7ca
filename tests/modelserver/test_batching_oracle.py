"""Conformance: the same arrivals through TensorFlow's own scheduler (its BatchFunction op) and through ours.

TensorFlow's batch threads are held inside the batched function until all tasks have arrived, so that what it forms
depends on the arrivals alone and not on the speed of this machine.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from service.modelserver.batching import BatchLimits, BatchScheduler
from service.modelserver.joining import padded_size
from service.modelserver.status import ServingError

PATIENCE = 30.0
_numbers = itertools.count()


@dataclass(frozen=True)
class Scenario:
    """Tasks of these sizes arrive one after another while every batch thread is busy."""

    sizes: tuple[int, ...]
    max_batch_size: int = 4
    max_enqueued_batches: int = 10
    allowed_batch_sizes: tuple[int, ...] = ()
    splitting: bool = False


@dataclass
class Formed:
    """What came of it: sizes of the executed batches in order, padding included, and codes of the refused tasks."""

    batches: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "TensorFlow's scheduler did not get there"
        time.sleep(0.002)


class TensorFlowScheduler:
    """BatchFunction with one batch thread, whose function waits at a gate and notes the sizes it is given."""

    def __init__(self, scenario: Scenario, batch_timeout_micros: int = 0) -> None:
        self.gate = threading.Event()
        self.sizes: list[int] = []
        self.scenario = scenario

        def record(x: Any) -> Any:
            self.sizes.append(len(x))
            assert self.gate.wait(PATIENCE)
            return x

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)], autograph=False)
        def body(x: Any) -> Any:
            return tf.numpy_function(record, [x], tf.float32)

        function = body.get_concrete_function()
        name = f"oracle_{next(_numbers)}"

        def batched(x: Any) -> Any:
            return tf.raw_ops.BatchFunction(
                in_tensors=[x],
                captured_tensors=[],
                f=function,
                num_batch_threads=1,
                max_batch_size=scenario.max_batch_size,
                batch_timeout_micros=batch_timeout_micros,
                Tout=[tf.float32],
                max_enqueued_batches=scenario.max_enqueued_batches,
                allowed_batch_sizes=list(scenario.allowed_batch_sizes),
                shared_name=name,
                batching_queue=name,
                enable_large_batch_splitting=scenario.splitting,
            )

        self._batched = batched

    def submit(self, size: int) -> Task:
        task = Task(self._batched, size)
        wait_for(task.is_settled)
        return task


class Task:
    """One call of the batched function, in a thread of its own."""

    def __init__(self, batched: Callable[[Any], Any], size: int) -> None:
        self.error = ""
        self._calling = threading.Event()

        def call() -> None:
            x = tf.constant(np.zeros(size, np.float32))
            self._calling.set()
            try:
                batched(x)
            except tf.errors.OpError as error:
                self.error = type(error).__name__

        self.thread = threading.Thread(target=call)
        self.thread.start()

    def is_settled(self) -> bool:
        """Whether the call was refused, or sleeps inside the op, its task submitted."""
        if not self.thread.is_alive():
            return True
        if not self._calling.is_set():
            return False
        stat = Path(f"/proc/self/task/{self.thread.native_id}/stat")
        for _ in range(4):
            try:
                if stat.read_text().rpartition(")")[2].split()[0] != "S":
                    return False
            except OSError:  # the thread has ended
                return True
            time.sleep(0.003)
        return True


def by_tensorflow(scenario: Scenario) -> Formed:
    scheduler = TensorFlowScheduler(scenario)
    formed = Formed()
    try:
        blocker = scheduler.submit(1)
        wait_for(lambda: scheduler.sizes)
        tasks = [scheduler.submit(size) for size in scenario.sizes]
    finally:
        scheduler.gate.set()
    for task in [blocker, *tasks]:
        task.thread.join(PATIENCE)
        assert not task.thread.is_alive()
    formed.batches = scheduler.sizes[1:]
    formed.refused = {index: task.error for index, task in enumerate(tasks) if task.error}
    return formed


def by_us(scenario: Scenario) -> Formed:
    execution_limit = 0
    if scenario.splitting:
        execution_limit = scenario.allowed_batch_sizes[-1] if scenario.allowed_batch_sizes else scenario.max_batch_size
    scheduler: BatchScheduler[int] = BatchScheduler(
        BatchLimits(
            max_batch_size=scenario.max_batch_size,
            timeout=0.0,
            max_enqueued_batches=scenario.max_enqueued_batches,
            max_execution_batch_size=execution_limit,
        )
    )
    formed = Formed()
    scheduler.submit("s", -1, 1, 0.0)
    assert scheduler.take(0.0) is not None
    for index, size in enumerate(scenario.sizes):
        try:
            scheduler.submit("s", index, size, 0.0)
        except ServingError as error:
            formed.refused[index] = "".join(word.capitalize() for word in error.code.name.split("_")) + "Error"
    while (batch := scheduler.take(0.0)) is not None:
        formed.batches.append(padded_size(batch.size, scenario.allowed_batch_sizes))
    return formed


def random_scenario(seed: int) -> Scenario:
    random_source = random.Random(seed)  # noqa: S311 — scenarios, no secrets
    largest = random_source.randint(2, 8)
    splitting = random_source.random() < 0.4
    allowed: tuple[int, ...] = ()
    if random_source.random() < 0.5:
        last = random_source.randint(1, largest) if splitting else largest
        allowed = tuple(sorted({*(random_source.randint(1, last) for _ in range(2)), last}))
    return Scenario(
        sizes=tuple(random_source.randint(1, largest + 1) for _ in range(random_source.randint(3, 9))),
        max_batch_size=largest,
        max_enqueued_batches=random_source.randint(1, 4),
        allowed_batch_sizes=allowed,
        splitting=splitting,
    )


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(Scenario((1, 1, 1, 1, 1)), id="full batches and a rest"),
        pytest.param(Scenario((3, 2, 2, 1, 4)), id="what does not fit opens the next"),
        pytest.param(Scenario((2, 2, 1, 1), max_batch_size=2, max_enqueued_batches=2), id="queue full"),
        pytest.param(Scenario((1, 2, 1), max_batch_size=2, max_enqueued_batches=1), id="queue of one batch"),
        pytest.param(Scenario((2, 3, 1, 4, 2), max_batch_size=4, max_enqueued_batches=2), id="refused, later fits"),
        pytest.param(Scenario((5, 1)), id="larger than a batch"),
        pytest.param(Scenario((1, 4, 3), allowed_batch_sizes=(2, 4)), id="padding"),
        pytest.param(Scenario((3, 6, 1), 8, allowed_batch_sizes=(4,), splitting=True), id="splitting"),
        pytest.param(Scenario((3, 6, 1, 4), 8, 2, (4,), splitting=True), id="splitting into a full queue"),
        *(pytest.param(random_scenario(seed), id=f"random {seed}") for seed in range(12)),
    ],
)
def test_the_same_arrivals_form_the_same_batches_and_refusals(scenario: Scenario) -> None:
    assert by_us(scenario) == by_tensorflow(scenario)


def test_a_batch_waits_for_company_until_it_is_full() -> None:
    scenario = Scenario((1, 1, 2))
    theirs = TensorFlowScheduler(scenario, batch_timeout_micros=60_000_000)
    theirs.gate.set()
    tasks = [theirs.submit(size) for size in scenario.sizes]
    for task in tasks:
        task.thread.join(PATIENCE)
    ours: BatchScheduler[int] = BatchScheduler(BatchLimits(max_batch_size=4, timeout=60.0, max_enqueued_batches=10))
    formed = []
    for index, size in enumerate(scenario.sizes):
        ours.submit("s", index, size, float(index))
        batch = ours.take(float(index))
        formed += [batch.size] if batch is not None else []
    assert formed == theirs.sizes == [4]


def test_a_batch_that_nobody_fills_is_executed_after_its_timeout() -> None:
    theirs = TensorFlowScheduler(Scenario(()), batch_timeout_micros=400_000)
    theirs.gate.set()
    started = time.monotonic()
    task = theirs.submit(3)
    task.thread.join(PATIENCE)
    waited = time.monotonic() - started
    ours: BatchScheduler[int] = BatchScheduler(BatchLimits(max_batch_size=4, timeout=0.4, max_enqueued_batches=10))
    ours.submit("s", 0, 3, 0.0)
    assert ours.take(0.399) is None
    batch = ours.take(waited)
    assert batch is not None
    assert [batch.size] == theirs.sizes == [3]
