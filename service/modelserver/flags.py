"""ServerFlags: the flags of ``tensorflow_model_server``, with its names and defaults, and a few of ours.

Names, defaults and semantics: ``tensorflow_serving/model_servers/main.cc``, ``server.h`` and ``server.cc``, r2.20.
All its flags are declared, so that an existing command line either works, or is refused with the reason.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from service.access.guard import Guard
from service.domain.errors import InvalidValueError
from service.modelserver.flag_specs import (
    INT64_MAX,
    FlagError,
    FlagSpec,
    Support,
    flag,
    parse_arguments,
    specs_of,
)
from service.modelserver.status import Code

__all__ = ["FlagError", "ServerFlags", "notes", "parse_flags", "schedulable_cpus"]

MAX_PORT = 65535

_MODELS = "Models"
_GRPC = "gRPC"
_REST = "REST and metrics"
_BATCHING = "Batching"
_THREADS = "TensorFlow threads"
_LOADING = "Loading and warm-up"
_TFLITE = "TensorFlow Lite"
_REGULUS = "Regulus"
_COMPATIBILITY = "Accepted for compatibility, without effect here"
_UNSUPPORTED = "Known, but not supported here: any value but the default is refused"


def schedulable_cpus() -> int:
    """Processors this process may run on."""
    return len(os.sched_getaffinity(0))


def _threads() -> int:
    return 4 * schedulable_cpus()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFlags:
    """One field a flag; ``--help`` prints what is written here. Built by :func:`parse_flags`, which validates.

    A value set in code is not checked; call :meth:`check`.
    """

    model_name: str = flag("default", _MODELS, "Name of the one model. Ignored with --model_config_file.")
    model_base_path: str = flag(
        "", _MODELS, "Folder whose numbered subfolders are its versions. Ignored with --model_config_file."
    )
    model_config_file: str = flag("", _MODELS, "ModelServerConfig textproto that lists the models to serve.")
    model_config_file_poll_wait_seconds: int = flag(
        0, _MODELS, "How often that file is read again; 0 reads it once.", unit="seconds"
    )
    file_system_poll_wait_seconds: int = flag(
        1, _MODELS, "How often folders are searched for new versions; 0 searches once.", unit="seconds"
    )
    allow_version_labels_for_unavailable_models: bool = flag(
        False, _MODELS, "Lets a label be given to a version that is not loaded yet, if the label is unused."
    )

    host: str = flag(
        "127.0.0.1",
        _GRPC,
        "Address that gRPC and REST listen on. TensorFlow Serving has no such flag and uses 0.0.0.0.",
    )
    port: int = flag(8500, _GRPC, "Port for gRPC; 0 turns it off, then --grpc_socket_path is needed.", high=MAX_PORT)
    grpc_socket_path: str = flag("", _GRPC, "UNIX socket for gRPC, besides the port.")
    grpc_channel_arguments: str = flag(
        "", _GRPC, "Arguments for the gRPC server, such as grpc.max_connection_age_ms=2000, separated by commas."
    )
    grpc_max_threads: int = flag(
        _threads, _GRPC, "Requests executed at once while batching is off. Default: 4 × CPUs.", unit="requests", low=1
    )
    ssl_config_file: str = flag("", _GRPC, "SSLConfig textproto; makes gRPC secure.")
    enable_grpc_healthcheck_service: bool = flag(False, _GRPC, "Answers grpc.health.v1.Health.")
    enable_serialization_as_tensor_content: bool = flag(
        False, _GRPC, "Predict answers with tensor_content instead of typed value fields."
    )

    rest_api_port: int = flag(0, _REST, "Port for REST and the metrics page; 0 turns them off.", high=MAX_PORT)
    rest_api_timeout_in_ms: int = flag(
        30_000, _REST, "Longest time a REST call may take before it is answered with 504; 0 for no limit.", unit="ms"
    )
    rest_api_enable_cors_support: bool = flag(False, _REST, "Adds CORS headers, so that browsers may call from pages.")
    monitoring_config_file: str = flag(
        "", _REST, "MonitoringConfig textproto; turns the Prometheus page on and names its path."
    )

    enable_batching: bool = flag(False, _BATCHING, "Gathers requests into batches.")
    batching_parameters_file: str = flag("", _BATCHING, "BatchingParameters textproto. Needs --enable_batching.")
    enable_per_model_batching_parameters: bool = flag(
        False,
        _BATCHING,
        "Sizes and timeouts come from batching_params.pbtxt in each version's folder; a version without it is not "
        "batched. The global file then gives the thread count alone. Needs --enable_batching.",
    )

    tensorflow_session_parallelism: int = flag(
        0, _THREADS, "Sets intra-op and inter-op at once; 0 lets TensorFlow choose.", unit="threads", high=1024
    )
    tensorflow_intra_op_parallelism: int = flag(
        0, _THREADS, "Threads inside one operation; 0 lets TensorFlow choose.", unit="threads", high=1024
    )
    tensorflow_inter_op_parallelism: int = flag(
        0, _THREADS, "Operations run at once; 0 lets TensorFlow choose.", unit="threads", high=1024
    )
    tensorflow_session_config_file: str = flag(
        "", _THREADS, "TensorFlow ConfigProto textproto; its thread settings are overwritten by the flags above."
    )

    num_load_threads: int = flag(0, _LOADING, "Versions loaded at once; 0 loads one after another.", unit="threads")
    num_unload_threads: int = flag(
        0, _LOADING, "Versions unloaded at once; 0 unloads one after another.", unit="threads"
    )
    max_num_load_retries: int = flag(5, _LOADING, "Further attempts after a load failed.", unit="attempts")
    load_retry_interval_micros: int = flag(
        60_000_000,
        _LOADING,
        "Pause before each further attempt; negative for none.",
        unit="µs",
        low=-INT64_MAX,
        high=INT64_MAX,
    )
    enable_model_warmup: bool = flag(
        True, _LOADING, "Replays assets.extra/tf_serving_warmup_requests before a version serves."
    )
    num_request_iterations_for_warmup: int = flag(
        0, _LOADING, "How often each warm-up request is replayed; used if greater than 0.", unit="times"
    )
    enable_signature_method_name_check: bool = flag(
        False, _LOADING, "Classify and Regress refuse a signature whose method name is not theirs."
    )

    prefer_tflite_model: bool = flag(
        False, _TFLITE, "Serves model.tflite in a version's folder, where there is one, instead of saved_model.pb."
    )
    num_tflite_pools: int = flag(
        schedulable_cpus,
        _TFLITE,
        "TFLite interpreters of each session of a version: so many calls compute at once. Default: CPUs. "
        "--tensorflow_intra_op_parallelism gives each its threads, 0 meaning one.",
        unit="interpreters",
    )
    num_tflite_interpreters_per_pool: int = flag(
        1,
        _TFLITE,
        "If N is over 1, a call of more than 500/N examples is cut into parts of that size, which different "
        "interpreters compute at once.",
        unit="parts",
    )

    agent_port: int = flag(
        0, _REGULUS, "Port of the agent API, which changes knobs while serving; 0 is off.", high=MAX_PORT
    )
    agent_host: str = flag("127.0.0.1", _REGULUS, "Address that the agent API listens on.")
    agent_token_file: str = flag(
        "",
        _REGULUS,
        "Token that the agent API asks for, or a file of several made by regulus token create; beyond loopback it "
        "must ask for one.",
    )
    agent_certificate: str = flag("", _REGULUS, "PEM file: the agent API speaks HTTPS.")
    agent_key: str = flag("", _REGULUS, "PEM file: its key.")
    agent_client_ca: str = flag(
        "", _REGULUS, "PEM file: who must have signed the certificates that callers of the agent API show."
    )
    instances: int = flag(1, _REGULUS, "Sessions that share the load.", unit="sessions", low=1, high=64)
    drain_timeout_seconds: float = flag(
        30.0, _REGULUS, "Longest wait at SIGTERM for requests in flight.", unit="seconds", high=3600
    )

    rest_api_num_threads: int = flag(
        _threads,
        _COMPATIBILITY,
        "REST runs in the event loop.",
        unit="threads",
        low=1,
        support=Support.NO_EFFECT,
    )
    flush_filesystem_caches: bool = flag(
        True, _COMPATIBILITY, "The page cache is left to the kernel.", support=Support.NO_EFFECT
    )
    remove_unused_fields_from_bundle_metagraph: bool = flag(
        True, _COMPATIBILITY, "No MetaGraphDef is kept in memory.", support=Support.NO_EFFECT
    )
    enable_profiler: bool = flag(True, _COMPATIBILITY, "There is no profiler service.", support=Support.NO_EFFECT)
    skip_initialize_tpu: bool = flag(False, _COMPATIBILITY, "There is no TPU to initialise.", support=Support.NO_EFFECT)

    platform_config_file: str = flag(
        "",
        _UNSUPPORTED,
        "TensorFlow is the only platform; use the batching and thread flags.",
        support=Support.REFUSED,
    )
    saved_model_tags: str = flag(
        "serve", _UNSUPPORTED, "Only MetaGraphs tagged 'serve' are loaded.", support=Support.REFUSED
    )
    use_alts_credentials: bool = flag(
        False, _UNSUPPORTED, "ALTS needs Google's infrastructure; use --ssl_config_file.", support=Support.REFUSED
    )
    per_process_gpu_memory_fraction: float = flag(
        0.0,
        _UNSUPPORTED,
        "Set gpu_options in --tensorflow_session_config_file.",
        high=1,
        support=Support.REFUSED,
    )
    thread_pool_factory_config_file: str = flag(
        "", _UNSUPPORTED, "Each session has thread pools of its own.", support=Support.REFUSED
    )
    xla_cpu_compilation_enabled: bool = flag(
        False, _UNSUPPORTED, "Experimental there; set it in the model.", support=Support.REFUSED
    )
    xla_gpu_compilation_enabled: bool = flag(
        False, _UNSUPPORTED, "Experimental there; set it in the model.", support=Support.REFUSED
    )
    mixed_precision: str = flag(
        "", _UNSUPPORTED, "Export the model in the precision it needs.", support=Support.REFUSED
    )

    @property
    def session_threads(self) -> tuple[int, int]:
        """Inter-op and intra-op threads of a session; 0 lets TensorFlow choose.

        Either of the single flags silently wins over ``tensorflow_session_parallelism``, and leaves the other at 0.
        """
        if self.tensorflow_inter_op_parallelism or self.tensorflow_intra_op_parallelism:
            return self.tensorflow_inter_op_parallelism, self.tensorflow_intra_op_parallelism
        return self.tensorflow_session_parallelism, self.tensorflow_session_parallelism

    @property
    def agent_guard(self) -> Guard:
        """What keeps strangers out of the agent API."""
        token_file, certificate, key, client_ca = (
            Path(given) if given else None
            for given in (self.agent_token_file, self.agent_certificate, self.agent_key, self.agent_client_ca)
        )
        return Guard(token_file=token_file, certificate=certificate, key=key, client_ca=client_ca)

    @property
    def channel_options(self) -> list[tuple[str, int | str]]:
        """``grpc_channel_arguments`` as gRPC wants them: a value that reads as an integer is one.

        Raises:
            FlagError: A part is not ``key=value``.
        """
        options: list[tuple[str, int | str]] = []
        for part in filter(None, self.grpc_channel_arguments.split(",")):
            key, equals, value = part.strip().partition("=")
            if not key or not equals or not value:
                raise FlagError(f"--grpc_channel_arguments must be key=value pairs with commas between, not {part!r}")
            number = value.removeprefix("-")
            options.append((key, int(value) if number.isascii() and number.isdigit() else value))
        return options

    def check(self) -> None:
        """Refuse flags that contradict each other or that cannot be honoured.

        Raises:
            FlagError: INVALID_ARGUMENT with TensorFlow Serving's message where it has one; UNIMPLEMENTED for a flag
                that this server does not support.
        """
        for spec in FLAGS.values():
            if spec.support is Support.REFUSED and getattr(self, spec.name) != spec.default_value:
                raise FlagError(f"--{spec.name} is not supported by this server. {spec.help}", Code.UNIMPLEMENTED)
        if not self.port and not self.grpc_socket_path:
            raise FlagError("At least one of server_options.grpc_port or server_options.grpc_socket_path must be set.")
        if not self.model_config_file:
            if not self.model_base_path:
                raise FlagError(
                    "Both server_options.model_base_path and server_options.model_config_file are empty! "
                    "Set --model_base_path or --model_config_file."
                )
            if not self.model_name:
                raise FlagError("--model_name must not be empty")
        if self.batching_parameters_file and not self.enable_batching:
            raise FlagError(
                "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
            )
        parallelism = (
            self.tensorflow_intra_op_parallelism,
            self.tensorflow_inter_op_parallelism,
            self.tensorflow_session_parallelism,
        )
        if all(value > 0 for value in parallelism):
            raise FlagError(
                "Either configure server_options.tensorflow_session_parallelism or "
                "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) "
                "separately. You cannot configure all."
            )
        self._check_addresses()
        _ = self.channel_options

    def _check_addresses(self) -> None:
        users: dict[int, str] = {}
        for name in ("port", "rest_api_port", "agent_port"):
            value = getattr(self, name)
            if value and value in users:
                raise FlagError(f"--{name} cannot be same as --{users[value]}: both are {value}. Use a different port.")
            users[value] = name
        for name in ("host", "agent_host"):
            if not getattr(self, name):
                raise FlagError(f"--{name} must name an address such as 127.0.0.1 or 0.0.0.0")
        if self.agent_port:
            try:
                self.agent_guard.check(self.agent_host, "--agent_host")
            except InvalidValueError as error:
                raise FlagError(str(error)) from error


#: Every flag by name, in the order of ``--help``.
FLAGS: dict[str, FlagSpec] = specs_of(ServerFlags)


def parse_flags(argv: Sequence[str]) -> ServerFlags:
    """Read and check a command line.

    Args:
        argv: The arguments alone, without the program's name; ``--help`` and ``--version`` are
            :func:`service.modelserver.flags_help.information`'s.

    Raises:
        FlagError: The message says which flag is wrong and what would be right.
    """
    flags = ServerFlags(**parse_arguments(argv, FLAGS))
    flags.check()
    return flags


def notes(flags: ServerFlags) -> list[str]:
    """What the user should know of flags that were set but change nothing, a sentence each, for the log."""
    lines = [
        f"--{spec.name} has no effect in this server. {spec.help}"
        for spec in FLAGS.values()
        if spec.support is Support.NO_EFFECT and getattr(flags, spec.name) != spec.default_value
    ]
    if flags.model_config_file and flags.model_base_path:
        lines.append("--model_name and --model_base_path are ignored because --model_config_file is set.")
    if flags.monitoring_config_file and not flags.rest_api_port:
        lines.append("--monitoring_config_file has no effect without --rest_api_port, which serves the metrics page.")
    if flags.enable_per_model_batching_parameters and not flags.enable_batching:
        lines.append("--enable_per_model_batching_parameters has no effect without --enable_batching.")
    if flags.tensorflow_session_parallelism and flags.session_threads != (flags.tensorflow_session_parallelism,) * 2:
        lines.append(
            "--tensorflow_session_parallelism is ignored because --tensorflow_intra_op_parallelism or "
            "--tensorflow_inter_op_parallelism is set."
        )
    return lines
