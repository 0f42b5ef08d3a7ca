"""Readers of text from elsewhere accept or refuse, and nothing else. ``make fuzz`` goes on for longer."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import targets
from tests.fuzz.__main__ import main
from tests.fuzz.targets import TARGETS, Target


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


def test_the_long_run_counts_its_inputs(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--seconds", "0", "--only", "batching-file-of-the-node"])

    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("batching-file-of-the-node")]
    assert status == 0
    assert int(line.split()[1].replace(",", "")) >= 500


def test_a_finding_ends_the_long_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(text: str) -> bool:
        raise RuntimeError("a finding of the test's own")

    monkeypatch.setitem(TARGETS, "batching-file-of-the-node", Target(st.text(), crash))

    status = main(["--seconds", "0", "--only", "batching-file-of-the-node"])

    assert status == 1
    assert "a finding of the test's own" in capsys.readouterr().err
