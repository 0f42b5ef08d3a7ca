"""History: what has been measured, grouped by load and configuration, in bounded memory.

A *cluster* holds the windows of one load. A window joins the nearest cluster whose centre is the same load (leader
clustering); otherwise it founds a new one. Inside a cluster the newest windows of each configuration are kept. When a
limit is reached, what was not touched for longest is forgotten: clusters first, then configurations.

Everything else is computed from this record, so replaying the same windows in the same order gives the same policy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from service.domain.histogram import Histogram
from service.domain.serving_config import ServingConfig
from service.domain.window import Window
from service.learning.context import Context

MAX_CLUSTERS = 32
MAX_TRIALS_PER_CLUSTER = 128
MAX_WINDOWS_PER_TRIAL = 6
#: The quantile of executed batches that stands for "as large as they get".
LARGE_BATCH = 0.99


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is kept of a window.

    Attributes:
        latency: Latencies of successful requests, seconds; buckets outside the observed range are cut off.
        loss_ratio: Share of requests refused or failed.
        large_batch: Size that 99 of 100 executed batches did not exceed, examples; None where it is not told.
        tick: Number of the window within its cluster, from 0.
    """

    latency: Histogram
    loss_ratio: float
    large_batch: float | None
    tick: int


@dataclass(slots=True, eq=False)
class Trial:
    """All that is kept of one configuration under one load.

    Attributes:
        config: The configuration.
        context: Mean context of the kept windows.
        first_tick: Number, within the cluster, of the first window ever measured.
        measurements: The newest windows, oldest first.
    """

    config: ServingConfig
    context: Context
    first_tick: int
    measurements: deque[Measurement] = field(default_factory=lambda: deque(maxlen=MAX_WINDOWS_PER_TRIAL))

    @property
    def last_tick(self) -> int:
        """Number, within the cluster, of the newest window."""
        return self.measurements[-1].tick


@dataclass(slots=True, eq=False)
class Cluster:
    """The trials under one load.

    Attributes:
        centre: The context that founded it.
        trials: By configuration, the one measured last at the end.
        ticks: Windows seen so far.
        returned_tick: Number of the first window since the load last came back; None while it has never been away.
    """

    centre: Context
    trials: dict[ServingConfig, Trial] = field(default_factory=dict)
    ticks: int = 0
    returned_tick: int | None = None

    @property
    def just_returned(self) -> bool:
        """Whether this load was seen before and its newest window is the first since it came back."""
        return self.returned_tick is not None and self.ticks - self.returned_tick == 1


class History:
    """The record of a policy. Not safe for use from several threads at once."""

    def __init__(self) -> None:
        self._clusters: list[Cluster] = []  # the one touched last at the end

    def __len__(self) -> int:
        return sum(len(cluster.trials) for cluster in self._clusters)

    @property
    def trials(self) -> Iterator[Trial]:
        """All trials of all loads."""
        return (trial for cluster in self._clusters for trial in cluster.trials.values())

    @property
    def clusters(self) -> tuple[Cluster, ...]:
        """All clusters, the one touched last at the end."""
        return tuple(self._clusters)

    def cluster(self, context: Context) -> Cluster | None:
        """The cluster of this load; None when it was never seen."""
        nearest = min(self._clusters, key=lambda cluster: cluster.centre.distance(context), default=None)
        return nearest if nearest is not None and nearest.centre.same_load(context) else None

    def add(self, context: Context, config: ServingConfig, window: Window) -> None:
        """Keep a window that holds at least one request."""
        cluster = self.cluster(context)
        if cluster is None:
            cluster = Cluster(context)
            if len(self._clusters) == MAX_CLUSTERS:
                del self._clusters[0]
        elif cluster is not self._clusters[-1]:
            self._clusters.remove(cluster)
            cluster.returned_tick = cluster.ticks
        if not self._clusters or self._clusters[-1] is not cluster:
            self._clusters.append(cluster)
        trial = cluster.trials.pop(config, None)
        if trial is None:
            trial = Trial(config, context, cluster.ticks)
            if len(cluster.trials) == MAX_TRIALS_PER_CLUSTER:
                del cluster.trials[next(iter(cluster.trials))]
        kept = len(trial.measurements)
        share = 1 / min(kept + 1, MAX_WINDOWS_PER_TRIAL)
        trial.context = trial.context.blend(context, share)
        batches = window.batch_size
        large_batch = batches.quantile(LARGE_BATCH) if batches is not None and batches.count else None
        trial.measurements.append(Measurement(_trimmed(window.latency), window.loss_ratio, large_batch, cluster.ticks))
        cluster.trials[config] = trial
        cluster.ticks += 1


def _trimmed(histogram: Histogram) -> Histogram:
    """The same values in fewer buckets: empty ones at both ends are dropped, one is kept below for its edge."""
    filled = [i for i, count in enumerate(histogram.counts) if count]
    if not filled:
        return Histogram.empty(histogram.bounds[:1])
    first, last = max(filled[0] - 1, 0), filled[-1]
    bounds = histogram.bounds[first : last + 1]
    # The last bucket of a histogram has no upper edge; where the last filled one has an edge, an empty one follows it.
    counts = histogram.counts[first : last + 1] + ((0,) if last < len(histogram.bounds) else ())
    return Histogram(bounds, counts, histogram.total)
