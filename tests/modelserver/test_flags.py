from __future__ import annotations

import contextlib
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.modelserver.flag_specs import FlagError, Support
from service.modelserver.flags import FLAGS, ServerFlags, notes, parse_flags
from service.modelserver.flags_help import information, usage
from service.modelserver.status import Code

MODEL = ["--model_base_path=/models/m"]
CPUS = len(os.sched_getaffinity(0))


def refusal(*arguments: str) -> FlagError:
    with pytest.raises(FlagError) as caught:
        parse_flags([*MODEL, *arguments])
    return caught.value


def test_without_flags_the_defaults_are_those_of_tensorflow_serving() -> None:
    flags = parse_flags(MODEL)
    expected: dict[str, Any] = {
        "port": 8500,
        "rest_api_port": 0,
        "grpc_socket_path": "",
        "grpc_channel_arguments": "",
        "grpc_max_threads": 4 * CPUS,
        "rest_api_num_threads": 4 * CPUS,
        "rest_api_timeout_in_ms": 30000,
        "enable_batching": False,
        "batching_parameters_file": "",
        "enable_per_model_batching_parameters": False,
        "model_name": "default",
        "model_config_file": "",
        "model_config_file_poll_wait_seconds": 0,
        "file_system_poll_wait_seconds": 1,
        "num_load_threads": 0,
        "num_unload_threads": 0,
        "max_num_load_retries": 5,
        "load_retry_interval_micros": 60_000_000,
        "tensorflow_session_parallelism": 0,
        "tensorflow_intra_op_parallelism": 0,
        "tensorflow_inter_op_parallelism": 0,
        "monitoring_config_file": "",
        "platform_config_file": "",
        "ssl_config_file": "",
        "tensorflow_session_config_file": "",
        "enable_model_warmup": True,
        "num_request_iterations_for_warmup": 0,
        "prefer_tflite_model": False,
        "num_tflite_pools": CPUS,
        "num_tflite_interpreters_per_pool": 1,
        "enable_grpc_healthcheck_service": False,
        "host": "127.0.0.1",
        "agent_port": 0,
        "instances": 1,
        "drain_timeout_seconds": 30.0,
    }
    assert {name: getattr(flags, name) for name in expected} == expected


@pytest.mark.parametrize("written", ["--port=9000", "--port 9000", "--port=+9000"])
def test_a_number_may_follow_an_equals_sign_or_a_space(written: str) -> None:
    assert parse_flags([*MODEL, *written.split()]).port == 9000


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("--enable_batching", True),
        ("--enable_batching=true", True),
        ("--enable_batching=1", True),
        ("--enable_batching=false", False),
        ("--enable_batching=0", False),
    ],
)
def test_a_boolean_stands_alone_or_has_a_value(written: str, value: bool) -> None:
    assert parse_flags([*MODEL, written]).enable_batching is value


def test_a_boolean_does_not_swallow_the_next_argument() -> None:
    assert "unknown argument: 'true'" in refusal("--enable_batching", "true").message


def test_the_last_of_a_repeated_flag_wins() -> None:
    assert parse_flags([*MODEL, "--port=1", "--port=2"]).port == 2


def test_a_negative_number_may_follow_a_space() -> None:
    assert parse_flags([*MODEL, "--load_retry_interval_micros", "-1"]).load_retry_interval_micros == -1


@pytest.mark.parametrize(
    ("unknown", "nearest"),
    [
        ("--model_base_pth=/x", "--model_base_path"),
        ("--rest-api-port=8501", "--rest_api_port"),
        ("--enable_batch", "--enable_batching"),
        ("--rest_port=8501", "--rest_api_port"),
    ],
)
def test_an_unknown_flag_names_the_nearest_known_one(unknown: str, nearest: str) -> None:
    error = refusal(unknown)
    assert error.code is Code.INVALID_ARGUMENT
    assert f"did you mean {nearest}?" in error.message


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("--port=abc", ("--port", "0 to 65535", "'abc'")),
        ("--port=65536", ("--port", "0 to 65535", "'65536'")),
        ("--port=-1", ("--port", "0 to 65535", "'-1'")),
        ("--port=1_000", ("--port", "'1_000'")),
        ("--port=٣", ("--port", "'٣'")),
        ("--port=", ("--port", "''")),
        ("--rest_api_timeout_in_ms=1.5", ("--rest_api_timeout_in_ms", "whole number", "(ms)", "'1.5'")),
        ("--rest_api_timeout_in_ms=99999999999", ("--rest_api_timeout_in_ms", "2147483647")),
        ("--enable_batching=maybe", ("--enable_batching", "true or false", "'maybe'")),
        ("--drain_timeout_seconds=nan", ("--drain_timeout_seconds", "(seconds)", "'nan'")),
        ("--drain_timeout_seconds=inf", ("--drain_timeout_seconds", "3600")),
        ("--instances=0", ("--instances", "1 to 64")),
        ("--agent_port=70000", ("--agent_port", "65535")),
        ("--port", ("--port needs a value", "--port=N")),
        ("--model_name", ("--model_name needs a value", "--model_name=TEXT")),
        ("--grpc_socket_path=a\0b", ("--grpc_socket_path", "NUL")),
    ],
)
def test_a_wrong_value_names_the_flag_the_value_and_what_would_be_right(written: str, parts: tuple[str, ...]) -> None:
    error = refusal(written)
    assert error.code is Code.INVALID_ARGUMENT
    for part in parts:
        assert part in error.message


@pytest.mark.parametrize("argument", ["model", "-port=1", "--", "—port=1", ""])
def test_what_is_no_flag_is_refused(argument: str) -> None:
    assert "unknown argument" in refusal(argument).message


def test_a_batching_file_needs_batching() -> None:
    error = refusal("--batching_parameters_file=/b.txt")
    assert error.code is Code.INVALID_ARGUMENT
    assert error.message == (
        "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
    )


def test_all_three_parallelism_flags_at_once_are_refused() -> None:
    error = refusal(
        "--tensorflow_session_parallelism=1",
        "--tensorflow_intra_op_parallelism=1",
        "--tensorflow_inter_op_parallelism=1",
    )
    assert error.message.endswith("You cannot configure all.")


@pytest.mark.parametrize(
    ("arguments", "inter_and_intra"),
    [
        ([], (0, 0)),
        (["--tensorflow_session_parallelism=3"], (3, 3)),
        (["--tensorflow_inter_op_parallelism=2"], (2, 0)),
        (["--tensorflow_intra_op_parallelism=2"], (0, 2)),
        (["--tensorflow_session_parallelism=3", "--tensorflow_intra_op_parallelism=2"], (0, 2)),
        (["--tensorflow_inter_op_parallelism=1", "--tensorflow_intra_op_parallelism=2"], (1, 2)),
    ],
)
def test_session_threads_follow_tensorflow_servings_rules(
    arguments: list[str], inter_and_intra: tuple[int, int]
) -> None:
    assert parse_flags([*MODEL, *arguments]).session_threads == inter_and_intra


def test_no_model_at_all_is_refused() -> None:
    with pytest.raises(FlagError, match="model_config_file are empty"):
        parse_flags([])


def test_a_model_config_file_wins_and_says_so() -> None:
    flags = parse_flags([*MODEL, "--model_config_file=/models.config"])
    assert flags.model_config_file == "/models.config"
    assert "--model_name and --model_base_path are ignored because --model_config_file is set." in notes(flags)


def test_two_uses_of_one_port_are_refused() -> None:
    assert "--rest_api_port cannot be same as --port" in refusal("--port=9000", "--rest_api_port=9000").message
    assert "--agent_port cannot be same as --rest_api_port" in refusal("--rest_api_port=9", "--agent_port=9").message


def test_grpc_may_be_on_a_socket_alone_but_not_nowhere() -> None:
    assert parse_flags([*MODEL, "--port=0", "--grpc_socket_path=/run/s"]).port == 0
    assert "grpc_socket_path must be set" in refusal("--port=0").message


def test_channel_arguments_are_pairs_with_integers_where_they_look_like_it() -> None:
    flags = parse_flags([*MODEL, "--grpc_channel_arguments=grpc.max_connection_age_ms=2000,grpc.x=a,grpc.y=-1"])
    assert flags.channel_options == [("grpc.max_connection_age_ms", 2000), ("grpc.x", "a"), ("grpc.y", -1)]


@pytest.mark.parametrize("value", ["a", "a=", "=1", "a=1,b"])
def test_a_malformed_channel_argument_is_refused(value: str) -> None:
    assert "--grpc_channel_arguments must be key=value pairs" in refusal(f"--grpc_channel_arguments={value}").message


@pytest.mark.parametrize("name", [spec.name for spec in FLAGS.values() if spec.support is Support.REFUSED])
def test_an_unsupported_flag_is_refused_unless_it_has_its_default(name: str) -> None:
    spec = FLAGS[name]
    other = {bool: "true", str: "/some/file", float: "0.5"}[spec.kind]
    default = str(spec.default_value).lower()
    assert getattr(parse_flags([*MODEL, f"--{name}={default}"]), name) == spec.default_value
    error = refusal(f"--{name}={other}")
    assert error.code is Code.UNIMPLEMENTED
    assert f"--{name} is not supported by this server." in error.message


@pytest.mark.parametrize("name", [spec.name for spec in FLAGS.values() if spec.support is Support.NO_EFFECT])
def test_a_flag_without_effect_is_accepted_with_a_note(name: str) -> None:
    spec = FLAGS[name]
    other = str(not spec.default_value).lower() if spec.kind is bool else "63"
    flags = parse_flags([*MODEL, f"--{name}={other}"])
    assert any(line.startswith(f"--{name} has no effect in this server.") for line in notes(flags))
    assert not notes(parse_flags(MODEL))


def test_contradictions_that_tensorflow_serving_ignores_are_noted() -> None:
    flags = parse_flags(
        [
            *MODEL,
            "--monitoring_config_file=/m",
            "--enable_per_model_batching_parameters",
            "--tensorflow_session_parallelism=2",
            "--tensorflow_intra_op_parallelism=1",
        ]
    )
    text = "\n".join(notes(flags))
    assert "--monitoring_config_file has no effect without --rest_api_port" in text
    assert "--enable_per_model_batching_parameters has no effect without --enable_batching" in text
    assert "--tensorflow_session_parallelism is ignored" in text


def test_help_shows_every_flag_with_its_default_and_unit() -> None:
    text = usage()
    for spec in FLAGS.values():
        assert f"  --{spec.name}=" in text
        assert spec.help.split()[0] in text
    assert "--rest_api_timeout_in_ms=30000  [ms]" in text
    assert f"--grpc_max_threads={4 * CPUS}  [requests]" in text
    assert "without effect here" in text


def test_help_and_version_are_recognised_anywhere() -> None:
    assert information([*MODEL, "--help"]) == usage()
    version = information(["--version"])
    assert version is not None
    assert "TensorFlow Library: 2." in version
    assert information(MODEL) is None


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=20),
            st.builds(
                lambda name, value: f"--{name}={value}",
                st.sampled_from(sorted(FLAGS)),
                st.one_of(st.text(max_size=12), st.integers().map(str), st.floats().map(str)),
            ),
            st.sampled_from([f"--{name}" for name in FLAGS]),
        ),
        max_size=6,
    )
)
def test_no_command_line_causes_anything_but_a_clear_error(arguments: list[str]) -> None:
    with contextlib.suppress(FlagError):
        assert isinstance(parse_flags(arguments), ServerFlags)
