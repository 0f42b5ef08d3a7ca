"""LitServe: a web process, a worker process, batches taken from the queue between them."""

# LitServe is not among the project's dependencies; where the types are checked it is unknown.
# mypy: disable-error-code="import-not-found, misc, no-any-return"

from typing import Any

import litserve
import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.peers.common import MAX_BATCH_SIZE, Array, PeerSettings, Predictor


class Api(litserve.LitAPI):
    """The model as LitServe wants it."""

    def setup(self, device: str) -> None:
        """In the worker, at its start."""
        self.predictor = Predictor(PeerSettings.from_env().version_dir)

    def decode_request(self, request: Request) -> Array:
        """One example. LitServe wants to see these annotations (as types, not as text), yet gives the decoded JSON."""
        return np.asarray(request["instances"][0], self.predictor.dtype)

    def batch(self, inputs: list[Array]) -> Array:
        """Several."""
        return np.stack(inputs)

    def predict(self, x: Array) -> Array:
        """Run a batch."""
        return self.predictor(x)

    def unbatch(self, output: Array) -> list[Array]:
        """One answer for each example."""
        return list(output)

    def encode_response(self, output: Array) -> Response:
        """JSON-ready; LitServe makes the response of it."""
        predictions: Any = {"predictions": [output.tolist()]}
        return predictions


def main() -> None:
    """Serve until the process is ended."""
    settings = PeerSettings.from_env()
    # With a time-out of 0 its worker polls the queue without pause, which takes a whole processor.
    api = Api(max_batch_size=MAX_BATCH_SIZE, batch_timeout=0.001, api_path=settings.predict_path)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=60, fast_queue=True)
    metadata = settings.read_metadata()
    server.app.get(settings.metadata_path)(lambda: metadata)
    server.run(host="127.0.0.1", port=settings.port, num_api_servers=1, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
