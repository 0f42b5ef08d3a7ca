"""The demo's live view draws what it is told, at any width and before anything is known."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from service.cli.demo.chart import latency_chart, sparkline
from service.cli.demo.view import DemoState, line, render
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo

SLO = Slo(0.05)
BATCHED = ServingConfig(enable_batching=True, max_batch_size=16, num_batch_threads=2)


def _second(t: float, p99: float | None) -> dict[str, Any]:
    return {"t": t, "rate": 120.0, "p50": p99, "p99": p99, "failed": {}, "ok": 120, "slo_violations": 0}


def _text(state: DemoState, width: int = 100, height: int = 50) -> str:
    console = Console(width=width, no_color=True)
    with console.capture() as capture:
        console.print(render(state, width, height))
    return capture.get()


def test_points_within_the_bound_lie_below_its_line_and_others_above() -> None:
    rows = latency_chart([0.5, 0.5, 0.01, 0.01], 0.05, width=40).plain.splitlines()

    bound = next(index for index, row in enumerate(rows) if "50 ms" in row)
    over = [index for index, row in enumerate(rows) if row[9:11] == "●●"]
    under = [index for index, row in enumerate(rows) if row[11:13] == "●●"]
    assert len(over) == len(under) == 1
    assert over[0] < bound < under[0]


def test_a_spike_survives_when_seconds_share_a_column() -> None:
    chart = latency_chart([0.01] * 500 + [2.0] + [0.01] * 499, 0.05, width=40)

    assert "●" in chart.plain.splitlines()[0]


def test_seconds_without_answers_leave_a_gap() -> None:
    assert "●" not in latency_chart([None, None], 0.05, width=40).plain


@pytest.mark.parametrize(("values", "expected"), [([], ""), ([0, 0], "▁▁"), ([1, 8], "▂█")])
def test_a_sparkline_reaches_from_zero_to_its_largest_value(values: list[float], expected: str) -> None:
    assert sparkline(values, 10) == expected


def test_the_view_can_be_drawn_before_anything_is_known() -> None:
    text = _text(DemoState("starting", SLO, 110.0))

    assert "not known yet" in text
    assert "0 / 110 s, 110 s left" in text


@pytest.mark.parametrize("width", [60, 200])
def test_the_view_shows_latency_configuration_and_decisions(width: int) -> None:
    decision = {
        "decided_at": 1_700_000_000.0,
        "action": "apply",
        "config_before": ServingConfig().to_dict(),
        "config_after": BATCHED.to_dict(),
        "explanation": "p99 is over the bound",
    }
    state = DemoState(
        "Regulus steers",
        SLO,
        110.0,
        seconds=[_second(1.0, 0.4), _second(2.0, 0.031)],
        status={"config": BATCHED.to_dict(), "hold_explanation": "waiting for a window"},
        decisions=[decision],
        baseline="before: p99 812 ms",
    )
    text = " ".join(_text(state, width).split())

    for expected in (
        "p99 31.0 ms",
        "batch≤16",
        "waiting for a window",
        "apply",
        "before: p99 812 ms",
    ):
        assert expected in text


def test_a_small_terminal_gets_a_smaller_picture() -> None:
    decision = {
        "decided_at": 1_700_000_000.0,
        "action": "apply",
        "config_before": ServingConfig().to_dict(),
        "config_after": BATCHED.to_dict(),
        "explanation": "p99 is over the bound " * 5,
    }
    state = DemoState("Regulus steers", SLO, 110.0, seconds=[_second(1.0, 0.4)], decisions=[decision] * 8)

    assert len(_text(state, 80, height=24).splitlines()) <= 24
    assert len(_text(state, 80, height=50).splitlines()) > 30


def test_one_line_says_the_same_where_there_is_no_terminal() -> None:
    state = DemoState("default", SLO, 110.0, seconds=[_second(5.0, 0.2)], status={"config": ServingConfig().to_dict()})

    assert line(state) == (
        "default 5/110 s: 120/s p50 200.0 ms p99 200.0 ms (p99 ≤ 50 ms) failed 0 "
        "| batching off inter=0 intra=0 instances=1"
    )
