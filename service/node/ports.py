"""Ports: free ones for server processes, outside the kernel's own range; and one that refuses every connection."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from service.node.errors import StartError

#: A port from the kernel's own range might be taken by a connection before the server binds it.
_LOW, _HIGH = 20_000, 32_000
_ATTEMPTS = 2_000


def free_ports(count: int, rng: random.Random | None = None) -> list[int]:
    """Different TCP ports that nobody listens on.

    Raises:
        StartError: There are not enough.
    """
    draw = rng or random.SystemRandom()
    found: list[int] = []
    for _ in range(_ATTEMPTS):
        if len(found) == count:
            return found
        port = draw.randrange(_LOW, _HIGH)
        if port not in found and _is_free(port):
            found.append(port)
    raise StartError(f"there are no {count} free ports between {_LOW} and {_HIGH}")


@contextmanager
def refusing() -> Iterator[int]:
    """A port on loopback that refuses every connection until the block ends: it is taken, and nobody listens.

    Raises:
        StartError: There is none.
    """
    with socket.socket() as holder:
        try:
            holder.bind(("127.0.0.1", 0))
        except OSError as error:
            raise StartError(f"there is no free port on loopback: {error.strerror}") from error
        yield int(holder.getsockname()[1])


def _is_free(port: int) -> bool:
    # On all addresses and without SO_REUSEPORT: TensorFlow Serving sets that, and would silently share the port.
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
