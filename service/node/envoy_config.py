"""Envoy's configuration: a bootstrap that never changes while Envoy runs, and endpoint files that do. Pure.

Two listeners (HTTP/2 for gRPC, HTTP/1 for REST) and two clusters whose endpoints come from files. Endpoints have two
priorities: 0 serves; 1 is where a generation goes that is to finish what it has. Those are marked DRAINING, so they
get nothing new, and they are kept out of priority 0, where they would make Envoy believe that most of the hosts are
ill (its panic threshold) and send to all of them.

Those that serve are split into localities by the generation they were started for. Each locality gets a share of the
requests by the number of its members, whatever they answer and how fast; within it the least loaded gets the next one.
So a process that tries another configuration out gets exactly its share. A process stays in its locality for life: when
that of a host changes, Envoy 1.39 forgets what it has in hand and may send it nothing for seconds.

What a client feels is counted by the access loggers of type ``stats``: Envoy's own ``downstream_rq_time`` knows whole
milliseconds only, does not tell failures apart, and counts model-status requests too.

Needs Envoy 1.39 or newer. Reference: https://www.envoyproxy.io/docs/envoy/v1.39.0/api-v3/api
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from service.node.buckets import latency_edges_micros

Json = dict[str, Any]

GRPC_CLUSTER = "model_grpc"
REST_CLUSTER = "model_rest"

#: Prefixes of the statistics that the access loggers write, by entry point.
STAT_PREFIX = "regulus_front"
LATENCY_STAT = "latency"
REQUESTS_STAT = "requests"
LATE_STAT = "late"
ROLE_TAG = "role"

#: Where endpoints carry their role.
_METADATA = "regulus"

#: Not a queue of its own: what the server cannot take it shall refuse itself.
_UNLIMITED = 1_000_000

#: An idle connection to a REST server is closed by us before the server closes it (the embedded one after 75 s), or a
#: request would now and then meet a connection that is just being closed.
_REST_IDLE_SECONDS = 2

_TYPE = "type.googleapis.com/"
_PREDICTION_PATH = r"^/tensorflow\.serving\.PredictionService/[A-Za-z]+$"
_REST_PATH = r"^/v1/models/.+:(predict|classify|regress)(\?.*)?$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """What clients reach, and how it behaves.

    Attributes:
        host: Address that both listeners take.
        grpc_port: Port for gRPC.
        rest_port: Port for REST; None for none.
        admin_port: Port of Envoy's admin interface, on loopback whatever ``host`` is.
        model: Name of the model whose status tells whether a server is well.
        slo_bound_seconds: The objective, for the histogram's buckets; None for none.
        hold_seconds: About how long a request waits while no server is up, before it is answered with UNAVAILABLE.
        max_held: So many requests wait at most, in all; the next one is answered with UNAVAILABLE at once.
        max_request_bytes: A larger request cannot be sent again when its server turns out to be gone.
    """

    host: str = "127.0.0.1"
    grpc_port: int = 8500
    rest_port: int | None = 8501
    admin_port: int
    model: str
    slo_bound_seconds: float | None = None
    hold_seconds: float = 30.0
    max_held: int = 20_000
    max_request_bytes: int = 16 << 20


class Role(StrEnum):
    """What a server process is in a trial of another configuration; requests are counted apart by it."""

    CANARY = "canary"
    """It runs the other configuration."""
    CONTROL = "control"
    """It runs the one in force, at the same time and with the same share, so that the two can be compared."""
    NONE = "none"
    """There is no trial."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one server process listens, on loopback; the generation it was started for, and its role."""

    grpc_port: int
    rest_port: int
    generation: int = 0
    role: Role = Role.NONE

    def in_role(self, role: Role) -> Endpoint:
        """The same server in another role."""
        return replace(self, role=role)


def bootstrap(front: Front, folder: Path) -> Json:
    """The file that Envoy is started with.

    Args:
        front: What clients reach.
        folder: Holds the endpoint files, named by :func:`endpoint_file`.
    """
    listeners = [_listener(front, "grpc", front.grpc_port)]
    if front.rest_port is not None:
        listeners.append(_listener(front, "rest", front.rest_port))
    return {
        "node": {"id": "regulus-node", "cluster": "regulus"},
        "admin": {
            "address": _address("127.0.0.1", front.admin_port),
            "profile_path": "/dev/null",
        },
        # Histograms show what they held at the last flush.
        "stats_flush_interval": "1s",
        "stats_config": {
            "histogram_bucket_settings": [
                {
                    "match": {"prefix": STAT_PREFIX},
                    "buckets": list(latency_edges_micros(front.slo_bound_seconds)),
                }
            ]
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{_TYPE}envoy.extensions.resource_monitors.downstream_connections.v3."
                        "DownstreamConnectionsConfig",
                        "max_active_downstream_connections": 50_000,
                    },
                }
            ]
        },
        "static_resources": {
            "listeners": listeners,
            "clusters": [_cluster(front, folder, GRPC_CLUSTER), _cluster(front, folder, REST_CLUSTER)],
        },
    }


def endpoint_file(folder: Path, cluster: str) -> Path:
    """Where a cluster's endpoints are read from."""
    return folder / f"{cluster}.json"


def endpoints(cluster: str, serving: Sequence[Endpoint], draining: Sequence[Endpoint] = ()) -> Json:
    """The content of an endpoint file: those that serve, and those that finish what they have."""
    groups = [*_groups(cluster, serving, 0, "HEALTHY"), *_groups(cluster, draining, 1, "DRAINING")]
    assignment = {
        "@type": f"{_TYPE}envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": cluster,
        "endpoints": groups,
    }
    return {"resources": [assignment]}


def port_of(cluster: str, endpoint: Endpoint) -> int:
    """The port of a server that a cluster talks to."""
    return endpoint.grpc_port if cluster == GRPC_CLUSTER else endpoint.rest_port


def _groups(cluster: str, members: Sequence[Endpoint], priority: int, health: str) -> list[Json]:
    generations = sorted({member.generation for member in members})
    return [
        _group(cluster, [one for one in members if one.generation == generation], generation, priority, health)
        for generation in generations
    ]


def _group(cluster: str, members: Sequence[Endpoint], generation: int, priority: int, health: str) -> Json:
    return {
        "priority": priority,
        "locality": {"zone": f"generation {generation}"},
        "load_balancing_weight": len(members),
        "lb_endpoints": [
            {
                "health_status": health,
                "metadata": {"filter_metadata": {_METADATA: {"role": member.role}}},
                "endpoint": {
                    "address": _address("127.0.0.1", port_of(cluster, member)),
                    # The status API is on the REST port, for gRPC too: not every server has the gRPC health service.
                    "health_check_config": {"port_value": member.rest_port},
                },
            }
            for member in members
        ],
    }


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def _listener(front: Front, entry: str, port: int) -> Json:
    cluster = GRPC_CLUSTER if entry == "grpc" else REST_CLUSTER
    manager = {
        "@type": f"{_TYPE}envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": entry,
        "codec_type": "HTTP2" if entry == "grpc" else "AUTO",
        # How long a request may take is for the client and the server to say.
        "stream_idle_timeout": "0s",
        "request_headers_timeout": "30s",
        "drain_timeout": "5s",
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "normalize_path": True,
        "access_log": _access_log(entry, front.slo_bound_seconds),
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": f"{_TYPE}envoy.extensions.filters.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            }
        ],
        "route_config": {
            "name": entry,
            "virtual_hosts": [
                {
                    "name": entry,
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": _route(front, cluster)}],
                }
            ],
        },
    }
    return {
        "name": entry,
        "address": _address(front.host, port),
        "per_connection_buffer_limit_bytes": front.max_request_bytes,
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }


def _route(front: Front, cluster: str) -> Json:
    """No time-out of Envoy's own, and another attempt only where the server has provably not begun.

    ``connect-failure`` and ``reset-before-request``: nothing was sent. ``refused-stream``: HTTP/2 promises that it was
    not processed (RFC 9113, section 8.7). A request whose server died while it worked on it is lost, not repeated.
    """
    longest_pause = 0.5
    # Pauses are drawn evenly between 0 and their limit, which doubles up to the longest.
    retries = max(3, round(front.hold_seconds / (longest_pause / 2)))
    return {
        "cluster": cluster,
        "timeout": "0s",
        "retry_policy": {
            "retry_on": "connect-failure,reset-before-request,refused-stream",
            "num_retries": retries,
            "retry_back_off": {"base_interval": "0.025s", "max_interval": f"{longest_pause}s"},
            "host_selection_retry_max_attempts": 5,
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {
                        "@type": f"{_TYPE}envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                    },
                }
            ],
        },
    }


def _access_log(entry: str, bound_seconds: float | None) -> list[Json]:
    """Counters of every prediction by status, and the latency of those that succeeded, in microseconds.

    With an objective, those that took longer than its bound are counted once more: a client that leaves before that
    has reasons of its own, one that leaves after it was not served in time.
    """
    path = _PREDICTION_PATH if entry == "grpc" else _REST_PATH
    is_prediction = {
        "header_filter": {
            "header": {"name": ":path", "string_match": {"safe_regex": {"regex": path}}},
        }
    }
    succeeded = (
        {"grpc_status_filter": {"statuses": ["OK"]}}
        if entry == "grpc"
        else {
            "status_code_filter": {
                "comparison": {"op": "EQ", "value": {"default_value": 200, "runtime_key": "regulus.ok"}}
            }
        }
    )
    # A client that left has HTTP code 0 at both entries; Envoy makes gRPC's UNKNOWN of it, which servers say as well.
    status = "%RESPONSE_CODE%_%GRPC_STATUS_NUMBER%" if entry == "grpc" else "%RESPONSE_CODE%"
    role = {"name": ROLE_TAG, "value_format": f"%METADATA(UPSTREAM_HOST:{_METADATA}:role)%"}

    def counted(name: str) -> Json:
        tags = [{"name": "status", "value_format": status}, role]
        return {"counters": [{"stat": {"name": name, "tags": tags}, "value_fixed": 1}]}

    timed = {
        "histograms": [
            {
                "stat": {"name": LATENCY_STAT, "tags": [role]},
                "unit": "Microseconds",
                # From the first byte of the request to the last of the answer.
                "value_format": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
            }
        ]
    }
    loggers = [
        _stats_logger(entry, is_prediction, counted(REQUESTS_STAT)),
        _stats_logger(entry, {"and_filter": {"filters": [is_prediction, succeeded]}}, timed),
    ]
    if bound_seconds is not None:
        bound_ms = {"default_value": math.ceil(bound_seconds * 1e3), "runtime_key": "regulus.late"}
        late = {"duration_filter": {"comparison": {"op": "GE", "value": bound_ms}}}
        loggers.append(_stats_logger(entry, {"and_filter": {"filters": [is_prediction, late]}}, counted(LATE_STAT)))
    return loggers


def _stats_logger(entry: str, wanted: Mapping[str, Any], statistics: Mapping[str, Any]) -> Json:
    return {
        "name": "envoy.access_loggers.stats",
        "filter": wanted,
        "typed_config": {
            "@type": f"{_TYPE}envoy.extensions.access_loggers.stats.v3.Config",
            "stats_scope": {"prefix": f"{STAT_PREFIX}_{entry}"},
            **statistics,
        },
    }


def _cluster(front: Front, folder: Path, name: str) -> Json:
    options: Json = {"@type": f"{_TYPE}envoy.extensions.upstreams.http.v3.HttpProtocolOptions"}
    if name == GRPC_CLUSTER:
        options["explicit_http_config"] = {"http2_protocol_options": {"max_concurrent_streams": _UNLIMITED}}
    else:
        options["explicit_http_config"] = {"http_protocol_options": {}}
        options["common_http_protocol_options"] = {"idle_timeout": f"{_REST_IDLE_SECONDS}s"}
    limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), _UNLIMITED)
    return {
        "name": name,
        "type": "EDS",
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        "per_connection_buffer_limit_bytes": front.max_request_bytes,
        "ignore_health_on_host_removal": True,
        "common_lb_config": {"ignore_new_hosts_until_first_hc": True, "locality_weighted_lb_config": {}},
        "eds_cluster_config": {
            "eds_config": {
                "path_config_source": {
                    "path": str(endpoint_file(folder, name)),
                    "watched_directory": {"path": str(folder)},
                },
                "resource_api_version": "V3",
            }
        },
        "health_checks": [
            {
                "timeout": "2s",
                "interval": "2s",
                "no_traffic_interval": "2s",
                "unhealthy_threshold": 3,
                "healthy_threshold": 1,
                "reuse_connection": False,
                "http_health_check": {"path": f"/v1/models/{front.model}", "host": "127.0.0.1"},
            }
        ],
        "circuit_breakers": {
            "thresholds": [
                {"priority": "DEFAULT", **limits, "max_retries": front.max_held},
            ]
        },
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
    }
