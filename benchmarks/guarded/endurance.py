"""Endurance: what the control service's loop holds after hours, on a replayed server and a clock that jumps.

``python -m benchmarks.guarded.endurance``: the shipped loop with the shipped policy, while the load changes between
two recorded ones; the memory of the process, looked at now and then. Without HTTP, which the soak has
(``python -m benchmarks.faults soak``).
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog

from benchmarks.faults.memory import look as memory_of
from benchmarks.guarded.play import play
from benchmarks.guarded.variants import GUARDED, Variant
from benchmarks.guarded.world import SLOT_SECONDS, ReplayedServer
from benchmarks.progress import Progress
from benchmarks.replay.policies import OURS
from benchmarks.replay.scenarios import Scenario
from benchmarks.replay.tasks import known_of
from benchmarks.replay.world import objective
from benchmarks.tables import Table

LANDSCAPES = Path(__file__).parents[1] / "landscapes"
#: Windows of one load before the other comes back.
_PHASE = 40
#: Rows of the table.
_LOOKS = 10


def endure(loads: Sequence[str], windows: int, landscapes: Path = LANDSCAPES) -> Table:
    """Run so many windows; one row for each look.

    Args:
        loads: Landscapes of one model, by turns.
        windows: How many.
        landscapes: Their folder.
    """
    schedule = tuple(loads[number // _PHASE % len(loads)] for number in range(windows))
    scenario = Scenario("step", loads[0], schedule)
    known = known_of(scenario, landscapes)
    every, passed, rows = max(windows // _LOOKS, 1), 0, []
    progress = Progress(windows)
    progress.begin("windows of a guarded loop")

    def look(server: ReplayedServer) -> None:
        nonlocal passed
        # It is the benchmark that keeps what happened, and a service does not.
        server.history.clear()
        passed += 1
        if passed % every == 0:
            progress.done(every)
            gc.collect()
            held = memory_of(os.getpid())
            assert held is not None
            rows.append([str(passed), f"{passed * SLOT_SECONDS / 3600:.1f}", f"{held['memory MB']:.1f}"])

    with TemporaryDirectory() as folder:
        history = f"sqlite:///{folder}/history.db"
        play(Variant(OURS, GUARDED), scenario, known, objective(scenario, known), 0, look, history)
    progress.close()
    return Table("Memory of a long run", ["windows", "hours", "memory MB"], rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guarded.endurance", description=__doc__)
    parser.add_argument("--windows", type=int, default=3000, help="of five seconds; by default 3000, some minutes")
    options = parser.parse_args(arguments)
    # Every decision of the loop is a line of its log otherwise.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    sys.stdout.write(endure(("transformer-25", "transformer-40"), options.windows).markdown() + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
