"""The container stack, for real: up, load through it, a change through the API, containers killed, down.

Takes minutes and gigabytes, so ``make test-stack`` runs it and ``make test`` does not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.grafana.__main__ import DASHBOARDS
from tests.deploy.stack.engine import Engine, NoEngineError, engine
from tests.deploy.stack.images import compose_files
from tests.support.processes import free_port, http_ok, wait_until

ROOT = Path(__file__).parents[2]
MODEL = "mlp"

#: Ends everything in a container but its init, which then ends too: a crash, not a stop by somebody.
KILL = (
    "import os, pathlib, signal;"
    "me = os.getpid();"
    "[os.kill(int(p.name), signal.SIGKILL) for p in pathlib.Path('/proc').iterdir()"
    " if p.name.isdigit() and int(p.name) not in (1, me)]"
)

#: Asks the agent for its configuration, from the control service's container; prints the status it answers with.
ASK_AGENT = (
    "import httpx, pathlib, sys;"
    "held = {'Authorization': 'Bearer ' + pathlib.Path(p).read_text().strip() for p in sys.argv[1:]};"
    "print(httpx.get('http://modelserver:8502/agent/v1/config', headers=held, trust_env=False).status_code)"
)

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.environ.get("STACK_TESTS") != "1", reason="takes minutes and gigabytes: make test-stack"),
]


@dataclass(frozen=True)
class Stack:
    """The stack, up and well."""

    docker: Engine
    compose: Callable[..., str]
    ports: dict[str, int]
    token: str
    services: frozenset[str]

    def api(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Call the control service."""
        return httpx.request(
            method,
            f"http://127.0.0.1:{self.ports['REGULUS_PORT']}{path}",
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=120,
            trust_env=False,
            **options,
        )

    def change(self, knobs: dict[str, Any]) -> httpx.Response:
        """Put another configuration in force that differs in these knobs."""
        present = self.api("GET", f"/v1/models/{MODEL}/config").json()["config"]
        return self.api("PUT", f"/v1/models/{MODEL}/config", json={**present, **knobs})

    def prometheus(self, expr: str) -> list[dict[str, Any]]:
        """What an expression returns now."""
        answer = httpx.get(
            f"http://127.0.0.1:{self.ports['PROMETHEUS_PORT']}/api/v1/query",
            params={"query": expr},
            timeout=30,
            trust_env=False,
        )
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def load(self, folder: Path, seconds: int, entry: str) -> subprocess.Popen[bytes]:
        """Open-loop load from outside, through the published port; its report goes to ``folder/ENTRY.json``."""
        port = self.ports["REGULUS_GRPC_PORT" if entry == "grpc" else "REGULUS_REST_PORT"]
        return subprocess.Popen(
            [
                sys.executable, "-m", "service.cli.main", "load", f"{entry}://127.0.0.1:{port}", f"--model={MODEL}",
                "--rate=40", f"--duration={seconds}", "--no-progress", f"--json={folder / entry}.json",
            ],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def states(self) -> dict[str, dict[str, Any]]:
        """Each container of the stack as Compose tells it, by service."""
        lines = self.compose("ps", "--all", "--format", "json").splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return {one["Service"]: one for one in found}

    def well(self, services: Sequence[str]) -> bool:
        """Whether they run and their health checks succeed."""
        states = self.states()
        return all(
            name in states and states[name]["State"] == "running" and states[name]["Health"] == "healthy"
            for name in services
        )


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Built, up and well; taken down with its volumes."""
    names = ("REGULUS_PORT", "REGULUS_GRPC_PORT", "REGULUS_REST_PORT", "PROMETHEUS_PORT", "ALERTMANAGER_PORT")
    ports = {name: free_port() for name in (*names, "GRAFANA_PORT")}
    variables = {name: str(port) for name, port in ports.items()} | {"REGULUS_MODEL": MODEL, "REGULUS_TOKEN": ""}
    project = f"regulus-test-{uuid.uuid4().hex[:8]}"
    try:
        with engine() as docker:
            files = compose_files(docker)
            start = ["--project-name", project, *(part for file in files for part in ("--file", str(file)))]

            def compose(*arguments: str, timeout: float = 600) -> str:
                return docker.run_compose(*start, *arguments, timeout=timeout, **variables)

            try:
                compose("up", "--detach", "--no-build")
                services = frozenset(compose("config", "--services").split()) - {"token", "export"}
                found = Stack(docker, compose, ports, "", services)
                wait_until(lambda: found.well(sorted(services)), timeout=180, what="everything is well")
                token = compose("exec", "-T", "control", "cat", "/run/regulus/token").strip()
                yield Stack(docker, compose, ports, token, services)
            finally:
                if os.environ.get("STACK_TESTS_LOG"):
                    Path(os.environ["STACK_TESTS_LOG"]).write_text(compose("logs", "--no-color"))
                compose("down", "--volumes", "--timeout", "60")
            left = docker.docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={project}")
            left += docker.docker("volume", "ls", "--quiet", "--filter", f"name={project}")
            left += docker.docker("network", "ls", "--quiet", "--filter", f"name={project}")
            assert not left.strip(), "taken down, something is left"
    except NoEngineError as error:
        pytest.skip(str(error))


def test_everything_is_up_as_ordinary_users_and_published_on_loopback_alone(stack: Stack) -> None:
    for name in stack.services:
        container = stack.compose("ps", "--quiet", name).strip()
        shown = json.loads(stack.docker.docker("inspect", container))[0]
        assert shown["Config"]["User"] not in ("", "0", "root"), name
        assert shown["HostConfig"]["ReadonlyRootfs"], name
        published = [one for found in shown["NetworkSettings"]["Ports"].values() for one in found or ()]
        assert all(one["HostIp"] == "127.0.0.1" for one in published), name
    states = stack.states()
    assert {name: states[name]["ExitCode"] for name in ("token", "export")} == {"token": 0, "export": 0}


def test_the_api_asks_for_the_token(stack: Stack) -> None:
    assert len(stack.token) >= 16
    url = f"http://127.0.0.1:{stack.ports['REGULUS_PORT']}"
    assert httpx.get(f"{url}/v1/models", trust_env=False).status_code == 401
    assert stack.api("GET", "/v1/models").json()["models"][0]["name"] == MODEL


def test_the_agent_asks_for_a_token_of_its_own_and_the_node_cannot_read_the_other(stack: Stack) -> None:
    def status(*token_file: str) -> int:
        return int(stack.compose("exec", "-T", "control", "python", "-c", ASK_AGENT, *token_file))

    assert status() == 401
    assert status("/run/regulus/token") == 401
    assert status("/run/regulus-agent/token") == 200
    assert stack.compose("exec", "-T", "modelserver", "ls", "/run/regulus", "/run/regulus-agent").split() == [
        "/run/regulus:", "/run/regulus-agent:", "token",
    ]  # fmt: skip


def test_prometheus_scrapes_everything_and_accepts_every_rule(stack: Stack) -> None:
    wanted = {"regulus", "modelserver", "prometheus", "alertmanager"}
    wait_until(lambda: {one["metric"]["job"] for one in stack.prometheus("up == 1")} == wanted, what="all are scraped")
    url = f"http://127.0.0.1:{stack.ports['PROMETHEUS_PORT']}/api/v1"
    groups = httpx.get(f"{url}/rules", trust_env=False).json()["data"]["groups"]
    assert not [rule["lastError"] for group in groups for rule in group["rules"] if rule.get("lastError")]
    managers = httpx.get(f"{url}/alertmanagers", trust_env=False).json()["data"]["activeAlertmanagers"]
    assert len(managers) == 1


def test_changes_under_load_lose_no_request_and_show_in_prometheus(stack: Stack, tmp_path: Path) -> None:
    loads = {entry: stack.load(tmp_path, 60, entry) for entry in ("grpc", "http")}
    stack.api("PUT", f"/v1/models/{MODEL}/mode", json={"mode": "recommend"})
    changes = [
        {"enable_batching": True, "max_batch_size": 8, "batch_timeout_micros": 1000, "num_batch_threads": 2},
        {"tensorflow_intra_op_parallelism": 1, "tensorflow_inter_op_parallelism": 1},
        {"enable_batching": True, "max_batch_size": 16, "batch_timeout_micros": 500, "num_batch_threads": 1},
    ]
    for change in changes:
        answer = stack.change(change)
        assert answer.status_code == 200, answer.text
    for entry, process in loads.items():
        assert process.wait(timeout=180) == 0, entry
        report = json.loads((tmp_path / f"{entry}.json").read_text())
        assert report["scheduled"] > 2000, entry
        assert report["failed"] == {}, entry
        assert report["ok"] == report["scheduled"], entry

    def shown() -> bool:
        found = stack.prometheus(f'regulus_config_value{{model="{MODEL}",knob="max_batch_size"}}')
        return bool(found) and float(found[0]["value"][1]) == 16

    wait_until(shown, what="Prometheus shows the change")
    done = stack.prometheus(f'regulus_reconfigurations_total{{model="{MODEL}",kind="manual",outcome="ok"}}')
    assert float(done[0]["value"][1]) == len(changes)
    wait_until(
        lambda: bool(stack.prometheus(f'model:regulus_requests:rate1m{{model="{MODEL}"}} > 0')), what="the load shows"
    )


def test_the_control_service_dies_and_nobody_notices_but_prometheus(stack: Stack, tmp_path: Path) -> None:
    def state() -> Any:
        return stack.api("GET", f"/v1/models/{MODEL}").json()

    before = state()
    decisions = stack.api("GET", f"/v1/models/{MODEL}/decisions?action=manual").json()["items"]
    load = stack.load(tmp_path, 30, "grpc")
    _kill(stack, "control")
    wait_until(lambda: stack.well(["control"]), what="the control service is back", timeout=120)
    assert load.wait(timeout=120) == 0
    assert json.loads((tmp_path / "grpc.json").read_text())["failed"] == {}
    wait_until(lambda: state()["config"] is not None, what="it knows what is in force")
    assert state()["config"] == before["config"]
    assert stack.api("GET", f"/v1/models/{MODEL}/decisions?action=manual").json()["items"] == decisions


def test_the_model_server_dies_and_comes_back_and_the_control_service_finds_it(stack: Stack) -> None:
    rest = f"http://127.0.0.1:{stack.ports['REGULUS_REST_PORT']}/v1/models/{MODEL}"
    assert http_ok(rest)
    before = stack.api("GET", f"/v1/models/{MODEL}/config").json()["config"]
    _kill(stack, "modelserver")
    wait_until(lambda: stack.well(["modelserver"]) and http_ok(rest), what="the model server is back", timeout=120)

    def found() -> bool:
        now = stack.api("GET", f"/v1/models/{MODEL}").json()
        return bool(now["agent_reachable"]) and bool(now["config"] == before)

    wait_until(found, what="the control service has found it, with the configuration that was in force", timeout=120)
    answer = stack.change({"enable_batching": True, "max_batch_size": 4, "allowed_batch_sizes": []})
    assert answer.status_code == 200, answer.text


def test_all_parts_stopped_and_started_again_are_well_and_remember(stack: Stack) -> None:
    def scraped() -> float:
        found = stack.prometheus('count_over_time(up{job="regulus"}[1h])')
        return float(found[0]["value"][1]) if found else 0

    def manual() -> Any:
        return stack.api("GET", f"/v1/models/{MODEL}/decisions?action=manual").json()["items"]

    decisions, scrapes = manual(), scraped()
    stack.compose("restart", *sorted(stack.services))
    wait_until(lambda: stack.well(sorted(stack.services)), what="everything is well again", timeout=180)
    wait_until(
        lambda: bool(stack.api("GET", f"/v1/models/{MODEL}").json()["agent_reachable"]),
        what="the agent is reached",
        timeout=120,
    )
    assert manual() == decisions
    assert scraped() >= scrapes > 0


def test_the_load_generator_of_the_stack_works(stack: Stack) -> None:
    command = ["load", "grpc://modelserver:8500", "--allow-remote", f"--model={MODEL}", "--rate=20", "--duration=5"]
    said = stack.compose("run", "--rm", "--no-TTY", "load", *command, "--no-progress", "--stream")
    report = next(json.loads(line) for line in said.splitlines() if line.startswith('{"type": "report"'))
    assert report["scheduled"] > 50
    assert report["failed"] == {}


def test_grafana_has_the_dashboards(stack: Stack) -> None:
    if "grafana" not in stack.services:
        pytest.skip("Grafana's image cannot be pulled here, and there is no package of it")
    url = f"http://127.0.0.1:{stack.ports['GRAFANA_PORT']}"
    found = httpx.get(f"{url}/api/search", params={"tag": "regulus"}, trust_env=False).json()
    assert {one["uid"] for one in found} == {dashboard.uid for dashboard in DASHBOARDS}


def test_the_model_server_is_tensorflow_serving(stack: Stack) -> None:
    if any(one["Image"].startswith("regulus-test/") for one in stack.states().values()):
        pytest.skip("tensorflow/serving cannot be pulled here: the embedded server ran in its place")
    said = stack.compose("exec", "-T", "modelserver", "tensorflow_model_server", "--version")
    assert "TensorFlow ModelServer" in said


def _kill(stack: Stack, service: str) -> None:
    container = stack.compose("ps", "--quiet", service).strip()
    count = int(stack.docker.docker("inspect", "--format", "{{.RestartCount}}", container))
    # The command dies with what it kills, so its end tells nothing.
    subprocess.run(
        ["docker", "exec", container, "python", "-c", KILL], env=dict(stack.docker.environment), capture_output=True
    )

    def restarted() -> bool:
        return int(stack.docker.docker("inspect", "--format", "{{.RestartCount}}", container)) > count

    wait_until(restarted, what=f"{service} is started again", timeout=60)
