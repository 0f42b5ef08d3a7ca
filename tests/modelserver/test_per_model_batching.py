"""Batching parameters of a version's own, from the file beside its model, on real sessions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.modelserver.model_config import PolicyKind, VersionPolicy
from service.modelserver.status import ServingError
from tests.support.half_plus_two import BATCHED, NAME, add_version, model, new_manager, serving

FLAGS: dict[str, Any] = {"enable_batching": True, "enable_per_model_batching_parameters": True}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base path that holds version 1."""
    path = tmp_path / NAME
    add_version(path, 1)
    return path


async def test_with_per_model_parameters_a_version_is_batched_as_its_file_says(base: Path) -> None:
    batched = add_version(base, 2)
    (batched / "batching_params.pbtxt").write_text("max_batch_size { value: 3 } batch_timeout_micros { value: 7 }")
    async with serving([model(base, policy=VersionPolicy(PolicyKind.ALL))], BATCHED, **FLAGS) as manager:
        own = manager.servable(NAME, 2).config
        assert (own.max_batch_size, own.batch_timeout_micros) == (3, 7)
        assert own.num_batch_threads == BATCHED.num_batch_threads
        assert not manager.servable(NAME, 1).config.enable_batching


async def test_wrong_per_model_parameters_fail_the_load(base: Path) -> None:
    (base / "1" / "batching_params.pbtxt").write_text("max_batch_size { value: 0 }")
    with pytest.raises(ServingError, match="max_batch_size"):
        await new_manager([model(base)], BATCHED, **FLAGS).start()
