"""Contenders: what is measured, each started afresh for a round, and its measurements as callables.

The bare session, the embedded server and the echo cost nothing while they wait, so they run side by side and their
measurements are shuffled together. The peers do not, so each runs alone.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import httpx

from benchmarks.bare import BareCall, BareResult
from benchmarks.peers.common import PeerSettings
from benchmarks.processes import read_line, running
from benchmarks.recording import Recording, same_numbers
from benchmarks.samples import ECHO, GRPC_ON, PEER, REST_ON, Sample, bare_variants
from benchmarks.servers import Node, batching_on, embedded
from service.cli.demo.processes import READY_TIMEOUT_SECONDS, Child, ChildFailedError
from service.domain.serving_config import ServingConfig
from service.loadgen.closed_loop import run_closed_loop
from service.loadgen.payloads import Encoding, RequestSpec

#: Modules below ``benchmarks.peers``, by the name of the package that they need.
PEERS = {"bentoml": "bentoml_peer", "ray": "ray_peer", "litserve": "litserve_peer"}
_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all measurements of one round of one model share.

    Attributes:
        model: Name of the model.
        models_dir: Folder of the exported models.
        round: Number of the round.
        seconds: What each measurement lasts.
        warmup: What goes before, uncounted, seconds.
        concurrencies: Numbers of clients.
        cpus: Processors of this machine.
        folder: For logs.
    """

    model: str
    models_dir: Path
    round: int
    seconds: float
    warmup: float
    concurrencies: tuple[int, ...]
    cpus: int
    folder: Path

    @property
    def version_dir(self) -> Path:
        """The SavedModel."""
        return self.models_dir / self.model / "1"


@dataclass(frozen=True, slots=True)
class Cell:
    """One measurement that is to be made.

    Attributes:
        subject: Of what.
        concurrency: With how many clients.
        measure: Makes it.
    """

    subject: str
    concurrency: int
    measure: Callable[[], Awaitable[Sample]]


@asynccontextmanager
async def bare(setting: Setting) -> AsyncIterator[list[Cell]]:
    """The session by itself, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bare", setting.model, str(setting.version_dir)]
    log = setting.folder / "bare.log"
    async with running("bare session", command, log, talk=True, env={"PYTHONPATH": str(_ROOT)}) as child:
        await read_line(child, READY_TIMEOUT_SECONDS)
        yield [
            Cell(variant.subject, at, partial(_measure_bare, setting, child, variant.subject, at, call))
            for at in setting.concurrencies
            for variant in bare_variants(at)
            for call in [
                BareCall(
                    intra_op=variant.intra_op,
                    batch=variant.batch,
                    threads=at // variant.batch,
                    warmup=setting.warmup,
                    seconds=setting.seconds,
                )
            ]
        ]


async def _measure_bare(setting: Setting, child: Child, subject: str, at: int, call: BareCall) -> Sample:
    assert child.process.stdin is not None
    child.process.stdin.write(json.dumps(asdict(call)).encode() + b"\n")
    await child.process.stdin.drain()
    result = BareResult(**json.loads(await read_line(child, call.warmup + call.seconds + READY_TIMEOUT_SECONDS)))
    return Sample(
        model=setting.model,
        round=setting.round,
        subject=subject,
        concurrency=at,
        requests_per_second=result.examples_per_second,
        p50=result.p50,
        p99=result.p99,
    )


@asynccontextmanager
async def echo(setting: Setting, recording: Recording) -> AsyncIterator[list[Cell]]:
    """The least that gRPC costs."""
    command = [sys.executable, "-m", "benchmarks.echo", str(recording.metadata), str(recording.answer)]
    log = setting.folder / "echo.log"
    async with running("echo", command, log, talk=True, env={"PYTHONPATH": str(_ROOT)}) as child:
        port = int(await read_line(child, READY_TIMEOUT_SECONDS))
        yield [
            Cell(ECHO, at, partial(_measure, setting, ECHO, f"grpc://127.0.0.1:{port}", None, at))
            for at in setting.concurrencies
        ]


@asynccontextmanager
async def regulus(setting: Setting) -> AsyncIterator[list[Cell]]:
    """The embedded server; its configuration is changed between measurements, as it is made to be."""
    on, off = batching_on(setting.cpus), ServingConfig()
    async with embedded(setting.model, setting.models_dir, setting.folder) as node:
        ways = [
            ("grpc/no batching/tensor_content", off, node.grpc, Encoding.TENSOR_CONTENT),
            ("grpc/no batching/typed", off, node.grpc, Encoding.TYPED),
            (GRPC_ON, on, node.grpc, Encoding.TENSOR_CONTENT),
            ("grpc/batching/typed", on, node.grpc, Encoding.TYPED),
            (REST_ON, on, node.rest, Encoding.ROW),
        ]
        yield [
            Cell(subject, at, partial(_measure_configured, setting, node, config, subject, target, encoding, at))
            for subject, config, target, encoding in ways
            for at in setting.concurrencies
        ]


async def _measure_configured(
    setting: Setting, node: Node, config: ServingConfig, subject: str, target: str, encoding: Encoding, at: int
) -> Sample:
    await node.put(config)
    return await _measure(setting, subject, target, encoding, at)


@asynccontextmanager
async def peer(name: str, python: Path, setting: Setting, recording: Recording) -> AsyncIterator[list[Cell]]:
    """Another server, once it gives the embedded server's answer to a first request.

    Raises:
        ChildFailedError: It does not start, or answers something else.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    told = PeerSettings(
        model=setting.model, version_dir=setting.version_dir, metadata=recording.rest_metadata, port=port
    )
    env = {
        **told.to_env(),
        "PYTHONPATH": str(_ROOT),
        "BENTOML_HOME": str(setting.folder),
        # Nobody else is told of a benchmark.
        "BENTOML_DO_NOT_TRACK": "True",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Loopback alone; a token would be written to the user's home.
        "RAY_AUTH_MODE": "disabled",
    }
    url = f"http://127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=10.0, trust_env=False))
        command = [str(python), "-m", f"benchmarks.peers.{PEERS[name]}"]
        child = await stack.enter_async_context(running(name, command, setting.folder / f"{name}.log", env=env))
        await child.wait_ready(partial(_answers, client, told.metadata_path))
        headers = {"Content-Type": "application/json"}
        answer = await client.post(told.predict_path, content=recording.rest_body, headers=headers)
        if not same_numbers(answer.content, recording.rest_answer):
            raise ChildFailedError(f"{name} answers otherwise than Regulus: {answer.status_code} {answer.text[:300]}")
        subject = f"{PEER}/{name}"
        yield [
            Cell(subject, at, partial(_measure, setting, subject, url, Encoding.ROW, at))
            for at in setting.concurrencies
        ]


async def _answers(client: httpx.AsyncClient, path: str) -> bool:
    try:
        return (await client.get(path)).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


async def installed_peers(python: Path | None) -> dict[str, str | None]:
    """Version of each peer that this interpreter has; None for those it has not."""
    if python is None:
        return {}
    code = (
        "import importlib.metadata as m, json, sys\n"
        "have = {d.name.lower(): d.version for d in m.distributions() if d.name}\n"
        "print(json.dumps({name: have.get(name) for name in sys.argv[1:]}))"
    )
    process = await asyncio.create_subprocess_exec(
        str(python), "-c", code, *PEERS, stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise ChildFailedError(f"{python} is no Python interpreter that works")
    versions: dict[str, str | None] = json.loads(output)
    return versions


async def _measure(setting: Setting, subject: str, target: str, encoding: Encoding | None, at: int) -> Sample:
    """One closed loop."""
    started, cpu = time.monotonic(), time.process_time()
    report = await run_closed_loop(
        target,
        RequestSpec(model=setting.model, encoding=encoding),
        concurrency=at,
        duration=setting.seconds,
        warmup=setting.warmup,
        seed=setting.round,
    )
    latency = report.latency.summary()
    return Sample(
        model=setting.model,
        round=setting.round,
        subject=subject,
        concurrency=at,
        requests_per_second=report.throughput,
        p50=latency.p50,
        p99=latency.p99,
        failed=sum(report.failed.values()),
        client_cpu=(time.process_time() - cpu) / (time.monotonic() - started),
    )
