"""ServingConfig: one value for each knob of a model server.

Names, units and defaults are TensorFlow Serving's own (``session_bundle_config.proto`` and the flags of
``tensorflow_model_server``); ``instances`` is ours: how many sessions (or processes) share the load.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from service.domain.errors import InfeasibleConfigError

#: TensorFlow Serving's default queue length, in batches, and ours: at least this many requests may wait.
DEFAULT_MAX_ENQUEUED_BATCHES = 10

_BATCHING_FIELDS = ("max_batch_size", "batch_timeout_micros", "num_batch_threads", "max_enqueued_batches")

_LIMITS: dict[str, tuple[int, int]] = {
    "max_batch_size": (1, 1 << 20),
    "batch_timeout_micros": (0, 60_000_000),
    "num_batch_threads": (1, 1024),
    "max_enqueued_batches": (1, 1 << 20),
    "tensorflow_inter_op_parallelism": (0, 1024),
    "tensorflow_intra_op_parallelism": (0, 1024),
    "instances": (1, 64),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingConfig:
    """A complete, validated configuration. Equal values mean equal behaviour.

    With batching off the batching fields have no effect, so they are normalised: two configurations that differ
    only there are equal. ``ServingConfig()`` is TensorFlow Serving's own default.

    Attributes:
        enable_batching: Whether requests are gathered into batches.
        max_batch_size: Largest batch, in examples; also the largest single request.
        batch_timeout_micros: How long the oldest request of a batch may wait for company, in microseconds.
        num_batch_threads: Batches in execution at once.
        max_enqueued_batches: Batches that may wait; beyond it requests are refused with UNAVAILABLE.
        allowed_batch_sizes: Sizes a batch is padded up to; empty means no padding. Ascending, the last equal to
            ``max_batch_size``.
        tensorflow_inter_op_parallelism: Threads that run independent operations; 0 lets TensorFlow choose.
        tensorflow_intra_op_parallelism: Threads inside one operation; 0 lets TensorFlow choose.
        instances: Sessions (or server processes) that share the load.

    Raises:
        InfeasibleConfigError: A value is of the wrong type or outside its limits; names the field.
    """

    enable_batching: bool = False
    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    num_batch_threads: int = 1
    max_enqueued_batches: int = DEFAULT_MAX_ENQUEUED_BATCHES
    allowed_batch_sizes: tuple[int, ...] = ()
    tensorflow_inter_op_parallelism: int = 0
    tensorflow_intra_op_parallelism: int = 0
    instances: int = 1

    def __post_init__(self) -> None:
        # The annotations are promises of the caller; values that come from JSON or the command line are checked here.
        enabled: object = self.enable_batching
        if not isinstance(enabled, bool):
            raise InfeasibleConfigError("enable_batching", f"must be true or false, not {enabled!r}")
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise InfeasibleConfigError(name, f"must be a whole number, not {value!r}")
            if not low <= value <= high:
                raise InfeasibleConfigError(name, f"must lie between {low} and {high}, not {value}")
        if not self.enable_batching:
            for name in _BATCHING_FIELDS:
                object.__setattr__(self, name, type(self).__dataclass_fields__[name].default)
            object.__setattr__(self, "allowed_batch_sizes", ())
            return
        sizes: tuple[Any, ...] = tuple(self.allowed_batch_sizes)
        object.__setattr__(self, "allowed_batch_sizes", sizes)
        if any(isinstance(s, bool) or not isinstance(s, int) or s < 1 for s in sizes):
            raise InfeasibleConfigError("allowed_batch_sizes", f"must be positive whole numbers, not {sizes!r}")
        if list(sizes) != sorted(set(sizes)):
            raise InfeasibleConfigError("allowed_batch_sizes", f"must ascend without repeats, not {sizes!r}")
        if sizes and sizes[-1] != self.max_batch_size:
            raise InfeasibleConfigError(
                "allowed_batch_sizes", f"the last must equal max_batch_size {self.max_batch_size}, not {sizes[-1]}"
            )

    def with_values(self, **changes: Any) -> ServingConfig:
        """A copy with some fields changed; validated like any other."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; :meth:`from_dict` reads it back to an equal value."""
        raw = asdict(self)
        raw["allowed_batch_sizes"] = list(self.allowed_batch_sizes)
        return raw

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> ServingConfig:
        """Read what :meth:`to_dict` wrote; missing fields take their defaults.

        Raises:
            InfeasibleConfigError: A field is unknown or its value is not allowed.
        """
        known = {f.name for f in fields(cls)}
        for name in raw:
            if name not in known:
                raise InfeasibleConfigError(str(name), f"is not a knob; knobs are {', '.join(sorted(known))}")
        values = dict(raw)
        if "allowed_batch_sizes" in values:
            sizes = values["allowed_batch_sizes"]
            if not isinstance(sizes, (list, tuple)):
                raise InfeasibleConfigError("allowed_batch_sizes", f"must be a list, not {sizes!r}")
            values["allowed_batch_sizes"] = tuple(sizes)
        return cls(**values)

    def describe(self) -> str:
        """One short line for people, the interesting knobs only."""
        threads = f"inter={self.tensorflow_inter_op_parallelism} intra={self.tensorflow_intra_op_parallelism}"
        tail = f"{threads} instances={self.instances}"
        if not self.enable_batching:
            return f"batching off {tail}"
        return f"batch≤{self.max_batch_size} wait={self.batch_timeout_micros}µs threads={self.num_batch_threads} {tail}"

    def differences(self, other: ServingConfig) -> dict[str, tuple[Any, Any]]:
        """Fields whose value differs, as ``{field: (self's, other's)}``."""
        return {
            f.name: (getattr(self, f.name), getattr(other, f.name))
            for f in fields(self)
            if getattr(self, f.name) != getattr(other, f.name)
        }
