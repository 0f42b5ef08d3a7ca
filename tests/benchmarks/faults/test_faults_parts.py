"""The suite's own parts: what counts as lost, what the proxy does to a page, what counts as growth, what is told."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx
import numpy as np
import pytest

from benchmarks.faults import __main__ as command
from benchmarks.faults import proxy, report
from benchmarks.faults.memory import Sample, growth, look
from benchmarks.faults.programs import until
from benchmarks.faults.proxy import metrics_proxy
from benchmarks.faults.registry import FAULTS
from benchmarks.faults.stand import EMBEDDED, NODE
from benchmarks.faults.suite import Result
from benchmarks.faults.trial import Check, Losses, Trial, in_brief, losses
from benchmarks.markers import write_between
from benchmarks.open_loop import Requests
from service.domain.errors import TelemetryError
from service.telemetry.exposition import read_page

PAGE = """\
:tensorflow:serving:request_count{model_name="m",status="OK"} 100
regulus_modelserver_request_latency_seconds_bucket{model_name="m",le="0.01"} 60
regulus_modelserver_request_latency_seconds_bucket{model_name="m",le="5.0"} 90
regulus_modelserver_request_latency_seconds_bucket{model_name="m",le="+Inf"} 100
regulus_modelserver_request_latency_seconds_sum{model_name="m"} 7.5
# TYPE regulus_modelserver_generation gauge
regulus_modelserver_generation 3
"""


def a_trial(**values: object) -> Trial:
    trial = Trial(None, np.random.default_rng(0))  # type: ignore[arg-type] # what is counted needs no system
    trial.injected, trial.gone, trial.recovered = 10.0, 10.1, 12.0
    for name, value in values.items():
        setattr(trial, name, value)
    return trial


def requests(*rows: tuple[float, float, str]) -> Requests:
    """Each due and sent at the first, answered at the second."""
    due = np.array([row[0] for row in rows])
    return Requests(due, due, np.array([row[1] for row in rows]), tuple(row[2] for row in rows))


SEEN = requests((9.9, 10.05, "UNAVAILABLE"), (11.0, 11.0, "UNAVAILABLE"), (11.5, 11.6, "OK"), (14.0, np.nan, ""))


def test_what_a_killed_process_had_in_hand_is_told_from_what_came_later() -> None:
    assert losses(SEEN, a_trial(in_hand=True)) == Losses(4, 3, 1, 0, {"NO_ANSWER": 1, "UNAVAILABLE": 2})


def test_what_came_while_nobody_listened_is_told_apart_and_nothing_twice() -> None:
    lost = losses(SEEN, a_trial(in_hand=True, unreachable=True))
    assert (lost.in_hand, lost.unserved, lost.lost) == (1, 1, 3)


def test_without_leave_nothing_is_bearable() -> None:
    lost = losses(SEEN, a_trial())
    assert (lost.in_hand, lost.unserved, lost.lost) == (0, 0, 3)


@pytest.mark.parametrize("alter", [proxy.not_a_number, proxy.contradictory])
def test_a_broken_page_is_refused_by_the_real_reader(alter: proxy.Alter) -> None:
    broken = alter(PAGE)
    assert broken is not None
    with pytest.raises(TelemetryError):
        read_page(broken, model="m", monotonic=0, time=0)


def test_a_lie_is_taken_for_the_truth_by_the_real_reader() -> None:
    lie = proxy.slower(PAGE)
    assert lie is not None
    reading = read_page(lie, model="m", monotonic=0, time=0)
    assert reading.latency is not None
    assert reading.latency.counts == (0, 90, 10)


def test_a_frozen_page_stays_as_it_was() -> None:
    alter = proxy.frozen()
    assert alter("one") == "one"
    assert alter("two") == "one"


async def test_after_a_reset_counters_begin_at_nothing_and_go_on_from_there() -> None:
    pages = iter([PAGE, PAGE, PAGE.replace(" 100", " 107")])
    upstream = httpx.AsyncClient(transport=httpx.MockTransport(lambda request: httpx.Response(200, text=next(pages))))
    async with upstream, metrics_proxy("http://upstream/metrics", upstream) as one, httpx.AsyncClient() as client:
        untouched = (await client.get(one.url)).text
        one.reset()
        at_once, later = [(await client.get(one.url)).text for _ in range(2)]
    assert untouched == PAGE
    assert 'status="OK"} 0\n' in at_once
    assert 'status="OK"} 7\n' in later
    assert "regulus_modelserver_generation 3\n" in at_once


async def test_a_reset_is_forgotten_when_the_server_itself_begins_anew() -> None:
    anew = PAGE.replace(" 100", " 5").replace(" 90", " 5")
    pages = iter([PAGE, anew, anew])
    upstream = httpx.AsyncClient(transport=httpx.MockTransport(lambda request: httpx.Response(200, text=next(pages))))
    async with upstream, metrics_proxy("http://upstream/metrics", upstream) as one, httpx.AsyncClient() as client:
        one.reset()
        seen = [(await client.get(one.url)).text for _ in range(3)]
    assert seen[1:] == [anew, anew]


def samples(values: list[float], life: int = 0, begin: float = 0.0) -> list[Sample]:
    return [Sample(begin + 5.0 * index, life, {"memory MB": value}) for index, value in enumerate(values)]


def test_a_slope_is_found_within_lifetimes_and_not_between_them() -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, 200)
    first = [100 + index * 0.05 + noise[index] for index in range(100)]
    second = [40 + index * 0.05 + noise[100 + index] for index in range(100)]
    found = growth([*samples(first), *samples(second, 1, 600.0)], "memory MB")
    assert found.low < 36 < found.high  # 0.05 each 5 s
    assert found.low > 30
    assert found.last == second[-1]


def test_what_is_flat_has_an_interval_round_nothing() -> None:
    noise = np.random.default_rng(2).normal(0, 1.0, 200)
    found = growth(samples([100 + value for value in noise]), "memory MB")
    assert found.low < 0 < found.high


def test_a_short_life_tells_nothing() -> None:
    assert np.isnan(growth(samples([1.0] * 5), "memory MB").per_hour)


async def test_a_process_can_be_looked_at_until_it_has_ended() -> None:
    process = await asyncio.create_subprocess_exec("sleep", "60")
    values = look(process.pid)
    process.kill()
    await process.wait()
    assert values is not None
    assert values["threads"] == 1
    assert look(process.pid) is None


def test_every_fault_says_what_must_hold_and_where_it_is_tried() -> None:
    assert len(FAULTS) >= 24
    for fault in FAULTS.values():
        assert fault.must_hold.endswith(".")
        assert fault.on in (EMBEDDED, NODE)


def test_faults_are_chosen_by_a_part_of_their_name() -> None:
    chosen = command.parse(["--only", "metrics", "--only", "Envoy killed", "--quick"])
    assert {"metrics NaN", "Envoy killed (−9)"} < {fault.name for fault in chosen.faults}
    assert chosen.repeats == 1
    assert chosen.docs is None


@pytest.mark.parametrize("wrong", [["--only", "nothing of that name"], ["--repeats", "0"], ["soak", "--minutes", "0"]])
def test_a_wrong_command_line_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.parse(wrong)
    assert "error:" in capsys.readouterr().err


def a_result(*, held: bool, said: tuple[str, ...] = ("window_not_ready", "metrics_missing")) -> Result:
    return Result(
        fault="metrics NaN",
        losses=Losses(100, 1, 1, 0, {"UNAVAILABLE": 1}),
        recovery_seconds=2.0,
        said=said,
        checks=(Check("the loop holds", held, "" if held else "it switched"), Check("it recovers", held=True)),
        acknowledged=5,
    )


def test_the_table_counts_what_was_lost_and_marks_what_did_not_hold() -> None:
    results = [a_result(held=True).to_dict(), replace(a_result(held=False), recovery_seconds=4.0).to_dict()]
    (row,) = report.table(results, FAULTS).rows
    assert row == (
        ["metrics NaN", EMBEDDED, "2", "200", "2", "2 in hand", "3.0 (4.0)", "metrics_missing", "1 of 2 **✗**"]
    )
    assert report.failures(results) == ["metrics NaN: the loop holds: it switched"]
    assert report.verdicts(results).rows == [["the loop holds", "2", "1"], ["it recovers", "2", "2"]]


def test_a_loop_that_had_nothing_to_say_is_told_as_such() -> None:
    (row,) = report.table([a_result(held=True, said=("window_not_ready",)).to_dict()], FAULTS).rows
    assert row[7] == "window_not_ready"


def test_reasons_come_first_then_problems_then_what_was_done() -> None:
    words = ("apply: exploration", "no metrics for … s", "metrics_missing", "dwell")
    (row,) = report.table([a_result(held=True, said=words).to_dict()], FAULTS).rows
    assert row[7] == "metrics_missing; no metrics for … s; apply: exploration"


def test_a_problem_is_told_in_brief() -> None:
    assert (
        in_brief("agent at http://127.0.0.1:1/agent/v1/config: no answer to GET within 2 s")
        == "agent no answer to GET within …"
    )
    text = "no metrics for 12 s: http://127.0.0.1:1/metrics could not be fetched"
    assert in_brief(text) == "no metrics for … s"


def test_only_what_stands_between_the_markers_is_replaced(tmp_path) -> None:
    path = tmp_path / "document.md"
    path.write_text("before\n<!-- a: begin -->\nold\n<!-- a: end -->\nafter\n")
    write_between(path, "a", "new\n")
    assert path.read_text() == "before\n<!-- a: begin -->\n\nnew\n\n<!-- a: end -->\nafter\n"
    with pytest.raises(ValueError, match="b: begin"):
        write_between(path, "b", "new")


async def test_polling_ends_with_the_truth_or_with_the_time() -> None:
    answers = iter([False, True])

    async def second() -> bool:
        return next(answers)

    async def never() -> bool:
        return False

    assert await until(second, 5.0, every=0.001)
    assert not await until(never, 0.0)
