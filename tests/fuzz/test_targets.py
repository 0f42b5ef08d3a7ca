"""Readers of text from elsewhere accept or refuse, and nothing else. ``make fuzz`` goes on for longer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import targets
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", sorted(TARGETS))
@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_input_causes_anything_but_a_clear_error(name: str, data: st.DataObject) -> None:
    target = TARGETS[name]

    assert target.check(data.draw(target.inputs)) in (True, False)


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("metrics-page", targets.PAGE),
        ("batching-file-of-the-node", targets.BATCHING),
        ("batching-file-of-the-server", targets.BATCHING),
        ("rest-tensors", b'{"instances": [[1.0, 2.0]]}'),
        ("rest-examples", b'{"examples": [{"x": 1}]}'),
    ],
)
def test_what_is_valid_is_accepted(name: str, valid: str | bytes) -> None:
    assert TARGETS[name].check(valid)


def test_the_long_run_counts_its_inputs() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--seconds", "0", "--only", "batching-file-of-the-node"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert ended.returncode == 0, ended.stderr
    (line,) = [line for line in ended.stdout.splitlines() if line.startswith("batching-file-of-the-node")]
    assert int(line.split()[1].replace(",", "")) >= 1000
