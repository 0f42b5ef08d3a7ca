"""Every query of every dashboard, and every rule, against a real Prometheus that scrapes the running system.

A model server, the control service that steers it, load, and Prometheus with the rules and jobs that are shipped, on
free ports. Only times are shortened: the groups for long windows are evaluated within seconds, and the rates over a
minute are rates over fifteen seconds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deploy.grafana.__main__ import DASHBOARDS
from models import export_model
from tests.support.processes import free_port, http_ok, running, wait_until

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
MODEL = "half_plus_two"
TOKEN = "a-token-that-only-this-test-knows"  # noqa: S105 — of a service that ends with the test

#: Panels of nodes behind Envoy: the embedded server has no processes to tell of.
NODE_ONLY = "regulus_node_"

#: In place of the minute over which the rules' rates are taken.
RATE_SECONDS = 15

#: How long it may take until everything there is to see has been seen.
SEEN_SECONDS = 150

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        shutil.which("prometheus") is None, reason="prometheus is not installed (Debian: apt-get install prometheus)"
    ),
]


#: Debian's name of the program, and its maker's.
ALERTMANAGER = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")


def _write_prometheus(folder: Path, control: int, agent: int, alertmanager: int) -> Path:
    """The shipped configuration with this test's addresses and quicker rounds."""
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    targets = {"regulus": control, "modelserver": agent}
    config["scrape_configs"] = [job for job in config["scrape_configs"] if job["job_name"] in targets]
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [f"127.0.0.1:{targets[job['job_name']]}"]}]
        # The same for both: the agent here asks nobody who they are, and so does not mind.
        job["authorization"]["credentials_file"] = str(folder / "token")
    config["alerting"]["alertmanagers"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{alertmanager}"]}]
    (folder / "rules").mkdir()
    for path in (PROMETHEUS / "rules").glob("*.yml"):
        rules = yaml.safe_load(path.read_text().replace("[1m]", f"[{RATE_SECONDS}s]"))
        for group in rules["groups"]:
            group["interval"] = "1s"
        (folder / "rules" / path.name).write_text(yaml.safe_dump(rules))
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    return file


@pytest.fixture(scope="module")
def alertmanager_port() -> int:
    """Where Prometheus sends alerts, whether or not somebody listens."""
    return free_port()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, alertmanager_port: int) -> Iterator[httpx.Client]:
    """Prometheus's API; the system behind it is under load and has been reconfigured."""
    folder = tmp_path_factory.mktemp("queries")
    grpc, rest, agent, control, port = (free_port() for _ in range(5))
    export_model(MODEL, folder / "models")
    (folder / "token").write_text(TOKEN)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "REGULUS_SERVER__AUTH_TOKEN_FILE": str(folder / "token"),
        "REGULUS_STORE__URL": f"sqlite:///{folder}/history.db",
        "REGULUS_LOOP__WINDOW_SECONDS": "1",
        "REGULUS_LOOP__EARLY_WINDOW_SECONDS": "1",
        "REGULUS_LOOP__MIN_REQUESTS": "50",
        "REGULUS_LOOP__BLANKING_SECONDS": "0.2",
    }
    server = [
        "modelserver", f"--port={grpc}", f"--rest_api_port={rest}", f"--agent_port={agent}", f"--model_name={MODEL}",
        f"--model_base_path={folder}/models/{MODEL}", "--enable_batching",
    ]  # fmt: skip
    service = [
        "serve", f"--port={control}", f"--model={MODEL}", f"--agent-url=http://127.0.0.1:{agent}",
        f"--metrics-url=http://127.0.0.1:{agent}/agent/v1/metrics", "--slo-p99-ms=0.2", "--mode=auto",
    ]  # fmt: skip
    load = [
        sys.executable, "-m", "service.cli.main", "load", f"grpc://127.0.0.1:{grpc}", f"--model={MODEL}",
        "--rate=150", "--duration=600", "--no-progress",
    ]  # fmt: skip
    with ExitStack() as stack:
        http = stack.enter_context(httpx.Client(timeout=10, trust_env=False))
        ready = [f"http://127.0.0.1:{agent}/agent/v1/health", f"http://127.0.0.1:{control}/readyz"]
        for arguments, url in zip((server, service), ready, strict=True):
            log = folder / f"{arguments[0]}.log"
            stack.enter_context(running(arguments, ready=lambda url=url: http_ok(url), log=log, env=environment))
        for command, name in (
            (load, "load"),
            (
                [
                    "prometheus",
                    f"--config.file={_write_prometheus(folder, control, agent, alertmanager_port)}",
                    f"--storage.tsdb.path={folder}/data",
                    f"--web.listen-address=127.0.0.1:{port}",
                    # An Alertmanager that comes later is told at once.
                    "--rules.alert.resend-delay=1s",
                ],
                "prometheus",
            ),
        ):
            output = stack.enter_context((folder / f"{name}.log").open("wb"))
            stack.enter_context(_process(command, output, environment))
        wait_until(lambda: http_ok(f"http://127.0.0.1:{port}/-/ready"), what="Prometheus is ready")
        api = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=30, trust_env=False))
        # Counted from before the switch, or Prometheus would not see it.
        wait_until(lambda: bool(_series(api, "count_over_time(regulus_rollbacks_total[1m]) > 2")), what="it is scraped")
        knobs = {"enable_batching": True, "max_batch_size": 8, "batch_timeout_micros": 500, "num_batch_threads": 2}
        place, token = f"http://127.0.0.1:{control}/v1/models/{MODEL}/config", {"Authorization": f"Bearer {TOKEN}"}
        present = http.get(place, headers=token).json()["config"]
        answer = http.put(place, json={**present, **knobs}, headers=token, timeout=60)
        assert answer.status_code == 200, answer.text
        yield api


class _process:  # noqa: N801 — used like a function
    """A program that runs until the block ends."""

    def __init__(self, command: list[str], output: Any, environment: dict[str, str]) -> None:
        self._popen = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self._popen

    def __exit__(self, *_: object) -> None:
        self._popen.terminate()
        try:
            self._popen.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait(timeout=5)


def _plain(expr: str) -> str:
    """As Grafana would send it."""
    for name, value in (
        ("$__rate_interval", "1m"), ("$__interval", "1m"), ("$__range", "5m"), ("$model", MODEL), ("$instance", ".+"),
    ):  # fmt: skip
        expr = expr.replace(name, value)
    return expr


def _series(api: httpx.Client, expr: str) -> list[dict[str, Any]]:
    """What the expression returned over the last five minutes."""
    now = time.time()
    answer = api.get("/query_range", params={"query": expr, "start": now - 300, "end": now, "step": 5})
    assert answer.status_code == 200, f"{expr}: {answer.text}"
    found: list[dict[str, Any]] = answer.json()["data"]["result"]
    return found


def test_every_query_of_every_dashboard_returns_series(prometheus: httpx.Client) -> None:
    wanted = {
        f"{dashboard.title}, {panel.title}: {_plain(query.expr)}": _plain(query.expr)
        for dashboard in DASHBOARDS
        for panel in dashboard.panels()
        for query in panel.queries
        if NODE_ONLY not in query.expr
    }
    for dashboard in DASHBOARDS:
        wanted |= {
            f"{dashboard.title}, marks: {_plain(mark.expr)}": _plain(mark.expr)
            for mark in dashboard.annotations
            if mark.name == "Switches"  # the others mark what must not happen here
        }
    assert len(wanted) > 70

    def seen() -> bool:
        for name in [name for name, expr in wanted.items() if _series(prometheus, expr)]:
            del wanted[name]
        return not wanted

    wait_until(seen, timeout=SEEN_SECONDS, what=lambda: "series of\n" + "\n".join(wanted) + "\n")


def test_every_rule_is_evaluated_without_error(prometheus: httpx.Client) -> None:
    groups = prometheus.get("/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 40
    assert {rule["name"]: rule["lastError"] for rule in rules if rule.get("lastError")} == {}
    assert {rule["health"] for rule in rules} == {"ok"}


def test_what_the_rules_say_of_the_load_is_what_was_sent(prometheus: httpx.Client) -> None:
    """150 requests a second; a rate is near it once it is taken over load alone."""

    def near() -> bool:
        series = _series(prometheus, f'model:regulus_requests:rate1m{{model="{MODEL}"}}')
        return bool(series) and 120 < float(series[0]["values"][-1][1]) < 180

    wait_until(near, what="the rules see the load", timeout=90)
    bound = _series(prometheus, f'model:regulus_slo_latency_target:seconds{{model="{MODEL}"}}')
    assert float(bound[0]["values"][-1][1]) == 0.0002


def test_an_objective_that_cannot_be_met_makes_the_alert_fire(prometheus: httpx.Client) -> None:
    def firing() -> bool:
        alerts = prometheus.get("/alerts").json()["data"]["alerts"]
        return any(
            alert["labels"]["alertname"] == "RegulusErrorBudgetBurnFast"
            and alert["labels"]["model"] == MODEL
            and alert["state"] == "firing"
            for alert in alerts
        )

    wait_until(firing, what="the alert fires", timeout=60)


def test_the_alert_reaches_alertmanager_as_it_is_shipped(
    prometheus: httpx.Client, alertmanager_port: int, tmp_path: Path
) -> None:
    if ALERTMANAGER is None:
        pytest.skip("alertmanager is not installed (Debian: apt-get install prometheus-alertmanager)")
    command = [
        ALERTMANAGER,
        f"--config.file={ROOT / 'deploy' / 'alertmanager' / 'alertmanager.yml'}",
        f"--storage.path={tmp_path}",
        f"--web.listen-address=127.0.0.1:{alertmanager_port}",
        "--cluster.listen-address=",
    ]
    with (tmp_path / "log").open("wb") as output, _process(command, output, dict(os.environ)):

        def arrived() -> bool:
            url = f"http://127.0.0.1:{alertmanager_port}/api/v2/alerts"
            if not http_ok(url):
                return False
            alerts = httpx.get(url, trust_env=False).json()
            return any(
                alert["labels"]["alertname"] == "RegulusErrorBudgetBurnFast"
                and alert["annotations"]["runbook"] == "docs/runbook.md#reguluserrorbudgetburnfast"
                for alert in alerts
            )

        wait_until(arrived, what="the alert arrives", timeout=150)
