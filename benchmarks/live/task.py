"""Task: what a steering process is asked to do, and the log that it hands back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.live.outcome import Steered, Switch

#: A policy whose name begins so is not obeyed at once: the control service's own loop decides, guardrails and all.
GUARDED = "guarded:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to steer, and how.

    Attributes:
        policy: Its name.
        seed: Of the policy.
        model: Name of the model.
        agent: Root of the agent's API.
        metrics: URL of the server's metrics.
        slo: The objective, as :meth:`service.domain.slo.Slo.to_dict` writes it.
        loop: Settings of the loop that differ from the service's own.
        seconds: How long.
        log: File for what was done.
    """

    policy: str
    seed: int
    model: str
    agent: str
    metrics: str
    slo: dict[str, float]
    loop: dict[str, float]
    seconds: float
    log: str

    @property
    def program(self) -> str:
        """The module that carries it out in a process of its own."""
        return "benchmarks.guarded.steering" if self.policy.startswith(GUARDED) else "benchmarks.live.steering"


def write_log(steered: Steered, path: Path) -> None:
    """Hand over what was done."""
    path.write_text(json.dumps(asdict(steered)), encoding="utf-8")


def read_log(path: Path) -> Steered:
    """Read what :func:`write_log` wrote."""
    raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    switches = tuple(Switch(**one) for one in raw.pop("switches"))
    return Steered(**raw | {"thinking": tuple(raw["thinking"])}, switches=switches)
