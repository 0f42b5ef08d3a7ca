"""What cgroup files mean."""

from __future__ import annotations

import os

import pytest

from service.agent.machine import cpus, free_memory, memory_limit, node_cpus, total_memory

GIB = 1 << 30
MEMINFO = "MemTotal:       16000000 kB\nMemAvailable:    8388608 kB\n"


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
        ({"memory.max": "1073741824\n"}, GIB),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ({"memory/memory.limit_in_bytes": "2147483648\n"}, 2 * GIB),
        ({"memory.max": "nonsense"}, None),
    ],
)
def test_the_memory_limit_is_the_cgroups(files: dict[str, str], expected: int | None) -> None:
    assert memory_limit(files.get) == expected


@pytest.mark.parametrize(
    ("files", "meminfo", "expected"),
    [
        (
            {
                "memory.max": f"{4 * GIB}\n",
                "memory.current": f"{3 * GIB}\n",
                "memory.stat": f"anon 1\ninactive_file {GIB}\n",
            },
            MEMINFO,
            2 * GIB,
        ),
        (
            {
                "memory/memory.limit_in_bytes": str(2 * GIB),
                "memory/memory.usage_in_bytes": str(GIB),
                "memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB // 2}\n",
            },
            MEMINFO,
            GIB + GIB // 2,
        ),
        ({}, MEMINFO, 8 * GIB),
        ({"memory.max": "max"}, MEMINFO, 8 * GIB),
        ({}, "", None),
    ],
    ids=["v2", "v1", "none", "unlimited", "untold"],
)
def test_free_memory_is_the_cgroups_without_cached_files_or_the_machines(
    files: dict[str, str], meminfo: str, expected: int | None
) -> None:
    assert free_memory(files.get, meminfo) == expected


def test_this_machine_has_processors() -> None:
    assert 0 < node_cpus() <= len(os.sched_getaffinity(0))


def test_all_memory_is_the_machines_or_the_limit_of_the_cgroup_where_that_is_less() -> None:
    meminfo = "MemTotal:  4 kB\nMemAvailable:  2 kB\n"
    assert total_memory({}.get, meminfo) == 4096
    assert total_memory({"memory.max": "1024"}.get, meminfo) == 1024
    assert total_memory({"memory.max": "9999"}.get, meminfo) == 4096
    assert total_memory({"memory.max": "1024"}.get, "") == 1024
    assert total_memory({}.get, "") is None
