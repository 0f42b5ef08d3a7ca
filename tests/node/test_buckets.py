"""Buckets: where Envoy counts exactly."""

from __future__ import annotations

from itertools import pairwise

from service.node.buckets import latency_edges_micros, on_an_edge


def test_every_edge_is_one_of_envoys_bins() -> None:
    for edge in latency_edges_micros(0.0375):
        assert on_an_edge(edge / 1e6), edge


def test_edges_are_fine_everywhere_and_every_bin_round_the_objective() -> None:
    edges = latency_edges_micros(0.05)
    assert all(low < high <= low * 1.13 for low, high in pairwise(edges))
    assert {25_000, 26_000, 49_000, 50_000, 51_000, 99_000, 100_000} <= set(edges)
    assert (edges[0], edges[-1]) == (100, 60_000_000)


def test_only_a_bound_of_two_digits_is_an_edge() -> None:
    assert on_an_edge(0.05)
    assert on_an_edge(0.0072)
    assert not on_an_edge(0.125)
    assert not on_an_edge(0.0)
