"""LoadPlan: what is to be sent when, and what the run promises about itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.domain.errors import InvalidValueError
from service.loadgen.schedules import Phase


class Source(Protocol):
    """Where send times come from: ``arrivals.ScheduledArrivals`` or a ``traces.Trace``."""

    @property
    def duration(self) -> float:
        """Length of the run, seconds."""
        ...

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Stretches to report on their own, ascending, covering the whole run."""
        ...

    def send_times(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Intended send times, ascending, seconds from the start, shape (requests,)."""
        ...


@dataclass(frozen=True, kw_only=True)
class LoadPlan:
    """A run, decided before it starts.

    Attributes:
        source: Arrivals.
        seed: Of arrivals and payloads; the same seed sends the same requests at the same times.
        timeout: Deadline of each request, seconds from its sending.
        max_inflight: Requests without an answer at once. One that is due beyond them is not sent and counts as
            failed: delaying it would hide the server's tail, sending it might exhaust this machine.
        connections: Connections over which gRPC requests are spread, and which are warm before the run.
        slo_seconds: Latency that counts as a violation when exceeded; None to count none.
        max_lag: Own delay, in seconds, that never makes a run invalid: what an unprivileged process on a shared
            machine cannot rule out.
        max_lag_ratio: Own delay as a share of the latency at the same percentile that is tolerable beyond that.

    Raises:
        InvalidValueError: A value is out of range.
    """

    source: Source
    seed: int = 0
    timeout: float = 10.0
    max_inflight: int = 2048
    connections: int = 4
    slo_seconds: float | None = None
    max_lag: float = 0.001
    max_lag_ratio: float = 0.1

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InvalidValueError("seed", f"must be ≥ 0, not {self.seed}")
        for name, low, high in (("max_inflight", 1, 1_000_000), ("connections", 1, 256)):
            if not low <= getattr(self, name) <= high:
                raise InvalidValueError(name, f"must lie in [{low}, {high}], not {getattr(self, name)}")
        if not 0 < self.timeout <= 3600:
            raise InvalidValueError("timeout", f"must lie in (0, 3600] s, not {self.timeout}")
        if self.slo_seconds is not None and not 0 < self.slo_seconds <= 3600:
            raise InvalidValueError("slo", f"must lie in (0, 3600] s, not {self.slo_seconds}")
        for name in ("max_lag", "max_lag_ratio"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise InvalidValueError(name, f"must be ≥ 0, not {getattr(self, name)}")

    def arrivals_rng(self) -> np.random.Generator:
        """Draws the send times."""
        return np.random.default_rng([self.seed, 1])

    def payload_rng(self) -> np.random.Generator:
        """Draws the payloads."""
        return np.random.default_rng([self.seed, 2])
