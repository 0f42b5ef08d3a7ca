"""Logs: one line an event, readable by machines, without secrets."""

from __future__ import annotations

import io
import json
import logging

import pytest
import structlog

from service.api import logs
from service.api.settings import LogFormat, LogLevel, LogSettings


def _lines(format_: LogFormat = LogFormat.JSON, level: LogLevel = LogLevel.INFO) -> io.StringIO:
    stream = io.StringIO()
    logs.configure(LogSettings(level=level, format=format_), stream)
    return stream


def test_our_own_lines_and_those_of_libraries_have_one_form() -> None:
    stream = _lines()
    with structlog.contextvars.bound_contextvars(request_id="abc"):
        structlog.get_logger("ours").info("done", model="mnist")
        logging.getLogger("theirs").warning("odd %s", "thing")

    ours, theirs = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (ours["event"], ours["model"], ours["logger"], ours["level"]) == ("done", "mnist", "ours", "info")
    assert (theirs["event"], theirs["logger"], theirs["request_id"]) == ("odd thing", "theirs", "abc")


def test_passwords_in_urls_are_masked_wherever_they_come_from() -> None:
    stream = _lines()
    url = "postgresql+psycopg://regulus:hunter2@db/regulus"
    structlog.get_logger("ours").warning("cannot open", error=f"cannot open {url}")
    logging.getLogger("theirs").error("cannot open %s", url)
    try:
        raise OSError(f"cannot open {url}")
    except OSError:
        structlog.get_logger("ours").exception("cannot open")

    assert "hunter2" not in stream.getvalue()
    assert stream.getvalue().count("regulus:***@db") == 3


@pytest.mark.parametrize("format_", [LogFormat.JSON, LogFormat.CONSOLE])
def test_an_exception_is_logged_without_local_variables(format_: LogFormat) -> None:
    stream = _lines(format_)
    secret = "hunter2"  # noqa: S105 — what must not be shown
    try:
        raise OSError(len(secret))
    except OSError as error:
        structlog.get_logger("ours").error("failed", exc_info=error)

    assert "OSError: 7" in stream.getvalue()
    assert "hunter2" not in stream.getvalue().replace('secret = "hunter2"', "")


def test_less_severe_lines_are_left_out() -> None:
    stream = _lines(level=LogLevel.WARNING)
    structlog.get_logger("ours").info("chatter")
    logging.getLogger("theirs").info("chatter")
    structlog.get_logger("ours").warning("trouble")

    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["trouble"]


def test_people_get_lines_that_are_not_json() -> None:
    stream = _lines(LogFormat.CONSOLE)
    structlog.get_logger("ours").info("done", model="mnist")

    assert "done" in stream.getvalue()
    assert "model=mnist" in stream.getvalue()
    assert not stream.getvalue().startswith("{")
