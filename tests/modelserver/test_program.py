"""The program: what it prints and how it ends when it cannot start."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tensorflow_serving.apis.predict_pb2 import PredictResponse

from models import export_model
from tests.support.modelserver import half_plus_two_request, model_server, output
from tests.support.processes import free_port

LIMIT = 100


@contextlib.contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def start(*flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "service.cli.main", "modelserver", *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ending(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit status, stdout and stderr; a program that does not end by itself is killed and its test fails."""
    try:
        out, err = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
    return process.returncode, out, err


def test_what_cannot_start_says_why_in_one_line_and_ends(tmp_path: Path) -> None:
    base = export_model("half_plus_two", tmp_path).parent
    empty = tmp_path / "empty"
    empty.mkdir()
    with taken_port() as taken:
        serves = f"--model_base_path={base}"
        cases = {
            "gRPC cannot listen on": start(serves, f"--port={taken}"),
            "REST cannot listen on": start(serves, f"--port={free_port()}", f"--rest_api_port={taken}"),
            "The agent cannot listen on": start(serves, f"--port={free_port()}", f"--agent_port={taken}"),
            str(empty): start(f"--model_base_path={empty}", f"--port={free_port()}"),
        }
        endings = {message: ending(process) for message, process in cases.items()}
        for message, (status, out, err) in endings.items():
            assert status == 1, err
            assert message in err
            assert err.rstrip().splitlines()[-1].startswith("regulus modelserver: ")
            assert "Traceback" not in err
            assert out == ""


@pytest.mark.parametrize(
    ("flag", "message"),
    [("--prot=1", "--port"), ("--port=many", "--port"), ("--batching_parameters_file=x", "batching")],
)
def test_a_wrong_flag_is_a_usage_error(flag: str, message: str) -> None:
    status, _, err = ending(start("--model_base_path=/nowhere", flag))
    assert status == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_help_and_version_are_printed() -> None:
    usage, version = start("--help"), start("--version")
    status, out, _ = ending(usage)
    assert status == 0
    assert "--max_num_load_retries" in out
    assert "--agent_port" in out
    status, out, _ = ending(version)
    assert status == 0
    assert out.startswith("Regulus ModelServer: ")


def test_when_ready_it_says_where_it_listens_what_it_serves_and_how(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with model_server(tmp_path, f"--grpc_socket_path={path}", "--tensorflow_intra_op_parallelism=1") as server:
        ready = [line for line in server.log.read_text().splitlines() if line.startswith("Serving ")]
        assert ready == [
            f"Serving half_plus_two:1 on gRPC 127.0.0.1:{server.grpc_port}, gRPC unix:{path}, "
            f"REST 127.0.0.1:{server.rest_port}, agent 127.0.0.1:{server.agent_port}; "
            "batching off inter=0 intra=1 instances=1"
        ]
        assert "oneDNN" not in server.log.read_text()
        with grpc.insecure_channel(f"unix:{path}") as channel:
            raw = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(
                half_plus_two_request(2.0).SerializeToString(), timeout=20
            )
        assert output(PredictResponse.FromString(raw)) == [3.0]
