"""The demo itself: start everything, find out what this machine can serve, run the same load twice, compare.

1. Export the model and start the model server in TensorFlow Serving's default configuration.
2. Measure what that serves at most (closed loop) and how long a lone request takes. The load's peak is set somewhat
   above the former and the objective to a multiple of the latter, unless the user names them.
3. Run the load against the default, the control service only observing.
4. Put the default back, let the control service act, and run the same load, request for request, again.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

from service.cli.demo.ports import Ports, claim
from service.cli.demo.processes import Child, ChildFailedError
from service.cli.demo.report import DemoReport, RunResult
from service.cli.demo.stack import Stack, model_server
from service.cli.demo.view import DemoState
from service.domain.decision import Mode
from service.domain.slo import Slo
from service.domain.window import WindowQuality
from service.loadgen.closed_loop import ClosedLoopReport, run_closed_loop
from service.loadgen.payloads import RequestSpec

#: The schedule's peak over what the default configuration serves at most: enough to drown it at the peak, while it
#: would do well at the schedule's lower steps.
PEAK_OVER_DEFAULT_CAPACITY = 1.15

#: Requests that may pile up before the default at the peak: it shall be slow, not overflow its queue and refuse some.
MAX_BACKLOG_REQUESTS = 1500

#: Share of RRL's schedule that runs at its peak.
_PEAK_SHARE = 500 / 3000

#: The objective over the time of a lone request: users of a batching server grant it room to wait for company.
SLO_OVER_LONE_LATENCY = 10.0
_SLO_STEP_SECONDS = 0.005

#: As many as keep a queue waiting: a server that is behind serves less than one that is merely busy.
_CALIBRATION_CLIENTS = 64
_CALIBRATION_SECONDS = 6.0
_POLL_SECONDS = 0.5
_IDLE_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What the user may choose.

    Attributes:
        model: Name of a model of the zoo.
        duration: Seconds of load in all, split evenly between both runs.
        seed: Of the load.
        ports: Where to listen.
        slo_bound_seconds: Bound on p99; None to derive it from a lone request's time.
        peak_rate: Highest rate, requests a second; None to derive it from what the default serves.
    """

    model: str
    duration: float
    seed: int
    ports: Ports
    slo_bound_seconds: float | None = None
    peak_rate: float | None = None


Say = Callable[[str], None]
Show = Callable[[DemoState], None]


async def run_demo(options: DemoOptions, say: Say, show: Show) -> DemoReport:
    """Carry the demo out; nothing is left running or lying about afterwards, however it ends.

    Args:
        options: What the user chose.
        say: Told of each step, one line.
        show: Called about twice a second while load runs.

    Raises:
        PortTakenError: A port is taken.
        ChildFailedError: A process did not start, or ended early.
    """
    ports = claim(options.ports)
    with tempfile.TemporaryDirectory(prefix="regulus-demo-") as scratch:
        folder = Path(scratch)
        say(f"Exporting {options.model}, random weights")
        await _export(options.model, folder)
        say("Starting the model server in TensorFlow Serving's default configuration")
        async with model_server(options.model, folder / "models", ports, folder) as stack:
            say("Measuring what the default configuration can serve on this machine")
            slo, peak = await _calibrate(stack, options)
            say(f"Objective: {slo.describe()}. Load: RRL's step schedule with a peak of {peak:.0f} requests/s")
            async with stack.control(slo):
                say(f"Control service at {stack.api}/docs, model server's metrics on port {ports.rest}")
                return await _compare(stack, options, slo, peak, show)


async def _compare(stack: Stack, options: DemoOptions, slo: Slo, peak: float, show: Show) -> DemoReport:
    seconds = options.duration / 2
    before = DemoState("default configuration", slo, seconds)
    baseline = RunResult.of(await _load(stack, options, slo, peak, before, show), slo)
    # What is in the window still belongs to the first run.
    await _until_idle(stack)
    await stack.set_mode(Mode.AUTO)
    after = DemoState("Regulus steers", slo, seconds)
    if baseline.p99_seconds is not None:
        after.baseline = (
            f"before, on the default: p99 {baseline.p99_seconds * 1000:.0f} ms, "
            f"{baseline.slo_violation_ratio:.1%} of requests broke the objective"
        )
    configs: list[dict[str, Any]] = []
    began = time.time()
    load = await _load(stack, options, slo, peak, after, show, configs)
    await stack.set_mode(Mode.OFF)
    made = await stack.decisions(500)
    rollbacks = sum(1 for decision in made if decision["action"] == "rollback")
    return DemoReport(
        model=options.model,
        seed=options.seed,
        slo=slo,
        peak_rate_per_second=peak,
        baseline=baseline,
        regulus=RunResult.of(load, slo),
        switches=sum(1 for decision in made if decision["action"] in ("apply", "rollback")),
        rollbacks=rollbacks,
        configs=tuple(configs),
        decisions=tuple(
            {
                "at_seconds": round(decision["decided_at"] - began, 1),
                **{key: decision[key] for key in ("action", "reason", "explanation", "changes")},
            }
            for decision in reversed(made)
        ),
        machine=describe_machine(),
    )


async def _export(model: str, folder: Path) -> None:
    child = await Child.start(
        "export of the model", ["models", "export", model, "--out", str(folder / "models")], folder / "export.log"
    )
    try:
        if await child.process.wait() != 0:
            raise ChildFailedError(f"{model} could not be exported:\n{child.log_tail()}")
    finally:
        await child.stop()


async def _calibrate(stack: Stack, options: DemoOptions) -> tuple[Slo, float]:
    """The objective and the load's peak, each as the user chose it or as this machine suggests."""
    bound, peak = options.slo_bound_seconds, options.peak_rate
    if bound is None:
        lone = await _closed_loop(stack, 1, _CALIBRATION_SECONDS / 2)
        bound = math.ceil(lone.latency.summary().p50 * SLO_OVER_LONE_LATENCY / _SLO_STEP_SECONDS) * _SLO_STEP_SECONDS
    if peak is None:
        crowd = await _closed_loop(stack, _CALIBRATION_CLIENTS, _CALIBRATION_SECONDS)
        peak = float(round(peak_rate(crowd.throughput, options.duration / 2)))
    return Slo(round(bound, 6)), max(peak, 1.0)


def peak_rate(capacity: float, seconds: float) -> float:
    """The load's peak for a server that serves ``capacity`` requests a second, in a run of that many seconds."""
    backlog_limit = MAX_BACKLOG_REQUESTS / (seconds * _PEAK_SHARE)
    return min(capacity * PEAK_OVER_DEFAULT_CAPACITY, capacity + backlog_limit)


async def _closed_loop(stack: Stack, clients: int, seconds: float) -> ClosedLoopReport:
    return await run_closed_loop(stack.target, RequestSpec(model=stack.model), concurrency=clients, duration=seconds)


async def _until_idle(stack: Stack) -> None:
    """Wait until the control service has seen that nothing arrives any more."""
    try:
        async with asyncio.timeout(_IDLE_TIMEOUT_SECONDS):
            while True:
                window = (await stack.status()).get("window")
                if window and window["quality"] == WindowQuality.NO_TRAFFIC:
                    return
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise ChildFailedError(
            f"the control service still saw traffic {_IDLE_TIMEOUT_SECONDS:.0f} s after the first run"
        ) from None


async def _load(
    stack: Stack,
    options: DemoOptions,
    slo: Slo,
    peak: float,
    state: DemoState,
    show: Show,
    configs: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Run the load once, watching; its report as ``regulus load --json`` writes it."""
    arguments = [stack.target, "--model", stack.model, "--schedule", "rrl", "--rate", str(peak)]
    arguments += ["--duration", str(state.duration), "--seed", str(options.seed)]
    # Long enough that the default, drowning, still answers everything: what it loses is time.
    arguments += ["--timeout", "60", "--max-inflight", "100000"]
    arguments += ["--slo-ms", str(slo.bound_seconds * 1000), "--stream", "--no-progress"]
    watcher = asyncio.create_task(_watch(stack, state, show, configs))
    try:
        return await _run_load(stack, arguments, "load generator", state)
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)


async def _run_load(stack: Stack, arguments: list[str], name: str, state: DemoState) -> dict[str, Any]:
    """Run ``regulus load``; each second goes to ``state``, the report is returned."""
    report = stack.folder / "load.json"
    report.unlink(missing_ok=True)
    child = await Child.start(
        name, ["load", *arguments, "--json", str(report)], stack.folder / "load.log", capture_stdout=True
    )
    try:
        async for raw in child.stdout:
            entry = json.loads(raw)
            if entry["type"] == "second":
                state.seconds.append(entry)
        if await child.process.wait() != 0:
            raise ChildFailedError(f"the {name} failed:\n{child.log_tail()}")
        stack.server.check_alive()
        result: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        return result
    finally:
        await child.stop()


async def _watch(stack: Stack, state: DemoState, show: Show, configs: list[dict[str, Any]] | None) -> None:
    """Keep the state up to date and show it; note each configuration that comes into force."""
    started = asyncio.get_running_loop().time()
    while True:
        try:
            state.status = await stack.status()
            state.decisions = await stack.decisions(8)
        except httpx.HTTPError:
            # The control service may be busy; the clients' side of the picture goes on.
            state.status = state.status
        config = state.status.get("config") if state.status else None
        if configs is not None and config and (not configs or configs[-1]["config"] != config):
            at = asyncio.get_running_loop().time() - started
            configs.append({"at_seconds": round(at, 1), "config": config})
        show(state)
        await asyncio.sleep(_POLL_SECONDS)


def describe_machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    model = platform.processor() or platform.machine()
    try:
        for entry in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if entry.startswith("model name"):
                model = entry.split(":", 1)[1].strip()
                break
    except OSError:
        # Not Linux: what Python knows must do.
        model = model or "unknown"
    return {
        "processor": model,
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "tensorflow": version("tensorflow"),
        "regulus": version("regulus-serving"),
    }
