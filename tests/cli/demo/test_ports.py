"""The demo's ports are checked before anything starts."""

from __future__ import annotations

import socket

import pytest

from service.cli.demo.ports import Ports, PortTakenError, claim
from tests.support.processes import free_port


def test_a_taken_port_is_named_with_the_option_that_changes_it() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]

        with pytest.raises(PortTakenError, match=rf"port {taken} is taken .*--rest-port PORT"):
            claim(Ports(grpc=0, rest=taken, agent=0, api=0))


def test_zero_takes_free_ports_that_all_differ() -> None:
    ports = claim(Ports(grpc=0, rest=0, agent=0, api=0))

    chosen = {ports.grpc, ports.rest, ports.agent, ports.api}
    assert len(chosen) == 4
    assert 0 not in chosen


def test_a_free_port_is_kept() -> None:
    port = free_port()

    assert claim(Ports(grpc=port, rest=0, agent=0, api=0)).grpc == port
