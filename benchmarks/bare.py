"""The bare session call: the server's own session, called by threads without any server around it.

``python -m benchmarks.bare MODEL VERSION_DIR`` reads one :class:`BareCall` as JSON a line from standard input, carries
it out and prints a :class:`BareResult`.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.statistics import quantile

#: Different inputs that the threads go through.
_POOL = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class BareCall:
    """How to call the session.

    Attributes:
        intra_op: The session's intra-op threads; 0 for TensorFlow's default.
        batch: Examples a call, put together beforehand.
        threads: Threads that call, each waiting for its answer.
        warmup: Seconds before counting.
        seconds: Seconds that count.
    """

    intra_op: int
    batch: int
    threads: int
    warmup: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BareResult:
    """What came of it.

    Attributes:
        examples_per_second: Examples answered a second.
        p50: Median time of a call, seconds.
        p99: 99th percentile of the same.
    """

    examples_per_second: float
    p50: float
    p99: float


def carry_out(order: BareCall, call: Callable[[int], object]) -> BareResult:
    """Keep ``order.threads`` threads calling; ``call`` gets the number of the call."""
    latencies: list[list[float]] = [[] for _ in range(order.threads)]
    begin = time.perf_counter() + order.warmup
    end = begin + order.seconds

    def work(own: list[float], first: int) -> None:
        number = first
        while (sent := time.perf_counter()) < end:
            call(number)
            done = time.perf_counter()
            # Whole calls inside the counted time alone, as the clients of the servers are counted.
            if begin <= done < end:
                own.append(done - sent)
            number += 1

    threads = [threading.Thread(target=work, args=(own, index)) for index, own in enumerate(latencies)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = [latency for own in latencies for latency in own]
    return BareResult(
        examples_per_second=len(together) * order.batch / order.seconds,
        p50=quantile(together, 0.5),
        p99=quantile(together, 0.99),
    )


def main(model: str, version_dir: Path) -> None:
    """Answer orders until standard input ends."""
    from models.export import example_inputs
    from models.zoo import ZOO
    from service.modelserver.session import ModelGraph, ModelSession

    graph = ModelGraph(version_dir)
    signature = graph.signatures["serving_default"]
    outputs = tuple(signature.outputs)
    sessions: dict[int, ModelSession] = {}

    def caller(order: BareCall) -> Callable[[int], object]:
        if order.intra_op not in sessions:
            sessions[order.intra_op] = graph.open_session(inter_op=0, intra_op=order.intra_op)
        session = sessions[order.intra_op]
        pool = []
        for seed in range(_POOL):
            arrays = example_inputs(ZOO[model], order.batch, seed)
            pool.append([arrays[alias] for alias in signature.inputs])
        return lambda number: session.run(signature, pool[number % _POOL], outputs)

    print("ready", flush=True)
    for line in sys.stdin:
        order = BareCall(**json.loads(line))
        print(json.dumps(asdict(carry_out(order, caller(order)))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
