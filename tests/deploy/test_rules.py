"""Rules, alerts and configurations of Prometheus and Alertmanager, judged by their own tools."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
CASES = sorted((DEPLOY / "prometheus" / "tests").glob("*.yml"))


def run(*command: str | Path) -> str:
    """What the command says; it must succeed. Skips where the tool is not installed."""
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed (Debian: apt-get install prometheus prometheus-alertmanager)")
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_rules_are_valid() -> None:
    shown = run("promtool", "check", "rules", "--lint=all", "--lint-fatal", *RULES)
    assert shown.count("SUCCESS") == len(RULES)


def test_the_configuration_of_prometheus_is_valid() -> None:
    # Without looking for the token, which is made when the stack starts.
    run("promtool", "check", "config", "--syntax-only", DEPLOY / "prometheus" / "prometheus.yml")


def test_the_configuration_of_alertmanager_is_valid() -> None:
    run("amtool", "check-config", DEPLOY / "alertmanager" / "alertmanager.yml")


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_what_is_recorded_what_fires_and_what_must_not(case: Path) -> None:
    run("promtool", "test", "rules", case)


@pytest.mark.parametrize(
    ("file", "right", "wrong", "case"),
    [
        ("burn", "14.4 *", "1440 *", "a fifth of the requests too slow pages within minutes"),
        ("burn", ">= 300", ">= 0", "a handful of requests in an hour proves nothing"),
        (
            "burn",
            "and on (model) model:regulus_slo_violation:ratio5m",
            "and on (model) model:regulus_slo_violation:ratio1h",
            "an incident that has ended no longer pages, although its hour is still bad",
        ),
        (
            "slo",
            "regulus_slo_latency_target_seconds[1d]",
            "regulus_slo_latency_target_seconds[1m]",
            "the objective is remembered while the control service is down",
        ),
    ],
)
def test_the_cases_notice_a_rule_that_is_wrong_on_purpose(
    tmp_path: Path, file: str, right: str, wrong: str, case: str
) -> None:
    folder = tmp_path / "prometheus"
    shutil.copytree(DEPLOY / "prometheus", folder)
    cases = yaml.safe_load((folder / "tests" / f"{file}.yml").read_text())
    # One alone, since they take seconds together; by the right rules all of them hold, as the test above says.
    cases["tests"] = [one for one in cases["tests"] if one["name"] == case]
    assert len(cases["tests"]) == 1
    (folder / "tests" / "one.yml").write_text(yaml.safe_dump(cases))
    run("promtool", "test", "rules", folder / "tests" / "one.yml")
    rules = folder / "rules" / "slo.yml"
    original = rules.read_text()
    assert right in original
    rules.write_text(original.replace(right, wrong))
    run("promtool", "check", "rules", rules)
    done = subprocess.run(["promtool", "test", "rules", folder / "tests" / "one.yml"], capture_output=True)
    assert done.returncode != 0, f"nothing noticed that {right!r} became {wrong!r}"
