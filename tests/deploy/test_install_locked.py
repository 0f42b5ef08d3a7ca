"""The part of requirements.lock that an image gets."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from deploy.docker.install_locked import constraints, normalised, read_lock, wanted

ROOT = Path(__file__).parents[2]
LOCK = """alembic==1.20.1 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:cc
scikit_learn==1.7.0 ; python_full_version < '3.12' \\
    --hash=sha256:dd
scikit_learn==1.8.0 ; python_full_version >= '3.12' \\
    --hash=sha256:ee
"""


def test_entries_keep_their_hashes() -> None:
    entries = read_lock(LOCK)
    assert [name for name, _ in entries] == ["alembic", "colorama", "scikit-learn", "scikit-learn"]
    assert "\n".join(text for _, text in entries) + "\n" == LOCK


def test_constraints_have_versions_and_markers_alone() -> None:
    assert constraints(read_lock(LOCK)).splitlines() == [
        "alembic==1.20.1",
        "colorama==0.4.6 ; sys_platform == 'win32'",
        "scikit_learn==1.7.0 ; python_full_version < '3.12'",
        "scikit_learn==1.8.0 ; python_full_version >= '3.12'",
    ]


def test_a_line_that_pins_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="not a pin"):
        read_lock("alembic>=1.0\n")


def test_an_extra_that_does_not_exist_is_refused() -> None:
    project = {"project": {"dependencies": ["a>=1"], "optional-dependencies": {"x": ["b>=2"]}}}
    assert wanted(project, ["x"]) == ["a>=1", "b>=2"]
    with pytest.raises(SystemExit, match="no extra y; it has x"):
        wanted(project, ["y"])


def test_the_lock_of_this_repository_pins_what_the_project_asks_for() -> None:
    entries = read_lock((ROOT / "requirements.lock").read_text())
    pinned = {name for name, _ in entries}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for requirement in wanted(project, list(project["project"]["optional-dependencies"])):
        name = requirement.split("[")[0].split(">")[0].split("=")[0].strip()
        assert normalised(name) in pinned
    assert all("--hash=sha256:" in text for _, text in entries)
