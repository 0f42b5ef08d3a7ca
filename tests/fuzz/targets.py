"""What is fuzzed: each reader of text from elsewhere, inputs for it, and what it may do with them.

A reader may accept an input, or refuse it by its own error; anything else (another exception, a hang, a value that
makes no sense) is a finding.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from service.domain.errors import TelemetryError
from service.modelserver.batching_parameters import parse_batching_parameters
from service.modelserver.json_examples import read_examples
from service.modelserver.json_predict import read_predict
from service.modelserver.signature import NUMPY_DTYPES, Signature, TensorSpec
from service.modelserver.status import ServingError
from service.node import batching_file
from service.node.errors import ArgumentError
from service.telemetry.exposition import read_page


@dataclass(frozen=True)
class Target:
    """A reader under test.

    Attributes:
        inputs: What it is given.
        check: Gives it one input; True when it was accepted, False when it was refused.
    """

    inputs: st.SearchStrategy[Any]
    check: Callable[[Any], bool]


@st.composite
def mutated(draw: st.DrawFn, seeds: Sequence[str], words: Sequence[str]) -> str:
    """A valid text with a few cuts, copies and insertions."""
    text = draw(st.sampled_from(seeds))
    inserts = st.sampled_from(words) | st.text(max_size=6) | st.integers().map(str) | st.floats().map(str)
    for _ in range(draw(st.integers(0, 4))):
        low = draw(st.integers(0, len(text)))
        high = draw(st.integers(low, min(len(text), low + 40)))
        match draw(st.sampled_from(["cut", "copy", "insert", "replace"])):
            case "cut":
                text = text[:low] + text[high:]
            case "copy":
                text = text[:high] + text[low:high] + text[high:]
            case "insert":
                text = text[:low] + draw(inserts) + text[low:]
            case _:
                text = text[:low] + draw(inserts) + text[high:]
    return text


PAGE = """\
# TYPE :tensorflow:serving:request_count counter
:tensorflow:serving:request_count{model_name="m",status="OK"} 9
:tensorflow:serving:request_count{model_name="m",status="UNAVAILABLE"} 2
# TYPE :tensorflow:serving:request_latency histogram
:tensorflow:serving:request_latency_bucket{model_name="m",API="Predict",entrypoint="GRPC",le="10"} 1
:tensorflow:serving:request_latency_bucket{model_name="m",API="Predict",entrypoint="GRPC",le="18"} 4
:tensorflow:serving:request_latency_bucket{model_name="m",API="Predict",entrypoint="GRPC",le="+Inf"} 9
:tensorflow:serving:request_latency_sum{model_name="m",API="Predict",entrypoint="GRPC"} 1.23457e+06
:tensorflow:serving:request_latency_count{model_name="m",API="Predict",entrypoint="GRPC"} 9
regulus_modelserver_generation 3
regulus_modelserver_interarrival_seconds_count{model_name="m"} 8
regulus_modelserver_interarrival_seconds_sum{model_name="m"} 0.5
regulus_modelserver_interarrival_seconds_sum_of_squares{model_name="m"} 0.25
"""
_PAGE_WORDS = ["NaN", "-Inf", "+Inf", "1e400", "-1", '\\"', "\\n", "{", "}", 'le="', "_bucket", "_total", "\r", "# EOF"]

BATCHING = """\
max_batch_size { value: 64 }
batch_timeout_micros { value: 1000 }
num_batch_threads { value: 4 }
max_enqueued_batches { value: 100 }
allowed_batch_sizes: [8, 32]
pad_variable_length_inputs: true
thread_pool_name { value: "pool" }
enable_large_batch_splitting { value: true }
max_execution_batch_size { value: 32 }
"""
_BATCHING_WORDS = ["{", "}", "[", "]", ":", "value", "-1", "99999999999999999999", "true", '"\\', "#", "\x00", "<", ">"]

_BATCHING_FILES = st.text(max_size=60) | mutated([BATCHING], _BATCHING_WORDS)

_SPECS = {
    "x": TensorSpec(NUMPY_DTYPES[1], 1, (None, 2)),
    "n": TensorSpec(NUMPY_DTYPES[9], 9, (None,)),
    "s": TensorSpec(NUMPY_DTYPES[7], 7, None),
}
_SIGNATURE = Signature("serving_default", "", _SPECS, {})
_ONE = Signature("serving_default", "", {"x": _SPECS["x"]}, {})
_PREDICT = [
    '{"instances": [{"x": [1.0, 2.0], "n": 3, "s": {"b64": "AAEC"}}]}',
    '{"signature_name": "serving_default", "inputs": {"x": [[1, 2.5]], "n": [7], "s": ["text"]}}',
    '{"instances": [[1.0, 2.0], [3.0, 4.0]]}',
]
_EXAMPLES = ['{"signature_name": "s", "context": {"c": 1}, "examples": [{"x": 2, "y": [1.5], "b": {"b64": "AA=="}}]}']
_JSON_WORDS = [
    *("[", "]", "{", "}", ",", "null", "true", "1e999", "-0", "NaN", "Infinity", '{"b64": "!"}', '"\\ud800"'),
    *("99999999999999999999", "[" * 50, '"instances":', '"inputs":', '"signature_name":', '{"b64": "AAEC"}'),
]
_ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just({"b64": "AAEC"}),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["x", "n", "s", "b64", "q"]), inner),
    max_leaves=12,
)


def _body(keys: Sequence[str], seeds: Sequence[str]) -> st.SearchStrategy[bytes]:
    """Bodies of REST requests: any bytes, any JSON under the right keys, valid ones with mutations."""
    documents = st.dictionaries(st.sampled_from(keys), _ANY_JSON, max_size=3).map(json.dumps)
    return st.binary(max_size=60) | (documents | mutated(seeds, _JSON_WORDS)).map(
        lambda text: text.encode("utf-8", "surrogatepass")
    )


def _metrics_page(text: str) -> bool:
    try:
        reading = read_page(text, model="m", monotonic=1.0, time=2.0)
    except TelemetryError:
        return False
    assert reading.arrivals >= 0
    return True


def _node_batching_file(text: str) -> bool:
    try:
        config, extras = batching_file.parse(text, 2, "file")
        # What was accepted must survive its own way to the server and back.
        batching_file.check(config, extras)
        batching_file.parse(batching_file.render(config, extras), 2, "file")
    except ArgumentError:
        return False
    return True


def _server_batching_file(text: str) -> bool:
    try:
        return parse_batching_parameters(text).max_batch_size > 0
    except ServingError:
        return False


def _rest_predict(body: bytes) -> bool:
    accepted = False
    for signature in (_SIGNATURE, _ONE):
        try:
            read = read_predict(body, lambda _name, found=signature: found)
        except ServingError:
            continue
        for name, array in read.inputs.items():
            assert array.dtype == _SPECS[name].dtype
        accepted = True
    return accepted


def _rest_examples(body: bytes) -> bool:
    try:
        read_examples(body)
    except ServingError:
        return False
    return True


TARGETS: dict[str, Target] = {
    "metrics-page": Target(st.text(max_size=80) | mutated([PAGE], _PAGE_WORDS), _metrics_page),
    "batching-file-of-the-node": Target(_BATCHING_FILES, _node_batching_file),
    "batching-file-of-the-server": Target(_BATCHING_FILES, _server_batching_file),
    "rest-tensors": Target(_body(["instances", "inputs", "signature_name"], _PREDICT), _rest_predict),
    "rest-examples": Target(_body(["examples", "context", "signature_name"], _EXAMPLES), _rest_examples),
}
