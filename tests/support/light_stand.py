"""A stand without TensorFlow: the real control service over a simulated node that is a process of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import numpy as np

from benchmarks.faults.control import Control
from benchmarks.faults.disk import small_disk
from benchmarks.faults.load import Load
from benchmarks.faults.programs import Program
from benchmarks.faults.proxy import metrics_proxy
from benchmarks.faults.stand import EMBEDDED, Stand
from benchmarks.processes import read_line, running
from service.backends.agent_backend import AgentBackend
from service.cli.demo.ports import Ports, claim
from service.domain.decision import Mode

MODEL = "m0-0"


@asynccontextmanager
async def light_stand(folder: Path) -> AsyncIterator[Stand]:
    """A stand in good health; its load sends nothing, for the node makes its requests up."""
    async with AsyncExitStack() as stack:
        command = [sys.executable, "-m", "benchmarks.scale.nodes", "1", "1"]
        nodes = await stack.enter_async_context(running("nodes", command, folder / "nodes.log", talk=True))
        (port,) = json.loads(await read_line(nodes, 30))
        root = f"http://127.0.0.1:{port}"
        disk = stack.enter_context(small_disk(folder / "disk"))
        client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        proxy = await stack.enter_async_context(metrics_proxy(f"{root}/metrics", client))
        ports = claim(Ports(0, 0, 0, 0))
        control = Control(
            folder / "control",
            disk.folder / "history.db",
            port=ports.api,
            model=MODEL,
            agent=f"{root}/{MODEL}",
            metrics=proxy.url,
            mode=Mode.AUTO,
            client=client,
        )
        stack.push_async_callback(control.program.stop)
        await control.program.start()
        yield Stand(
            kind=EMBEDDED,
            folder=folder,
            ports=ports,
            server=Program("node", [], folder, control.ready),
            control=control,
            proxy=proxy,
            disk=disk,
            load=Load([], np.random.default_rng(0)),
            client=client,
            backend=AgentBackend(f"{root}/{MODEL}", client),
        )
