"""run_load: carries a plan out, open loop.

Send times are fixed before the run. Whatever is due is sent at the next turn of the event loop, a bounded number a
turn so that answers are read in between, and the pacer wakes the loop when the next one is due. Nothing waits for an
answer before it sends.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.domain.clock import Clock, SystemClock
from service.domain.errors import InvalidValueError
from service.loadgen.pacer import make_pacer
from service.loadgen.payloads import RequestSpec
from service.loadgen.plan import LoadPlan
from service.loadgen.prepare import prepared
from service.loadgen.report import LoadReport, SecondStats, lag_reasons
from service.loadgen.stats import RunStats
from service.loadgen.target import Target, parse_target
from service.loadgen.transport import Transport

#: Requests sent in one turn of the event loop at most.
SENDS_PER_TURN: Final = 32
#: Seconds between the first request's scheduling and its earliest sending.
LEAD_SECONDS: Final = 0.05
#: How long an interrupted run waits for answers.
GRACE_SECONDS: Final = 2.0

OnSecond = Callable[[SecondStats], None]


async def run_load(
    target: Target | str,
    plan: LoadPlan,
    request: RequestSpec,
    *,
    on_second: OnSecond | None = None,
    stop: asyncio.Event | None = None,
    clock: Clock | None = None,
) -> LoadReport:
    """Load a server.

    Args:
        target: The server; text such as ``grpc://127.0.0.1:8500`` must name this machine (see ``parse_target``).
        plan: When to send, and limits.
        request: What to send.
        on_second: Called in the event loop after each second; it delays sending for as long as it takes.
        stop: Once set, nothing more is sent and the report covers what was done.
        clock: Dates the report. Sending itself runs on the monotonic clock that the kernel's timers know.

    Raises:
        TargetError: The server, model or signature is not there, or it refuses a first request.
        InvalidValueError: Plan, request and signature do not fit together, or the plan sends nothing.
    """
    where = parse_target(target) if isinstance(target, str) else target
    times = plan.source.send_times(plan.arrivals_rng())
    if not len(times):
        raise InvalidValueError(
            "rate", f"nothing is sent in {plan.source.duration:g} s; raise the rate or the duration"
        )
    ready = prepared(
        where,
        request,
        plan.payload_rng(),
        timeout=plan.timeout,
        connections=plan.connections,
        max_inflight=plan.max_inflight,
    )
    async with ready as (transport, pool):
        stats = RunStats(plan.source.phases, plan.slo_seconds)
        run = _Run(transport, pool, times, stats, plan.max_inflight, on_second)
        started_at = (clock or SystemClock()).time()
        with _quiet_collector():
            cpu = time.process_time()
            await run.carry_out(stop or asyncio.Event())
            cpu = time.process_time() - cpu
        return _report(where, plan, request.model, run, started_at, cpu)


@contextlib.contextmanager
def _quiet_collector() -> Iterator[None]:
    """Keep the garbage collector's pauses out of the latencies.

    What exists before the run (modules, payloads, libraries' state) is frozen: a full collection then walks only what
    the run itself made, some calls in flight. Collection stays on, so that long runs do
    not grow.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class _Run:
    """The state of a run; ``carry_out`` is called once."""

    def __init__(
        self,
        transport: Transport,
        pool: Sequence[bytes],
        times: NDArray[np.float64],
        stats: RunStats,
        max_inflight: int,
        on_second: OnSecond | None,
    ) -> None:
        self.stats = stats
        self.interrupted = False
        self.elapsed = 0.0
        self._transport = transport
        self._pool = pool
        # A memoryview gives Python floats without a list that the collector would have to walk.
        self._times = np.ascontiguousarray(times).data
        self._planned = len(times)
        self._next = 0
        self._max_inflight = max_inflight
        self._on_second = on_second
        self._start = 0.0

    async def carry_out(self, stop: asyncio.Event) -> None:
        """Send everything and wait for the answers, or for ``stop`` and then a short while for the answers."""
        loop = asyncio.get_running_loop()
        self._finished: asyncio.Future[None] = loop.create_future()
        self._pacer = make_pacer(partial(self._guarded, self._send_due))
        self._start = time.monotonic() + LEAD_SECONDS
        self._ticker = loop.call_later(LEAD_SECONDS + 1, self._guarded, self._tick)
        stopping = asyncio.ensure_future(stop.wait())
        try:
            self._guarded(self._send_due)
            await asyncio.wait((self._finished, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not self._finished.done():
                self.interrupted = True
                self._planned = self._next
                self._settle_if_done()
                await asyncio.wait((self._finished,), timeout=GRACE_SECONDS)
            if self._finished.done():
                self._finished.result()
        finally:
            self._pacer.close()
            self._ticker.cancel()
            stopping.cancel()
            self.elapsed = max(self._now(), 0.0)
        if self.elapsed > (self.stats.timeline[-1].t if self.stats.timeline else 0.0):
            self._close_second()

    def _now(self) -> float:
        """Seconds from the start of the run; negative during the lead."""
        return time.monotonic() - self._start

    def _guarded(self, action: Callable[[], None]) -> None:
        """Run a callback of the event loop; its error ends the run instead of being logged and forgotten."""
        try:
            action()
        except Exception as error:
            if not self._finished.done():
                self._finished.set_exception(error)

    def _send_due(self) -> None:
        for _ in range(SENDS_PER_TURN):
            if self._next >= self._planned:
                self._settle_if_done()
                return
            intended = self._times[self._next]
            now = self._now()
            if intended > now:
                break
            self._send(intended, now)
            self._next += 1
        if self._next < self._planned:
            self._pacer.arm(self._start + self._times[self._next])

    def _send(self, intended: float, now: float) -> None:
        if self.stats.in_flight >= self._max_inflight:
            self.stats.not_sent(intended, self._max_inflight)
            return
        self.stats.sent(intended, now)
        self._transport.send(self._pool[self._next % len(self._pool)], partial(self._answered, intended, now))

    def _answered(self, intended: float, sent_at: float, code: str, message: str) -> None:
        self.stats.answered(intended, sent_at, self._now(), code, message)
        self._settle_if_done()

    def _settle_if_done(self) -> None:
        if self._next >= self._planned and self.stats.in_flight == 0 and not self._finished.done():
            self._finished.set_result(None)

    def _tick(self) -> None:
        self._close_second()
        seconds = len(self.stats.timeline) + 1
        self._ticker = asyncio.get_running_loop().call_later(max(0.0, seconds - self._now()), self._guarded, self._tick)

    def _close_second(self) -> None:
        second = self.stats.close_second(self._now())
        if self._on_second is not None:
            self._on_second(second)


def _report(target: Target, plan: LoadPlan, model: str, run: _Run, started_at: float, cpu: float) -> LoadReport:
    stats = run.stats
    latency = stats.latency()
    planned = plan.source.duration
    sending = (min(run.elapsed, planned) or planned) if run.interrupted else planned
    return LoadReport(
        target=str(target),
        model=model,
        seed=plan.seed,
        started_at=started_at + LEAD_SECONDS,
        duration=run.elapsed,
        interrupted=run.interrupted,
        scheduled=stats.scheduled,
        sent=stats.sent_count,
        ok=stats.ok,
        failed=stats.failed,
        errors=stats.errors,
        unanswered=stats.in_flight,
        offered_rate=stats.scheduled / sending,
        achieved_rate=stats.sent_count / sending,
        throughput=stats.ok / run.elapsed if run.elapsed else 0.0,
        latency=latency,
        service=stats.service,
        lag=stats.lag,
        slo_seconds=plan.slo_seconds,
        slo_violations=stats.violations,
        cpu_ratio=cpu / run.elapsed if run.elapsed else 0.0,
        invalid_reasons=lag_reasons(stats.lag.summary(), latency.summary(), plan.max_lag, plan.max_lag_ratio),
        phases=stats.phase_reports(),
        timeline=tuple(stats.timeline),
    )
