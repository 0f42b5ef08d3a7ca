"""Specs: arrivals and schedules as people write them on the command line.

``NAME`` or ``NAME:key=value,key=value``; steps are ``steps:SECONDS@RATE,SECONDS@RATE``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from service.domain.errors import InvalidValueError
from service.loadgen import schedules
from service.loadgen.arrivals import ArrivalProcess, Gamma, Mmpp, Poisson, Regular
from service.loadgen.schedules import Schedule

ARRIVALS_HELP = "poisson | gamma:cv=4 | mmpp:ratio=5,burst=1,quiet=4 | regular"
SCHEDULE_HELP = (
    "constant | steps:10@100,20@300 | rrl | diurnal:period=60,amplitude=0.5,noise=0.05 | spike:at=10,for=5,times=4"
)


def parse_arrivals(text: str) -> ArrivalProcess:
    """Read an arrival process.

    Raises:
        InvalidValueError: It is none, or an option is unknown or out of range.
    """
    name, _, options = text.partition(":")
    match name:
        case "poisson":
            _numbers("arrivals", options, {})
            return Poisson()
        case "regular":
            _numbers("arrivals", options, {})
            return Regular()
        case "gamma":
            return Gamma(**_numbers("arrivals", options, {"cv": None}))
        case "mmpp":
            return Mmpp(**_numbers("arrivals", options, {"ratio": 5.0, "burst": 1.0, "quiet": 4.0}))
    raise InvalidValueError("arrivals", f"{text!r} is none of {ARRIVALS_HELP}")


def parse_schedule(text: str, rate: float | None, duration: float | None, rng: np.random.Generator) -> Schedule:
    """Read a schedule.

    Args:
        text: What the user wrote.
        rate: Requests a second: the constant rate, the peak of ``rrl``, the mean of ``diurnal``, the base of
            ``spike``; must be None for ``steps``, which hold their own.
        duration: Seconds; must be None for ``steps``.
        rng: Draws the noise of ``diurnal``.

    Raises:
        InvalidValueError: It is none, something is missing, or a value is out of range.
    """
    name, _, options = text.partition(":")
    if name == "steps":
        if rate is not None or duration is not None:
            raise InvalidValueError(
                "schedule", "steps hold their own rates and lengths; leave out --rate and --duration"
            )
        return schedules.steps([_step(part) for part in options.split(",")])
    if name not in ("constant", "rrl", "diurnal", "spike"):
        raise InvalidValueError("schedule", f"{text!r} is none of {SCHEDULE_HELP}")
    if rate is None or not rate > 0:
        raise InvalidValueError("rate", f"{name} needs --rate, requests a second above 0")
    if duration is None or not duration > 0:
        raise InvalidValueError("duration", f"{name} needs --duration, seconds above 0")
    match name:
        case "diurnal":
            values = _numbers("schedule", options, {"period": duration, "amplitude": 0.5, "noise": 0.05})
            return schedules.diurnal(rate, duration, rng, **values)
        case "spike":
            values = _numbers("schedule", options, {"at": duration / 3, "for": duration / 6, "times": 4.0})
            return schedules.spike(rate, duration, at=values["at"], length=values["for"], factor=values["times"])
    _numbers("schedule", options, {})
    return schedules.rrl_steps(rate, duration) if name == "rrl" else schedules.constant(rate, duration)


def parse_dims(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Read ``name=64`` or ``name=64,3`` options.

    Raises:
        InvalidValueError: One is not of that form.
    """
    dims = {}
    for text in texts:
        name, _, sizes = text.partition("=")
        try:
            dims[name] = tuple(int(size) for size in sizes.split(","))
        except ValueError as error:
            raise InvalidValueError("dim", f"{text!r} is not like tokens=64 or image=96,96") from error
    return dims


def parse_range(text: str) -> tuple[int, int]:
    """Read ``LOW:HIGH``.

    Raises:
        InvalidValueError: It is not of that form.
    """
    low, _, high = text.partition(":")
    try:
        return int(low), int(high)
    except ValueError as error:
        raise InvalidValueError("int-range", f"{text!r} is not like 0:1000") from error


def _step(text: str) -> tuple[float, float]:
    length, _, rate = text.partition("@")
    try:
        return float(length), float(rate)
    except ValueError as error:
        raise InvalidValueError("schedule", f"step {text!r} is not like 10@100 (10 s at 100/s)") from error


def _numbers(field: str, text: str, defaults: Mapping[str, float | None]) -> dict[str, float]:
    """Read ``key=value,…``; a default of None marks what must be given."""
    values = dict(defaults)
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        if key not in defaults:
            raise InvalidValueError(field, f"{key!r} is no option here; options are {', '.join(defaults) or 'none'}")
        try:
            values[key] = float(value)
        except ValueError as error:
            raise InvalidValueError(field, f"{key} must be a number, not {value!r}") from error
    given = {key: value for key, value in values.items() if value is not None}
    for key in defaults:
        if key not in given:
            raise InvalidValueError(field, f"{key}=NUMBER is missing")
    return given
