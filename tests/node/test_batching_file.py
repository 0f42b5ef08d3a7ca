"""The batching file: what is written is read back by TensorFlow's own parser and by ours, and never breaks a rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.errors import InfeasibleConfigError
from service.domain.serving_config import ServingConfig
from service.modelserver.batching_parameters import parse_batching_parameters
from service.node.batching_file import Extras, check, parse, render, render_pool
from service.node.errors import ArgumentError


@st.composite
def configs(draw: st.DrawFn) -> ServingConfig:
    sizes = tuple(sorted(draw(st.sets(st.integers(1, 256), max_size=4))))
    largest = sizes[-1] if sizes else draw(st.integers(1, 1024))
    return ServingConfig(
        enable_batching=True,
        max_batch_size=largest,
        batch_timeout_micros=draw(st.integers(0, 100_000)),
        num_batch_threads=draw(st.integers(1, 64)),
        max_enqueued_batches=draw(st.integers(1, 1000)),
        allowed_batch_sizes=sizes,
    )


def extras() -> st.SearchStrategy[Extras]:
    plain = st.builds(
        Extras,
        thread_pool_name=st.none() | st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1),
        pad_variable_length_inputs=st.booleans(),
    )
    splitting = st.builds(
        Extras, enable_large_batch_splitting=st.just(True), max_execution_batch_size=st.none() | st.integers(1, 300)
    )
    return plain | splitting


@given(config=configs(), more=extras())
def test_what_is_written_is_what_the_server_reads(config: ServingConfig, more: Extras) -> None:
    text = render(config, more)
    read = parse_batching_parameters(text)  # the official message and TensorFlow Serving's rules
    assert (read.max_batch_size, read.batch_timeout_micros) == (config.max_batch_size, config.batch_timeout_micros)
    assert (read.num_batch_threads, read.max_enqueued_batches) == (
        config.num_batch_threads,
        config.max_enqueued_batches,
    )
    assert read.enable_large_batch_splitting == more.enable_large_batch_splitting
    assert read.pad_variable_length_inputs == more.pad_variable_length_inputs
    if more.thread_pool_name is not None:
        assert read.thread_pool_name == more.thread_pool_name
    if not more.enable_large_batch_splitting:
        assert read.allowed_batch_sizes == config.allowed_batch_sizes


@given(config=configs(), more=extras())
def test_what_is_written_is_read_back(config: ServingConfig, more: Extras) -> None:
    read, extra = parse(render(config, more), 2, "ours")
    assert extra.pad_variable_length_inputs == more.pad_variable_length_inputs
    assert extra.thread_pool_name == more.thread_pool_name
    if not more.enable_large_batch_splitting:
        assert read == config


def test_a_users_file_in_all_its_ways_of_writing() -> None:
    config, more = parse(
        """
        # by hand
        max_batch_size: { value: 16 }, batch_timeout_micros { value: 1000 };
        allowed_batch_sizes: [4, 8] allowed_batch_sizes: 16
        thread_pool_name { value: "a \\"pool\\"" }
        """,
        3,
        "params.txt",
    )
    assert config == ServingConfig(
        enable_batching=True,
        max_batch_size=16,
        batch_timeout_micros=1000,
        num_batch_threads=3,
        allowed_batch_sizes=(4, 8, 16),
    )
    assert more.thread_pool_name == 'a "pool"'


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("max_batch_size { value: 8 } allowed_batch_sizes: 4", "allowed_batch_sizes"),
        ("max_batch_size { value: 0 }", "max_batch_size"),
        ("num_batch_threads { value: 0 }", "num_batch_threads"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros"),
        ("max_batch_sise { value: 8 }", "max_batch_sise"),
        ("max_batch_size { value: 8 ", "max_batch_size"),
        ("max_batch_size", "max_batch_size"),
        ("max_batch_size { size: 8 }", "max_batch_size"),
        ("max_batch_size { value: 8 } @", "line 1"),
        ("max_batch_size { value: 8 } max_execution_batch_size { value: 4 }", "max_execution_batch_size"),
    ],
)
def test_a_file_that_would_kill_the_server_is_refused_with_its_name_and_the_field(text: str, named: str) -> None:
    with pytest.raises(ArgumentError, match=f"params.txt: .*{named}|params.txt: {named}"):
        parse(text, 2, "params.txt")


def test_splitting_keeps_its_execution_size_within_every_batch_size() -> None:
    more = Extras(enable_large_batch_splitting=True, max_execution_batch_size=16)
    check(ServingConfig(enable_batching=True, max_batch_size=8), more)
    assert "max_execution_batch_size { value: 8 }" in render(
        ServingConfig(enable_batching=True, max_batch_size=8), more
    )
    with pytest.raises(InfeasibleConfigError):
        check(ServingConfig(enable_batching=True), Extras(max_execution_batch_size=16))


def test_beside_per_model_files_the_server_wide_one_holds_the_pool_alone() -> None:
    text = render_pool(ServingConfig(enable_batching=True, num_batch_threads=3), Extras(thread_pool_name="p"))
    assert text == 'num_batch_threads { value: 3 }\nthread_pool_name { value: "p" }\n'
