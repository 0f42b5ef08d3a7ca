"""``--prefer_tflite_model`` in a real server process: gRPC and REST, batched and not, across hot switches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import export_model
from service.modelserver.session import ModelGraph
from tests.support.modelserver import Clients, RunningServer, model_server, output, predict_request
from tests.support.tflite_models import FEATURES, half_plus, only_tflite, save_both, write

UNBATCHED: dict[str, Any] = {}
BATCHED: dict[str, Any] = {
    "enable_batching": True,
    "max_batch_size": 16,
    "num_batch_threads": 2,
    "tensorflow_intra_op_parallelism": 2,
}


def put_in_force(server: RunningServer, config: dict[str, Any]) -> None:
    """Change the configuration in force by what is given."""
    now = server.agent("/agent/v1/config")[1]
    order = {"generation": now["generation"] + 1, "config": now["config"] | config}
    status, answer = server.agent("/agent/v1/config", order)
    assert status == 200, answer


def answers(server: RunningServer, x: np.ndarray[Any, Any]) -> list[Any]:
    """The network's answer over gRPC and over REST."""
    with server.prediction() as stub:
        over_grpc = output(stub.Predict(predict_request("network", x=x), timeout=30))
    status, over_rest = server.rest("/v1/models/network:predict", {"instances": x.tolist()})
    assert status == 200, over_rest
    return [over_grpc, over_rest["predictions"]]


def test_it_answers_as_the_saved_model_does_before_and_after_a_switch(tmp_path: Path) -> None:
    both = save_both(tmp_path / "saved" / "1")
    graph = ModelGraph(both)
    saved = graph.open_session(inter_op=1, intra_op=1)
    x = np.random.default_rng(3).normal(size=(5, FEATURES)).astype(np.float32)
    (expected,), _ = saved.run(graph.signatures["serving_default"], [x], ("y",))
    saved.close()
    # Nothing else is in the version's folder: what answers is the TensorFlow Lite file.
    base = only_tflite(both, tmp_path / "network" / "1").parent
    flags = [f"--model_base_path={base}", "--model_name=network", "--prefer_tflite_model", "--num_tflite_pools=2"]
    with model_server(tmp_path, *flags) as server:
        for config in (UNBATCHED, BATCHED, UNBATCHED | {"enable_batching": False}):
            put_in_force(server, config)
            for answer in answers(server, x):
                np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-6)
        assert "no effect" not in server.log.read_text()
        assert "is deprecated" not in server.log.read_text()


@pytest.mark.parametrize("preferred", [True, False])
def test_the_flag_says_which_file_serves_and_switches_lose_no_request(tmp_path: Path, preferred: bool) -> None:
    write(export_model("half_plus_two", tmp_path / "models"), half_plus())
    with model_server(tmp_path, f"--prefer_tflite_model={str(preferred).lower()}") as server:
        metadata = server.rest("/v1/models/half_plus_two/metadata")[1]["metadata"]["signature_def"]["signature_def"]
        # The SavedModel has further signatures; the file beside it has one.
        assert (list(metadata) == ["serving_default"]) is preferred
        with Clients(server.target) as clients:
            for config in (BATCHED, BATCHED | {"tensorflow_intra_op_parallelism": 1, "instances": 2}):
                clients.wait_for_more(20)
                put_in_force(server, config)
            clients.wait_for_more(20)
        assert clients.failures == []
