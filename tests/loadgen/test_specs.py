from __future__ import annotations

import numpy as np
import pytest

from service.domain.errors import InvalidValueError
from service.loadgen.arrivals import Gamma, Mmpp, Poisson, Regular
from service.loadgen.specs import parse_arrivals, parse_dims, parse_range, parse_schedule


def schedule_of(text: str, rate: float | None = 100.0, duration: float | None = 60.0):  # type: ignore[no-untyped-def] # returns what is under test
    return parse_schedule(text, rate, duration, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("text", "process"),
    [
        ("poisson", Poisson()),
        ("regular", Regular()),
        ("gamma:cv=4", Gamma(4.0)),
        ("mmpp", Mmpp()),
        ("mmpp:ratio=10,quiet=2.5", Mmpp(ratio=10.0, burst=1.0, quiet=2.5)),
    ],
)
def test_arrivals_are_read(text: str, process: object) -> None:
    assert parse_arrivals(text) == process


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("possion", "is none of poisson"),
        ("gamma", "cv=NUMBER is missing"),
        ("gamma:cv=many", "cv must be a number"),
        ("gamma:cv=-1", "cv: must lie in"),
        ("poisson:cv=2", "'cv' is no option here"),
        ("mmpp:rate=2", "options are ratio, burst, quiet"),
    ],
)
def test_bad_arrivals_say_what_would_be_right(text: str, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        parse_arrivals(text)


def test_schedules_are_read() -> None:
    assert schedule_of("constant").expected_requests == 6000
    assert schedule_of("steps:10@100,20@300", None, None).rates == (100, 300)
    assert len(schedule_of("rrl").phases) == 5
    assert schedule_of("spike:at=10,for=5,times=3").rate_at(12) == 300
    assert max(schedule_of("diurnal:amplitude=0.5,noise=0").rates) == pytest.approx(150, rel=0.01)


@pytest.mark.parametrize(
    ("text", "rate", "duration", "message"),
    [
        ("constant", None, 10.0, "needs --rate"),
        ("constant", 10.0, None, "needs --duration"),
        ("rrl", 0.0, 10.0, "needs --rate"),
        ("steps:10@100", 5.0, None, "leave out --rate"),
        ("steps:10-100", None, None, "is not like 10@100"),
        ("steps:", None, None, "is not like 10@100"),
        ("ramp", 1.0, 1.0, "is none of constant"),
        ("constant:rate=3", 1.0, 1.0, "no option here"),
        ("spike:at=50,for=20", 1.0, 60.0, "must lie inside the run"),
    ],
)
def test_bad_schedules_say_what_would_be_right(
    text: str, rate: float | None, duration: float | None, message: str
) -> None:
    with pytest.raises(InvalidValueError, match=message):
        schedule_of(text, rate, duration)


def test_dimensions_and_ranges_are_read() -> None:
    assert parse_dims(["tokens=64", "image=96,3"]) == {"tokens": (64,), "image": (96, 3)}
    assert parse_range("-5:10") == (-5, 10)
    with pytest.raises(InvalidValueError, match="dim"):
        parse_dims(["tokens"])
    with pytest.raises(InvalidValueError, match="int-range"):
        parse_range("10")
