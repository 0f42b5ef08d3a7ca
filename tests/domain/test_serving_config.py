from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.errors import InfeasibleConfigError
from service.domain.serving_config import ServingConfig

BATCHED = ServingConfig(enable_batching=True, max_batch_size=32, allowed_batch_sizes=(8, 32))


@st.composite
def configs(draw: st.DrawFn) -> ServingConfig:
    sizes = sorted(draw(st.sets(st.integers(1, 512), max_size=5)))
    return ServingConfig(
        enable_batching=draw(st.booleans()),
        max_batch_size=sizes[-1] if sizes else draw(st.integers(1, 512)),
        batch_timeout_micros=draw(st.integers(0, 100_000)),
        num_batch_threads=draw(st.integers(1, 16)),
        max_enqueued_batches=draw(st.integers(1, 1000)),
        allowed_batch_sizes=tuple(sizes),
        tensorflow_inter_op_parallelism=draw(st.integers(0, 16)),
        tensorflow_intra_op_parallelism=draw(st.integers(0, 16)),
        instances=draw(st.integers(1, 8)),
    )


@given(configs())
def test_a_configuration_survives_json(config: ServingConfig) -> None:
    assert ServingConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@given(configs(), configs())
def test_equal_configurations_are_those_without_differences(one: ServingConfig, other: ServingConfig) -> None:
    assert (one == other) == (not one.differences(other))
    if one == other:
        assert hash(one) == hash(other)


def test_the_default_is_tensorflow_servings() -> None:
    config = ServingConfig()
    assert not config.enable_batching
    assert (config.max_batch_size, config.batch_timeout_micros, config.max_enqueued_batches) == (1000, 0, 10)


def test_without_batching_the_batching_knobs_make_no_difference() -> None:
    assert ServingConfig(enable_batching=False, max_batch_size=8, num_batch_threads=4) == ServingConfig()
    assert BATCHED.with_values(enable_batching=False) == ServingConfig()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("enable_batching", 1),
        ("enable_batching", None),
        ("max_batch_size", 0),
        ("max_batch_size", 1.0),
        ("max_batch_size", True),
        ("max_batch_size", "32"),
        ("batch_timeout_micros", -1),
        ("num_batch_threads", 0),
        ("max_enqueued_batches", 0),
        ("tensorflow_inter_op_parallelism", -1),
        ("tensorflow_intra_op_parallelism", 5000),
        ("instances", 0),
        ("allowed_batch_sizes", (0, 32)),
        ("allowed_batch_sizes", (8, 8, 32)),
        ("allowed_batch_sizes", (32, 8)),
        ("allowed_batch_sizes", (8, 16)),
        ("allowed_batch_sizes", (True, 32)),
    ],
)
def test_a_value_the_node_cannot_run_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InfeasibleConfigError) as caught:
        BATCHED.with_values(**{field: value})
    assert caught.value.field == field


def test_an_unknown_knob_is_refused_by_name_and_the_known_are_told() -> None:
    with pytest.raises(InfeasibleConfigError, match=r"batch_size: is not a knob.*max_batch_size"):
        ServingConfig.from_dict({"batch_size": 3})


@pytest.mark.parametrize("sizes", ["32", 32, None, {"32": 1}])
def test_allowed_sizes_must_be_a_list(sizes: Any) -> None:
    with pytest.raises(InfeasibleConfigError, match="allowed_batch_sizes: must be a list"):
        ServingConfig.from_dict({"enable_batching": True, "allowed_batch_sizes": sizes})


def test_missing_fields_take_their_defaults() -> None:
    assert ServingConfig.from_dict({"instances": 2}) == ServingConfig(instances=2)


def test_differences_name_both_values() -> None:
    assert BATCHED.differences(BATCHED.with_values(num_batch_threads=4)) == {"num_batch_threads": (1, 4)}


def test_people_read_the_interesting_knobs() -> None:
    assert ServingConfig(instances=2).describe() == "batching off inter=0 intra=0 instances=2"
    assert BATCHED.describe().startswith("batch≤32 wait=0µs threads=1")
