"""Control: the control service as a process, and what people ask of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import httpx

from benchmarks.faults.programs import Program
from service.domain.decision import Mode
from service.domain.serving_config import ServingConfig

#: Everything is quicker than by default, so that a fault shows within seconds and not minutes. The objective is on p95,
#: of which a window of a hundred requests can say for certain that it is met.
_LOOP = """\
[loop]
scrape_interval_seconds = 0.2
scrape_timeout_seconds = 1.0
metrics_stale_seconds = 1.5
window_seconds = 2.0
early_window_seconds = 1.0
certainty_seconds = 2.0
min_requests = 60
max_window_seconds = 20.0
blanking_seconds = 0.3
min_dwell_seconds = 5.0
max_switches_per_hour = 3000
verify_timeout_seconds = 20.0
agent_timeout_seconds = 2.0
apply_timeout_seconds = 60.0
agent_read_interval_seconds = 0.5
max_backoff_seconds = 1.0
quarantine_seconds = 30.0
hold_repeat_seconds = 5.0
burn_window_scale = 0.02
freeze_seconds = 5.0
max_spike_seconds_per_hour = 3600.0
"""

_HTTP_SECONDS = 5.0
#: A person who waits for a switch has more patience.
_ORDER_SECONDS = 80.0


class Control:
    """One control service that steers one model.

    Args:
        folder: For settings and logs.
        database: Its history.
        port: Of its API.
        model: The model.
        agent: Root of the agent API.
        metrics: URL of the metrics page.
        mode: How much it may do.
        client: For its API.
    """

    def __init__(
        self,
        folder: Path,
        database: Path,
        *,
        port: int,
        model: str,
        agent: str,
        metrics: str,
        mode: Mode,
        client: httpx.AsyncClient,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.database = database
        self._client = client
        self._root = f"http://127.0.0.1:{port}"
        self._model = f"{self._root}/v1/models/{model}"
        self._offset = folder / "clock-offset"
        settings = folder / "regulus.toml"
        settings.write_text(
            f'[server]\nport = {port}\n\n[store]\nurl = "sqlite:///{database}"\n\n{_LOOP}\n'
            f'[[models]]\nname = "{model}"\nmode = "{mode}"\nagent_url = "{agent}"\nmetrics_url = "{metrics}"\n'
            "slo = { bound_seconds = 0.05, percentile = 0.95, target_ratio = 0.95 }\n",
            encoding="utf-8",
        )
        self.jump(0.0)
        command = [sys.executable, "-m", "benchmarks.faults.jumping_clock", str(self._offset)]
        self.program = Program("control", [*command, "serve", "--config", str(settings)], folder, self.ready)

    def jump(self, seconds: float) -> None:
        """Set its wall clock so far from the machine's."""
        self._offset.write_text(str(seconds), encoding="ascii")

    async def ready(self) -> bool:
        """Whether its loops have found their feet."""
        try:
            return (await self._client.get(f"{self._root}/readyz", timeout=_HTTP_SECONDS)).is_success
        except httpx.HTTPError:
            return False

    async def status(self) -> dict[str, Any] | None:
        """What it says of the model; None while it does not answer."""
        try:
            answer = await self._client.get(self._model, timeout=_HTTP_SECONDS)
        except httpx.HTTPError:
            return None
        found: dict[str, Any] | None = answer.json() if answer.is_success else None
        return found

    async def well(self) -> bool:
        """Whether nothing is wrong with its loop."""
        status = await self.status()
        return status is not None and status["problem"] is None and status["agent_reachable"]

    async def order(self, config: ServingConfig) -> httpx.Response | None:
        """A person's order; None where no answer came."""
        try:
            return await self._client.put(f"{self._model}/config", json=config.to_dict(), timeout=_ORDER_SECONDS)
        except httpx.HTTPError:
            return None

    async def decisions(self) -> dict[int, dict[str, Any]]:
        """All that the history holds, by id; empty while it cannot be read."""
        found: dict[int, dict[str, Any]] = {}
        before: dict[str, int] = {}
        while True:
            try:
                answer = await self._client.get(
                    f"{self._model}/decisions", params={"limit": 100, **before}, timeout=_HTTP_SECONDS
                )
            except httpx.HTTPError:
                return {}
            if not answer.is_success:
                return {}
            page = answer.json()
            found |= {decision["id"]: decision for decision in page["items"]}
            if page["next"] is None:
                return found
            before = {"before": page["next"]}
