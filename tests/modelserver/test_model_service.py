"""GetModelStatus and HandleReloadConfigRequest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, GetModelStatusResponse
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest

from service.modelserver.manager import ModelManager
from service.modelserver.model_service import get_model_status, handle_reload_config_request
from service.modelserver.status import Code, ServingError
from tests.support.half_plus_two import NAME, add_broken_version, add_version, eventually, model, serving


@pytest.fixture
def base(tmp_path: Path) -> Path:
    add_version(tmp_path / NAME, 1)
    return tmp_path / NAME


@pytest.fixture
async def manager(base: Path) -> AsyncIterator[ModelManager]:
    async with serving([model(base)]) as started:
        yield started


def status_of(manager: ModelManager, name: str = NAME, version: int | None = None) -> GetModelStatusResponse:
    request = GetModelStatusRequest()
    request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    return get_model_status(manager, request)


def listing(*entries: str) -> ReloadConfigRequest:
    return text_format.Parse(
        "config { model_config_list { " + " ".join(f"config {{ {entry} }}" for entry in entries) + " } }",
        ReloadConfigRequest(),
    )


def entry(base: Path, name: str = NAME, more: str = "") -> str:
    return f'name: "{name}" base_path: "{base}" model_platform: "tensorflow" {more}'


async def test_the_status_of_all_versions_is_answered_newest_first(base: Path, manager: ModelManager) -> None:
    add_broken_version(base, 2)
    await manager.poll()
    await eventually(lambda: status_of(manager, version=2).model_version_status[0].status.error_code, "the failure")
    failed, available = status_of(manager).model_version_status
    assert (failed.version, failed.state) == (2, failed.END)
    assert failed.status.error_message
    assert (available.version, available.state) == (1, available.AVAILABLE)
    assert available.HasField("status")
    assert (available.status.error_code, available.status.error_message) == (0, "")


async def test_the_status_of_one_version_is_answered_alone(manager: ModelManager) -> None:
    (only,) = status_of(manager, version=1).model_version_status
    assert (only.version, only.state) == (1, only.AVAILABLE)


async def test_the_status_of_what_is_unknown_is_not_found(manager: ModelManager) -> None:
    for name, version, message in [
        ("x", None, "Could not find any versions of model x"),
        (NAME, 9, f"Could not find version 9 of model {NAME}"),
    ]:
        with pytest.raises(ServingError) as raised:
            status_of(manager, name, version)
        assert (raised.value.code, raised.value.message) == (Code.NOT_FOUND, message)
    with pytest.raises(ServingError, match=r"^Missing ModelSpec$"):
        get_model_status(manager, GetModelStatusRequest())


async def test_a_reload_replaces_the_list_and_answers_when_the_new_models_serve(
    base: Path, tmp_path: Path, manager: ModelManager
) -> None:
    add_version(tmp_path / "second", 7)
    response = await handle_reload_config_request(manager, listing(entry(tmp_path / "second", "second")))
    assert response.HasField("status")
    assert response.status.error_code == 0
    assert manager.servable("second").version == 7
    await eventually(lambda: status_of(manager).model_version_status[0].state == 50, "the end of the first model")


async def test_a_reload_assigns_labels_and_policies(base: Path, manager: ModelManager) -> None:
    add_version(base, 2)
    everything = "model_version_policy { all {} }"
    await handle_reload_config_request(manager, listing(entry(base, more=everything)))
    await eventually(lambda: len(status_of(manager).model_version_status) == 2, "both versions")
    await eventually(lambda: status_of(manager, version=2).model_version_status[0].state == 30, "version 2")
    labels = 'version_labels { key: "stable" value: 1 }'
    await handle_reload_config_request(manager, listing(entry(base, more=everything + labels)))
    assert manager.servable(NAME, label="stable").version == 1


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (ReloadConfigRequest(), Code.INVALID_ARGUMENT, "ServerModelConfig type not supported"),
        (
            listing('name: "m" base_path: "/nowhere" model_platform: "tensorflow"'),
            Code.INVALID_ARGUMENT,
            "Could not find base path /nowhere for servable m",
        ),
        (
            listing('name: "m" base_path: "/m" model_platform: "caffe"'),
            Code.INVALID_ARGUMENT,
            "Model m requests unsupported platform caffe",
        ),
        (
            listing(*['name: "m" base_path: "/m" model_platform: "tensorflow"'] * 2),
            Code.INVALID_ARGUMENT,
            "Illegal to list model m multiple times in config list",
        ),
    ],
)
async def test_a_list_that_is_refused_leaves_the_old_one_in_force(
    manager: ModelManager, request_: ReloadConfigRequest, code: Code, message: str
) -> None:
    with pytest.raises(ServingError) as raised:
        await handle_reload_config_request(manager, request_)
    assert raised.value.code is code
    assert raised.value.message.startswith(message)
    assert manager.servable(NAME).version == 1
    assert [known.name for known in manager.models] == [NAME]
