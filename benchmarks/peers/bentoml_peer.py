"""BentoML: adaptive batching in front of one worker."""

# BentoML is not among the project's dependencies; where the types are checked it is unknown.
# mypy: disable-error-code="import-not-found, untyped-decorator, type-arg"

from __future__ import annotations

import os
import sys

import bentoml
import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.peers.common import MAX_BATCH_SIZE, PeerSettings, Predictor

_SETTINGS = PeerSettings.from_env()
_METADATA = _SETTINGS.read_metadata()


async def _metadata(_request: Request) -> JSONResponse:
    return JSONResponse(_METADATA)


@bentoml.service(workers=1, traffic={"timeout": 60, "max_concurrency": 1024}, logging={"access": {"enabled": False}})
@bentoml.asgi_app(Starlette(routes=[Route("/metadata", _metadata)]), path=f"/v1/models/{_SETTINGS.model}")
class Peer:
    """The model as BentoML wants it."""

    def __init__(self) -> None:
        self.predictor = Predictor(_SETTINGS.version_dir)

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH_SIZE, route=_SETTINGS.predict_path)
    def predict(self, instances: np.ndarray) -> np.ndarray:
        """Run a batch that BentoML has joined along the first axis."""
        return self.predictor(instances.astype(self.predictor.dtype))


if __name__ == "__main__":
    target = "benchmarks.peers.bentoml_peer:Peer"
    options = ["--host", "127.0.0.1", "--port", str(_SETTINGS.port)]
    # BentoML starts its workers from its own command line, which takes this process's place.
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", "serve", target, *options])  # noqa: S606 — a shell would add nothing but a process between
