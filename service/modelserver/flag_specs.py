"""What a command-line flag is: its kind, unit, limits, and whether this server honours it.

A flag is declared once, as a dataclass field made by :func:`flag`; parsing, checks and ``--help`` read the declaration.
The syntax is that of TensorFlow's own parser (``tensorflow/core/util/command_line_flags.cc``): ``--name=value``, and
``--name`` alone for true. Beyond it ``--name value`` is accepted where the flag is no boolean (there TensorFlow's
parser would fail, so nothing changes meaning), and ``1`` and ``0`` for booleans.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from service.modelserver.status import Code, ServingError

INT32_MAX = (1 << 31) - 1
INT64_MAX = (1 << 63) - 1

_WORDS_FOR_BOOL = {"true": True, "1": True, "false": False, "0": False}
_SHOWN_CHARS = 80


class FlagError(ServingError):
    """A flag is unknown, malformed, out of range, unsupported, or contradicts another."""

    def __init__(self, message: str, code: Code = Code.INVALID_ARGUMENT) -> None:
        super().__init__(code, message)


class Support(StrEnum):
    """What this server does with a flag of TensorFlow Serving."""

    HONOURED = "honoured"
    NO_EFFECT = "no effect"
    """Accepted, so that existing command lines work; changes nothing here."""
    REFUSED = "refused"
    """Any value but the default is refused, because ignoring it would change what the user gets."""


@dataclass(frozen=True, slots=True)
class FlagSpec:
    """The declaration of one flag.

    Attributes:
        name: As on the command line, without the dashes.
        kind: ``bool``, ``int``, ``float`` or ``str``.
        default: Its value when absent, or a function that computes it (thread counts follow the CPUs).
        group: Heading under which ``--help`` lists it.
        help: What it does, in a sentence or two.
        unit: Unit of the value; empty for none.
        low: Smallest value allowed, for numbers.
        high: Largest value allowed, for numbers.
        support: Whether the flag has an effect here.
    """

    name: str
    kind: type
    default: Any
    group: str
    help: str
    unit: str = ""
    low: float = 0
    high: float = INT32_MAX
    support: Support = Support.HONOURED

    @property
    def default_value(self) -> Any:
        """The value when the flag is absent."""
        return self.default() if callable(self.default) else self.default

    def parse(self, text: str) -> Any:
        """Read the value after the equals sign.

        Raises:
            FlagError: It is not of the flag's kind, or outside its limits.
        """
        if self.kind is bool:
            value = _WORDS_FOR_BOOL.get(text.lower())
            if value is None:
                raise self._wrong("true or false", text)
            return value
        if self.kind is str:
            if "\0" in text:
                raise self._wrong("text without NUL characters", text)
            return text
        whole = self.kind is int
        wanted = f"a {'whole ' if whole else ''}number from {self.low:.15g} to {self.high:.15g}"
        try:
            number = _whole_number(text) if whole else float(text)
        except ValueError:
            raise self._wrong(wanted, text) from None
        if not math.isfinite(number) or not self.low <= number <= self.high:
            raise self._wrong(wanted, text)
        return number

    def _wrong(self, wanted: str, text: str) -> FlagError:
        unit = f" ({self.unit})" if self.unit else ""
        return FlagError(f"--{self.name} must be {wanted}{unit}, not {shown(text)}")


def _whole_number(text: str) -> int:
    """C's notation of a decimal integer; Python's ``int`` also takes underscores and foreign digits."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()) or len(digits) > len(str(INT64_MAX)):
        raise ValueError(text)
    return int(text)


def shown(text: str) -> str:
    """What the user wrote, quoted and cut, for an error message."""
    return repr(text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…")


def flag(
    default: Any | Callable[[], Any],
    group: str,
    text: str,
    *,
    unit: str = "",
    low: float = 0,
    high: float = INT32_MAX,
    support: Support = Support.HONOURED,
) -> Any:
    """Declare a flag as a dataclass field; the annotation gives its kind, the arguments are :class:`FlagSpec`'s."""
    metadata = {"group": group, "help": text, "unit": unit, "low": low, "high": high, "support": support}
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def specs_of(declared: type) -> dict[str, FlagSpec]:
    """The flags that a dataclass declares, by name and in its order."""
    kinds: Mapping[str, type] = {"bool": bool, "int": int, "float": float, "str": str}
    specs = {}
    for field in dataclasses.fields(declared):
        computed = field.default is dataclasses.MISSING
        specs[field.name] = FlagSpec(
            name=field.name,
            kind=kinds[str(field.type)],
            default=field.default_factory if computed else field.default,
            **field.metadata,
        )
    return specs


def parse_arguments(arguments: Sequence[str], specs: Mapping[str, FlagSpec]) -> dict[str, Any]:
    """The values given on a command line; the last of a repeated flag wins, as in TensorFlow.

    Raises:
        FlagError: A flag is unknown (the message names the nearest known one), has no value or a wrong one, or an
            argument is no flag.
    """
    values: dict[str, Any] = {}
    remaining = list(reversed(arguments))
    while remaining:
        argument = remaining.pop()
        if not argument.startswith("--") or argument == "--":
            raise FlagError(f"unknown argument: {shown(argument)}; flags are written --name=value")
        name, equals, text = argument[2:].partition("=")
        spec = specs.get(name)
        if spec is None:
            raise FlagError(_unknown(name, specs))
        if not equals:
            if spec.kind is bool:
                text = "true"
            elif remaining and not remaining[-1].startswith("--"):
                text = remaining.pop()
            else:
                raise FlagError(f"--{name} needs a value: --{name}={'N' if spec.kind is not str else 'TEXT'}")
        values[name] = spec.parse(text)
    return values


def _unknown(name: str, names: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name[:_SHOWN_CHARS].replace("-", "_"), list(names), n=1, cutoff=0.0)
    return f"unknown flag {shown('--' + name)}; did you mean --{nearest[0]}? (--help lists all)"
