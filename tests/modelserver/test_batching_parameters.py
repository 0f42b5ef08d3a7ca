from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.serving_config import ServingConfig
from service.modelserver.batching_parameters import (
    BatchingParameters,
    batching_parameters,
    initial_config,
    parse_batching_parameters,
    per_model_config,
    read_batching_parameters,
)
from service.modelserver.flags import parse_flags
from service.modelserver.status import Code, ServingError

MODEL = "--model_base_path=/models/m"
GUIDE = """
# As in TensorFlow Serving's batching guide.
max_batch_size { value: 128 }
batch_timeout_micros { value: 1500 }
max_enqueued_batches { value: 1000000 }
num_batch_threads { value: 8 }
thread_pool_name { value: "pool" }
allowed_batch_sizes: 32
allowed_batch_sizes: 128
pad_variable_length_inputs: true
"""


def test_a_whole_file_is_read() -> None:
    assert parse_batching_parameters(GUIDE) == BatchingParameters(
        max_batch_size=128,
        batch_timeout_micros=1500,
        max_enqueued_batches=1_000_000,
        num_batch_threads=8,
        thread_pool_name="pool",
        allowed_batch_sizes=(32, 128),
        pad_variable_length_inputs=True,
        max_execution_batch_size=128,
    )


def test_an_empty_file_has_tensorflow_servings_defaults() -> None:
    parameters = parse_batching_parameters("")
    assert parameters == BatchingParameters(
        max_batch_size=1000, batch_timeout_micros=0, max_enqueued_batches=10, num_batch_threads=None
    )
    config = initial_config(parse_flags([MODEL, "--enable_batching"]), parameters, cpus=6)
    assert config == ServingConfig(enable_batching=True, num_batch_threads=6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_size: 3", "Invalid protobuf file"),
        ("nonsense { value: 3 }", 'no field named "nonsense"'),
        ("max_batch_size { value: ", "Invalid protobuf file"),
        ("max_batch_size { value: 99999999999999999999 }", "Invalid protobuf file"),
        ("num_batch_threads { value: 0 }", "num_batch_threads must be positive; was 0"),
        ("num_batch_threads { value: 5000 }", "num_batch_threads: must lie between 1 and 1024"),
        ("max_batch_size { value: 0 }", "max_batch_size must be positive; was 0"),
        ("max_batch_size { value: -4 }", "max_batch_size must be positive; was -4"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros must be non-negative; was -1"),
        ("max_enqueued_batches { value: 0 }", "max_enqueued_batches must be positive; was 0"),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: [2, 4]",
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8",
        ),
        ("max_batch_size { value: 4 } allowed_batch_sizes: [4, 2, 4]", "must be monotonically increasing"),
        ("max_batch_size { value: 4 } allowed_batch_sizes: [-2, 4]", "allowed_batch_sizes entries must be positive"),
        ("max_execution_batch_size { value: 4 }", "only with enable_large_batch_splitting"),
        (
            "enable_large_batch_splitting { value: true } max_batch_size { value: 2 } "
            "max_execution_batch_size { value: 4 }",
            "max_batch_size must be greater than or equal to max_execution_batch_size; were 2 and 4",
        ),
        (
            "enable_large_batch_splitting { value: true } max_batch_size { value: 8 } "
            "max_execution_batch_size { value: 4 } allowed_batch_sizes: 8",
            "Last entry in allowed_batch_sizes must be equal to max_execution_batch_size; last entry was 8; expected 4",
        ),
    ],
)
def test_every_mistake_is_found_before_serving_and_names_the_field(text: str, message: str) -> None:
    with pytest.raises(ServingError) as caught:
        parse_batching_parameters(text, "/etc/batching.txt")
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert message in caught.value.message
    assert "/etc/batching.txt" in caught.value.message


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="No such file") as caught:
        read_batching_parameters(tmp_path / "none.txt")
    assert caught.value.code is Code.NOT_FOUND


def test_a_file_that_is_not_text_is_invalid(tmp_path: Path) -> None:
    file = tmp_path / "b.txt"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ServingError, match="not UTF-8"):
        read_batching_parameters(file)
    with pytest.raises(ServingError, match="cannot be read"):
        read_batching_parameters(tmp_path)


def test_without_batching_there_are_no_parameters() -> None:
    assert batching_parameters(parse_flags([MODEL])) is None


def test_batching_without_a_file_has_the_servers_pool_name() -> None:
    parameters = batching_parameters(parse_flags([MODEL, "--enable_batching"]))
    assert parameters is not None
    assert parameters.thread_pool_name == "model_server_batch_threads"


def test_the_file_that_the_flags_name_is_read(tmp_path: Path) -> None:
    file = tmp_path / "b.txt"
    file.write_text(GUIDE)
    flags = parse_flags([MODEL, "--enable_batching", f"--batching_parameters_file={file}"])
    assert batching_parameters(flags) == parse_batching_parameters(GUIDE)


def test_the_initial_configuration_joins_file_and_flags() -> None:
    flags = parse_flags(
        [MODEL, "--enable_batching", "--instances=2", "--tensorflow_intra_op_parallelism=1"],
    )
    assert initial_config(flags, parse_batching_parameters(GUIDE), cpus=4) == ServingConfig(
        enable_batching=True,
        max_batch_size=128,
        batch_timeout_micros=1500,
        max_enqueued_batches=1_000_000,
        num_batch_threads=8,
        allowed_batch_sizes=(32, 128),
        tensorflow_intra_op_parallelism=1,
        instances=2,
    )


def test_with_batching_off_only_threads_and_instances_matter() -> None:
    flags = parse_flags([MODEL, "--tensorflow_session_parallelism=2"])
    assert initial_config(flags, None, cpus=4) == ServingConfig(
        tensorflow_inter_op_parallelism=2, tensorflow_intra_op_parallelism=2
    )


def test_a_versions_own_file_changes_sizes_but_not_threads() -> None:
    base = ServingConfig(enable_batching=True, num_batch_threads=3, tensorflow_inter_op_parallelism=1)
    own = parse_batching_parameters(GUIDE)
    assert per_model_config(base, own) == base.with_values(
        max_batch_size=128, batch_timeout_micros=1500, max_enqueued_batches=1_000_000, allowed_batch_sizes=(32, 128)
    )


def test_with_splitting_the_request_limit_joins_the_allowed_sizes() -> None:
    parameters = parse_batching_parameters(
        "enable_large_batch_splitting { value: true } max_batch_size { value: 64 } "
        "max_execution_batch_size { value: 16 } allowed_batch_sizes: [4, 16]"
    )
    assert (parameters.max_batch_size, parameters.max_execution_batch_size) == (64, 16)
    assert parameters.split_size == 16
    assert parse_batching_parameters("max_batch_size { value: 64 }").split_size == 0
    config = per_model_config(ServingConfig(enable_batching=True), parameters)
    assert (config.max_batch_size, config.allowed_batch_sizes) == (64, (4, 16, 64))
    assert parameters == replace(parameters, allowed_batch_sizes=(4, 16))


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.text(max_size=40),
        st.lists(
            st.builds(
                lambda name, number: f"{name} {{ value: {number} }}",
                st.sampled_from(
                    ["max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"]
                ),
                st.integers(-(2**65), 2**65),
            ),
            max_size=3,
        ).map(" ".join),
    )
)
def test_no_text_causes_anything_but_a_clear_error(text: str) -> None:
    with contextlib.suppress(ServingError):
        config = per_model_config(ServingConfig(), parse_batching_parameters(text))
        assert config.enable_batching
