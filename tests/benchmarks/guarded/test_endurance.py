from __future__ import annotations

from benchmarks.guarded.endurance import endure


def test_it_looks_at_equal_distances_and_holds_some_memory() -> None:
    rows = endure(("transformer-40",), 20).rows
    assert [row[0] for row in rows] == [str(2 * number) for number in range(1, 11)]
    assert all(float(row[2]) > 10 for row in rows)
