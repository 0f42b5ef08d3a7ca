"""What an agent has to tell beside the domain's own errors.

AgentError (RegulusError)
├── NotInForceError   a change failed, and the old configuration has kept serving
├── NoMetricsError    the node's metrics cannot be had at the moment
└── ListenError       a port is taken or not allowed
"""

from __future__ import annotations

from service.domain.errors import RegulusError


class AgentError(RegulusError):
    """Root of what goes wrong at an agent."""


class NotInForceError(AgentError):
    """A configuration could not be put in force, and why; the old one has kept serving."""


class NoMetricsError(AgentError):
    """The metrics cannot be had, and why."""


class ListenError(AgentError):
    """A port is taken, or may not be used."""
