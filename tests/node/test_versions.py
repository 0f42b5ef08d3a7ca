"""Versions: what can be changed by a version folder, and how one is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.domain.serving_config import ServingConfig
from service.node.errors import StartError
from service.node.versions import PARAMETERS_FILE, is_cheap, newest, publish, tidy

BATCHED = ServingConfig(enable_batching=True, max_batch_size=32, num_batch_threads=2, allowed_batch_sizes=(8, 32))
ENOUGH = (100, 100)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    version = tmp_path / "user" / "7"
    (version / "variables").mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"graph")
    (version / "variables" / "variables.index").write_bytes(b"weights")
    (version / PARAMETERS_FILE).write_text("the user's")
    return version


def test_sizes_and_timeouts_and_batching_itself_are_cheap() -> None:
    assert is_cheap(BATCHED, BATCHED.with_values(batch_timeout_micros=5, max_enqueued_batches=7), ENOUGH)
    assert is_cheap(BATCHED, BATCHED.with_values(max_batch_size=64, allowed_batch_sizes=()), ENOUGH)
    assert is_cheap(BATCHED, BATCHED.with_values(enable_batching=False), ENOUGH)


@pytest.mark.parametrize(
    "knob", ["num_batch_threads", "tensorflow_inter_op_parallelism", "tensorflow_intra_op_parallelism", "instances"]
)
def test_threads_and_instances_are_not(knob: str) -> None:
    assert not is_cheap(BATCHED, BATCHED.with_values(**{knob: 3}), ENOUGH)


def test_a_batch_that_outgrows_the_servers_threads_is_not() -> None:
    assert not is_cheap(BATCHED, BATCHED.with_values(batch_timeout_micros=5), (100, 101))


def test_a_version_is_made_of_links_and_has_its_own_parameters(source: Path, tmp_path: Path) -> None:
    base = tmp_path / "node" / "g1"
    assert publish(source, base, "ours") == 7
    assert publish(source, base, None) == 8
    assert (base / "8" / "variables" / "variables.index").samefile(source / "variables" / "variables.index")
    assert (base / "7" / PARAMETERS_FILE).read_text() == "ours"
    assert not (base / "8" / PARAMETERS_FILE).exists()
    assert (source / PARAMETERS_FILE).read_text() == "the user's"
    assert sorted(path.name for path in base.parent.iterdir()) == ["g1"]


def test_numbers_rise_and_follow_the_user_and_old_versions_are_tidied(source: Path, tmp_path: Path) -> None:
    base = tmp_path / "node" / "g1"
    publish(source, base, None)
    publish(source, base, None)
    source.rename(source.with_name("1000"))
    assert publish(source.with_name("1000"), base, None) == 1000
    assert newest(base) == 1000
    tidy(base, 1000)
    assert [path.name for path in base.iterdir()] == ["1000"]
    assert newest(tmp_path / "nowhere") is None


def test_what_cannot_be_made_leaves_nothing(source: Path, tmp_path: Path) -> None:
    base = tmp_path / "node" / "g1"
    source.rename(tmp_path / "user" / "moved")
    with pytest.raises(StartError, match="could not be made"):
        publish(source, base, None)
    assert list(base.iterdir()) == []
    assert sorted(path.name for path in base.parent.iterdir()) == ["g1"]
