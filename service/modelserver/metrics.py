"""ServerMetrics: what the server counts, under TensorFlow Serving's names, and a finer view of our own.

Names, labels and buckets are TensorFlow Serving's (``servables/tensorflow/util.cc``, ``batching/batching_session.cc``,
``servables/tensorflow/saved_model_warmup_util.cc``) and TensorFlow's (``core/common_runtime/metrics.cc``,
``cc/saved_model/loader.cc``). Their times are **microseconds**; those named ``regulus_`` are in seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from service.domain.histogram import exponential_bounds
from service.modelserver.metric_families import MAX_SERIES, Distributions, Scalars
from service.modelserver.metrics_page import render_page

_SERVING = "/tensorflow/serving/"
_BATCHING = _SERVING + "batching_session/"
_MICROS = 1e6

#: 100 µs · 1.1^i, the last above 60 s: a percentile read from them is within 10 %.
FINE_LATENCY_BOUNDS = exponential_bounds(1e-4, 1.1, 141)

_LATENCY_BOUNDS = exponential_bounds(10, 1.8, 33)
_QUEUEING_BOUNDS = exponential_bounds(100, 1.2, 52)
_EXAMPLE_BOUNDS = exponential_bounds(1, 2, 15)
_BATCH_SIZE_BOUNDS = exponential_bounds(1, 2, 14)


class ServerMetrics:
    """Everything the metrics page shows. Safe to use from any thread; each call takes one to three microseconds.

    A request is reported twice: :meth:`arrival` when it comes in and :meth:`request` when it is answered, each exactly
    once and in that order; the difference of the two is the number in flight.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_arrival: dict[str, float] = {}
        self._requests = Scalars(_SERVING + "request_count", ("model_name", "status"))
        self._latency = Distributions(
            _SERVING + "request_latency", _LATENCY_BOUNDS, ("model_name", "API", "entrypoint")
        )
        self._runtime = Distributions(_SERVING + "runtime_latency", _LATENCY_BOUNDS, ("model_name", "API", "runtime"))
        self._example_counts = Distributions(_SERVING + "request_example_counts", _EXAMPLE_BOUNDS, ("model",))
        self._example_total = Scalars(_SERVING + "request_example_count_total", ("model",))
        self._warmup = Distributions(_SERVING + "model_warmup_latency", _LATENCY_BOUNDS, ("model_path", "status"))
        self._queueing = Distributions(_BATCHING + "queuing_latency", _QUEUEING_BOUNDS, ("thread_pool_name",))
        self._batches = Scalars(_BATCHING + "wrapped_run_count")
        self._padding = Distributions(_BATCHING + "padding_size", _BATCH_SIZE_BOUNDS, ("execution_batch_size",))
        self._input_size = Distributions(_BATCHING + "input_batch_size", _BATCH_SIZE_BOUNDS)
        self._processed_size = Distributions(_BATCHING + "processed_batch_size", _BATCH_SIZE_BOUNDS)
        self._graph_runs = Scalars("/tensorflow/core/graph_runs")
        self._graph_run_micros = Scalars("/tensorflow/core/graph_run_time_usecs")
        self._load_attempts = Scalars("/tensorflow/cc/saved_model/load_attempt_count", ("model_path", "status"))
        self._load_micros = Scalars("/tensorflow/cc/saved_model/load_latency", ("model_path",))
        self._fine_latency = Distributions(
            "regulus_modelserver_request_latency_seconds",
            FINE_LATENCY_BOUNDS,
            ("model_name", "api", "entrypoint"),
            inclusive=True,
        )
        interarrival = "regulus_modelserver_interarrival_seconds_"
        self._interarrival_count = Scalars(interarrival + "count", ("model_name",))
        self._interarrival_sum = Scalars(interarrival + "sum", ("model_name",))
        self._interarrival_squares = Scalars(interarrival + "sum_of_squares", ("model_name",))
        self._inflight = Scalars("regulus_modelserver_inflight_requests", kind="gauge")
        self._generation = Scalars("regulus_modelserver_generation", kind="gauge")
        self._inflight.set((), 0)
        self._generation.set((), 0)
        self._families = [family for family in vars(self).values() if isinstance(family, Scalars | Distributions)]

    def arrival(self, model: str, now_monotonic: float) -> None:
        """A request for ``model`` has come in.

        Args:
            model: The name it asked for.
            now_monotonic: Monotonic time in seconds.
        """
        with self._lock:
            self._inflight.values[()] += 1
            last = self._last_arrival.get(model)
            if last is None:
                if len(self._last_arrival) < MAX_SERIES:  # names come from clients
                    self._last_arrival[model] = now_monotonic
                return
            self._last_arrival[model] = now_monotonic
            gap = max(now_monotonic - last, 0.0)
            key = (model,)
            self._interarrival_count.add(key)
            self._interarrival_sum.add(key, gap)
            self._interarrival_squares.add(key, gap * gap)

    def request(self, model: str, api: str, entrypoint: str, code_name: str, seconds: float) -> None:
        """A request has been answered; its latency counts only if it succeeded.

        Args:
            model: The name it asked for.
            api: ``Predict``, ``Classify``, ``Regress``, ``MultiInference`` or ``GetModelMetadata``.
            entrypoint: ``GRPC`` or ``REST``.
            code_name: Name of the :class:`~service.modelserver.status.Code` it was answered with.
            seconds: From arrival to answer.
        """
        with self._lock:
            self._inflight.values[()] -= 1
            self._requests.add((model, code_name))
            if code_name == "OK":
                key = (model, api, entrypoint)
                self._latency.add(key, seconds * _MICROS)
                self._fine_latency.add(key, seconds)

    def runtime(self, model: str, api: str, runtime: str, seconds: float) -> None:
        """A request's time in the runtime; with batching on this includes its wait. ``runtime`` is ``TF1``."""
        with self._lock:
            self._runtime.add((model, api, runtime), seconds * _MICROS)

    def examples(self, model: str, count: int) -> None:
        """A request carried ``count`` examples."""
        with self._lock:
            self._example_counts.add((model,), count)
            self._example_total.add((model,), count)

    def batch(self, queueing_seconds: Sequence[float], input_size: int, processed_size: int) -> None:
        """A batch has been executed.

        Args:
            queueing_seconds: How long each of its requests waited.
            input_size: Examples in it.
            processed_size: Examples executed, after padding.
        """
        with self._lock:
            self._batches.add(())
            for waited in queueing_seconds:
                self._queueing.add(("",), waited * _MICROS)
            self._input_size.add((), input_size)
            self._processed_size.add((), processed_size)
            self._padding.add((str(processed_size),), processed_size - input_size)

    def load(self, model_path: str, ok: bool, seconds: float) -> None:
        """A SavedModel has been read, or could not be."""
        with self._lock:
            self._load_attempts.add((model_path, "success" if ok else "fail"))
            if ok:
                self._load_micros.add((model_path,), round(seconds * _MICROS))

    def warmup(self, model_path: str, ok: bool, seconds: float) -> None:
        """A version's warm-up requests have been replayed, or one failed."""
        with self._lock:
            self._warmup.add((model_path, "OK" if ok else "UNKNOWN"), seconds * _MICROS)

    def graph_run(self, seconds: float) -> None:
        """A session has run once."""
        with self._lock:
            self._graph_runs.add(())
            self._graph_run_micros.add((), round(seconds * _MICROS))

    def generation(self, generation: int) -> None:
        """The configuration of that number is in force."""
        with self._lock:
            self._generation.set((), generation)

    def render(self) -> str:
        """The page, as one consistent snapshot."""
        with self._lock:
            return render_page(self._families)
