"""Tables come out as Markdown that can be pasted, and in the terminal; progress says how much is left."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from benchmarks.progress import Progress
from benchmarks.tables import Table, milliseconds

TABLE = Table("Speed", ["server", "req/s"], [["a|b", "0.50 [0.4, 0.6]"], ["c", "2"]], "A note.")


def test_markdown_has_heading_alignment_rows_and_note() -> None:
    assert TABLE.markdown() == (
        "### Speed\n\n| server | req/s |\n| --- | ---: |\n| a\\|b | 0.50 [0.4, 0.6] |\n| c | 2 |\n\nA note.\n"
    )


def test_the_terminal_shows_brackets_as_they_are() -> None:
    output = io.StringIO()
    Console(file=output, width=80).print(TABLE.rich())
    assert "0.50 [0.4, 0.6]" in output.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.001234, "1.23"), (0.01234, "12.3"), (0.1234, "123"), (12.0, "12000"), (float("nan"), "–")],
)
def test_milliseconds_keep_three_digits(seconds: float, text: str) -> None:
    assert milliseconds(seconds) == text


class StubClock:
    """A clock that stands still until it is set."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_the_time_left_follows_from_the_steps_done() -> None:
    clock, output = StubClock(), io.StringIO()
    progress = Progress(10, output, clock)
    clock.now = 50.0  # What goes before the first step does not count.
    progress.begin("one")
    clock.now = 60.0
    progress.done(2)
    progress.begin("three")
    clock.now = 260.0
    progress.done()
    progress.begin("four")
    assert output.getvalue().splitlines() == ["[1/10] one", "[3/10] 40 s left: three", "[4/10] 8 min left: four"]
