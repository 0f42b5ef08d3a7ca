"""Versions that hold model.tflite, as servables: which file serves, batching, hot switches, tf.Example methods."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest

from models import export_model
from service.domain.serving_config import ServingConfig
from service.modelserver.flags import ServerFlags
from service.modelserver.inference_service import classify
from service.modelserver.manager import ModelManager
from service.modelserver.metrics import ServerMetrics
from service.modelserver.model_config import ModelConfig
from service.modelserver.servable import RuntimeOptions, Servable
from service.modelserver.signature import check_inputs
from service.modelserver.status import Code, ServingError
from service.modelserver.tflite import TfliteOptions
from tests.support.tflite_models import MOVE_ANNOUNCED, convert, half_plus, save_both, write

pytestmark = pytest.mark.filterwarnings(MOVE_ANNOUNCED)

OFF = ServingConfig()
ON = ServingConfig(enable_batching=True, max_batch_size=8, num_batch_threads=2, batch_timeout_micros=2000)
PREFERRED = RuntimeOptions(tflite=TfliteOptions(2))


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A version whose SavedModel answers x/2 + 2 and whose TensorFlow Lite file x/2 + 3."""
    return write(export_model("half_plus_two", tmp_path), half_plus(3.0))


@contextlib.asynccontextmanager
async def loaded(path: Path, config: ServingConfig, runtime: RuntimeOptions) -> AsyncIterator[Servable]:
    servable = await asyncio.to_thread(Servable.load, "m", 1, path, config, runtime=runtime, metrics=ServerMetrics())
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


@pytest.mark.parametrize("config", [OFF, ON, ON.with_values(instances=2)], ids=["off", "on", "two instances"])
async def test_it_serves_where_preferred_and_each_request_gets_its_own_answer(
    beside: Path, config: ServingConfig
) -> None:
    async with loaded(beside, config, PREFERRED) as servable:
        answers = await asyncio.gather(*(ask(servable, x=[n]) for n in range(40)))
        assert answers == [{"y": [n / 2 + 3]} for n in range(40)]


async def test_the_saved_model_serves_where_it_is_not_preferred(beside: Path) -> None:
    async with loaded(beside, OFF, RuntimeOptions()) as servable:
        assert await ask(servable, x=[2]) == {"y": [3.0]}


async def test_the_saved_model_serves_where_there_is_no_other(tmp_path: Path) -> None:
    async with loaded(export_model("half_plus_two", tmp_path), OFF, PREFERRED) as servable:
        assert await ask(servable, x=[2]) == {"y": [3.0]}


async def test_a_version_may_hold_nothing_else_and_then_needs_the_preference(tmp_path: Path) -> None:
    path = write(tmp_path / "1", half_plus())
    async with loaded(path, OFF, PREFERRED) as servable:
        assert await ask(servable, x=[2]) == {"y": [3.0]}
    with pytest.raises(ServingError, match="Could not find a SavedModel") as raised:
        async with loaded(path, OFF, RuntimeOptions()):
            pass
    assert raised.value.code is Code.NOT_FOUND


async def test_requests_share_calls_when_batching_is_on(tmp_path: Path) -> None:
    patient = ON.with_values(batch_timeout_micros=20_000_000, allowed_batch_sizes=(4, 8))
    async with loaded(save_both(tmp_path / "1"), patient, PREFERRED) as servable:
        together = await asyncio.gather(*(ask(servable, "count", x=[0.0]) for _ in range(8)))
        assert together == [{"rows": [8]}] * 8
        await servable.switch(OFF)
        assert await ask(servable, "count", x=[0.0]) == {"rows": [1]}


@pytest.mark.parametrize("intra_op", [0, 2], ids=["same interpreters", "new interpreters"])
async def test_a_hot_switch_loses_no_request(beside: Path, intra_op: int) -> None:
    async with loaded(beside, OFF, PREFERRED) as servable:
        stop = asyncio.Event()

        async def client(number: int) -> int:
            asked = 0
            while not stop.is_set():
                assert await ask(servable, x=[number]) == {"y": [number / 2 + 3]}
                asked += 1
            return asked

        clients = [asyncio.ensure_future(client(number)) for number in range(6)]
        for config in (ON, OFF, ON.with_values(max_batch_size=2)):
            await asyncio.sleep(0)
            await servable.switch(config.with_values(tensorflow_intra_op_parallelism=intra_op))
        stop.set()
        assert all(await asyncio.gather(*clients))


async def test_classify_works_where_the_file_can_take_examples(tmp_path: Path) -> None:
    def judge(inputs: Any) -> dict[str, Any]:
        count = [tf.shape(inputs)[0], 1]
        return {"scores": tf.tile(tf.constant([[0.25, 0.75]]), count), "classes": tf.tile([["no", "yes"]], count)}

    base = write(tmp_path / "m" / "1", convert(judge, inputs=tf.TensorSpec([None], tf.string))).parent
    flags = ServerFlags(file_system_poll_wait_seconds=0, max_num_load_retries=0)
    models = [ModelConfig(name="m", base_path=base)]
    manager = ModelManager(models, flags, ON, ServerMetrics(), runtime=PREFERRED)
    await manager.start()
    try:
        request = ClassificationRequest()
        request.model_spec.name = "m"
        for _ in range(3):
            request.input.example_list.examples.add()
        answer = (await classify(manager, request)).result.classifications
        assert [[(one.label, one.score) for one in row.classes] for row in answer] == [
            [("no", 0.25), ("yes", 0.75)]
        ] * 3
    finally:
        await manager.stop()
