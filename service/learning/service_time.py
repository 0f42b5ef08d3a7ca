"""ServiceTime: what a batch costs on a machine, as a function of a configuration and of a few physical parameters.

The parameters are those of :data:`PARAMETERS`; all that is known beforehand are their priors, wide enough for a model
whose example takes 20 µs and for one that takes 50 ms. Notation: b examples in a batch, d intra-op threads, m inter-op
threads, c processors, λ requests a second; automatic (0) thread counts stand for all processors.

    base  = call + gather · [batching on]                              seconds of a batch whatever its size
    sync  = call · sync · log2 d                                       waking the intra-op threads
    slope = example · (1 − parallel + parallel / min(d, c))            seconds an example, Amdahl's law
    hop   = hop · [m > 1]                                              hand-overs between inter-op threads
    demand = 1 + spin · (d − 1)                                        processors that a batch in execution wants
    c_free = c − λ · background                                        processors left by what else a request costs

What comes of these, what batches in execution do to each other (``thrash``, ``coupling``), and the event loop with its
``loop`` seconds a request are the business of :mod:`service.learning.queueing`. Standard parameters z ~ N(0, 1) are
turned into physical ones by exp(log(median) + spread · z), shares by the logistic function instead.

The mechanisms are those of TensorFlow's sessions, as measured on two processors: with one inter-op thread, two calls at
once take twice the time; a second intra-op thread made 1.1 ms of one image 4.4 ms, and 17 ms of 32 images 24 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.domain.serving_config import ServingConfig
from service.domain.workload import Workload
from service.learning import queue_kernel as q

Array = NDArray[np.float64]

#: Requests that the embedded server executes at once with batching off, for each processor: its grpc_max_threads.
UNBATCHED_PER_CPU = 4
#: Requests that may wait with batching off.
UNBATCHED_WAITING = 4096
#: The event loop's timers count in milliseconds.
TIMER_STEP = 1e-3
#: However much goes elsewhere, this share of the processors is left to sessions and event loop.
_LEAST_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Parameter:
    """A physical parameter with its prior.

    Attributes:
        symbol: Its name in the equations.
        unit: ``s`` seconds, ``1`` none.
        median: Of the prior.
        spread: Standard deviation of the logarithm; of the logit where ``share``.
        share: Whether it lies in (0, 1).
        meaning: In words.
    """

    symbol: str
    unit: str
    median: float
    spread: float
    meaning: str
    share: bool = False


PARAMETERS: tuple[Parameter, ...] = (
    Parameter("call", "s", 3e-4, 0.9, "session call and hand-over to a thread and back, once a batch"),
    Parameter("gather", "s", 1e-4, 0.8, "putting a batch together and taking its answer apart"),
    Parameter("example", "s", 1e-3, 1.8, "processor time of one example on one thread"),
    Parameter("curve", "1", 1.0, 0.05, "exponent of the batch size"),
    Parameter("parallel", "1", 0.5, 1.0, "share of an example's work that intra-op threads divide", share=True),
    Parameter("sync", "1", 3.0, 0.9, "waking intra-op threads, in session calls for each doubling of the threads"),
    Parameter("spin", "1", 0.4, 1.0, "share of a processor that each further intra-op thread takes", share=True),
    Parameter("hop", "1", 0.2, 0.9, "slow-down of a batch whose session has inter-op threads asleep: hand-overs"),
    Parameter("thrash", "1", 0.1, 0.9, "slow-down for each time that the processors are oversubscribed"),
    Parameter("coupling", "1", 0.25, 0.8, "slow-down for each further processor in use: caches, shared cores"),
    Parameter("loop", "s", 4e-4, 0.6, "event loop's time for one request: decoding, gathering, answering"),
    Parameter("dispatch", "s", 1e-4, 0.8, "event loop's time for one batch: handing it to a thread and back"),
    Parameter(
        "background", "s", 2e-4, 0.8, "further processor time of a request: network, clients on the same machine"
    ),
    Parameter("floor", "s", 6e-4, 0.5, "latency that clients feel beside all this"),
    Parameter("jitter", "1", 0.2, 0.5, "standard deviation of the logarithm of a batch's time"),
    Parameter("stall", "s", 1e-3, 1.0, "mean delay of a request that the machine or an interpreter's lock holds up"),
)

_INDEX = {parameter.symbol: i for i, parameter in enumerate(PARAMETERS)}
_SHARES = np.array([parameter.share for parameter in PARAMETERS])
_SPREADS = np.array([parameter.spread for parameter in PARAMETERS])
_CENTRES = np.array([np.log(p.median / (1 - p.median)) if p.share else np.log(p.median) for p in PARAMETERS])


def physical(standard: Array) -> Array:
    """Physical parameters from standard ones, both of shape (k, :data:`PARAMETERS`)."""
    raw = _CENTRES + _SPREADS * standard
    return np.where(_SHARES, 1 / (1 + np.exp(-raw)), np.exp(np.where(_SHARES, 0.0, raw)))


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Configurations as numbers.

    Attributes:
        settings: As :mod:`service.learning.queueing` wants them, shape (n, 7).
        pads: Allowed batch sizes, shape (n, k).
        intra: Intra-op threads, automatic ones resolved, shape (n,).
        inter: Inter-op threads, likewise, shape (n,).
        cpus: Processors.
    """

    settings: Array
    pads: Array
    intra: Array
    inter: Array
    cpus: float

    @classmethod
    def of(cls, configs: Sequence[ServingConfig], cpus: float, requests: int) -> Plan:
        """Plan for runs of ``requests`` requests; longer queues than that are all alike."""
        cores = max(1, round(cpus))
        rows = [_row(config, cores, requests) for config in configs]
        table = np.array(rows, dtype=float).reshape(-1, q.SETTING_COUNT + 2)
        width = max((len(config.allowed_batch_sizes) for config in configs), default=0)
        pads = np.zeros((len(configs), max(width, 1)))
        if width:
            for row, config in enumerate(configs):
                pads[row, : len(config.allowed_batch_sizes)] = config.allowed_batch_sizes
        return cls(table[:, : q.SETTING_COUNT], pads, table[:, -2], table[:, -1], cpus)

    def take(self, rows: NDArray[np.int64]) -> Plan:
        """Some of the configurations."""
        return Plan(self.settings[rows], self.pads[rows], self.intra[rows], self.inter[rows], self.cpus)

    def services(self, parameters: Array, workload: Workload) -> Array:
        """Services of all configurations under each set of physical parameters.

        Args:
            parameters: Shape (k, :data:`PARAMETERS`).
            workload: The load.

        Returns:
            Shape (n, k, :data:`service.learning.queue_kernel.SERVICE_COUNT`).
        """
        value = {symbol: parameters[None, :, i] for symbol, i in _INDEX.items()}
        intra, inter = self.intra[:, None], self.inter[:, None]
        several = (inter > 1).astype(float)
        out = np.empty((len(self.intra), len(parameters), q.SERVICE_COUNT))
        out[..., q.BASE] = value["call"] + value["gather"] * (self.settings[:, [q.DIRECT]] == 0)
        out[..., q.SYNC] = value["call"] * value["sync"] * np.log2(intra)
        out[..., q.HOP] = value["hop"] * several
        shared = np.minimum(intra, max(self.cpus, 1.0))
        out[..., q.SLOPE] = value["example"] * (1 - value["parallel"] + value["parallel"] / shared)
        out[..., q.CURVE] = value["curve"]
        out[..., q.DEMAND] = 1 + value["spin"] * (intra - 1)
        elsewhere = workload.rate_per_second * value["background"]
        out[..., q.CPUS] = np.maximum(self.cpus - elsewhere, _LEAST_SHARE * self.cpus)
        out[..., q.THRASH] = value["thrash"]
        out[..., q.COUPLING] = value["coupling"]
        out[..., q.LOOP_IN] = out[..., q.LOOP_OUT] = 0.5 * value["loop"]
        out[..., q.FLOOR] = value["floor"]
        out[..., q.JITTER] = value["jitter"]
        out[..., q.STALL] = value["stall"]
        out[..., q.DISPATCH] = value["dispatch"]
        return out

    def utilisation(self, services: Array, workload: Workload) -> Array:
        """Offered load over what the server could take with every batch full; above 1 it drowns. Shape (n, k).

        Args:
            services: From :meth:`services`.
            workload: The load.
        """
        rate, examples = workload.rate_per_second, max(workload.examples_per_request, 1.0)
        settings = self.settings
        tasks = np.where(
            settings[:, q.DIRECT] > 0, 1.0, np.maximum(np.floor(settings[:, q.MAX_BATCH] / examples + 1e-9), 1.0)
        )[:, None]
        running = settings[:, [q.LIMIT]]
        loop = services[..., q.LOOP_IN] + services[..., q.LOOP_OUT]
        cpus, batches = services[..., q.CPUS], running * services[..., q.DEMAND]
        wanted = batches + rate * loop
        crowd = np.minimum(np.maximum(batches - 1, 0.0), np.maximum(cpus - 1, 0.0))
        drag = 1 + services[..., q.THRASH] * np.maximum(wanted / cpus - 1, 0.0) + services[..., q.COUPLING] * crowd
        share = np.minimum(1.0, np.maximum(cpus - rate * loop, 0.05 * cpus) / batches)
        size = np.maximum(tasks * examples, self.pads.max(axis=1, keepdims=True))
        seconds = services[..., q.BASE] + services[..., q.SLOPE] * size ** services[..., q.CURVE]
        seconds = seconds + np.where(running > 1, q.AWAKE, 1.0) * services[..., q.SYNC] * size**q.SYNC_CURVE
        seconds = seconds * np.where(running > 1, 1.0, 1 + services[..., q.HOP])
        sessions: Array = rate * seconds * drag / (running * share * tasks)
        return np.maximum(sessions, rate * loop)


def _row(config: ServingConfig, cores: int, requests: int) -> tuple[float, ...]:
    intra = config.tensorflow_intra_op_parallelism or cores
    inter = config.tensorflow_inter_op_parallelism or cores
    if not config.enable_batching:
        slots = UNBATCHED_PER_CPU * cores
        limit = min(slots, inter * config.instances)
        return (1, 1, 0.0, slots, min(UNBATCHED_WAITING, requests), limit, 0.0, intra, inter)
    slots = config.num_batch_threads * config.instances
    queue = min(config.max_enqueued_batches, requests + 1)
    timeout = config.batch_timeout_micros * 1e-6
    limit = min(slots, inter * config.instances)
    return (0, config.max_batch_size, timeout, slots, queue, limit, TIMER_STEP, intra, inter)
