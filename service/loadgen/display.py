"""Display: a run for people, while it goes on and afterwards."""

from __future__ import annotations

import math
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from service.loadgen.report import LoadReport, SecondStats

_PERCENTILES = {
    "mean": "mean",
    "p50": "p50",
    "p90": "p90",
    "p95": "p95",
    "p99": "p99",
    "p999": "p99.9",
    "max": "longest",
}


class LiveProgress:
    """A progress bar, drawn once a second from ``on_second``.

    Rich's own refresh thread stays off: it would take the interpreter from the event loop, to be felt as lag.

    Args:
        console: Where to draw; nothing is drawn unless it is a terminal.
        duration: Planned length, seconds.
    """

    def __init__(self, console: Console, duration: float) -> None:
        self._duration = duration
        self._progress = Progress(
            TextColumn("{task.fields[clock]}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[line]}"),
            console=console,
            auto_refresh=False,
            redirect_stdout=False,  # Standard output may be a stream of JSON that somebody reads.
            redirect_stderr=False,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("load", total=duration, clock="starting", line="")

    def __enter__(self) -> LiveProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, second: SecondStats) -> None:
        """Draw a second's numbers."""
        left = max(0.0, self._duration - second.t)
        failed = sum(second.failed.values())
        line = (
            f"{second.rate:.0f}/s  p50 {milliseconds(second.p50)}  p99 {milliseconds(second.p99)}  "
            f"in flight {second.in_flight}" + (f"  [red]failed {failed}[/red]" if failed else "")
        )
        clock = f"{left:.0f} s left" if left else "waiting for answers"
        self._progress.update(self._task, completed=min(second.t, self._duration), clock=clock, line=line, refresh=True)


def milliseconds(seconds: float | None) -> str:
    """``12.3 ms`` with three digits; a dash for what is not known."""
    if seconds is None or math.isnan(seconds):
        return "–"
    return f"{seconds * 1e3:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"


def print_report(console: Console, report: LoadReport) -> None:
    """The report as tables, and in red whatever should make one doubt it."""
    title = f"{report.model} at {report.target}: {report.duration:.1f} s"
    console.print(_summary_table(report, title))
    console.print(_latency_table(report))
    if len(report.phases) > 1:
        console.print(_phase_table(report))
    for code, message in report.errors.items():
        console.print(f"[yellow]{code}[/yellow] × {report.failed.get(code, 0)}, first: ", end="")
        console.print(message, markup=False, highlight=False)
    if report.interrupted:
        console.print("[yellow]interrupted:[/yellow] the numbers cover what was done until then")
    for reason in report.invalid_reasons:
        console.print(f"[bold red]INVALID:[/bold red] {reason}")


def _summary_table(report: LoadReport, title: str) -> Table:
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    failures = ", ".join(f"{code} {count}" for code, count in sorted(report.failed.items())) or "0"
    sent_late = f"{milliseconds(report.lag.summary().p50)} / {milliseconds(report.lag.summary().p99)}"
    rows = {
        "scheduled / sent / ok": f"{report.scheduled} / {report.sent} / {report.ok}",
        "failed": f"[red]{failures}[/red]" if report.failed else failures,
        "offered / sent / answered": (
            f"{report.offered_rate:.1f} / {report.achieved_rate:.1f} / {report.throughput:.1f} requests a second"
        ),
        "generator lag p50 / p99": f"{sent_late}, {report.cpu_ratio:.0%} of a processor",
    }
    if report.unanswered:
        rows["unanswered when stopped"] = str(report.unanswered)
    if report.slo_seconds is not None and report.slo_violation_ratio is not None:
        rows[f"over {milliseconds(report.slo_seconds)} or failed"] = (
            f"{report.slo_violations} ({report.slo_violation_ratio:.2%})"
        )
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _latency_table(report: LoadReport) -> Table:
    table = Table(title="Latency of good answers, counted from the", title_justify="left")
    for column in ("", "intended send", "actual send"):
        table.add_column(column, justify="right")
    intended, actual = report.latency.summary(), report.service.summary()
    for name, label in _PERCENTILES.items():
        table.add_row(label, milliseconds(getattr(intended, name)), milliseconds(getattr(actual, name)))
    return table


def _phase_table(report: LoadReport) -> Table:
    table = Table(title="Phases", title_justify="left")
    for column in ("phase", "from", "to", "due", "ok", "failed", "p50", "p99", "late"):
        table.add_column(column, justify="left" if column == "phase" else "right")
    for phase in report.phases:
        violations = "–" if phase.slo_violation_ratio is None else f"{phase.slo_violation_ratio:.2%}"
        table.add_row(
            phase.name,
            f"{phase.start:.1f} s",
            f"{phase.end:.1f} s",
            str(phase.scheduled),
            str(phase.ok),
            str(sum(phase.failed.values())),
            milliseconds(phase.latency.p50),
            milliseconds(phase.latency.p99),
            violations,
        )
    return table
