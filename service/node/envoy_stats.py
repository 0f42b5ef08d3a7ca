"""EnvoyStats: what Envoy's admin interface says, understood. Pure.

``/clusters?format=json`` tells which endpoints Envoy uses and how many requests each has in hand;
``/stats/prometheus`` what clients felt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.node.envoy_config import (
    GRPC_CLUSTER,
    LATE_STAT,
    LATENCY_STAT,
    REQUESTS_STAT,
    REST_CLUSTER,
    ROLE_TAG,
    STAT_PREFIX,
    Endpoint,
    Role,
    port_of,
)
from service.node.errors import FrontError

#: The statistics that are read of Envoy's page.
STATS_FILTER = f"^{STAT_PREFIX}"

_CLUSTERS = (GRPC_CLUSTER, REST_CLUSTER)
_SAMPLE = re.compile(r"envoy_(" + STAT_PREFIX + r"_(grpc|rest)_([a-z_]+))\{([^}]*)\} (\S+)\Z")
_LABEL = re.compile(r'([a-z_]+)="([^"]*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One endpoint of a cluster, as Envoy sees it.

    Attributes:
        priority: 0 serves, 1 finishes what it has.
        healthy: Whether it may get requests.
        active: Requests it has in hand.
    """

    priority: int
    healthy: bool
    active: int


Hosts = Mapping[tuple[str, int], Host]
"""By cluster and port."""


def hosts(clusters: Mapping[str, Any]) -> Hosts:
    """Read ``/clusters?format=json``, in which everything that is zero or false is left out.

    Raises:
        FrontError: It is not that.
    """
    found = {}
    try:
        for cluster in clusters["cluster_statuses"]:
            for host in cluster.get("host_statuses", ()):
                port = int(host["address"]["socket_address"]["port_value"])
                health = host.get("health_status", {})
                active = [int(stat.get("value", 0)) for stat in host["stats"] if stat["name"] == "rq_active"]
                found[cluster["name"], port] = Host(
                    priority=int(host.get("priority", 0)),
                    healthy=health.get("eds_health_status") == "HEALTHY"
                    and not health.get("failed_active_health_check", False),
                    active=sum(active),
                )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FrontError(f"Envoy's list of clusters makes no sense: {error!r}") from error
    return found


def settled(seen: Hosts, serving: Sequence[Endpoint], draining: Sequence[Endpoint], *, healthy: bool) -> bool:
    """Whether Envoy uses exactly these endpoints.

    Args:
        seen: What it uses.
        serving: Those that are to serve.
        draining: Those that are to finish what they have.
        healthy: Whether those that serve must have passed their health check.
    """
    wanted = {(cluster, port_of(cluster, one)): 0 for cluster in _CLUSTERS for one in serving}
    wanted |= {(cluster, port_of(cluster, one)): 1 for cluster in _CLUSTERS for one in draining}
    if {key: host.priority for key, host in seen.items()} != wanted:
        return False
    return not healthy or all(host.healthy for host in seen.values() if host.priority == 0)


def active(seen: Hosts, endpoints: Sequence[Endpoint]) -> int:
    """Requests that these have in hand."""
    keys = [(cluster, port_of(cluster, one)) for cluster in _CLUSTERS for one in endpoints]
    return sum(seen[key].active for key in keys if key in seen)


@dataclass(slots=True)
class Felt:
    """What clients felt at one entry point of the servers of one role, since Envoy's start.

    Attributes:
        requests: Predictions by Envoy's status: an HTTP code, 0 where the client left; after it, of gRPC, ``_`` and
            gRPC's number.
        late: Those of them that took longer than the objective's bound; empty where there is no objective.
        edges: Upper edges of the latency histogram, microseconds, ascending; without the last, infinite one.
        cumulative: Successful predictions up to each edge; one more for the infinite edge.
        sum_micros: Sum of their latencies, to the precision of Envoy's bins.
    """

    requests: dict[str, int] = field(default_factory=dict)
    late: dict[str, int] = field(default_factory=dict)
    edges: list[float] = field(default_factory=list)
    cumulative: list[int] = field(default_factory=list)
    sum_micros: float = 0.0


def felt(page: str) -> dict[tuple[str, Role], Felt]:
    """Read ``/stats/prometheus``: what was felt at ``grpc`` and at ``rest``, by the role of who answered.

    Requests that never reached a server have none, and are counted with those that no trial is about.
    """
    entries = {("grpc", Role.NONE): Felt(), ("rest", Role.NONE): Felt()}
    for entry, name, labels, value in _samples(page):
        role = labels.get(ROLE_TAG, "")
        one = entries.setdefault((entry, Role(role) if role in set(Role) else Role.NONE), Felt())
        if name in (REQUESTS_STAT, LATE_STAT):
            counts, status = one.requests if name == REQUESTS_STAT else one.late, labels.get("status", "0")
            counts[status] = counts.get(status, 0) + int(value)
        elif name == f"{LATENCY_STAT}_bucket":
            if labels["le"] != "+Inf":
                one.edges.append(float(labels["le"]))
            one.cumulative.append(int(value))
        elif name == f"{LATENCY_STAT}_sum":
            one.sum_micros = value
    return entries


def _samples(page: str) -> Iterator[tuple[str, str, dict[str, str], float]]:
    for line in page.splitlines():
        sample = _SAMPLE.match(line)
        if sample is not None:
            yield sample[2], sample[3], dict(_LABEL.findall(sample[4])), float(sample[5])
