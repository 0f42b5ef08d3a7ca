"""Ray Serve: a proxy, one replica, ``@serve.batch`` in it."""

# Ray is not among the project's dependencies; where the types are checked it is unknown.
# mypy: disable-error-code="import-not-found, untyped-decorator, attr-defined"

from __future__ import annotations

import asyncio
import signal
import tempfile
import threading
from typing import Any

import numpy as np
import ray
from ray import serve
from starlette.requests import Request

from benchmarks.peers.common import MAX_BATCH_SIZE, Array, PeerSettings, Predictor

#: A line for each request would slow it down.
_QUIET = {"enable_access_log": False, "log_level": "WARNING"}


@serve.deployment(num_replicas=1, max_ongoing_requests=1024)
class Peer:
    """The model as Ray Serve wants it."""

    def __init__(self) -> None:
        settings = PeerSettings.from_env()
        self.predictor = Predictor(settings.version_dir)
        self.metadata = settings.read_metadata()

    @serve.batch(max_batch_size=MAX_BATCH_SIZE, batch_wait_timeout_s=0.0)
    async def predict(self, examples: list[Array]) -> list[Array]:
        """Run a batch beside the event loop."""
        return list(await asyncio.to_thread(self.predictor, np.stack(examples)))

    async def __call__(self, request: Request) -> Any:
        """Both paths."""
        if request.method == "GET":
            return self.metadata
        body = await request.json()
        output = await self.predict(np.asarray(body["instances"][0], self.predictor.dtype))
        return {"predictions": [output.tolist()]}


def main() -> None:
    """Serve until SIGTERM, then end the cluster that was started for it."""
    stop = threading.Event()
    settings = PeerSettings.from_env()
    # A folder with a short name: sockets lie in it.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        ray.init(include_dashboard=False, log_to_driver=False, _temp_dir=folder)
        # Ray has set handlers of its own.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: stop.set())
        try:
            serve.start(http_options={"host": "127.0.0.1", "port": settings.port}, logging_config=_QUIET)
            serve.run(Peer.bind(), logging_config=_QUIET)
            stop.wait()
        finally:
            serve.shutdown()
            ray.shutdown()


if __name__ == "__main__":
    main()
