"""Serving: the parts of the model server put together, from the flags to the last answered request."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from dataclasses import dataclass

import tensorflow as tf

from service import __version__
from service.access.tls import RenewedContext
from service.access.token_file import TokenSource
from service.agent.api import Agent
from service.agent.door import Door
from service.agent.lease import LeaseBook
from service.agent.lifetime import stop_signal, unless_stopped
from service.agent.listener import HttpListener
from service.agent.machine import node_cpus, node_memory_limit
from service.domain.clock import SystemClock
from service.modelserver.batching_parameters import BatchingParameters, batching_parameters, initial_config
from service.modelserver.config_files import session_config, tls_config
from service.modelserver.flags import ServerFlags, notes
from service.modelserver.grpc_server import GrpcServer
from service.modelserver.manager import ModelManager
from service.modelserver.metrics import ServerMetrics
from service.modelserver.model_config import model_configs
from service.modelserver.rest import RestApp
from service.modelserver.servable import RuntimeOptions
from service.modelserver.steered import SERVER_KIND, SteeredServer
from service.modelserver.tflite import TfliteOptions
from service.modelserver.versions import State

_log = logging.getLogger(__name__)


async def serve(flags: ServerFlags) -> None:
    """Load the models, answer until SIGTERM or SIGINT, drain.

    Ports open when all initial models are available, and not before. A second signal ends the process at once.

    Raises:
        ServingError: A file, the gRPC port or a model was refused; nothing is left running.
        ListenError: Another port was.
        InvalidValueError: A file that guards the agent was refused.
    """
    tf.get_logger().setLevel(logging.ERROR)
    for note in notes(flags):
        _log.warning(note)
    stop = stop_signal()
    server = _Server.build(flags)
    try:
        await unless_stopped(server.start(), stop)
        if not stop.is_set():
            print(server.describe(), flush=True)
        await stop.wait()
    finally:
        await server.stop()


@dataclass(slots=True)
class _Server:
    """All parts. HTTP ports are bound already, and nothing else has begun."""

    flags: ServerFlags
    manager: ModelManager
    metrics: ServerMetrics
    grpc: GrpcServer
    rest_app: RestApp | None
    rest: HttpListener | None
    agent: HttpListener | None
    tokens: TokenSource | None
    tls: RenewedContext | None

    @classmethod
    def build(cls, flags: ServerFlags) -> _Server:
        parameters = batching_parameters(flags)
        metrics = ServerMetrics()
        manager = ModelManager(
            model_configs(flags),
            flags,
            initial_config(flags, parameters, max(1, round(node_cpus()))),
            metrics,
            runtime=_runtime(flags, parameters),
        )
        # Before any port is bound or model loaded, so that a wrong file is found at once.
        guard = flags.agent_guard
        rest_app = RestApp(manager, metrics, flags) if flags.rest_api_port else None
        return cls(
            flags=flags,
            manager=manager,
            metrics=metrics,
            grpc=GrpcServer(manager, flags, tls_config(flags)),
            rest_app=rest_app,
            rest=HttpListener(flags.host, flags.rest_api_port, "REST") if rest_app is not None else None,
            agent=HttpListener(flags.agent_host, flags.agent_port, "The agent") if flags.agent_port else None,
            tokens=guard.tokens("--agent_token_file"),
            tls=guard.tls(),
        )

    async def start(self) -> None:
        await self.manager.start()
        # What loading made will stay: the collector need not look at it again in the middle of requests.
        gc.collect()
        gc.freeze()
        await self.grpc.start()
        if self.rest is not None and self.rest_app is not None:
            await self.rest.start(self.rest_app, self.flags.drain_timeout_seconds)
        if self.agent is not None:
            door = Door(self._agent().app(), self.tokens, SystemClock(), local=self.flags.agent_guard.local)
            await self.agent.start(door, self.flags.drain_timeout_seconds, self.tls)

    def _agent(self) -> Agent:
        steered = SteeredServer(
            self.manager,
            on_generation=self.metrics.generation,
            models=lambda: [{"name": name, "versions": versions} for name, versions in self._available().items()],
            render_metrics=self.metrics.render,
        )
        return Agent(
            steered,
            LeaseBook(SystemClock()),
            server=(SERVER_KIND, __version__),
            cpus=node_cpus(),
            memory_bytes=node_memory_limit(),
        )

    async def stop(self) -> None:
        """Stop accepting, finish what is in flight within the drain time-out, unload."""
        limit = self.flags.drain_timeout_seconds
        started = time.monotonic()
        listeners = [listener.stop() for listener in (self.rest, self.agent) if listener is not None]
        await asyncio.gather(self.grpc.stop(limit), *listeners)
        try:
            async with asyncio.timeout(max(1.0, limit - (time.monotonic() - started))):
                await self.manager.stop()
        except TimeoutError:
            _log.warning("models were still busy after %g s and are abandoned", limit)

    def describe(self) -> str:
        """One line for people: where it listens, what it serves, and how."""
        places = []
        if self.flags.port:
            places.append(f"gRPC {self.flags.host}:{self.flags.port}")
        if self.flags.grpc_socket_path:
            places.append(f"gRPC unix:{self.flags.grpc_socket_path}")
        if self.rest is not None:
            places.append(f"REST {self.rest.address}")
        if self.agent is not None:
            places.append(f"agent {self.agent.address}")
        models = ", ".join(f"{name}:{'+'.join(map(str, numbers))}" for name, numbers in self._available().items())
        return f"Serving {models} on {', '.join(places)}; {self.manager.config.describe()}"

    def _available(self) -> dict[str, list[int]]:
        """Versions that serve, by model."""
        return {
            model.name: sorted(
                status.version for status in self.manager.statuses(model.name) if status.state is State.AVAILABLE
            )
            for model in self.manager.models
        }


def _runtime(flags: ServerFlags, parameters: BatchingParameters | None) -> RuntimeOptions:
    tflite = TfliteOptions(flags.num_tflite_pools, flags.num_tflite_interpreters_per_pool)
    return RuntimeOptions(
        max_unbatched_concurrency=flags.grpc_max_threads,
        session_config=session_config(flags),
        warmup=flags.enable_model_warmup,
        warmup_iterations=max(1, flags.num_request_iterations_for_warmup),
        pad_variable_length_inputs=parameters is not None and parameters.pad_variable_length_inputs,
        max_execution_batch_size=parameters.split_size if parameters is not None else 0,
        tflite=tflite if flags.prefer_tflite_model else None,
    )
