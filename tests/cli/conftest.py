"""One real control service for the commands to talk to, and a way to call them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from service.api.settings_text import effective
from service.cli.main import app
from tests.support.api_service import LOOP, Regulus, Service, settings_for
from tests.support.processes import free_port, http_ok, running, wait_until
from tests.support.served_node import served_node


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Steers one model in mode off; a window has been judged."""
    folder = tmp_path_factory.mktemp("service")
    config, log = folder / "regulus.toml", folder / "log"
    url = f"http://127.0.0.1:{free_port()}"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with served_node() as served:
        # What a person or a recommendation brought would stand for half a minute.
        loop = {**LOOP, "min_dwell_seconds": 1.0}
        store = {"url": f"sqlite:///{folder}/history.db"}
        config.write_text(effective(settings_for(served, store=store, loop=loop)))
        command = ["serve", "--config", str(config), "--port", url.rpartition(":")[2]]
        with running(command, ready=lambda: http_ok(f"{url}/readyz"), log=log, env=environment):
            wait_until(lambda: bool(httpx.get(f"{url}/v1/models/mnist").json()["judged"]), what="a window was judged")
            yield Service(url, served.node)


@pytest.fixture
def regulus(service: Service, monkeypatch: pytest.MonkeyPatch) -> Regulus:
    """Calls a command against the running service."""
    monkeypatch.setenv("REGULUS_URL", service.url)
    monkeypatch.delenv("REGULUS_TOKEN", raising=False)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))
