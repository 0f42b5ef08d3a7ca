"""What can go wrong on a node, each with what the person or program that asked needs to know.

NodeError (RegulusError)
├── ArgumentError        the command line cannot be run
├── FrontError           Envoy did not start, or does not answer
├── StartError           a server process did not come up; carries its own last log lines
├── HeadRoomError        two generations do not fit into the memory that is free now
├── TooFewError          fewer processes serve just now than what was ordered needs
└── StateError           the node's folder is in use, or its state cannot be read or written
"""

from __future__ import annotations

from service.domain.errors import RegulusError


class NodeError(RegulusError):
    """Root of what goes wrong on a node."""


class ArgumentError(NodeError):
    """An argument of the server that the node cannot honour; the message says why and what would do."""


class FrontError(NodeError):
    """Envoy did not start, does not answer, or did not take its endpoints."""


class StartError(NodeError):
    """A server process did not come up.

    Args:
        message: What happened.
        log_tail: The process's own last lines, the newest last.
    """

    def __init__(self, message: str, log_tail: str = "") -> None:
        super().__init__(f"{message}; its last log lines:\n{log_tail}" if log_tail else message)
        self.log_tail = log_tail


class HeadRoomError(NodeError):
    """There is no memory for the old and the new generation at once, as things are now."""


class TooFewError(NodeError):
    """Fewer processes serve just now than what was ordered needs; more are being started."""


class StateError(NodeError):
    """The node's folder is in use by another agent, or what it holds cannot be read or written."""
