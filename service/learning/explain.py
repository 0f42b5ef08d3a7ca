"""Explain: what a person is told about a recommendation: its prediction, confidence, acceptable ranges and reason."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.workload import Workload
from service.learning.space import ConfigSpace
from service.learning.surrogate import Posterior

#: "About as good": the tail is predicted to lie within this factor.
TOLERANCE = 1.1


def confidence(sigma: float) -> float:
    """Probability that the true tail lies within 10 % of the prediction, given the standard deviation of its logarithm.

    One window of a thousand requests gives about 0.8, several agreeing ones nearly 1, an untried neighbour 0.2; it
    falls again as windows age.
    """
    return 2 * NormalDist().cdf(math.log(TOLERANCE) / sigma) - 1


def acceptable(space: ConfigSpace, posterior: Posterior, config: ServingConfig) -> dict[str, tuple[int, int]]:
    """For each knob the values round the configuration's own that are predicted to be about as good, the others fixed.

    About as good: within 10 % of its predicted tail and, where it meets the objective, meeting it too.
    ``max_batch_size`` 0 stands for batching off; knobs without effect (the others of batching, when it is off) are left
    out.
    """
    here = space.nearest(config)
    ranges = {}
    for axis, knob in enumerate(space.knobs):
        if not config.enable_batching and knob.name in ("batch_timeout_micros", "num_batch_threads"):
            continue
        line = [p for p in ((*here[:axis], i, *here[axis + 1 :]) for i in range(len(knob.values))) if space.has(p)]
        if not config.enable_batching and axis == 0:
            line = [here]
        mean = posterior.belief([space.config(p) for p in line]).mean
        at = line.index(here)
        limit = mean[at] + math.log(TOLERANCE)
        good = mean <= (min(limit, 0.0) if mean[at] <= 0 else limit)
        low = at - int(np.argmin(np.append(good[:at][::-1], False)))
        high = at + int(np.argmin(np.append(good[at + 1 :], False)))
        ranges[knob.name] = (knob.values[line[low][axis]], knob.values[line[high][axis]])
    return ranges


def milliseconds(seconds: float) -> str:
    """Three digits are plenty: ``48.3 ms``."""
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds * 1000:.0f} ms"


def load(workload: Workload) -> str:
    """The load in a few words: ``300/s``, with its burstiness where it is not Poisson-like."""
    rate = workload.rate_per_second
    text = f"{rate:.3g}/s" if rate < 1000 else f"{rate:.0f}/s"
    return f"{text} (bursty, CV {workload.cv:.1f})" if workload.cv >= 1.5 else text


def against(slo: Slo, seconds: float) -> str:
    """A tail held against the objective: ``p99 120 ms > 50 ms``."""
    sign = ">" if seconds > slo.bound_seconds else "≤"
    return f"p{slo.percentile * 100:g} {milliseconds(seconds)} {sign} {milliseconds(slo.bound_seconds)}"


def windows(count: int) -> str:
    """``1 window``, ``3 windows``."""
    return f"{count} window" + ("" if count == 1 else "s")
