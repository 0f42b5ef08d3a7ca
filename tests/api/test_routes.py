"""Each route against a running supervisor, store and node."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from service.api import examples
from service.api.app import create_app
from service.domain.clock import SystemClock
from tests.support.agents import Fault, SimulatedNode
from tests.support.api_service import MODEL as M
from tests.support.api_service import client_of, in_force, judged, settings_for
from tests.support.eventually import eventually
from tests.support.processes import free_port
from tests.support.served_node import SLOW_SECONDS, Served, latency, served_node


async def test_a_new_service_is_alive_and_becomes_ready(api: httpx.AsyncClient) -> None:
    assert (await api.get("/healthz")).json()["status"] == "ok"

    async def ready() -> bool:
        return (await api.get("/readyz")).status_code == 200

    await eventually(ready, what="ready")
    assert (await api.get("/readyz")).json() == {"ready": True, "models": {"mnist": "ok"}}


async def test_a_service_that_is_not_ready_says_so_as_a_problem(served: Served) -> None:
    app = create_app(settings_for(served))
    async with app.router.lifespan_context(app), client_of(app) as api:
        # No loop has had a chance to run yet.
        answer = await api.get("/readyz")

    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:regulus:problem:not-ready"
    assert "mnist" in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) > 0


async def test_models_are_listed_with_their_state(api: httpx.AsyncClient) -> None:
    (model,) = (await api.get("/v1/models")).json()["models"]

    assert (model["name"], model["mode"], model["slo"]["bound_seconds"]) == ("mnist", "off", 0.05)


async def test_the_state_shows_what_was_measured_andjudged(api: httpx.AsyncClient) -> None:
    status = await judged(api)

    assert status["verdict"] == "violated"
    assert status["judged"]["p50_seconds"] == pytest.approx(SLOW_SECONDS, rel=0.2)
    assert status["judged"]["tail"]["low"] > SLOW_SECONDS
    assert status["judged"]["violation_ratio"] > 0.8
    assert status["config"]["enable_batching"] is False
    assert status["agent_reachable"] is True
    assert status["server_kind"] == "simulated"
    assert status["hold_reason"] == "mode_off"

    async def rate_told() -> bool:
        rate = (await api.get(M)).json()["workload"]["rate_per_second"]
        return bool(rate == pytest.approx(2000, rel=0.3))

    # Readings of a machine that is busy elsewhere come late, and a window shows it.
    await eventually(rate_told, what="a window shows 2000 requests a second")


async def test_an_unknown_model_is_refused_with_the_known_names(api: httpx.AsyncClient) -> None:
    answer = await api.get("/v1/models/mnits/slo")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["models"] == ["mnist"]
    assert "mnits" in answer.json()["detail"]


async def test_an_objective_that_is_put_is_in_force_at_once(api: httpx.AsyncClient) -> None:
    slo = {"bound_seconds": 0.2, "percentile": 0.95, "target_ratio": 0.999}

    assert (await api.put(f"{M}/slo", json=slo)).json() == slo
    assert (await api.get(f"{M}/slo")).json() == slo


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"bound_seconds": 0}, "bound_seconds"),
        ({"bound_seconds": 3601}, "bound_seconds"),
        ({"bound_seconds": "fast"}, "bound_seconds"),
        ({"bound_seconds": 1, "percentile": 99}, "percentile"),
        ({"bound_seconds": 1, "target_ratio": 1}, "target_ratio"),
        ({"bound_seconds": 1, "bound_ms": 1}, "bound_ms"),
        ({}, "bound_seconds"),
        ([], "body"),
    ],
)
async def test_a_bad_objective_is_refused_by_field_and_the_old_one_stands(
    api: httpx.AsyncClient, body: Any, field: str
) -> None:
    before = (await api.get(f"{M}/slo")).json()

    answer = await api.put(f"{M}/slo", json=body)

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert (await api.get(f"{M}/slo")).json() == before


async def test_a_number_that_is_not_finite_is_refused(api: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    for body in ('{"workload": {"rate_per_second": NaN}}', '{"workload": {"rate_per_second": 1, "cv": Infinity}}'):
        answer = await api.post(f"{M}/recommendations", content=body, headers=headers)

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"].startswith("workload.")


async def test_the_mode_can_be_read_and_put(api: httpx.AsyncClient) -> None:
    assert (await api.put(f"{M}/mode", json={"mode": "recommend"})).json() == {"mode": "recommend"}
    assert (await api.get(f"{M}/mode")).json() == {"mode": "recommend"}
    answer = await api.put(f"{M}/mode", json={"mode": "on"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "mode"


async def test_what_is_in_force_is_told_with_its_generation(api: httpx.AsyncClient) -> None:
    state = await in_force(api)

    assert state["generation"] == 0
    assert state["config"] == examples.DEFAULT_CONFIG
    assert state["phase"] == "serving"
    assert state["last_known_good"] is None


async def test_a_configuration_is_served_when_the_answer_to_its_put_comes(
    api: httpx.AsyncClient, served: Served
) -> None:
    await in_force(api)

    answer = await api.put(f"{M}/config", json=examples.CONFIG)

    assert answer.status_code == 200
    decision = answer.json()
    assert served.node.config.to_dict() == examples.CONFIG
    assert (decision["action"], decision["reason"]) == ("manual", "user")
    assert decision["changes"]["max_batch_size"] == {"before": 1000, "after": 16}
    assert (await in_force(api))["config"] == examples.CONFIG
    assert (await api.get(f"{M}/decisions/{decision['id']}")).json() == decision


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"max_batch_size": 0}, "max_batch_size"),
        ({"max_batch_size": "16"}, "max_batch_size"),
        ({"max_batch_size": 1025}, "max_batch_size"),
        ({"allowed_batch_sizes": [4, 8]}, "allowed_batch_sizes"),
        ({"allowed_batch_sizes": [8, 0, 16]}, "allowed_batch_sizes.1"),
        ({"batch_size": 4}, "batch_size"),
    ],
)
async def test_an_infeasible_configuration_is_refused_by_knob_and_nothing_changes(
    api: httpx.AsyncClient, served: Served, change: dict[str, Any], field: str
) -> None:
    await in_force(api)

    answer = await api.put(f"{M}/config", json={**examples.CONFIG, **change})

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert served.node.generation == 0


async def test_a_configuration_with_a_knob_forgotten_is_refused(api: httpx.AsyncClient) -> None:
    body = {name: value for name, value in examples.CONFIG.items() if name != "instances"}

    answer = await api.put(f"{M}/config", json=body)

    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"field": "instances", "message": "field required"}]


@pytest.mark.parametrize(
    ("fault", "status", "slug"),
    [
        ("conflict", 409, "stale-generation"),
        ("timeout", 504, "apply-timeout"),
        ("error", 503, "agent-unavailable"),
        ("garbage", 503, "agent-unavailable"),
    ],
)
async def test_what_an_agent_refuses_with_is_told(
    api: httpx.AsyncClient, served: Served, fault: Fault, status: int, slug: str
) -> None:
    await in_force(api)
    served.node.faults["order"] = fault

    answer = await api.put(f"{M}/config", json=examples.CONFIG)

    assert answer.status_code == status
    assert answer.json()["type"] == f"urn:regulus:problem:{slug}"
    assert ("retry-after" in answer.headers) == (status == 503)


async def test_what_a_silent_agent_has_in_force_is_unavailable() -> None:
    gone = Served(SimulatedNode(SystemClock(), latency, name="mnist"), f"http://127.0.0.1:{free_port()}")
    app = create_app(settings_for(gone))
    async with app.router.lifespan_context(app), client_of(app) as api:
        answer = await api.get(f"{M}/config")
        what_if = await api.post(f"{M}/recommendations", json=examples.WHAT_IF)
        status = await api.get(M)

    assert answer.status_code == what_if.status_code == 503
    assert answer.json()["type"] == what_if.json()["type"] == "urn:regulus:problem:agent-unavailable"
    assert status.json()["config"] is None


async def test_there_is_nothing_to_roll_back_to_before_an_objective_was_met(api: httpx.AsyncClient) -> None:
    answer = await api.post(f"{M}/rollback")

    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:regulus:problem:no-known-good"


async def test_a_rollback_returns_to_what_met_the_objective(api: httpx.AsyncClient, served: Served) -> None:
    await in_force(api)
    await api.put(f"{M}/config", json=examples.CONFIG)

    async def known_good() -> bool:
        return bool((await api.get(f"{M}/config")).json()["last_known_good"] == examples.CONFIG)

    await eventually(known_good, what="the configuration met the objective")
    await api.put(f"{M}/config", json=examples.DEFAULT_CONFIG)

    answer = await api.post(f"{M}/rollback")

    assert answer.status_code == 200
    assert answer.json()["config_after"] == examples.CONFIG
    assert served.node.config.to_dict() == examples.CONFIG


async def test_a_recommendation_says_what_why_and_how_sure(api: httpx.AsyncClient) -> None:
    await judged(api)

    answer = await api.get(f"{M}/recommendation")

    assert answer.status_code == 200
    body = answer.json()
    assert body["explanation"]
    assert 0 <= body["confidence"] <= 1
    assert body["in_force"] == examples.DEFAULT_CONFIG
    assert body["slo"]["bound_seconds"] == 0.05


async def test_a_what_if_answers_for_the_supposed_load_and_objective_and_changes_nothing(
    api: httpx.AsyncClient, served: Served
) -> None:
    await judged(api)

    answer = await api.post(f"{M}/recommendations", json=examples.WHAT_IF)

    assert answer.status_code == 200
    body = answer.json()
    assert body["workload"] == examples.WHAT_IF["workload"]
    assert body["slo"] == examples.WHAT_IF["slo"]
    assert body["predicted_tail"] is None or body["predicted_tail"]["value"] > 0
    assert set(body["changes"]) <= set(examples.CONFIG)
    assert served.node.generation == 0


async def test_a_bad_what_if_names_the_nested_field(api: httpx.AsyncClient) -> None:
    answer = await api.post(
        f"{M}/recommendations", json={"workload": {"rate_per_second": -1}, "slo": {"bound_seconds": 0}}
    )

    assert [error["field"] for error in answer.json()["errors"]] == ["workload.rate_per_second", "slo.bound_seconds"]


async def test_pages_hold_every_decision_once_newest_first(api: httpx.AsyncClient) -> None:
    await in_force(api)
    for _ in range(2):
        await api.put(f"{M}/config", json=examples.CONFIG)
        await api.put(f"{M}/config", json=examples.DEFAULT_CONFIG)
    everything = (await api.get(f"{M}/decisions", params={"action": "manual"})).json()

    seen: list[int] = []
    query: dict[str, Any] = {"limit": 3, "action": "manual"}
    while True:
        page = (await api.get(f"{M}/decisions", params=query)).json()
        seen += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        query["before"] = page["next"]

    assert len(seen) == 4
    assert seen == sorted(seen, reverse=True) == [item["id"] for item in everything["items"]]
    assert everything["next"] is None


async def test_decisions_to_do_nothing_are_kept_and_can_be_left_out(api: httpx.AsyncClient) -> None:
    await judged(api)

    async def held() -> list[Any]:
        return list((await api.get(f"{M}/decisions", params={"action": "hold"})).json()["items"])

    holds = await eventually(held, what="a hold was stored")
    assert {item["action"] for item in holds} == {"hold"}
    both = (await api.get(f"{M}/decisions", params={"action": ["apply", "manual"]})).json()
    assert both["items"] == []


async def test_observations_are_told_with_their_configuration(api: httpx.AsyncClient) -> None:
    async def look() -> list[Any]:
        return list((await api.get(f"{M}/observations", params={"limit": 1})).json()["items"])

    (observation,) = await eventually(look, what="an observation was stored")

    assert observation["config"] == examples.DEFAULT_CONFIG
    assert observation["window"]["succeeded"] >= 300
    assert observation["window"]["p50_seconds"] == pytest.approx(SLOW_SECONDS, rel=0.2)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (f"{M}/decisions?limit=0", "limit"),
        (f"{M}/decisions?limit=501", "limit"),
        (f"{M}/decisions?before=x", "before"),
        (f"{M}/decisions?before={2**63}", "before"),
        (f"{M}/decisions?action=fly", "action.0"),
        (f"{M}/decisions/first", "decision_id"),
        (f"{M}/observations?limit=-1", "limit"),
    ],
)
async def test_a_bad_question_names_the_parameter(api: httpx.AsyncClient, path: str, field: str) -> None:
    answer = await api.get(path)

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_a_decision_of_another_model_is_not_found(served: Served) -> None:
    with served_node("other") as other:
        settings = settings_for(served)
        both = settings.model_copy(update={"models": (*settings.models, *settings_for(other).models)})
        app = create_app(both)
        async with app.router.lifespan_context(app), client_of(app) as api:
            await in_force(api)
            decision = (await api.put(f"{M}/config", json=examples.CONFIG)).json()

            assert (await api.get(f"{M}/decisions/{decision['id']}")).status_code == 200
            elsewhere = await api.get(f"/v1/models/other/decisions/{decision['id']}")

    assert elsewhere.status_code == 404
    assert elsewhere.json()["type"] == "urn:regulus:problem:not-found"


async def test_metrics_are_prometheus_text_about_the_models(api: httpx.AsyncClient) -> None:
    await judged(api)

    answer = await api.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert 'regulus_slo_latency_target_seconds{model="mnist"} 0.05' in answer.text
    assert "process_resident_memory_bytes" in answer.text


async def test_the_reference_page_is_whole_and_needs_nothing_from_elsewhere(api: httpx.AsyncClient) -> None:
    page = (await api.get("/docs")).text

    assert "PUT /v1/models/{model}/config" in page
    assert '<h3 id="configbody">' in page
    assert "<script" not in page
    assert "src=" not in page


async def test_the_objective_and_the_mode_survive_a_restart(served: Served, tmp_path: Any) -> None:
    settings = settings_for(served, store={"url": f"sqlite:///{tmp_path / 'history.db'}"})
    for _ in range(2):
        app = create_app(settings)
        async with app.router.lifespan_context(app), client_of(app) as api:
            await in_force(api)
            last = ((await api.get(f"{M}/slo")).json()["bound_seconds"], (await api.get(f"{M}/mode")).json()["mode"])
            await api.put(f"{M}/slo", json={"bound_seconds": 0.123})
            await api.put(f"{M}/mode", json={"mode": "recommend"})

    assert last == (0.123, "recommend")
