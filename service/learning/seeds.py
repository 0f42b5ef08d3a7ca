"""Seed points: configurations worth trying first, before anything is known. Not truth: each must earn its place.

In the order in which they are tried when the objective is violated. ``c`` is the number of processors.
"""

from __future__ import annotations

from service.domain.serving_config import ServingConfig
from service.learning.space import ConfigSpace, Point, queue_length


def seed_points(space: ConfigSpace) -> tuple[Point, ...]:
    """The seeds as points of this space, without repeats; pinned or bounded knobs move to the nearest value."""
    return tuple(dict.fromkeys(space.nearest(config) for config in _seeds(max(1, round(space.cpus)))))


def _seeds(cores: int) -> tuple[ServingConfig, ...]:
    return (
        # TensorFlow Serving's guide (batching/README.md, CPU): batch threads = cores, timeout 0. A batch then closes as
        # soon as a thread is free, so it costs a quiet server nothing and lets a busy one pay the session call once a
        # batch. Intra-op 1 in place of TensorFlow's automatic: measured on two cores, 121 → 204 req/s with one client
        # and 542 → 711 with 64. Batch 32 where the guide says "large": large batches were reported to hurt on CPU
        # (tensorflow/serving#1529).
        _batched(32, threads=cores, intra=1),
        # A quiet server with a model too small to share: no queue at all, intra-op 1 as measured above.
        ServingConfig(tensorflow_intra_op_parallelism=1),
        # A large model: one batch at a time with all processors inside it, so that nothing competes with it.
        _batched(32, threads=1, intra=cores),
        # Many thin instances beat one fat one, 1.4 to 1.8 times (Packrat).
        _batched(8, threads=1, intra=1, instances=cores),
        # Above capacity: the guide's large batches and its "then try 1–10 ms" of waiting to fill them.
        _batched(128, threads=cores, intra=1, timeout_micros=2000),
    )


def _batched(size: int, *, threads: int, intra: int, instances: int = 1, timeout_micros: int = 0) -> ServingConfig:
    return ServingConfig(
        enable_batching=True,
        max_batch_size=size,
        batch_timeout_micros=timeout_micros,
        num_batch_threads=threads,
        max_enqueued_batches=queue_length(size),
        tensorflow_intra_op_parallelism=intra,
        instances=instances,
    )
