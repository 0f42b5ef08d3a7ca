"""A program that runs ``regulus`` with a wall clock that can be made to jump.

``python -m benchmarks.faults.jumping_clock FILE ARGUMENTS``: the number in FILE is added to ``time.time()``. The clock
that only grows is left alone, as when a machine's time is set.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path


def main() -> None:
    """The program."""
    offset, real = Path(sys.argv[1]), time.time

    def jumped() -> float:
        try:
            return real() + float(offset.read_text(encoding="ascii"))
        except (OSError, ValueError):  # being written just now
            return real()

    time.time = jumped
    sys.argv = ["regulus", *sys.argv[2:]]
    from service.cli.main import main as regulus

    regulus()


if __name__ == "__main__":
    main()
