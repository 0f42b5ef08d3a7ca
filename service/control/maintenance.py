"""Maintenance: stretches of the week, in UTC, in which nothing is touched. Pure."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Self

from service.domain.errors import InvalidValueError

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TEXT = re.compile(r"(?P<days>[a-z,\- ]+?)\s+(?P<from>\d{2}:\d{2})\s*-\s*(?P<to>\d{2}:\d{2})")

#: Minutes of a day; 24:00 is its end.
_DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class MaintenanceWindow:
    """A stretch that comes back every week, or every day.

    Attributes:
        text: As the owner wrote it.
        days: On which it begins; 0 is Monday.
        begin: Minute of the day at which it begins.
        end: Minute of the day before which it ends; not after ``begin`` means on the next day.
    """

    text: str
    days: frozenset[int]
    begin: int
    end: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``daily 02:00-04:00``, ``sat,sun 00:00-24:00``, ``mon-fri 22:00-06:00``; times are UTC.

        Raises:
            InvalidValueError: It is not of that form; the message shows one that is.
        """
        found = _TEXT.fullmatch(text.strip().lower())
        if found is None:
            raise InvalidValueError("maintenance", f"{text!r} is not of the form 'mon-fri 22:00-06:00' (UTC)")
        begin, end = _minute(text, found["from"]), _minute(text, found["to"])
        if begin in (end, _DAY):
            raise InvalidValueError("maintenance", f"{text!r} has no length; a whole day is 00:00-24:00")
        return cls(text.strip(), _days(text, found["days"]), begin, end)

    def open_at(self, unix_seconds: float) -> bool:
        """Whether a moment lies inside."""
        moment = dt.datetime.fromtimestamp(unix_seconds, dt.UTC)
        minute, day = moment.hour * 60 + moment.minute, moment.weekday()
        if self.begin < self.end:
            return day in self.days and self.begin <= minute < self.end
        return (day in self.days and minute >= self.begin) or ((day - 1) % 7 in self.days and minute < self.end)


def _minute(text: str, clock: str) -> int:
    hours, minutes = (int(part) for part in clock.split(":"))
    if minutes > 59 or hours * 60 + minutes > _DAY:
        raise InvalidValueError("maintenance", f"{text!r}: {clock} is no time of the day")
    return hours * 60 + minutes


def _days(text: str, written: str) -> frozenset[int]:
    if written.strip() == "daily":
        return frozenset(range(7))
    days: set[int] = set()
    for part in written.split(","):
        first, _, last = (name.strip() for name in part.partition("-"))
        if first not in _DAYS or (last and last not in _DAYS):
            raise InvalidValueError("maintenance", f"{text!r}: days are daily, {', '.join(_DAYS)}, or spans of them")
        begin = _DAYS.index(first)
        length = (_DAYS.index(last) - begin) % 7 if last else 0
        days |= {(begin + step) % 7 for step in range(length + 1)}
    return frozenset(days)
