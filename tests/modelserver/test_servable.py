"""Servables on real models: running, and changing the configuration in place."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import export_model
from service.domain.serving_config import ServingConfig
from service.modelserver.metrics import ServerMetrics
from service.modelserver.servable import RuntimeOptions, Servable
from service.modelserver.session_source import SessionSource
from service.modelserver.signature import check_inputs
from service.modelserver.status import Code, ServingError
from tests.support.half_plus_two import eventually
from tests.support.tiny_models import save_many

OFF = ServingConfig()
ON = ServingConfig(enable_batching=True, max_batch_size=8, num_batch_threads=2, tensorflow_intra_op_parallelism=1)


@pytest.fixture(scope="module")
def half_plus_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_model("half_plus_two", tmp_path_factory.mktemp("zoo"))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_many(tmp_path_factory.mktemp("many") / "1")


@contextlib.asynccontextmanager
async def loaded(
    path: Path, config: ServingConfig, runtime: RuntimeOptions | None = None, metrics: ServerMetrics | None = None
) -> AsyncIterator[Servable]:
    servable = await asyncio.to_thread(
        Servable.load, "m", 1, path, config, runtime=runtime or RuntimeOptions(), metrics=metrics or ServerMetrics()
    )
    try:
        yield servable
    finally:
        await servable.close()


async def ask(servable: Servable, key: str = "", **inputs: Any) -> dict[str, Any]:
    signature = servable.signature(key)
    arrays = {alias: np.asarray(value, signature.inputs[alias].dtype) for alias, value in inputs.items()}
    outputs = check_inputs(signature, arrays)
    answers = await servable.run(signature, arrays, outputs)
    return {alias: answer.tolist() for alias, answer in zip(outputs, answers, strict=True)}


def sessions_of(servable: Servable) -> tuple[Any, ...]:
    return servable._engine.sessions


@pytest.mark.parametrize("config", [OFF, ON, ON.with_values(instances=2)], ids=["off", "on", "two instances"])
async def test_every_request_gets_its_own_answer(half_plus_two: Path, config: ServingConfig) -> None:
    async with loaded(half_plus_two, config) as servable:
        answers = await asyncio.gather(*(ask(servable, x=[n]) for n in range(40)))
        assert answers == [{"y": [n / 2 + 2]} for n in range(40)]


@pytest.mark.parametrize("config", [OFF, ON], ids=["off", "on"])
async def test_several_inputs_and_outputs_and_strings(many: Path, config: ServingConfig) -> None:
    async with loaded(many, config) as servable:
        answers = await asyncio.gather(
            ask(servable, a=[[1, 2]], b=[3]),
            ask(servable, a=[[4, 5, 6]], b=[7]),
            ask(servable, "lookup", word=[b"pear", b"plum"]),
            ask(servable, "fixed", x=[1, 2]),
        )
        assert answers == [
            {"sum": [33.0], "text": [b"3"]},
            {"sum": [157.0], "text": [b"7"]},
            {"id": [1, 2]},
            {"y": [2.0, 3.0]},
        ]


async def test_an_unknown_signature_is_a_failed_precondition(half_plus_two: Path) -> None:
    async with loaded(half_plus_two, OFF) as servable:
        with pytest.raises(ServingError, match='Serving signature key "nope" not found') as raised:
            servable.signature("nope")
        assert raised.value.code is Code.FAILED_PRECONDITION


async def test_a_switch_of_sizes_keeps_the_sessions(half_plus_two: Path) -> None:
    async with loaded(half_plus_two, ON) as servable:
        before = sessions_of(servable)
        await servable.switch(ON.with_values(max_batch_size=3, batch_timeout_micros=500, num_batch_threads=1))
        assert sessions_of(servable) == before
        with pytest.raises(ServingError, match="Task size 4 is larger than maximum input batch size 3"):
            await ask(servable, x=[1, 2, 3, 4])
        await servable.switch(OFF.with_values(tensorflow_intra_op_parallelism=1))
        assert sessions_of(servable) == before
        assert await ask(servable, x=[1, 2, 3, 4]) == {"y": [2.5, 3.0, 3.5, 4.0]}


async def test_a_switch_of_session_threads_opens_new_sessions_and_closes_the_old(half_plus_two: Path) -> None:
    async with loaded(half_plus_two, ON) as servable:
        (old,) = sessions_of(servable)
        await servable.switch(ON.with_values(tensorflow_intra_op_parallelism=2))
        (new,) = sessions_of(servable)
        assert new is not old
        assert await ask(servable, x=[2]) == {"y": [3.0]}
        await eventually(lambda: old._session._closed, "the old session closed")


async def test_instances_come_and_go_one_by_one(half_plus_two: Path) -> None:
    async with loaded(half_plus_two, ON) as servable:
        (first,) = sessions_of(servable)
        await servable.switch(ON.with_values(instances=3))
        three = sessions_of(servable)
        assert three[0] is first
        assert len(three) == 3
        await servable.switch(ON.with_values(instances=2))
        assert sessions_of(servable) == three[:2]
        await eventually(lambda: three[2]._session._closed, "the third session closed")
        assert not first._session._closed
        assert await ask(servable, x=[2]) == {"y": [3.0]}


async def test_no_request_is_lost_while_configurations_change(half_plus_two: Path) -> None:
    async with loaded(half_plus_two, ON) as servable:
        answered = 0
        stop = False

        async def client(x: float) -> None:
            nonlocal answered
            while not stop:
                assert await ask(servable, x=[x]) == {"y": [x / 2 + 2]}
                answered += 1

        clients = [asyncio.ensure_future(client(float(n))) for n in range(16)]
        for config in (
            OFF,
            ON.with_values(instances=2),
            ON.with_values(tensorflow_inter_op_parallelism=2),
            ON.with_values(batch_timeout_micros=1000, max_batch_size=16),
            ON.with_values(num_batch_threads=1),
            OFF.with_values(tensorflow_intra_op_parallelism=2),
        ):
            await servable.switch(config)
            assert servable.config == config
            goal = answered + 50
            await eventually(lambda goal=goal: answered >= goal, "answers under the new configuration")
        stop = True
        await asyncio.gather(*clients)


async def test_a_failing_switch_leaves_everything_as_it_was(
    half_plus_two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with loaded(half_plus_two, ON) as servable:
        before = sessions_of(servable)

        def fail(*_: Any) -> None:
            raise ServingError(Code.RESOURCE_EXHAUSTED, "no memory left")

        with monkeypatch.context() as patched:
            patched.setattr(SessionSource, "more", fail)
            with pytest.raises(ServingError, match="no memory left"):
                await servable.switch(ON.with_values(tensorflow_intra_op_parallelism=2))
        assert servable.config == ON
        assert sessions_of(servable) == before
        assert await ask(servable, x=[2]) == {"y": [3.0]}
        await servable.switch(ON.with_values(tensorflow_intra_op_parallelism=2))


async def test_switches_at_once_come_into_force_one_after_another(half_plus_two: Path) -> None:
    async with loaded(half_plus_two, ON) as servable:
        configs = [ON.with_values(tensorflow_intra_op_parallelism=n) for n in (2, 1, 3)]
        await asyncio.gather(*(servable.switch(config) for config in configs))
        assert servable.config == configs[-1]
        assert await ask(servable, x=[2]) == {"y": [3.0]}


async def test_what_was_prepared_is_discarded_without_a_trace(half_plus_two: Path) -> None:
    async with loaded(half_plus_two, ON) as servable:
        before = sessions_of(servable)
        prepared = await servable.prepare(ON.with_values(instances=2))
        await prepared.discard()
        assert servable.config == ON
        assert sessions_of(servable) == before
        assert await ask(servable, x=[2]) == {"y": [3.0]}
        await servable.switch(OFF)


async def test_a_cancelled_switch_lets_the_next_one_through(half_plus_two: Path) -> None:
    async with loaded(half_plus_two, ON) as servable:
        for _ in range(3):
            switching = asyncio.ensure_future(servable.switch(ON.with_values(tensorflow_intra_op_parallelism=2)))
            await asyncio.sleep(0.001)
            switching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await switching
        await servable.switch(OFF)
        assert servable.config == OFF
        assert await ask(servable, x=[2]) == {"y": [3.0]}


async def test_closing_answers_what_was_accepted_and_then_refuses_to_switch(half_plus_two: Path) -> None:
    waiting = ON.with_values(batch_timeout_micros=60_000_000)
    async with loaded(half_plus_two, waiting) as servable:
        asked = [asyncio.ensure_future(ask(servable, x=[n])) for n in range(5)]
        await asyncio.sleep(0)
        await servable.close()
        assert await asyncio.gather(*asked) == [{"y": [n / 2 + 2]} for n in range(5)]
        await servable.close()
        with pytest.raises(ServingError, match="is unloaded"):
            await servable.switch(ON)


async def test_the_load_and_its_warm_up_are_counted(half_plus_two: Path) -> None:
    metrics = ServerMetrics()
    async with loaded(half_plus_two, ON, metrics=metrics):
        page = metrics.render()
        assert f'load_attempt_count{{model_path="{half_plus_two}",status="success"}} 1' in page
        assert f'model_warmup_latency_count{{model_path="{half_plus_two}",status="OK"}} 1' in page


async def test_a_warm_up_record_that_does_not_fit_fails_the_load_unless_warm_up_is_off(
    half_plus_two: Path, many: Path, tmp_path: Path
) -> None:
    import shutil

    path = Path(shutil.copytree(many, tmp_path / "1"))
    shutil.copytree(half_plus_two / "assets.extra", path / "assets.extra")
    with pytest.raises(ServingError):
        async with loaded(path, OFF):
            pass
    async with loaded(path, OFF, RuntimeOptions(warmup=False)) as servable:
        assert await ask(servable, "total", x=[1]) == {"y": [2.0], "sum": 1.0}


async def test_batches_are_counted(half_plus_two: Path) -> None:
    metrics = ServerMetrics()
    config = ON.with_values(max_batch_size=4, allowed_batch_sizes=(4,))
    async with loaded(half_plus_two, config, metrics=metrics) as servable:
        await asyncio.gather(*(ask(servable, x=[n]) for n in range(3)))
        page = metrics.render()
        assert ":tensorflow:serving:batching_session:wrapped_run_count{} 1" in page
        assert ':tensorflow:serving:batching_session:queuing_latency_count{thread_pool_name=""} 3' in page
        assert ":tensorflow:serving:batching_session:processed_batch_size_sum{} 4" in page
