"""The commands that talk to the control service, against a real one."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from service.api.examples import CONFIG, DECISION, INTERVAL
from service.cli.why import parts
from tests.support.api_service import Regulus, Service
from tests.support.processes import wait_until

BATCHING = ("--set", "enable_batching=on", "--set", "max_batch_size=16", "--set", "batch_timeout_micros=1000")


@pytest.fixture
def in_default(service: Service) -> None:
    """The default configuration and objective are in force, whatever the test before did."""
    config = httpx.get(f"{service.url}/v1/models/mnist/config").json()["config"]
    if config["enable_batching"]:
        httpx.put(f"{service.url}/v1/models/mnist/config", json={**config, "enable_batching": False}).raise_for_status()
    httpx.put(f"{service.url}/v1/models/mnist/slo", json={"bound_seconds": 0.05}).raise_for_status()
    httpx.put(f"{service.url}/v1/models/mnist/mode", json={"mode": "off"}).raise_for_status()
    wait_until(lambda: bool(httpx.get(f"{service.url}/v1/models/mnist").json()["judged"]), what="a window was judged")


def test_status_shows_objective_measurement_and_configuration(regulus: Regulus, in_default: None) -> None:
    shown = regulus("status")

    assert shown.exit_code == 0
    assert re.search(r"^objective +p99 ≤ 50 ms$", shown.stdout, re.M)
    assert re.search(r"^in force +batching off", shown.stdout, re.M)
    assert re.search(r"^p99 judged +\d", shown.stdout, re.M)
    assert "\x1b" not in shown.stdout


def test_status_as_json_is_what_the_api_said(regulus: Regulus) -> None:
    assert json.loads(regulus("status", "--json").stdout)["models"][0]["name"] == "mnist"
    assert json.loads(regulus("status", "mnist", "--json").stdout)["name"] == "mnist"


def test_an_unknown_model_is_one_clear_line(regulus: Regulus) -> None:
    refused = regulus("status", "mnits")

    assert refused.exit_code == 1
    assert refused.stderr == (
        "error: Unknown model: no model named 'mnits' is steered by this service; it steers mnist\n"
    )


def test_a_name_with_odd_characters_stays_one_name(regulus: Regulus) -> None:
    refused = regulus("slo", "a/b?c#d")

    assert refused.exit_code == 1
    assert "Traceback" not in refused.output


def test_the_objective_is_shown_and_changed_in_parts(regulus: Regulus, in_default: None) -> None:
    assert regulus("slo").stdout == "p99 ≤ 50 ms, by 99 % of requests\n"
    assert regulus("slo", "mnist", "--bound-ms", "80").stdout == "p99 ≤ 80 ms, by 99 % of requests\n"
    assert regulus("slo", "--percentile", "0.95", "--target-ratio", "0.9").stdout.startswith("p95 ≤ 80 ms, by 90 %")
    assert regulus("slo", "--p99-ms", "30").stdout == "p99 ≤ 30 ms, by 90 % of requests\n"
    assert json.loads(regulus("slo", "--json").stdout)["bound_seconds"] == 0.03


def test_a_refused_objective_is_told_by_field(regulus: Regulus, in_default: None) -> None:
    refused = regulus("slo", "--bound-ms", "-1", "--percentile", "99")

    assert refused.exit_code == 1
    assert "  bound_seconds: " in refused.stderr
    assert "  percentile: " in refused.stderr
    assert regulus("slo").stdout.startswith("p99 ≤ 50 ms")


def test_two_ways_to_say_the_bound_are_one_too_many(regulus: Regulus) -> None:
    assert regulus("slo", "--p99-ms", "1", "--bound-ms", "2").exit_code == 2


def test_the_mode_is_shown_and_changed_with_and_without_the_name(regulus: Regulus, in_default: None) -> None:
    assert regulus("mode").stdout == "off\n"
    assert regulus("mode", "recommend").stdout == "recommend\n"
    assert regulus("mode", "mnist").stdout == "recommend\n"
    assert regulus("mode", "mnist", "off").stdout == "off\n"
    wrong = regulus("mode", "mnist", "on")
    assert wrong.exit_code == 2
    assert "off, recommend, auto" in wrong.stderr


def test_a_configuration_is_shown_set_and_rolled_back(regulus: Regulus, service: Service, in_default: None) -> None:
    shown = regulus("config")
    assert re.search(r"^enable_batching +false$", shown.stdout, re.M)

    changed = regulus("config", *BATCHING)

    assert changed.exit_code == 0
    assert "max_batch_size 16" in changed.stdout
    assert service.node.config.max_batch_size == 16
    assert service.node.config.batch_timeout_micros == 1000
    regulus("config", "--set", "allowed_batch_sizes=4,16", "--set", "tensorflow_intra_op_parallelism=2")
    assert service.node.config.allowed_batch_sizes == (4, 16)
    assert service.node.config.max_batch_size == 16


def test_a_rollback_says_what_is_in_force_or_that_there_is_nothing_to_return_to(
    regulus: Regulus, service: Service, in_default: None
) -> None:
    returned = regulus("rollback")

    known = httpx.get(f"{service.url}/v1/models/mnist/config").json()["last_known_good"]
    if known is None:
        assert returned.exit_code == 1
        assert "no configuration of 'mnist' has met the objective yet" in returned.stderr
    else:
        assert returned.exit_code == 0
        assert returned.stdout.splitlines()[-1].startswith("in force: batch≤")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("max_batch_sze=3", "did you mean max_batch_size?"),
        ("instances", "is not KNOB=VALUE"),
        ("instances=two", "must be a whole number"),
        ("enable_batching=maybe", "must be true or false"),
        ("max_batch_size=8", "add --set enable_batching=true"),
    ],
)
def test_an_assignment_that_means_nothing_is_refused_before_anything_is_sent(
    regulus: Regulus, service: Service, in_default: None, assignment: str, message: str
) -> None:
    before = service.node.generation

    refused = regulus("config", "--set", assignment)

    assert refused.exit_code == 2
    assert message in re.sub(r"[\s│]+", " ", refused.stderr)
    assert service.node.generation == before


def test_a_configuration_that_the_node_cannot_run_is_told_by_knob(
    regulus: Regulus, service: Service, in_default: None
) -> None:
    refused = regulus("config", "--set", "enable_batching=on", "--set", "max_batch_size=4000")

    assert refused.exit_code == 1
    assert "  max_batch_size: " in refused.stderr
    assert service.node.config.enable_batching is False


def test_a_recommendation_is_shown_beside_what_is_in_force(regulus: Regulus, in_default: None) -> None:
    shown = regulus("recommend", "--rate", "200", "--cv", "2", "--slo-p99-ms", "40")

    assert shown.exit_code == 0
    assert re.search(r"^load +200/s, CV 2, 1 example a request$", shown.stdout, re.M)
    assert re.search(r"^predicted p99 .*objective p99 ≤ 40 ms$", shown.stdout, re.M)
    assert re.search(r"^knob +in force +recommended +about as good$", shown.stdout, re.M)
    present = json.loads(regulus("recommend", "--json").stdout)
    assert present["workload"]["rate_per_second"] == pytest.approx(2000, rel=0.5)


def test_decisions_are_listed_and_shown_one_by_one(regulus: Regulus, in_default: None) -> None:
    assert regulus("config", *BATCHING).exit_code == 0

    newest = regulus("decisions", "--limit", "1").stdout
    number = newest.split()[0]

    assert "manual (user)" in newest
    assert len(newest.splitlines()) == 1
    for arguments in (("decisions", number), ("decisions", "mnist", number)):
        one = regulus(*arguments)
        assert re.search(rf"^id +{number}$", one.stdout, re.M)
        assert re.search(r"^changes +enable_batching false → true, max_batch_size 16", one.stdout, re.M)
    page = json.loads(regulus("decisions", "--json").stdout)
    assert int(number) in [item["id"] for item in page["items"]]


def test_why_tells_the_newest_decision_or_one_by_its_number(regulus: Regulus, in_default: None) -> None:
    assert regulus("config", *BATCHING).exit_code == 0
    number = regulus("decisions", "--limit", "1").stdout.split()[0]

    for arguments in (("why", number), ("why", "mnist", number)):
        one = regulus(*arguments)
        assert one.exit_code == 0
        assert re.search(rf"^id +{number}$", one.stdout, re.M)
        assert re.search(r"^action +manual \(user: a person asked for it", one.stdout, re.M)
    newest = regulus("why")
    assert newest.exit_code == 0
    assert re.search(r"^why +\S", newest.stdout, re.M)
    assert "explanation" in json.loads(regulus("why", "--json").stdout)


def test_why_shows_candidates_and_gates_as_tables() -> None:
    decision = DECISION | {
        "inputs": {
            "window": "p99 84 ms (71…96) against 50 ms at 120 requests/s",
            "verdict": "violated",
            "gates": {"mode_allows_choosing": "open", "near_the_known_good": "too far away"},
            "candidates": [
                {
                    "config": CONFIG,
                    "intent": "explore",
                    "predicted_tail": INTERVAL,
                    "confidence": 0.5,
                    "explanation": "worth a try",
                    "refused": "too far away",
                }
            ],
            "spike_seconds": 1.5,
        }
    }
    console = Console(width=1000, file=io.StringIO())
    for part in parts(decision):
        console.print(part)
    shown = console.file.getvalue()
    assert re.search(r"^ *near the known good +closed: too far away *$", shown, re.M)
    assert re.search(r"^ *mode allows choosing +open *$", shown, re.M)
    assert re.search(r"explore +26.4 ms .*too far away *$", shown, re.M)
    assert re.search(r"spike_seconds +1.5", shown)


def test_the_kill_switch_is_shown_and_turned(regulus: Regulus) -> None:
    assert regulus("kill-switch").stdout.strip() == "off"
    try:
        assert regulus("kill-switch", "on").stdout.startswith("on: nothing is done automatically")
        assert re.search(r"^kill switch +on", regulus("status").stdout, re.M)
    finally:
        assert regulus("kill-switch", "off").stdout.strip() == "off"
    assert regulus("kill-switch", "maybe").exit_code == 2


def test_the_ledger_holds_recommendations_against_what_was_measured(regulus: Regulus, in_default: None) -> None:
    def recommended() -> bool:
        return bool(json.loads(regulus("ledger", "--json").stdout)["entries"])

    assert regulus("mode", "recommend").exit_code == 0
    wait_until(recommended, what="something was recommended")
    shown = regulus("ledger").stdout
    assert re.search(r"^id +time +recommended change +predicted +measured without", shown, re.M)
    assert "nothing was measured under a recommendation" in shown


def test_decisions_to_do_nothing_are_shown_only_when_asked_for(regulus: Regulus) -> None:
    assert " hold (" not in regulus("decisions").stdout
    assert " hold (" in regulus("decisions", "--all").stdout


def test_decisions_are_followed_until_interrupted(regulus: Regulus, service: Service, in_default: None) -> None:
    assert regulus("config", *BATCHING).exit_code == 0
    with _interrupted("decisions", "mnist", "--follow", "--json", "--limit", "1", service=service) as process:
        assert process.stdout is not None
        numbers = [json.loads(process.stdout.readline())["id"]]
        assert regulus("config", "--set", "enable_batching=off").exit_code == 0
        switched_off = False
        while not switched_off:
            item = json.loads(process.stdout.readline())
            numbers.append(item["id"])
            switched_off = item["action"] == "manual" and not item["config_after"]["enable_batching"]

    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_the_status_is_watched_until_interrupted(service: Service, form: tuple[str, ...]) -> None:
    with _interrupted("status", "mnist", "--watch", "--interval", "0.1", *form, service=service) as process:
        assert process.stdout is not None
        seen = 0
        while seen < 2:
            seen += "mnist" in process.stdout.readline()


@contextmanager
def _interrupted(*arguments: str, service: Service) -> Iterator[subprocess.Popen[str]]:
    """A command in a process of its own; at the end of the block it is interrupted and must end well."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "REGULUS_URL": service.url}
    command = [sys.executable, "-m", "service.cli.main", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()


def test_a_decision_that_is_not_there_is_told(regulus: Regulus) -> None:
    refused = regulus("decisions", "mnist", "999999")

    assert refused.exit_code == 1
    assert "has no decision 999999" in refused.stderr
