"""The demo's processes: the model server in its default configuration and the control service, on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from service.cli.demo.ports import Ports
from service.cli.demo.processes import Child
from service.domain.decision import Mode
from service.domain.slo import Slo

HTTP_TIMEOUT_SECONDS = 5.0

_METRICS_PATH = "/monitoring/prometheus/metrics"
_MONITORING = f'prometheus_config {{ enable: true, path: "{_METRICS_PATH}" }}\n'

#: A run lasts two minutes, so the loop looks at shorter windows and may switch more often than it would by default.
_LOOP = """\
[loop]
window_seconds = 3.0
certainty_seconds = 3.0
min_requests = 240
blanking_seconds = 0.5
min_dwell_seconds = 10.0
max_switches_per_hour = 600
"""


@dataclass(frozen=True, slots=True)
class Stack:
    """What runs, and how to talk to it.

    Attributes:
        model: Name of the model.
        ports: Where everything listens.
        server: The model server.
        control: The control service; None until it is started.
        client: For both of them.
        folder: Logs, settings and history; gone when the demo ends.
    """

    model: str
    ports: Ports
    server: Child
    client: httpx.AsyncClient
    folder: Path

    @property
    def target(self) -> str:
        """What ``regulus load`` loads."""
        return f"grpc://127.0.0.1:{self.ports.grpc}"

    @property
    def api(self) -> str:
        """Root of the control service's API."""
        return f"http://127.0.0.1:{self.ports.api}"

    @asynccontextmanager
    async def control(self, slo: Slo) -> AsyncIterator[Child]:
        """Run the control service, observing only."""
        settings = self.folder / "regulus.toml"
        settings.write_text(
            f"[server]\nport = {self.ports.api}\n\n"
            f'[store]\nurl = "sqlite:///{self.folder / "history.db"}"\n\n'
            f"{_LOOP}\n"
            f'[[models]]\nname = "{self.model}"\nmode = "{Mode.OFF}"\n'
            f'agent_url = "http://127.0.0.1:{self.ports.agent}"\n'
            f'metrics_url = "http://127.0.0.1:{self.ports.rest}{_METRICS_PATH}"\n'
            f"slo = {{ bound_seconds = {slo.bound_seconds}, percentile = {slo.percentile}, "
            f"target_ratio = {slo.target_ratio} }}\n",
            encoding="utf-8",
        )
        # A little less urgent than the server: on a small machine they share cores.
        child = await Child.start(
            "control service", ["serve", "--config", str(settings)], self.folder / "control.log", niceness=5
        )
        try:
            await child.wait_ready(lambda: self._ok(f"{self.api}/readyz"))
            yield child
        finally:
            await child.stop()

    async def set_mode(self, mode: Mode) -> None:
        """Tell the control service how much it may do."""
        answer = await self.client.put(f"{self.api}/v1/models/{self.model}/mode", json={"mode": mode.value})
        answer.raise_for_status()

    async def status(self) -> dict[str, Any]:
        """What the control service says of the model."""
        answer = await self.client.get(f"{self.api}/v1/models/{self.model}")
        answer.raise_for_status()
        result: dict[str, Any] = answer.json()
        return result

    async def decisions(self, limit: int) -> list[dict[str, Any]]:
        """The newest decisions that were not to hold, newest first."""
        answer = await self.client.get(
            f"{self.api}/v1/models/{self.model}/decisions",
            params={"limit": limit, "action": ["apply", "verify", "rollback", "manual"]},
        )
        answer.raise_for_status()
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    async def _ok(self, url: str) -> bool:
        try:
            return (await self.client.get(url)).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False


@asynccontextmanager
async def model_server(model: str, models_dir: Path, ports: Ports, folder: Path) -> AsyncIterator[Stack]:
    """Run the embedded model server as TensorFlow Serving would start without any tuning flag.

    Args:
        model: Name of an exported model.
        models_dir: Folder that holds it.
        ports: All of them known.
        folder: For logs and settings.
    """
    monitoring = folder / "monitoring.config"
    monitoring.write_text(_MONITORING, encoding="utf-8")
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=HTTP_TIMEOUT_SECONDS, trust_env=False))
        server = await Child.start(
            "model server",
            [
                "modelserver",
                f"--port={ports.grpc}",
                f"--rest_api_port={ports.rest}",
                f"--agent_port={ports.agent}",
                f"--model_name={model}",
                f"--model_base_path={models_dir / model}",
                f"--monitoring_config_file={monitoring}",
            ],
            folder / "modelserver.log",
        )
        stack.push_async_callback(server.stop)
        running = Stack(model, ports, server, client, folder)
        await server.wait_ready(lambda: running._ok(f"http://127.0.0.1:{ports.rest}/v1/models/{model}"))
        yield running
