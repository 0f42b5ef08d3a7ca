"""Smaller parts: the bare caller, the comparison of answers, the profile's shares, what peers are told."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bare import BareCall, carry_out
from benchmarks.open_loop import OpenLoop
from benchmarks.peers.common import PeerSettings
from benchmarks.profiling import (
    ProfilerError,
    find_py_spy,
    profile_table,
    read_stacks,
    read_stat,
    shares,
    thread_seconds,
    thread_table,
)
from benchmarks.recording import same_numbers
from service.loadgen.payloads import RequestSpec
from service.loadgen.prepare import prepared
from service.loadgen.target import parse_target
from tests.support.echo_server import MODEL, echo_server


def test_the_bare_session_is_called_by_as_many_threads_as_asked_for() -> None:
    calls: Counter[int] = Counter()
    together = threading.Barrier(3)
    met = threading.local()

    def call(_number: int) -> None:
        if not hasattr(met, "others"):
            together.wait(timeout=30)  # Passes when three threads are calling at once.
            met.others = True
        calls[threading.get_ident()] += 1

    result = carry_out(BareCall(intra_op=1, batch=4, threads=3, warmup=0.0, seconds=0.2), call)
    assert len(calls) == 3
    assert 0 < result.examples_per_second <= 4 * calls.total() / 0.2
    assert 0 <= result.p50 <= result.p99


@pytest.mark.parametrize(
    ("answer", "same"),
    [
        ('{"predictions": [[1.0, 2.00001]]}', True),
        ("[[1.0, 2.0]]", True),
        ("[[2.0, 1.0]]", False),
        ("[1.0]", False),
        ("no JSON", False),
        ('{"error": "busy"}', False),
    ],
)
def test_answers_are_compared_by_their_numbers(answer: str, same: bool) -> None:
    assert same_numbers(answer.encode(), {"predictions": [[1.0, 2.0]]}) is same


def test_a_profile_adds_up_functions_whatever_line_they_were_at() -> None:
    stacks = read_stacks(["main (a.py:1);work (b.py:2) 3", "main (a.py:1);work (b.py:9) 5", "main (a.py:7) 2", ""])
    assert shares(stacks) == [("work (b.py)", 0.8, 0.8), ("main (a.py)", 0.2, 1.0)]
    assert profile_table("m", stacks).rows[0] == ["work (b.py)", "80.0%", "80.0%"]


def test_a_function_that_calls_itself_counts_once() -> None:
    assert shares(read_stacks(["f (a.py:1);f (a.py:1) 4"])) == [("f (a.py)", 1.0, 1.0)]


def test_a_threads_ticks_are_found_whatever_its_name() -> None:
    assert read_stat("7 (a) b(c) S 1 2 3 4 5 6 7 8 9 10 40 2 0 0 20") == ("a) b(c", 42)


def test_processor_time_is_told_by_kind_of_thread() -> None:
    before = time.process_time()
    while time.process_time() < before + 0.1:  # Work that the kernel counts: ticks of 10 ms.
        pass
    used = thread_seconds(os.getpid())
    assert 0.05 < sum(used.values()) < time.process_time() + 1.0
    shown = thread_table("m", {"a": 1.0, "b": 3.0}, 2.0)
    assert shown.rows == [["b", "1.50", "75%"], ["a", "0.50", "25%"]]


def test_without_py_spy_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProfilerError, match="pip install py-spy"):
        find_py_spy([tmp_path / "python"])
    (tmp_path / "py-spy").touch()
    assert find_py_spy([tmp_path / "python"]) == tmp_path / "py-spy"


def test_peers_read_what_they_are_told(tmp_path: Path) -> None:
    metadata = tmp_path / "metadata.json"
    metadata.write_text(json.dumps({"a": 1}))
    told = PeerSettings(model="mlp", version_dir=tmp_path, metadata=metadata, port=1234)
    assert PeerSettings.from_env(told.to_env()) == told
    assert told.read_metadata() == {"a": 1}
    assert told.predict_path == "/v1/models/mlp:predict"


async def test_the_open_loop_sends_whatever_the_server_does_and_remembers_all() -> None:
    async with echo_server() as server:
        ready = prepared(
            parse_target(server.grpc_url),
            RequestSpec(model=MODEL),
            np.random.default_rng(0),
            timeout=30.0,
            connections=2,
            max_inflight=100,
        )
        async with ready as (transport, pool):
            before = len(server.requests)
            server.gate.clear()
            load = OpenLoop(transport, pool, 500.0, np.random.default_rng(0))
            load.start()
            await server.until_requests(before + 20)  # None of which is answered.
            server.gate.set()
            requests = await load.finish()

    assert len(requests.intended) >= 20
    assert requests.good.all()
    assert (np.diff(requests.intended) > 0).all()
    assert (requests.sent >= requests.intended).all()
    assert (requests.answered > requests.sent).all()
