"""The life of a model's versions, with loads that the test holds back or lets fail."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from service.domain.clock import Clock, SystemClock
from service.domain.serving_config import ServingConfig
from service.modelserver.metrics import ServerMetrics
from service.modelserver.model_versions import Lifecycle, ModelVersions
from service.modelserver.servable import RuntimeOptions, Servable
from service.modelserver.status import Code, ServingError
from service.modelserver.versions import State
from tests.support.half_plus_two import NAME, add_version, eventually

ORDINARY = ServingError(Code.NOT_FOUND, "no such file")


class Loads:
    """Loads real servables, once the test lets them; refuses those that it makes fail."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.failures: Iterator[Exception | None] = itertools.repeat(None)
        self.begun: list[int] = []
        self.changes = 0

    async def load(self, name: str, version: int, path: Path) -> Servable:
        self.begun.append(version)
        await self.open.wait()
        if (failure := next(self.failures)) is not None:
            raise failure
        options = RuntimeOptions()
        return await asyncio.to_thread(
            Servable.load, name, version, path, ServingConfig(), runtime=options, metrics=ServerMetrics()
        )

    def changed(self, name: str) -> None:
        assert name == NAME
        self.changes += 1


class SleeplessClock(SystemClock):
    """Remembers how long somebody wanted to sleep, and does not."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)


class StandingClock(SystemClock):
    """Whoever sleeps, sleeps for ever."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()


@pytest.fixture
def loads() -> Loads:
    return Loads()


@pytest.fixture
def paths(tmp_path: Path) -> dict[int, Path]:
    return {version: add_version(tmp_path / NAME, version) for version in (1, 2)}


@pytest.fixture
async def make(loads: Loads) -> AsyncIterator[Callable[..., ModelVersions]]:
    made: list[ModelVersions] = []

    def new(clock: Clock | None = None, retries: int = 0, slots: int = 2) -> ModelVersions:
        lifecycle = Lifecycle(
            load=loads.load,
            changed=loads.changed,
            max_retries=retries,
            retry_interval_seconds=60.0,
            load_slots=asyncio.Semaphore(slots),
            unload_slots=asyncio.Semaphore(1),
            clock=clock or SystemClock(),
        )
        made.append(ModelVersions(NAME, lifecycle))
        return made[-1]

    yield new
    loads.open.set()
    for versions in made:
        await versions.stop()


def states(versions: ModelVersions) -> dict[int, State]:
    return {status.version: status.state for status in versions.statuses}


async def test_a_version_waits_for_a_free_slot_before_it_loads(
    make: Callable[..., ModelVersions], loads: Loads, paths: dict[int, Path]
) -> None:
    versions = make(slots=1)
    loads.open.clear()
    versions.aspire(paths)
    assert states(versions) == {2: State.START, 1: State.START}
    await eventually(lambda: loads.begun == [2], "the newest first")
    assert states(versions) == {2: State.LOADING, 1: State.START}
    loads.open.set()
    await versions.loaded()
    assert states(versions) == {2: State.AVAILABLE, 1: State.AVAILABLE}
    assert loads.changes == 2


async def test_a_failed_load_is_retried_after_a_pause_as_often_as_allowed(
    make: Callable[..., ModelVersions], loads: Loads, paths: dict[int, Path]
) -> None:
    clock = SleeplessClock()
    versions = make(clock, retries=3)
    loads.failures = itertools.repeat(ORDINARY)
    versions.aspire({1: paths[1]})
    await versions.loaded()
    assert loads.begun == [1, 1, 1, 1]
    assert clock.pauses == [60.0] * 3
    (status,) = versions.statuses
    assert (status.state, status.error) == (State.END, ORDINARY)
    assert not versions.available


async def test_a_load_that_fails_in_an_unforeseen_way_is_an_internal_error(
    make: Callable[..., ModelVersions], loads: Loads, paths: dict[int, Path]
) -> None:
    versions = make()
    loads.failures = itertools.repeat(RuntimeError("surprise"))
    versions.aspire({1: paths[1]})
    await versions.loaded()
    (status,) = versions.statuses
    assert status.error is not None
    assert (status.error.code, status.error.message) == (Code.INTERNAL, "RuntimeError: surprise")


async def test_a_version_that_vanishes_is_not_retried(
    make: Callable[..., ModelVersions], loads: Loads, paths: dict[int, Path]
) -> None:
    versions = make(StandingClock(), retries=5)
    loads.failures = itertools.repeat(ORDINARY)
    versions.aspire({1: paths[1]})
    await eventually(lambda: versions.statuses[0].error, "the first failure")
    versions.aspire({})
    await eventually(lambda: states(versions) == {1: State.END}, "the end")
    assert loads.begun == [1]


async def test_a_version_that_came_back_while_its_load_failed_is_loaded_anew(
    make: Callable[..., ModelVersions], loads: Loads, paths: dict[int, Path]
) -> None:
    versions = make()
    loads.open.clear()
    versions.aspire({1: paths[1]})
    await eventually(lambda: loads.begun == [1], "the first load")
    versions.aspire({})
    versions.aspire({1: paths[1]})
    loads.failures = itertools.chain([ORDINARY], itertools.repeat(None))
    loads.open.set()
    await eventually(lambda: states(versions) == {1: State.AVAILABLE}, "version 1")
    assert loads.begun == [1, 1]


async def test_a_version_that_vanishes_while_it_loads_is_unloaded_when_it_is_there(
    make: Callable[..., ModelVersions], loads: Loads, paths: dict[int, Path]
) -> None:
    versions = make()
    loads.open.clear()
    versions.aspire({1: paths[1]})
    await eventually(lambda: loads.begun == [1], "the load")
    versions.aspire({})
    assert states(versions) == {1: State.LOADING}
    loads.open.set()
    await eventually(lambda: states(versions) == {1: State.END}, "the end")
    assert versions.statuses[0].error is None
    assert not versions.available


async def test_a_version_whose_folder_moved_stays_as_it_is_and_that_is_said(
    make: Callable[..., ModelVersions], loads: Loads, paths: dict[int, Path], caplog: pytest.LogCaptureFixture
) -> None:
    versions = make()
    versions.aspire({1: paths[1]})
    await versions.loaded()
    with caplog.at_level(logging.WARNING):
        versions.aspire({1: paths[2]})
    assert "Use another version number" in caplog.text
    assert states(versions) == {1: State.AVAILABLE}
    assert loads.begun == [1]
