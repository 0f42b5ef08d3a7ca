"""History: what was decided and what was measured, newest first, page by page."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Query

from service.api.conversion import decision_out, ledger_out, observation_out
from service.api.dependencies import Before, Limit, ModelName, TheStore, TheSupervisor
from service.api.ledger_schemas import LedgerOut
from service.api.problems import HISTORY_UNAVAILABLE, INVALID, NOT_FOUND, UNKNOWN_MODEL, NotFoundError, responses
from service.api.schemas import DecisionOut, DecisionPage, ObservationPage
from service.control.ledger import Ledger, ledger
from service.domain.decision import Action
from service.domain.slo import Slo
from service.store import Store

#: Newest windows that the ledger looks at: hours of them.
LEDGER_WINDOWS = 2000

router = APIRouter(prefix="/v1/models/{model}", tags=["history"])

DecisionId = Annotated[int, Path(ge=1, le=2**63 - 1, description="Number of the decision.", examples=[118])]
Actions = Annotated[
    list[Action],
    Query(
        alias="action",
        default_factory=list,
        description="Only decisions with this action; give it several times for several.",
    ),
]


@router.get(
    "/decisions",
    operation_id="listDecisions",
    responses=responses(UNKNOWN_MODEL, INVALID, HISTORY_UNAVAILABLE),
)
async def list_decisions(
    model: ModelName,
    supervisor: TheSupervisor,
    store: TheStore,
    actions: Actions,
    limit: Limit = 50,
    before: Before = None,
) -> DecisionPage:
    """What was decided for a model, and why; also "nothing, because …" (action ``hold``)."""
    supervisor.status(model)
    # One more than asked for tells whether there is a next page.
    found = await asyncio.to_thread(
        store.decisions, model, limit=limit + 1, before_id=before, actions=frozenset(actions) or None
    )
    page = found[:limit]
    return DecisionPage(
        items=[decision_out(decision) for decision in page],
        next=page[-1].id if len(found) > limit else None,
    )


@router.get(
    "/decisions/{decision_id}",
    operation_id="getDecision",
    responses=responses(UNKNOWN_MODEL, NOT_FOUND, INVALID, HISTORY_UNAVAILABLE),
)
async def get_decision(
    model: ModelName, decision_id: DecisionId, supervisor: TheSupervisor, store: TheStore
) -> DecisionOut:
    """One decision with everything that went into it."""
    supervisor.status(model)
    decision = await asyncio.to_thread(store.decision, decision_id)
    if decision is None or decision.model != model:
        raise NotFoundError(f"{model!r} has no decision {decision_id}; it may have been pruned")
    return decision_out(decision)


@router.get("/why", operation_id="getWhy", responses=responses(UNKNOWN_MODEL, NOT_FOUND))
async def get_why(model: ModelName, supervisor: TheSupervisor) -> DecisionOut:
    """Why what is being done now is done, or nothing is: the newest decision with everything that went into it.

    It has no id where it repeats what the history already says.
    """
    status = supervisor.status(model)
    newest = status.hold or status.last_decision
    if newest is None:
        raise NotFoundError(f"nothing has been decided for {model!r} yet; the service has just started")
    return decision_out(newest)


@router.get(
    "/ledger",
    operation_id="getLedger",
    responses=responses(UNKNOWN_MODEL, INVALID, HISTORY_UNAVAILABLE),
)
async def get_ledger(model: ModelName, supervisor: TheSupervisor, store: TheStore, limit: Limit = 50) -> LedgerOut:
    """What following the latest recommendations would have brought, beside what was measured without.

    What a recommendation would have done is the policy's prediction; only what stayed in force was measured.
    """
    slo = supervisor.status(model).slo
    made = await asyncio.to_thread(_ledger, store, model, slo, limit)
    return ledger_out(made, slo)


def _ledger(store: Store, model: str, slo: Slo, limit: int) -> Ledger:
    doings = store.decisions(model, limit=limit, actions=frozenset(Action) - {Action.HOLD})[::-1]
    observations = store.observations(model, limit=LEDGER_WINDOWS) if doings else []
    return ledger(doings, observations, slo)


@router.get(
    "/observations",
    operation_id="listObservations",
    responses=responses(UNKNOWN_MODEL, INVALID, HISTORY_UNAVAILABLE),
)
async def list_observations(
    model: ModelName, supervisor: TheSupervisor, store: TheStore, limit: Limit = 50, before: Before = None
) -> ObservationPage:
    """The windows that the policy has learnt from. Tails are told at the present objective's percentile."""
    slo = supervisor.status(model).slo
    found = await asyncio.to_thread(store.observations, model, limit=limit + 1, before_id=before)
    page = found[:limit]
    return ObservationPage(
        items=[observation_out(observation, slo) for observation in page],
        next=page[-1].id if len(found) > limit else None,
    )
