"""The demo's ports: known beforehand, so that a person can look at what it serves; checked before anything starts."""

from __future__ import annotations

import socket
from dataclasses import dataclass, fields, replace


class PortTakenError(Exception):
    """Somebody else listens on a port the demo needs; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback ports of the demo; 0 stands for any free one until :func:`claim` has chosen.

    Attributes:
        grpc: Model server, gRPC.
        rest: Model server, REST and metrics.
        agent: Model server, agent API.
        api: Control service.
    """

    grpc: int = 8500
    rest: int = 8501
    agent: int = 8502
    api: int = 8510


def claim(ports: Ports) -> Ports:
    """Check that every port is free, and choose one for each 0.

    Raises:
        PortTakenError: A port is taken; names it and the option that changes it.
    """
    # All are held until all are known, so that no two zeros become the same port.
    held: list[socket.socket] = []
    chosen: dict[str, int] = {}
    try:
        for field in fields(ports):
            probe = socket.socket()
            held.append(probe)
            # As servers do: a port whose last user is gone but lingers in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            wanted = getattr(ports, field.name)
            try:
                probe.bind(("127.0.0.1", wanted))
                # A listener that set SO_REUSEADDR too would let us bind; only listening tells.
                probe.listen()
            except OSError as error:
                raise PortTakenError(
                    f"port {wanted} is taken ({error.strerror}). End what listens there, or choose another with "
                    f"--{field.name}-port PORT (0 takes any free one)."
                ) from None
            chosen[field.name] = probe.getsockname()[1]
    finally:
        for probe in held:
            probe.close()
    return replace(ports, **chosen)
