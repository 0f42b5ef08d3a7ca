"""Arguments: what the user would start TensorFlow Serving with, and what each process is really started with. Pure.

The user's own command line goes on working: its ports become the front's, its batching file and thread flags become
the first configuration, and everything the node does not steer is passed on as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.domain.errors import InfeasibleConfigError
from service.domain.serving_config import ServingConfig
from service.node import batching_file
from service.node.batching_file import Extras
from service.node.envoy_config import Endpoint
from service.node.errors import ArgumentError

#: Most threads that are asked for, whatever the configuration: gRPC makes its own on demand, REST all at the start.
MAX_GRPC_THREADS = 4096
MAX_REST_THREADS = 512

#: Server threads for each processor where nothing asks for more: TensorFlow Serving's own default.
_THREADS_A_CPU = 4

#: Flags that the node sets itself, and so takes off the user's line; the reason where it refuses them.
_REFUSED = {
    "grpc_socket_path": "several processes cannot share a socket; clients reach Envoy's port",
    "agent_port": "the node has an agent of its own: regulus node --agent-port",
    "instances": "regulus node --instances sets how many processes there are at the start",
    "platform_config_file": "it makes the batching and thread flags ineffective, so nothing could be changed",
    "ssl_config_file": "TLS would have to end at Envoy, in front of the servers",
}
_BOOLEAN = {"enable_batching", "enable_per_model_batching_parameters"}
_STEERED = {
    "port",
    "rest_api_port",
    "batching_parameters_file",
    "tensorflow_session_parallelism",
    "tensorflow_inter_op_parallelism",
    "tensorflow_intra_op_parallelism",
    "grpc_max_threads",
    "rest_api_num_threads",
    "monitoring_config_file",
    "model_name",
    "model_base_path",
    "model_config_file",
    *_BOOLEAN,
    *_REFUSED,
}
#: Added unless the user says otherwise. A model that does not load shall end the process within seconds, not after
#: five attempts a minute apart; and loading shall not hold up the thread that answers.
_DEFAULTS = {"max_num_load_retries": "2", "load_retry_interval_micros": "1000000", "num_load_threads": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerArguments:
    """A user's command line, understood.

    Attributes:
        grpc_port: Where clients expect gRPC.
        rest_port: Where clients expect REST; None for nowhere.
        model: The model whose status and metrics are looked at.
        model_base_path: Folder of its versions; None with a model_config_file.
        per_model_batching: Whether sizes and timeouts come from each version's folder: the cheap path.
        initial: The configuration that it describes.
        extras: What its batching file says beyond that.
        least_grpc_threads: Never fewer; 0 where the user does not say.
        least_rest_threads: The same for REST.
        passed: Everything else, as it was written.
    """

    grpc_port: int
    rest_port: int | None
    model: str
    model_base_path: Path | None
    per_model_batching: bool
    initial: ServingConfig
    extras: Extras
    least_grpc_threads: int
    least_rest_threads: int
    passed: tuple[str, ...]


def understand(
    arguments: Sequence[str], *, cpus: float, instances: int, model: str | None, read: Callable[[str], str]
) -> ServerArguments:
    """Read the arguments of a server.

    Args:
        arguments: As after the program's name.
        cpus: Processors of the node; batch threads where the batching file names none.
        instances: Server processes at the start.
        model: With a model_config_file, the model that is looked at.
        read: Content of a file.

    Raises:
        ArgumentError: One of them cannot be honoured; says why.
    """
    values, passed = _split(arguments)
    for name, why in _REFUSED.items():
        if name in values:
            raise ArgumentError(f"--{name} cannot be used on a node: {why}")
    config_file = values.get("model_config_file", "")
    if config_file and model is None:
        raise ArgumentError("with --model_config_file, --model must name the model that is watched and steered")
    if not config_file and not values.get("model_base_path"):
        raise ArgumentError("--model_base_path or --model_config_file must say what is served")
    per_model = _flag(values, "enable_per_model_batching_parameters")
    if per_model and config_file:
        raise ArgumentError(
            "--enable_per_model_batching_parameters needs --model_base_path: the node makes the version folders itself"
        )
    initial, extras = _initial(values, cpus, instances, read)
    if config_file:
        passed.append(f"--model_config_file={config_file}")
    return ServerArguments(
        grpc_port=_number(values, "port", 8500),
        rest_port=_number(values, "rest_api_port", 0) or None,
        model=model or values.get("model_name", "default"),
        model_base_path=None if config_file else Path(values["model_base_path"]),
        per_model_batching=per_model,
        initial=initial,
        extras=extras,
        least_grpc_threads=_number(values, "grpc_max_threads", 0),
        least_rest_threads=_number(values, "rest_api_num_threads", 0),
        passed=tuple(passed),
    )


def thread_counts(config: ServingConfig, arguments: ServerArguments, cpus: float) -> tuple[int, int]:
    """Threads of gRPC and of REST that let batches grow to their size.

    Every request holds one of these threads until it is answered, so no more requests than threads are ever together
    in the server: enough for the batches in execution, and as many again that gather meanwhile.
    """
    wanted = 2 * config.max_batch_size * config.num_batch_threads if config.enable_batching else 0
    least = _THREADS_A_CPU * math.ceil(cpus)
    grpc = max(arguments.least_grpc_threads, least, min(wanted, MAX_GRPC_THREADS))
    # One REST thread is the event loop's.
    rest = max(arguments.least_rest_threads, least, min(wanted, MAX_REST_THREADS)) + 1
    return grpc, rest


def session_threads(wanted: int, cpus: float, schedulable: int) -> int:
    """A thread flag's value. 0 (let TensorFlow choose) means all processors it sees, which a cgroup quota hides."""
    return wanted or (math.ceil(cpus) if cpus < schedulable else 0)


def command(
    arguments: ServerArguments,
    config: ServingConfig,
    endpoint: Endpoint,
    *,
    batching: Path,
    monitoring: Path,
    base_path: Path | None,
    cpus: float,
    schedulable: int,
) -> list[str]:
    """The arguments of one server process.

    Args:
        arguments: The user's.
        config: To be in force.
        endpoint: Its ports.
        batching: The batching file, already written; used when batching is on.
        monitoring: The file that turns the metrics page on.
        base_path: Folder of the model's versions; None with a model_config_file.
        cpus: Processors of the node.
        schedulable: Processors that the kernel may run it on.
    """
    grpc_threads, rest_threads = thread_counts(config, arguments, cpus)
    flags = {
        "port": endpoint.grpc_port,
        "rest_api_port": endpoint.rest_port,
        "grpc_max_threads": grpc_threads,
        "rest_api_num_threads": rest_threads,
        "monitoring_config_file": monitoring,
        "tensorflow_inter_op_parallelism": session_threads(config.tensorflow_inter_op_parallelism, cpus, schedulable),
        "tensorflow_intra_op_parallelism": session_threads(config.tensorflow_intra_op_parallelism, cpus, schedulable),
    }
    line = [f"--{name}={value}" for name, value in flags.items()]
    if base_path is not None:
        line += [f"--model_name={arguments.model}", f"--model_base_path={base_path}"]
    if arguments.per_model_batching:
        line += ["--enable_batching=true", "--enable_per_model_batching_parameters=true"]
        line.append(f"--batching_parameters_file={batching}")
    elif config.enable_batching:
        line += ["--enable_batching=true", f"--batching_parameters_file={batching}"]
    given = {argument[2:].partition("=")[0] for argument in arguments.passed}
    line += [f"--{name}={value}" for name, value in _DEFAULTS.items() if name not in given]
    return [*line, *arguments.passed]


def _split(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Values of the flags that the node steers, and all other arguments as they are."""
    values: dict[str, str] = {}
    passed: list[str] = []
    remaining = list(reversed(arguments))
    while remaining:
        argument = remaining.pop()
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or name not in _STEERED:
            passed.append(argument)
            continue
        if not equals and name in _BOOLEAN:
            value = "true"
        elif not equals:
            if not remaining or remaining[-1].startswith("--"):
                raise ArgumentError(f"--{name} needs a value: --{name}=VALUE")
            value = remaining.pop()
        values[name] = value
    return values, passed


def _initial(
    values: dict[str, str], cpus: float, instances: int, read: Callable[[str], str]
) -> tuple[ServingConfig, Extras]:
    extras = Extras()
    config = ServingConfig()
    path = values.get("batching_parameters_file", "")
    if _flag(values, "enable_batching"):
        config = ServingConfig(enable_batching=True, num_batch_threads=max(1, math.ceil(cpus)))
        if path:
            try:
                text = read(path)
            except OSError as error:
                raise ArgumentError(f"--batching_parameters_file={path}: {error.strerror}") from None
            config, extras = batching_file.parse(text, config.num_batch_threads, path)
    elif path or _flag(values, "enable_per_model_batching_parameters"):
        raise ArgumentError("batching parameters need --enable_batching")
    inter = _number(values, "tensorflow_inter_op_parallelism", 0)
    intra = _number(values, "tensorflow_intra_op_parallelism", 0)
    if not inter and not intra:
        inter = intra = _number(values, "tensorflow_session_parallelism", 0)
    try:
        return (
            config.with_values(
                tensorflow_inter_op_parallelism=inter, tensorflow_intra_op_parallelism=intra, instances=instances
            ),
            extras,
        )
    except InfeasibleConfigError as error:
        raise ArgumentError(str(error)) from None


def _flag(values: dict[str, str], name: str) -> bool:
    value = values.get(name, "false").lower()
    if value not in ("true", "1", "false", "0"):
        raise ArgumentError(f"--{name} must be true or false, not {value!r}")
    return value in ("true", "1")


def _number(values: dict[str, str], name: str, default: int) -> int:
    value = values.get(name, str(default))
    if not value.isascii() or not value.isdigit():
        raise ArgumentError(f"--{name} must be a whole number, not {value!r}")
    return int(value)
