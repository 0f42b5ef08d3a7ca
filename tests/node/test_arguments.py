"""Arguments: a user's command line goes on working, and the node's own flags take the place of what it steers."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.domain.serving_config import ServingConfig
from service.modelserver.flags import parse_flags
from service.node.arguments import MAX_GRPC_THREADS, ServerArguments, command, thread_counts, understand
from service.node.envoy_config import Endpoint
from service.node.errors import ArgumentError

BASE = "--model_base_path=/models/m"
BATCHED = ServingConfig(enable_batching=True, max_batch_size=32, num_batch_threads=4)


def understood(*arguments: str, text: str = "", cpus: float = 2.0, model: str | None = None) -> ServerArguments:
    return understand(arguments, cpus=cpus, instances=1, model=model, read=lambda path: text)


def line(arguments: ServerArguments, config: ServingConfig, *, cpus: float = 2.0, schedulable: int = 2) -> list[str]:
    return command(
        arguments,
        config,
        Endpoint(1001, 1002),
        batching=Path("/node/batching"),
        monitoring=Path("/node/monitoring"),
        base_path=arguments.model_base_path,
        cpus=cpus,
        schedulable=schedulable,
    )


def test_ports_batching_file_and_threads_become_the_front_and_the_first_configuration() -> None:
    arguments = understood(
        "--port=9000",
        "--rest_api_port",
        "9001",
        "--model_name=resnet",
        BASE,
        "--enable_batching",
        "--batching_parameters_file=/etc/batching",
        "--tensorflow_session_parallelism=3",
        "--file_system_poll_wait_seconds=7",
        text="max_batch_size { value: 16 }",
    )
    assert (arguments.grpc_port, arguments.rest_port, arguments.model) == (9000, 9001, "resnet")
    assert arguments.initial == ServingConfig(
        enable_batching=True,
        max_batch_size=16,
        num_batch_threads=2,
        tensorflow_inter_op_parallelism=3,
        tensorflow_intra_op_parallelism=3,
    )
    assert arguments.passed == ("--file_system_poll_wait_seconds=7",)


def test_what_is_not_said_has_tensorflow_servings_defaults() -> None:
    arguments = understood(BASE)
    assert (arguments.grpc_port, arguments.rest_port, arguments.model) == (8500, None, "default")
    assert arguments.initial == ServingConfig()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--port=1"], "model_base_path"),
        ([BASE, "--grpc_socket_path=/s"], "grpc_socket_path"),
        ([BASE, "--instances=2"], "regulus node --instances"),
        ([BASE, "--ssl_config_file=/s"], "Envoy"),
        (["--model_config_file=/c"], "--model must name"),
        ([BASE, "--batching_parameters_file=/b"], "enable_batching"),
        ([BASE, "--port=many"], "port"),
        ([BASE, "--port"], "needs a value"),
        ([BASE, "--enable_batching=perhaps"], "true or false"),
        ([BASE, "--tensorflow_inter_op_parallelism=5000"], "tensorflow_inter_op_parallelism"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_the_reason(arguments: list[str], named: str) -> None:
    with pytest.raises(ArgumentError, match=named):
        understood(*arguments)


@pytest.mark.parametrize("config", [ServingConfig(), BATCHED])
def test_the_line_is_one_that_the_server_takes(config: ServingConfig, tmp_path: Path) -> None:
    flags = parse_flags(line(understood(BASE, "--model_name=m", "--enable_model_warmup=false"), config))
    assert (flags.port, flags.rest_api_port) == (1001, 1002)
    assert flags.enable_batching == config.enable_batching
    assert bool(flags.batching_parameters_file) == config.enable_batching
    assert flags.monitoring_config_file == "/node/monitoring"
    assert not flags.enable_model_warmup


def test_server_threads_grow_with_the_batches_that_must_fit_and_have_a_limit() -> None:
    arguments = understood(BASE, "--grpc_max_threads=20")
    assert thread_counts(ServingConfig(), arguments, 2.0) == (20, 9)
    assert thread_counts(BATCHED, arguments, 2.0) == (256, 257)
    huge = BATCHED.with_values(max_batch_size=4096)
    assert thread_counts(huge, arguments, 2.0)[0] == MAX_GRPC_THREADS
    assert thread_counts(BATCHED, understood(BASE, "--grpc_max_threads=9999"), 2.0)[0] == 9999


def test_automatic_threads_are_the_quota_where_tensorflow_would_see_the_whole_machine() -> None:
    arguments = understood(BASE)
    assert "--tensorflow_intra_op_parallelism=0" in line(arguments, ServingConfig(), cpus=4.0, schedulable=4)
    assert "--tensorflow_intra_op_parallelism=2" in line(arguments, ServingConfig(), cpus=1.5, schedulable=64)


def test_a_load_that_fails_ends_the_process_soon_unless_the_user_says_otherwise() -> None:
    assert "--max_num_load_retries=2" in line(understood(BASE), ServingConfig())
    own = line(understood(BASE, "--max_num_load_retries=9"), ServingConfig())
    assert [flag for flag in own if "max_num_load_retries" in flag] == ["--max_num_load_retries=9"]


def test_with_per_model_parameters_batching_stays_on_and_the_version_decides() -> None:
    arguments = understood(BASE, "--enable_batching", "--enable_per_model_batching_parameters")
    off = line(arguments, ServingConfig())
    assert "--enable_batching=true" in off
    assert "--enable_per_model_batching_parameters=true" in off
