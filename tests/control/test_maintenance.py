from __future__ import annotations

import datetime as dt

import pytest

from service.control.maintenance import MaintenanceWindow
from service.control.settings import ModelSettings
from service.domain.errors import InvalidValueError

#: 2026-06-01 is a Monday.
MONDAY = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)


def is_open(text: str, day: int, clock: str) -> bool:
    hours, minutes = map(int, clock.split(":"))
    moment = MONDAY + dt.timedelta(days=day, hours=hours, minutes=minutes)
    return MaintenanceWindow.parse(text).open_at(moment.timestamp())


@pytest.mark.parametrize(
    ("text", "day", "clock", "expected"),
    [
        ("daily 02:00-04:00", 0, "01:59", False),
        ("daily 02:00-04:00", 3, "02:00", True),
        ("daily 02:00-04:00", 6, "03:59", True),
        ("daily 02:00-04:00", 6, "04:00", False),
        ("sat,sun 00:00-24:00", 5, "00:00", True),
        ("sat,sun 00:00-24:00", 6, "23:59", True),
        ("sat,sun 00:00-24:00", 0, "00:00", False),
        ("mon-fri 22:00-06:00", 4, "23:00", True),
        ("mon-fri 22:00-06:00", 5, "05:59", True),
        ("mon-fri 22:00-06:00", 5, "06:00", False),
        ("mon-fri 22:00-06:00", 6, "23:00", False),
        ("mon-fri 22:00-06:00", 0, "05:00", False),
        ("Fri - Mon 10:00 - 11:00", 0, "10:30", True),
        ("Fri - Mon 10:00 - 11:00", 3, "10:30", False),
    ],
)
def test_it_is_open_when_it_says(text, day, clock, expected):
    assert is_open(text, day, clock) is expected


@pytest.mark.parametrize(
    "text", ["", "daily", "02:00-04:00", "daily 2:00-4:00", "daily 02:00-02:00", "daily 24:00-01:00", "xyz 01:00-02:00",
             "daily 25:00-26:00", "daily 10:60-11:00", "mon-xyz 01:00-02:00"],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_what_was_written(text):
    with pytest.raises(InvalidValueError, match="maintenance") as refused:
        MaintenanceWindow.parse(text)
    assert repr(text) in str(refused.value)


def test_settings_refuse_it_too():
    with pytest.raises(ValueError, match="mon-fri 22:00-06:00"):
        ModelSettings(
            name="m", agent_url="http://a", metrics_url="http://a", slo={"bound_seconds": 1}, maintenance=["nightly"]
        )
