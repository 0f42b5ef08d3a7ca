from __future__ import annotations

import pytest

from service.domain.errors import InvalidValueError
from service.loadgen.target import Protocol, Target, parse_target


@pytest.mark.parametrize(
    ("text", "target", "address"),
    [
        ("grpc://127.0.0.1:8500", Target(Protocol.GRPC, "127.0.0.1", 8500), "127.0.0.1:8500"),
        ("http://localhost:8501/", Target(Protocol.REST, "localhost", 8501), "localhost:8501"),
        ("grpc://[::1]:8500", Target(Protocol.GRPC, "::1", 8500), "[::1]:8500"),
        ("unix:/run/tf.sock", Target(Protocol.GRPC, "/run/tf.sock", 0), "unix:/run/tf.sock"),
        ("unix:///run/tf.sock", Target(Protocol.GRPC, "/run/tf.sock", 0), "unix:/run/tf.sock"),
    ],
)
def test_targets_on_this_machine_are_read(text: str, target: Target, address: str) -> None:
    assert parse_target(text) == target
    assert target.address == address


@pytest.mark.parametrize(
    "text", ["grpc://192.0.2.7:8500", "http://example.org:80", "grpc://127.0.0.1.example.org:8500"]
)
def test_another_machine_needs_permission(text: str) -> None:
    with pytest.raises(InvalidValueError, match="--allow-remote"):
        parse_target(text)
    assert not parse_target(text, allow_remote=True).is_local


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:8500",
        "grpc://127.0.0.1",
        "https://127.0.0.1:1",
        "grpc://127.0.0.1:99999",
        "http://127.0.0.1:8501/v1/models/x",
        "unix:",
    ],
)
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError, match="target"):
        parse_target(text)
