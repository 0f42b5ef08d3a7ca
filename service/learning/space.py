"""ConfigSpace: the lattice of feasible configurations.

A configuration is a point of a small integer lattice: one axis a knob, one step a value. Distances, regions and the
surrogate's inputs all use grid indices, as RRL does, because the values themselves grow geometrically.

"Batching off" is the lowest value of the ``max_batch_size`` axis (written 0): it behaves as a batch of one without a
queue, so it neighbours the smallest batch. With batching off the other batching knobs have no effect; such points
collapse into one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.errors import InfeasibleConfigError, InvalidValueError
from service.domain.serving_config import DEFAULT_MAX_ENQUEUED_BATCHES, ServingConfig

#: Value of the max_batch_size knob that stands for enable_batching=false.
BATCHING_OFF = 0

#: The order of the axes.
KNOB_NAMES = (
    "max_batch_size",
    "batch_timeout_micros",
    "num_batch_threads",
    "tensorflow_inter_op_parallelism",
    "tensorflow_intra_op_parallelism",
    "instances",
)

#: Knobs whose value 0 leaves the number to TensorFlow.
_AUTOMATIC = ("tensorflow_inter_op_parallelism", "tensorflow_intra_op_parallelism")

#: Requests that may wait for a batch, at least, whatever the batch size.
MIN_QUEUE_CAPACITY = 4096


@dataclass(frozen=True, slots=True)
class Knob:
    """One tunable with its ordered values.

    Raises:
        InvalidValueError: The name is unknown, or the values do not ascend.
    """

    name: str
    values: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.name not in KNOB_NAMES:
            raise InvalidValueError("name", f"{self.name!r} is not a knob; knobs are {', '.join(KNOB_NAMES)}")
        if not self.values or list(self.values) != sorted(set(self.values)):
            raise InvalidValueError(self.name, f"needs ascending values without repeats, not {self.values!r}")

    def nearest_index(self, value: int) -> int:
        """Index of the value closest to ``value``; the lower one on a tie."""
        return min(range(len(self.values)), key=lambda i: (abs(self.values[i] - value), i))


Point = tuple[int, ...]
"""Grid indices, one for each axis in the order of :data:`KNOB_NAMES`."""


class ConfigSpace:
    """All feasible configurations of one node for one model.

    Args:
        knobs: One for each name of :data:`KNOB_NAMES`, in any order; a pinned knob has one value.
        cpus: Processors the node may use.
        max_oversubscription: Feasible configurations run at most this many × ``cpus`` threads at once
            (intra-op × batches in execution × instances); automatic (0) intra-op counts as one thread a processor
            shared by all sessions.

    Raises:
        InvalidValueError: A knob is missing or given twice, or nothing is feasible.
    """

    def __init__(self, knobs: Sequence[Knob], *, cpus: float, max_oversubscription: float = 4.0) -> None:
        by_name = {knob.name: knob for knob in knobs}
        if len(by_name) != len(knobs) or set(by_name) != set(KNOB_NAMES):
            raise InvalidValueError("knobs", f"needs each of {', '.join(KNOB_NAMES)} exactly once")
        self.knobs: tuple[Knob, ...] = tuple(by_name[name] for name in KNOB_NAMES)
        self.cpus = cpus
        self.max_oversubscription = max_oversubscription
        if not self.points:
            raise InvalidValueError("knobs", "no combination of these values is feasible")

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """Every feasible point, batching-off points collapsed, in lexicographic order."""
        axes = [range(len(knob.values)) for knob in self.knobs]
        return tuple(p for p in itertools.product(*axes) if self._is_canonical(p) and self._fits(p))

    @cached_property
    def coordinates(self) -> NDArray[np.float64]:
        """Grid indices of :attr:`points` as an array of shape (n_points, n_knobs)."""
        return np.asarray(self.points, dtype=np.float64)

    @cached_property
    def _index_of(self) -> dict[Point, int]:
        return {point: index for index, point in enumerate(self.points)}

    def __len__(self) -> int:
        return len(self.points)

    def __contains__(self, config: object) -> bool:
        if not isinstance(config, ServingConfig):
            return False
        return self.config(self.nearest(config)) == config

    def __iter__(self) -> Iterator[ServingConfig]:
        return (self.config(point) for point in self.points)

    def has(self, point: Point) -> bool:
        """Whether a grid point is feasible here."""
        return point in self._index_of

    def admits(self, config: ServingConfig) -> bool:
        """Whether every knob lies within its lowest and highest value here, on the lattice or between its points."""
        values = {name: getattr(config, name) for name in KNOB_NAMES}
        if not config.enable_batching:
            values["max_batch_size"] = BATCHING_OFF
            del values["batch_timeout_micros"], values["num_batch_threads"]
        by_name = {knob.name: knob.values for knob in self.knobs}
        return all(by_name[name][0] <= value <= by_name[name][-1] for name, value in values.items())

    def index(self, point: Point) -> int:
        """Position of a feasible point in :attr:`points`.

        Raises:
            InfeasibleConfigError: The point is not feasible here.
        """
        try:
            return self._index_of[point]
        except KeyError:
            raise InfeasibleConfigError("config", f"grid point {point} is not feasible in this space") from None

    def values(self, point: Point) -> dict[str, int]:
        """The knob values of a point, by knob name; ``max_batch_size`` 0 means batching off."""
        return {knob.name: knob.values[i] for knob, i in zip(self.knobs, point, strict=True)}

    def config(self, point: Point) -> ServingConfig:
        """The configuration at a point."""
        values: dict[str, Any] = dict(self.values(point))
        batch = values.pop("max_batch_size")
        if batch == BATCHING_OFF:
            del values["batch_timeout_micros"], values["num_batch_threads"]
            return ServingConfig(**values)
        return ServingConfig(
            enable_batching=True, max_batch_size=batch, max_enqueued_batches=queue_length(batch), **values
        )

    def nearest(self, config: ServingConfig) -> Point:
        """The feasible point closest to ``config`` in grid steps (squared, summed over axes)."""
        wanted = {
            name: getattr(config, name)
            for name in KNOB_NAMES
            if config.enable_batching or name not in ("max_batch_size", "batch_timeout_micros", "num_batch_threads")
        }
        for knob in self.knobs:
            # Automatic stands for as many threads as there are processors, not for few.
            if knob.name in _AUTOMATIC and wanted[knob.name] == 0 and 0 not in knob.values:
                wanted[knob.name] = max(1, round(self.cpus))
        target = np.array([k.nearest_index(wanted[k.name]) if k.name in wanted else 0 for k in self.knobs])
        if config.enable_batching and self.knobs[0].values[target[0]] == BATCHING_OFF and len(self.knobs[0].values) > 1:
            target[0] = 1
        distances = np.square(self.coordinates - target).sum(axis=1)
        return self.points[int(distances.argmin())]

    def _is_canonical(self, point: Point) -> bool:
        if self.knobs[0].values[point[0]] != BATCHING_OFF:
            return True
        return point[1] == 0 and point[2] == 0

    def _fits(self, point: Point) -> bool:
        values = self.values(point)
        intra = values["tensorflow_intra_op_parallelism"]
        batches = 1 if values["max_batch_size"] == BATCHING_OFF else values["num_batch_threads"]
        threads = max(intra, 1) * batches * values["instances"]
        return threads <= max(self.max_oversubscription * self.cpus, 1.0)


def queue_length(max_batch_size: int) -> int:
    """``max_enqueued_batches`` for a batch size: never fewer waiting requests because batches are small."""
    return max(DEFAULT_MAX_ENQUEUED_BATCHES, -(-MIN_QUEUE_CAPACITY // max_batch_size))


def default_space(
    cpus: float,
    bounds: Mapping[str, tuple[int, int]] | None = None,
    pinned: Mapping[str, int] | None = None,
) -> ConfigSpace:
    """The lattice for a node: geometric values up to what its processors can use.

    Args:
        cpus: Processors the node may use.
        bounds: Lowest and highest allowed value for a knob (inclusive); missing knobs are unrestricted.
        pinned: Knobs that must keep one value.

    Raises:
        InvalidValueError: A bound or pin leaves a knob without a value; names the knob.
    """
    cores = max(1, round(cpus))
    threads = _powers_of_two(2 * cores)
    candidates: dict[str, tuple[int, ...]] = {
        "max_batch_size": (BATCHING_OFF, 2, 4, 8, 16, 32, 64, 128),
        "batch_timeout_micros": (0, 500, 1_000, 2_000, 5_000, 10_000),
        "num_batch_threads": threads,
        "tensorflow_inter_op_parallelism": (0, *_powers_of_two(cores)),
        "tensorflow_intra_op_parallelism": (0, *_powers_of_two(cores)),
        "instances": _powers_of_two(cores),
    }
    for name in (*(bounds or {}), *(pinned or {})):
        if name not in candidates:
            raise InvalidValueError(name, f"is not a knob; knobs are {', '.join(KNOB_NAMES)}")
    knobs = []
    for name, values in candidates.items():
        low, high = (bounds or {}).get(name, (values[0], values[-1]))
        kept = tuple(v for v in values if low <= v <= high)
        if pinned and name in pinned:
            kept = (pinned[name],) if low <= pinned[name] <= high else ()
        if not kept:
            raise InvalidValueError(name, f"no value left between {low} and {high}; candidates are {values}")
        knobs.append(Knob(name, kept))
    return ConfigSpace(knobs, cpus=cpus)


def _powers_of_two(limit: int) -> tuple[int, ...]:
    values = [1]
    while values[-1] * 2 <= limit:
        values.append(values[-1] * 2)
    return tuple(values)
