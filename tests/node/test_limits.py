"""Limits: quota, memory, what fits, and what may be asked for."""

from __future__ import annotations

import pytest

from service.domain.errors import InfeasibleConfigError
from service.domain.serving_config import ServingConfig
from service.node.errors import HeadRoomError
from service.node.limits import (
    BASE_BYTES,
    Read,
    check_feasible,
    check_head_room,
    cpus,
    free_memory,
    knob_bounds,
    memory_limit,
)

GIB = 1 << 30
MEMINFO = "MemTotal:       16000000 kB\nMemAvailable:    8388608 kB\n"


def cgroup(**files: str) -> Read:
    return {name.replace("__", "/").replace("_dot_", "."): text for name, text in files.items()}.get


V2 = cgroup(
    cpu_dot_max="150000 100000\n",
    memory_dot_max=f"{4 * GIB}\n",
    memory_dot_current=f"{3 * GIB}\n",
    memory_dot_stat=f"anon 1\ninactive_file {GIB}\n",
)


def test_the_quota_counts_where_it_is_smaller_than_the_affinity() -> None:
    assert cpus(V2, 8) == 1.5
    assert cpus(V2, 1) == 1.0
    assert cpus(cgroup(cpu_dot_max="max 100000\n"), 8) == 8.0
    assert cpus({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}.get, 8) == 0.5
    assert cpus(cgroup(), 3) == 3.0


def test_free_memory_is_the_cgroups_without_cached_files_or_the_machines() -> None:
    assert memory_limit(V2) == 4 * GIB
    assert free_memory(V2, MEMINFO) == 2 * GIB
    assert free_memory(cgroup(), MEMINFO) == 8 * GIB
    assert free_memory(cgroup(memory_dot_max="max"), MEMINFO) == 8 * GIB
    assert free_memory(cgroup(), "") is None
    v1 = {
        "memory/memory.limit_in_bytes": str(2 * GIB),
        "memory/memory.usage_in_bytes": str(GIB),
        "memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB // 2}\n",
    }
    assert free_memory(v1.get, MEMINFO) == GIB + GIB // 2


def test_two_generations_must_fit() -> None:
    check_head_room(1, 100 << 20, 0, GIB)
    check_head_room(0, 100 * GIB, 0, 0)
    check_head_room(9, 100 * GIB, 0, None)
    with pytest.raises(HeadRoomError, match="2 more server process"):
        check_head_room(2, GIB, 0, 3 * GIB)
    check_head_room(1, 0, 0, 2 * BASE_BYTES)
    with pytest.raises(HeadRoomError, match="1024 MiB"):  # what was measured counts where it is more than the estimate
        check_head_room(1, 0, GIB, GIB)


def test_threads_are_bounded_by_the_processors_and_what_the_user_began_with_is_allowed() -> None:
    bounds = knob_bounds(1.5, ServingConfig(enable_batching=True, num_batch_threads=64))
    assert bounds["tensorflow_intra_op_parallelism"] == (0, 2)
    assert bounds["num_batch_threads"] == (1, 64)
    check_feasible(ServingConfig(), bounds, 1.5)
    for knob, value in (("tensorflow_inter_op_parallelism", 3), ("instances", 3)):
        with pytest.raises(InfeasibleConfigError) as refused:
            check_feasible(ServingConfig().with_values(**{knob: value}), bounds, 1.5)
        assert refused.value.field == knob


def test_many_instances_of_many_batches_are_too_much_together() -> None:
    bounds = knob_bounds(4, ServingConfig())
    config = ServingConfig(enable_batching=True, num_batch_threads=16, instances=2)
    check_feasible(config, bounds, 4)
    with pytest.raises(InfeasibleConfigError) as refused:
        check_feasible(config.with_values(instances=4), bounds, 4)
    assert refused.value.field == "num_batch_threads"
