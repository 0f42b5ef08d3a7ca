"""What cgroup files mean."""

from __future__ import annotations

import os

import pytest

from service.modelserver.node_limits import cpus, memory_bytes, node_cpus


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8.0),
        ({"cpu.max": "max 100000\n"}, 8.0),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "1600000 100000\n"}, 8.0),
        ({"cpu.max": "garbage"}, 8.0),
        ({"cpu.max": "100000 0"}, 8.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8.0),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "50000\n"}, 8.0),
    ],
)
def test_the_quota_counts_where_it_is_below_the_affinity(files: dict[str, str], expected: float) -> None:
    assert cpus(files.get, 8) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"memory.max": "max\n"}, None),
        ({"memory.max": "1073741824\n"}, 1 << 30),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ({"memory/memory.limit_in_bytes": "2147483648\n"}, 2 << 30),
        ({"memory.max": "nonsense"}, None),
    ],
)
def test_the_memory_limit_is_the_cgroups(files: dict[str, str], expected: int | None) -> None:
    assert memory_bytes(files.get) == expected


def test_this_machine_has_processors() -> None:
    assert 0 < node_cpus() <= len(os.sched_getaffinity(0))
