"""Versions that come and go, labels, model lists and reconfiguration, on real sessions."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from service.domain.serving_config import ServingConfig
from service.modelserver.manager import ModelManager
from service.modelserver.model_config import PolicyKind, VersionPolicy
from service.modelserver.status import Code, ServingError
from service.modelserver.versions import State
from tests.support.half_plus_two import (
    BATCHED,
    NAME,
    QuickClock,
    add_broken_version,
    add_version,
    ask,
    eventually,
    model,
    new_manager,
    remove_version,
    serving,
)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base path that holds version 1."""
    path = tmp_path / NAME
    add_version(path, 1)
    return path


def states(manager: ModelManager, name: str = NAME) -> dict[int, State]:
    return {status.version: status.state for status in manager.statuses(name)}


async def refusal_of(manager: ModelManager) -> ServingError:
    with pytest.raises(ServingError) as raised:
        await manager.start()
    return raised.value


async def test_the_latest_version_is_served(base: Path) -> None:
    add_version(base, 12)
    async with serving([model(base)]) as manager:
        assert states(manager) == {12: State.AVAILABLE}
        assert manager.servable(NAME).version == 12
        assert await ask(manager.servable(NAME), 2.0) == 3.0


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        (VersionPolicy(PolicyKind.LATEST, num_versions=2), [3, 2]),
        (VersionPolicy(PolicyKind.ALL), [3, 2, 1]),
        (VersionPolicy(PolicyKind.SPECIFIC, versions=(1, 7)), [1]),
    ],
    ids=lambda value: value.kind if isinstance(value, VersionPolicy) else "",
)
async def test_the_policy_chooses_the_versions(base: Path, policy: VersionPolicy, served: list[int]) -> None:
    add_version(base, 2)
    add_version(base, 3)
    (base / "not-a-version").mkdir()
    (base / "99").write_text("a file is no version")
    async with serving([model(base, policy=policy)]) as manager:
        assert list(states(manager).items()) == [(version, State.AVAILABLE) for version in served]
        assert manager.servable(NAME).version == served[0]
        assert [manager.servable(NAME, version).version for version in served] == served


async def test_what_is_not_served_is_not_found(base: Path) -> None:
    async with serving([model(base)]) as manager:
        for name, version, label, code, message in [
            ("x", None, None, Code.NOT_FOUND, "Servable not found for request: Latest(x)"),
            (NAME, 7, None, Code.NOT_FOUND, f"Servable not found for request: Specific({NAME}, 7)"),
            ("", None, None, Code.INVALID_ARGUMENT, "ModelSpec has no name specified."),
            (NAME, None, "beta", Code.INVALID_ARGUMENT, "Unrecognized servable version label: beta"),
        ]:
            with pytest.raises(ServingError) as raised:
                manager.servable(name, version, label)
            assert (raised.value.code, raised.value.message) == (code, message)
        with pytest.raises(ServingError, match=r"^Could not find any versions of model x$"):
            manager.statuses("x")
        with pytest.raises(ServingError, match=rf"^Could not find version 7 of model {NAME}$"):
            manager.statuses(NAME, 7)


async def test_a_start_without_the_base_path_says_so(tmp_path: Path) -> None:
    refused = await refusal_of(new_manager([model(tmp_path / "nowhere")]))
    assert refused.code is Code.INVALID_ARGUMENT
    assert refused.message.startswith(f"Could not find base path {tmp_path / 'nowhere'} for servable {NAME} with error")


async def test_a_start_without_any_version_says_so(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").touch()
    refused = await refusal_of(new_manager([model(tmp_path)]))
    assert refused.code is Code.NOT_FOUND
    assert refused.message.startswith(f"Unable to find a numerical version path for servable {NAME} at: {tmp_path}")


async def test_a_start_with_a_broken_model_says_why_and_leaves_nothing_running(base: Path, tmp_path: Path) -> None:
    add_broken_version(tmp_path / "broken", 4)
    manager = new_manager([model(base), model(tmp_path / "broken", "broken")])
    refused = await refusal_of(manager)
    assert refused.code is Code.UNKNOWN
    assert refused.message.startswith("1 model(s) did not become available: {{name: broken version: 4 due to error: ")
    assert states(manager) == {1: State.END}


async def test_a_start_that_may_never_look_for_versions_is_refused(base: Path) -> None:
    refused = await refusal_of(new_manager([model(base)], file_system_poll_wait_seconds=-1))
    assert refused.code is Code.FAILED_PRECONDITION


async def test_a_start_goes_on_without_an_old_version_that_is_broken(base: Path) -> None:
    add_broken_version(base, 2)
    async with serving([model(base, policy=VersionPolicy(PolicyKind.ALL))]) as manager:
        assert states(manager) == {2: State.END, 1: State.AVAILABLE}
        assert manager.servable(NAME).version == 1


@pytest.mark.parametrize("config", [ServingConfig(), BATCHED], ids=["unbatched", "batched"])
async def test_no_request_fails_while_a_version_comes_and_goes(base: Path, config: ServingConfig) -> None:
    async with serving([model(base)], config) as manager:
        answered: dict[int, int] = {}
        running = True

        async def client() -> None:
            while running:
                servable = manager.servable(NAME)
                assert await ask(servable, 2.0) == 3.0
                answered[servable.version] = answered.get(servable.version, 0) + 1

        clients = [asyncio.ensure_future(client()) for _ in range(6)]
        await eventually(lambda: answered.get(1, 0) > 20, "answers of version 1")
        add_version(base, 2)
        await manager.poll()
        await eventually(lambda: states(manager) == {2: State.AVAILABLE, 1: State.END}, "version 2 in place of 1")
        await eventually(lambda: answered.get(2, 0) > 20, "answers of version 2")
        remove_version(base, 2)
        seen = answered[1]
        await manager.poll()
        await eventually(lambda: states(manager) == {2: State.END, 1: State.AVAILABLE}, "version 1 again")
        await eventually(lambda: answered[1] > seen + 20, "answers of version 1 again")
        running = False
        await asyncio.gather(*clients)


async def test_the_folders_are_polled_by_themselves(base: Path) -> None:
    async with serving([model(base)], clock=QuickClock(), file_system_poll_wait_seconds=1) as manager:
        add_version(base, 2)
        await eventually(lambda: manager.servable(NAME).version == 2, "version 2")


async def test_a_base_path_that_is_away_for_a_moment_changes_nothing(base: Path, tmp_path: Path) -> None:
    async with serving([model(base)]) as manager:
        shutil.move(base, tmp_path / "away")
        await manager.poll()
        assert states(manager) == {1: State.AVAILABLE}
        assert await ask(manager.servable(NAME), 4.0) == 4.0


async def test_a_base_path_that_was_emptied_unloads_the_model(base: Path) -> None:
    async with serving([model(base)]) as manager:
        remove_version(base, 1)
        await manager.poll()
        await eventually(lambda: states(manager) == {1: State.END}, "the end of version 1")
        with pytest.raises(ServingError, match="Servable not found"):
            manager.servable(NAME)
        add_version(base, 1)
        await manager.poll()
        await eventually(lambda: states(manager) == {1: State.AVAILABLE}, "version 1 again")


async def test_a_broken_version_leaves_the_old_one_serving_and_shows_why(base: Path) -> None:
    async with serving([model(base)]) as manager:
        add_broken_version(base, 2)
        await manager.poll()
        await eventually(lambda: states(manager).get(2) is State.END, "failure of version 2")
        (failed,) = manager.statuses(NAME, 2)
        assert failed.error is not None
        assert failed.error.message
        assert manager.servable(NAME).version == 1


async def test_a_failed_version_is_tried_again_once_it_was_replaced(base: Path) -> None:
    async with serving([model(base)]) as manager:
        broken = add_broken_version(base, 2)
        await manager.poll()
        await eventually(lambda: states(manager).get(2) is State.END, "failure of version 2")
        shutil.rmtree(broken)
        await manager.poll()
        add_version(base, 2)
        await manager.poll()
        await eventually(lambda: states(manager).get(2) is State.AVAILABLE, "version 2")


async def test_a_load_is_retried(base: Path) -> None:
    flags: dict[str, Any] = {"max_num_load_retries": 10_000, "load_retry_interval_micros": 1000}
    async with serving([model(base)], **flags) as manager:
        broken = add_broken_version(base, 2)
        await manager.poll()
        attempts = f'load_attempt_count{{model_path="{broken}",status="fail"}}'
        await eventually(lambda: attempts in manager.metrics.render(), "a failed attempt")
        assert states(manager)[2] is State.LOADING
        shutil.copytree(base / "1", broken, dirs_exist_ok=True)
        await eventually(lambda: states(manager).get(2) is State.AVAILABLE, "version 2")


async def test_labels_name_versions(base: Path) -> None:
    add_version(base, 2)
    everything = VersionPolicy(PolicyKind.ALL)
    async with serving([model(base, policy=everything)]) as manager:
        await manager.reload([model(base, policy=everything, labels={"stable": 1, "canary": 2})])
        assert manager.servable(NAME, label="stable").version == 1
        assert [status.version for status in manager.statuses(NAME, label="canary")] == [2]
        with pytest.raises(ServingError, match="version 3 of model"):
            await manager.reload([model(base, policy=everything, labels={"stable": 3})])
        assert manager.servable(NAME, label="stable").version == 1


async def test_a_label_at_start_needs_the_flag(base: Path) -> None:
    labelled = [model(base, labels={"stable": 1})]
    refused = await refusal_of(new_manager(labelled))
    assert refused.code is Code.FAILED_PRECONDITION
    async with serving(labelled, allow_version_labels_for_unavailable_models=True) as manager:
        assert manager.servable(NAME, label="stable").version == 1


async def test_a_reload_replaces_the_whole_list(base: Path, tmp_path: Path) -> None:
    add_version(tmp_path / "second", 5)
    async with serving([model(base)]) as manager:
        await manager.reload([model(tmp_path / "second", "second")])
        assert manager.servable("second").version == 5
        await eventually(lambda: states(manager) == {1: State.END}, "the end of the first model")
        with pytest.raises(ServingError, match="Latest"):
            manager.servable(NAME)


async def test_a_reload_that_cannot_be_served_changes_nothing(base: Path, tmp_path: Path) -> None:
    add_broken_version(tmp_path / "broken", 1)
    (tmp_path / "empty").mkdir()
    async with serving([model(base)]) as manager:
        for other, code in [
            ("nowhere", Code.INVALID_ARGUMENT),
            ("empty", Code.NOT_FOUND),
            ("broken", Code.UNKNOWN),
        ]:
            with pytest.raises(ServingError) as raised:
                await manager.reload([model(tmp_path / other, other)])
            assert raised.value.code is code
            with pytest.raises(ServingError):
                manager.servable(other)
        with pytest.raises(ServingError):
            await manager.reload([model(tmp_path / "nowhere")])
        assert [entry.base_path for entry in manager.models] == [base]
        assert states(manager) == {1: State.AVAILABLE}


async def test_a_reload_that_fails_for_one_new_model_takes_back_the_others(base: Path, tmp_path: Path) -> None:
    add_version(tmp_path / "good", 1)
    add_broken_version(tmp_path / "broken", 1)
    async with serving([model(base)]) as manager:
        with pytest.raises(ServingError):
            await manager.reload([model(tmp_path / "good", "good"), model(tmp_path / "broken", "broken")])
        await eventually(lambda: states(manager, "good") == {1: State.END}, "the end of the good new model")
        assert states(manager) == {1: State.AVAILABLE}


async def test_a_reload_that_nobody_waits_for_any_more_is_taken_back(base: Path, tmp_path: Path) -> None:
    add_broken_version(tmp_path / "broken", 1)
    flags: dict[str, Any] = {"max_num_load_retries": 5, "load_retry_interval_micros": 60_000_000}
    async with serving([model(base)], **flags) as manager:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(manager.reload([model(tmp_path / "broken", "broken")]), timeout=0.2)
        await eventually(lambda: states(manager, "broken") == {1: State.END}, "the end of the broken model")
        assert [entry.name for entry in manager.models] == [NAME]
        assert states(manager) == {1: State.AVAILABLE}


async def test_a_new_policy_of_a_known_model_takes_effect(base: Path) -> None:
    add_version(base, 2)
    async with serving([model(base)]) as manager:
        await manager.reload([model(base, policy=VersionPolicy(PolicyKind.ALL))])
        await eventually(lambda: states(manager).get(1) is State.AVAILABLE, "version 1 besides 2")
        assert manager.servable(NAME).version == 2


async def test_the_model_config_file_is_read_again(base: Path, tmp_path: Path) -> None:
    def listing(policy: str) -> str:
        entry = f'name: "{NAME}" base_path: "{base}" model_platform: "tensorflow" model_version_policy {{ {policy} }}'
        return f"model_config_list {{ config {{ {entry} }} }}"

    add_version(base, 2)
    file = tmp_path / "models.config"
    file.write_text(listing("latest {}"))
    flags: dict[str, Any] = {"model_config_file": str(file), "model_config_file_poll_wait_seconds": 1}
    clock = QuickClock()
    async with serving([model(base)], clock=clock, **flags) as manager:
        for nonsense in ("this is no list {", ""):
            file.write_text(nonsense)
            before = clock.naps
            await eventually(lambda before=before: clock.naps > before + 5, "the file was read")
            assert manager.servable(NAME).version == 2
        file.write_text(listing("specific { versions: 1 }"))
        await eventually(lambda: manager.servable(NAME).version == 1, "version 1 alone")


async def test_a_reconfiguration_reaches_all_versions_and_those_to_come(base: Path) -> None:
    add_version(base, 2)
    everything = [model(base, policy=VersionPolicy(PolicyKind.ALL))]
    async with serving(everything) as manager:
        await manager.reconfigure(BATCHED)
        assert manager.config == BATCHED
        assert [manager.servable(NAME, version).config for version in (1, 2)] == [BATCHED, BATCHED]
        assert await ask(manager.servable(NAME), 2.0) == 3.0
        add_version(base, 3)
        await manager.poll()
        await eventually(lambda: states(manager).get(3) is State.AVAILABLE, "version 3")
        assert manager.servable(NAME).config == BATCHED


async def test_a_version_that_loads_during_a_reconfiguration_serves_with_the_new_one(base: Path) -> None:
    async with serving([model(base)]) as manager:
        add_version(base, 2)
        await manager.poll()
        assert states(manager)[2] in (State.START, State.LOADING)
        await manager.reconfigure(BATCHED)
        await eventually(lambda: states(manager)[2] is State.AVAILABLE, "version 2")
        assert manager.servable(NAME).config == BATCHED


async def test_a_reconfiguration_that_one_model_cannot_follow_changes_none(base: Path, tmp_path: Path) -> None:
    fragile = tmp_path / "fragile"
    add_version(fragile, 1)
    wanted = BATCHED.with_values(tensorflow_intra_op_parallelism=1)  # other threads need new sessions
    async with serving([model(base), model(fragile, "fragile")]) as manager:
        shutil.rmtree(fragile / "1" / "variables")
        with pytest.raises(ServingError):
            await manager.reconfigure(wanted)
        for name in (NAME, "fragile"):
            assert manager.servable(name).config == ServingConfig()
            assert await ask(manager.servable(name), 2.0) == 3.0
        assert manager.config == ServingConfig()
        add_version(tmp_path / "repaired", 1)
        shutil.copytree(tmp_path / "repaired" / "1", fragile / "1", dirs_exist_ok=True)
        await manager.reconfigure(wanted)
        assert {manager.servable(name).config for name in (NAME, "fragile")} == {wanted}


async def test_no_request_fails_while_the_configuration_changes(base: Path) -> None:
    async with serving([model(base)]) as manager:
        running = True
        answers: list[float] = []

        async def client() -> None:
            while running:
                answers.append(await ask(manager.servable(NAME), 2.0))

        clients = [asyncio.ensure_future(client()) for _ in range(4)]
        for config in (BATCHED, BATCHED.with_values(instances=2, tensorflow_intra_op_parallelism=1), ServingConfig()):
            await manager.reconfigure(config)
            answers.clear()
            await eventually(lambda: len(answers) > 20, "answers under the new configuration")
        running = False
        await asyncio.gather(*clients)
        assert set(answers) == {3.0}


async def test_a_stop_answers_what_was_accepted(base: Path) -> None:
    patient = BATCHED.with_values(batch_timeout_micros=20_000_000)
    async with serving([model(base)], patient) as manager:
        waiting = [asyncio.ensure_future(ask(manager.servable(NAME), float(x))) for x in range(3)]
        await asyncio.sleep(0)
        await manager.stop()
        assert [request.result() for request in waiting] == [2.0, 2.5, 3.0]
        with pytest.raises(ServingError, match="Servable not found"):
            manager.servable(NAME)
