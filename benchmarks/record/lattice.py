"""Lattice: which configurations a landscape measures, and in which order.

What needs new sessions takes about a second to switch, the rest milliseconds: so configurations are visited in small
groups that share their sessions, the groups in random order and the configurations of a group too. A drift of the
machine then falls on no knob in particular.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

from service.domain.serving_config import ServingConfig
from service.learning.space import BATCHING_OFF, ConfigSpace, Knob

T = TypeVar("T")

#: Configurations of a group at most: half a minute of visits or less.
GROUP = 20


def recording_space(cpus: int) -> ConfigSpace:
    """The lattice that is recorded: 558 configurations on two processors, with every knob of the agent API.

    Automatic thread counts (0) are left out: they stand for a number of threads that is in the lattice by itself.
    """
    threads = _powers_of_two(cpus)
    knobs = {
        "max_batch_size": (BATCHING_OFF, 4, 8, 16, 32, 64),
        "batch_timeout_micros": (0, 1_000, 2_000, 5_000, 10_000),
        "num_batch_threads": _powers_of_two(2 * cpus),
        "tensorflow_inter_op_parallelism": threads,
        "tensorflow_intra_op_parallelism": threads,
        "instances": threads,
    }
    return ConfigSpace([Knob(name, values) for name, values in knobs.items()], cpus=cpus)


def in_groups(configs: Iterable[ServingConfig], rng: np.random.Generator) -> list[ServingConfig]:
    """The same configurations in the order of visits."""
    shared: dict[tuple[int, int, int], list[ServingConfig]] = {}
    for config in configs:
        shared.setdefault(_sessions(config), []).append(config)
    mixed = [_shuffled(group, rng) for group in shared.values()]
    groups = [group[i : i + GROUP] for group in mixed for i in range(0, len(group), GROUP)]
    return [config for group in _shuffled(groups, rng) for config in group]


def _sessions(config: ServingConfig) -> tuple[int, int, int]:
    return config.tensorflow_inter_op_parallelism, config.tensorflow_intra_op_parallelism, config.instances


def _shuffled(items: Sequence[T], rng: np.random.Generator) -> list[T]:
    return [items[i] for i in rng.permutation(len(items))]


def _powers_of_two(limit: int) -> tuple[int, ...]:
    return tuple(1 << i for i in range(max(limit, 1).bit_length()))
