"""Report: the results of the suite as a table for people."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.faults.fault import Fault
from benchmarks.tables import Table

_WORDS = 4

#: An action and its reason.
_DOING = re.compile(r"[a-z]+: [a-z_]+\Z")

#: What a healthy loop says all the time.
_ROUTINE = frozenset({"window_not_ready", "incumbent_best", "dwell", "verify: verified", "mode_recommend"})


def table(results: Sequence[Mapping[str, Any]], faults: Mapping[str, Fault]) -> Table:
    """One row a fault.

    Args:
        results: As :meth:`benchmarks.faults.suite.Result.to_dict` gives them.
        faults: The registry.
    """
    rows = []
    for name, fault in faults.items():
        mine = [result for result in results if result["fault"] == name]
        if not mine:
            continue
        passed = sum(result["passed"] for result in mine)
        rows.append(
            [
                name,
                fault.on,
                str(len(mine)),
                *(str(sum(result["losses"][key] for result in mine)) for key in ("sent", "lost")),
                lost_how(mine),
                seconds([result["recovery_seconds"] for result in mine]),
                said(mine),
                f"{passed} of {len(mine)}" + ("" if passed == len(mine) else " **✗**"),
            ]
        )
    header = [
        "fault",
        "on",
        "injected",
        "requests",
        "lost",
        "of them bearable",
        "s to recover, median (max)",
        "what the loop said",
        "all held",
    ]
    note = (
        "Bearable: in hand of a process that was killed with −9, or come while Envoy was dead or gRPC's clients had "
        "not yet connected again (they wait a second before they try). Recovery counts from the end of the cause, for "
        "a kill from the kill (of agent and control service: from their restart by the suite, as by a service manager)."
    )
    return Table("Faults", header, rows, note)


def lost_how(results: Sequence[Mapping[str, Any]]) -> str:
    """What may be lost, of what was."""
    in_hand, unserved = (sum(result["losses"][key] for result in results) for key in ("in_hand", "unserved"))
    parts = [f"{count} {how}" for count, how in ((in_hand, "in hand"), (unserved, "unserved")) if count]
    return ", ".join(parts) or "–"


def seconds(values: Sequence[float | None]) -> str:
    """Median and largest."""
    known = [value for value in values if value is not None and not np.isnan(value)]
    return f"{np.median(known):.1f} ({max(known):.1f})" if known else "–"


def said(results: Sequence[Mapping[str, Any]]) -> str:
    """Reasons first, then problems in words, then what was done; what is always said only where nothing else was."""
    counts = Counter(word for result in results for word in result["said"])
    news = [word for word in counts if word not in _ROUTINE] or list(counts)

    def rank(word: str) -> tuple[int, int, str]:
        kind = 0 if word.isidentifier() else 2 if _DOING.match(word) else 1
        return kind, -counts[word], word

    return "; ".join(sorted(news, key=rank)[:_WORDS])


def failures(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """What did not hold, in words."""
    return [
        f"{result['fault']}: {check['what']}: {check['detail']}"
        for result in results
        for check in result["checks"]
        if not check["held"]
    ]


def verdicts(results: Sequence[Mapping[str, Any]]) -> Table:
    """Every check, how often it was made and held."""
    made: Counter[str] = Counter()
    held: Counter[str] = Counter()
    for result in results:
        for check in result["checks"]:
            made[check["what"]] += 1
            held[check["what"]] += check["held"]
    rows = [[what, str(count), str(held[what])] for what, count in made.most_common()]
    return Table("What was checked", ["check", "made", "held"], rows)
