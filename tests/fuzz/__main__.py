"""``make fuzz``: give every reader as many inputs as fit into a time, and say how many that were.

Each round has a seed of its own, so that nothing is tried twice on purpose. A finding is shrunk, shown with its
traceback, and ends the run with exit status 1.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.targets import TARGETS, Target

#: Inputs between two looks at the clock.
ROUND = 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz as the command line says, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each reader is fuzzed (60)")
    parser.add_argument("--only", choices=sorted(TARGETS), action="append", help="only this reader; may be repeated")
    chosen = parser.parse_args(arguments)
    names = chosen.only or sorted(TARGETS)
    first = secrets.randbits(32)
    print(f"fuzzing {len(names)} readers for {chosen.seconds:g} s each, seeds from {first}", flush=True)
    print(f"{'reader':30} {'inputs':>12} {'accepted':>12} {'findings':>9}", flush=True)
    total = findings = 0
    for name in names:
        inputs, accepted, found = _fuzz(name, TARGETS[name], chosen.seconds, first)
        print(f"{name:30} {inputs:>12,} {accepted:>12,} {found:>9}", flush=True)
        total += inputs
        findings += found
    print(f"{'all':30} {total:>12,} {'':>12} {findings:>9}")
    return 1 if findings else 0


def _fuzz(name: str, target: Target, seconds: float, first: int) -> tuple[int, int, int]:
    """Inputs given, inputs accepted, and whether there was a finding (which ends it)."""
    inputs = accepted = 0

    def count(value: Any) -> None:
        nonlocal inputs, accepted
        inputs += 1
        accepted += target.check(value)

    end = time.monotonic() + seconds
    number = 0
    while number == 0 or time.monotonic() < end:
        try:
            _round(target, count, first + number)()
        except Exception:
            print(f"{name}: a finding, with seed {first + number}", file=sys.stderr)
            traceback.print_exc()
            return inputs, accepted, 1
        number += 1
    return inputs, accepted, 0


def _round(target: Target, check: Callable[[Any], None], number: int) -> Callable[[], None]:
    chosen = settings(
        max_examples=ROUND,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    return seed(number)(chosen(given(target.inputs)(check)))


if __name__ == "__main__":
    sys.exit(main())
