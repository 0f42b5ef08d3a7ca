"""Runner: jobs in parallel worker processes, with progress; what is done stays when it is interrupted."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

#: Each worker computes on one thread: as many workers as processors would otherwise get in each other's way.
_ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "TF_NUM_INTRAOP_THREADS",
        "TF_NUM_INTEROP_THREADS",
    ),
    "1",
) | {"TF_CPP_MIN_LOG_LEVEL": "3"}


class Job(Protocol):
    """A piece of work that leaves a file behind; it is pickled for its worker."""

    @property
    def done(self) -> bool:
        """Whether the file is there."""

    def carry_out(self) -> None:
        """Do it and write the file, whole or not at all."""

    def __str__(self) -> str:
        """What it is, for messages."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that could not be done, and why."""

    job: Job
    error: BaseException

    def __str__(self) -> str:
        return f"{self.job}: {type(self.error).__name__}: {self.error}"


def carry_out_all(pending: Sequence[Job], workers: int, finished: Callable[[], None]) -> list[Failure]:
    """Do jobs; which of them failed.

    ``KeyboardInterrupt`` ends the workers at once and is raised again; files of finished jobs are whole.

    Args:
        pending: What to do.
        workers: Processes.
        finished: Called after each job, done or failed.
    """
    if not pending:
        return []
    failures = []
    with _environment(_ONE_THREAD):
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            with _interrupts_held_back():
                futures = {pool.submit(_carry_out, job): job for job in pending}
            try:
                for future in as_completed(futures):
                    if (error := future.exception()) is not None:
                        failures.append(Failure(futures[future], error))
                    finished()
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)
                for child in multiprocessing.active_children():
                    child.terminate()
                raise
    return failures


def _carry_out(job: Job) -> None:
    job.carry_out()


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Processes started inside never see Ctrl-C, which a terminal sends to all: this one ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Environment variables for processes started inside."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
