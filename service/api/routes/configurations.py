"""Configurations: what is in force, what would be better, and a person's own choice."""

from __future__ import annotations

from fastapi import APIRouter

from service.api.conversion import config_in, config_state, decision_out, recommendation_answer, slo_in, workload_in
from service.api.dependencies import ModelName, TheSupervisor
from service.api.problems import (
    AGENT_FAILED,
    AGENT_UNAVAILABLE,
    APPLY_TIMEOUT,
    BODY,
    HISTORY_UNAVAILABLE,
    LEASE_HELD,
    METRICS_UNAVAILABLE,
    NO_KNOWN_GOOD,
    STALE,
    UNKNOWN_MODEL,
    NoKnownGoodError,
    responses,
)
from service.api.schemas import ConfigBody, ConfigState, DecisionOut, RecommendationAnswer, WhatIf

router = APIRouter(prefix="/v1/models/{model}", tags=["configurations"])

_SWITCH = (UNKNOWN_MODEL, AGENT_FAILED, AGENT_UNAVAILABLE, APPLY_TIMEOUT, STALE, LEASE_HELD, HISTORY_UNAVAILABLE)


@router.get(
    "/recommendation",
    operation_id="getRecommendation",
    responses=responses(UNKNOWN_MODEL, METRICS_UNAVAILABLE, AGENT_UNAVAILABLE),
)
async def get_recommendation(model: ModelName, supervisor: TheSupervisor) -> RecommendationAnswer:
    """What the policy would choose under the present load and objective. Changes nothing."""
    recommendation = await supervisor.recommendation(model)
    status = supervisor.status(model)
    return recommendation_answer(recommendation, status.slo, status.config)


@router.post(
    "/recommendations",
    operation_id="whatIf",
    responses=responses(UNKNOWN_MODEL, AGENT_UNAVAILABLE, *BODY),
)
async def what_if(model: ModelName, body: WhatIf, supervisor: TheSupervisor) -> RecommendationAnswer:
    """What the policy would choose under another load, or another objective. Changes nothing."""
    slo = slo_in(body.slo) if body.slo is not None else None
    recommendation = await supervisor.what_if(model, workload_in(body.workload), slo)
    status = supervisor.status(model)
    return recommendation_answer(recommendation, slo or status.slo, status.config)


@router.get("/config", operation_id="getConfig", responses=responses(UNKNOWN_MODEL, AGENT_UNAVAILABLE))
async def get_config(model: ModelName, supervisor: TheSupervisor) -> ConfigState:
    """The configuration in force."""
    return config_state(supervisor.status(model))


@router.put("/config", operation_id="putConfig", responses=responses(*_SWITCH, *BODY))
async def put_config(model: ModelName, body: ConfigBody, supervisor: TheSupervisor) -> DecisionOut:
    """Put a configuration in force, in every mode; answers once requests are served by it.

    A person's choice is refused by no guardrail and is never rolled back. In ``auto`` the policy may move on after the
    dwell time; to keep a choice, change the mode or pin the knobs.
    """
    return decision_out(await supervisor.set_config(model, config_in(body)))


@router.post("/rollback", operation_id="rollback", responses=responses(*_SWITCH, NO_KNOWN_GOOD))
async def rollback(model: ModelName, supervisor: TheSupervisor) -> DecisionOut:
    """Return to the last known good configuration, in every mode; answers once requests are served by it."""
    if supervisor.status(model).last_known_good is None:
        raise NoKnownGoodError(f"no configuration of {model!r} has met the objective yet")
    return decision_out(await supervisor.rollback(model))
