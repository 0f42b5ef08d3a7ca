"""Envoy's configuration, as Envoy itself sees it; a running one is in test_front.py."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from service.node.envoy_config import (
    GRPC_CLUSTER,
    REST_CLUSTER,
    Endpoint,
    Front,
    Role,
    bootstrap,
    endpoint_file,
    endpoints,
)
from service.node.envoy_stats import active, hosts, settled
from service.node.errors import FrontError
from service.node.front import find_envoy

ONE, TWO = Endpoint(1, 2), Endpoint(3, 4)


@pytest.mark.parametrize("rest_port", [8501, None])
def test_envoy_finds_it_valid_and_up_to_date(tmp_path: Path, rest_port: int | None) -> None:
    front = Front(admin_port=9901, rest_port=rest_port, model="m", slo_bound_seconds=0.0375)
    for cluster in (GRPC_CLUSTER, REST_CLUSTER):
        endpoint_file(tmp_path, cluster).write_text(json.dumps(endpoints(cluster, [ONE], [TWO])))
    file = tmp_path / "bootstrap.json"
    file.write_text(json.dumps(bootstrap(front, tmp_path)))
    checked = subprocess.run(
        [find_envoy(None), "--mode", "validate", "-c", str(file)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert "eprecated" not in checked.stderr


def test_the_admin_interface_is_on_loopback_wherever_clients_come_from(tmp_path: Path) -> None:
    raw = bootstrap(Front(host="0.0.0.0", admin_port=9901, model="m"), tmp_path)  # noqa: S104 — only written down
    assert raw["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
    addresses = [listener["address"]["socket_address"] for listener in raw["static_resources"]["listeners"]]
    assert [(one["address"], one["port_value"]) for one in addresses] == [("0.0.0.0", 8500), ("0.0.0.0", 8501)]  # noqa: S104


def test_requests_are_sent_again_only_where_they_have_provably_not_begun(tmp_path: Path) -> None:
    raw = json.dumps(bootstrap(Front(admin_port=1, model="m"), tmp_path))
    assert raw.count('"retry_on": "connect-failure,reset-before-request,refused-stream"') == raw.count("retry_on") == 2


def clusters(*seen: tuple[str, int, int, str, int]) -> dict[str, Any]:
    """Envoy's answer for (cluster, port, priority, health, active); it leaves out what is zero."""
    statuses: dict[str, list[dict[str, Any]]] = {GRPC_CLUSTER: [], REST_CLUSTER: []}
    for cluster, port, priority, health, requests in seen:
        host: dict[str, Any] = {
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "stats": [{"name": "cx_active"}, {"name": "rq_active", **({"value": str(requests)} if requests else {})}],
            "health_status": {"eds_health_status": "DRAINING" if priority else "HEALTHY"},
        }
        if health == "failed":
            host["health_status"]["failed_active_health_check"] = True
        if priority:
            host["priority"] = priority
        statuses[cluster].append(host)
    return {"cluster_statuses": [{"name": name, "host_statuses": found} for name, found in statuses.items()]}


def test_endpoints_are_settled_when_envoy_uses_exactly_these_and_finds_them_well() -> None:
    seen = hosts(
        clusters(
            (GRPC_CLUSTER, 1, 0, "", 0),
            (REST_CLUSTER, 2, 0, "failed", 0),
            (GRPC_CLUSTER, 3, 1, "", 2),
            (REST_CLUSTER, 4, 1, "", 3),
        )
    )
    assert settled(seen, [ONE], [TWO], healthy=False)
    assert not settled(seen, [ONE], [TWO], healthy=True)
    assert not settled(seen, [ONE], [], healthy=False)
    assert not settled(seen, [ONE, TWO], [], healthy=False)
    assert (active(seen, [TWO]), active(seen, [ONE]), active(seen, [Endpoint(9, 9)])) == (5, 0, 0)


def test_each_generation_gets_a_share_by_the_number_of_its_members() -> None:
    serving = [Endpoint(1, 2, 7), Endpoint(3, 4, 7), Endpoint(5, 6, 8, Role.CANARY)]
    groups = endpoints(REST_CLUSTER, serving, [Endpoint(9, 10, 7)])["resources"][0]["endpoints"]
    shares = [(group["priority"], group["locality"]["zone"], group["load_balancing_weight"]) for group in groups]
    assert shares == [(0, "generation 7", 2), (0, "generation 8", 1), (1, "generation 7", 1)]


def test_clusters_without_endpoints_have_none() -> None:
    assert hosts({"cluster_statuses": [{"name": GRPC_CLUSTER}]}) == {}


@pytest.mark.parametrize("raw", [{}, {"cluster_statuses": None}, {"cluster_statuses": [{"host_statuses": [{}]}]}])
def test_an_answer_that_makes_no_sense_is_an_error(raw: dict[str, Any]) -> None:
    with pytest.raises(FrontError, match="makes no sense"):
        hosts(raw)
