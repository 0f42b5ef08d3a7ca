"""Catalogue: which metric of a server means what.

Two kinds of server answer with the same names: TensorFlow Serving, and the embedded server, which adds finer ones of
its own. So one catalogue describes both; where a quantity has several sources they are listed finest first, and a
page is read from the first that it has. TensorFlow Serving's buckets grow by 1.8, the embedded server's by 1.1.

Sources: ``servables/tensorflow/util.cc``, ``batching/batching_session.cc`` and ``util/prometheus_exporter.cc`` of
tensorflow/serving, where every character outside ``[A-Za-z0-9_]`` becomes a colon and latencies are microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

_MICROSECOND = 1e-6

#: A page is taken for a model server's only if some metric starts with one of these.
SERVER_PREFIXES = (":tensorflow:", "regulus_modelserver_")

#: Statuses with which a server says that it has no room. ``status`` labels hold the canonical code's name.
REJECTED_STATUSES = frozenset({"UNAVAILABLE", "RESOURCE_EXHAUSTED"})

#: Statuses that are the caller's doing and say nothing of the server.
CLIENT_ERROR_STATUSES = frozenset(
    {
        "CANCELLED",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "FAILED_PRECONDITION",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "UNAUTHENTICATED",
    }
)

#: Label of the series of a process that tries a configuration out, and of the one it is compared with.
ROLE = "role"

#: The status of a request that was answered.
OK_STATUS = "OK"


@dataclass(frozen=True, slots=True)
class Family:
    """Where one quantity is found on the page.

    Attributes:
        name: The metric's name; for a histogram without ``_bucket``, ``_sum`` or ``_count``.
        model_label: The label that names the model; None where the server does not tell its models apart.
        scale: What one unit of the metric is in ours (seconds, requests, examples).
    """

    name: str
    model_label: str | None = None
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """The sources of everything a reading holds.

    Attributes:
        latency: Histograms of the latency of requests, finest first. Where one has a ``status`` label (newer
            TensorFlow Serving), only OK counts.
        requests: Counter of requests; its ``status`` label names the canonical code.
        batch_size: Histogram of the sizes of executed batches.
        queueing: Histogram of the time requests waited for their batch.
        request_examples: Histogram of the examples one request carries. TensorFlow Serving fills it only in Classify
            and Regress.
        session_inputs: Histogram of the examples that enter a batching session, one value for each input of each
            request; stands in for ``request_examples``.
        interarrivals: Prefix of the counters ``_count``, ``_sum`` and ``_sum_of_squares`` of gaps between arrivals.
        generation: Gauge with the number of the configuration in force.
        process_start: Gauge with the unix time at which the server started.
    """

    latency: tuple[Family, ...]
    requests: Family
    batch_size: Family
    queueing: Family
    request_examples: Family
    session_inputs: Family
    interarrivals: Family
    generation: Family
    process_start: Family

    @property
    def histograms(self) -> tuple[Family, ...]:
        """All histograms."""
        return (*self.latency, self.batch_size, self.queueing, self.request_examples, self.session_inputs)

    @property
    def scalars(self) -> dict[str, Family]:
        """The families of all samples that are not part of a histogram, by the names of the samples."""
        moments = {self.interarrivals.name + suffix: self.interarrivals for suffix in MOMENT_SUFFIXES}
        return moments | {family.name: family for family in (self.requests, self.generation, self.process_start)}


#: Of a sum of powers: zeroth, first, second.
MOMENT_SUFFIXES = ("_count", "_sum", "_sum_of_squares")

MODEL_SERVER = Catalogue(
    latency=(
        Family("regulus_modelserver_request_latency_seconds", "model_name"),
        Family(":tensorflow:serving:request_latency", "model_name", _MICROSECOND),
    ),
    requests=Family(":tensorflow:serving:request_count", "model_name"),
    batch_size=Family(":tensorflow:serving:batching_session:processed_batch_size"),
    queueing=Family(":tensorflow:serving:batching_session:queuing_latency", scale=_MICROSECOND),
    request_examples=Family(":tensorflow:serving:request_example_counts", "model"),
    session_inputs=Family(":tensorflow:serving:batching_session:input_batch_size"),
    interarrivals=Family("regulus_modelserver_interarrival_seconds", "model_name"),
    generation=Family("regulus_modelserver_generation"),
    process_start=Family("process_start_time_seconds"),
)
