"""Models: what is steered, its objective and its mode."""

from __future__ import annotations

from fastapi import APIRouter

from service.api.conversion import decision_out, model_out, slo_in, slo_out
from service.api.dependencies import ModelName, TheSupervisor
from service.api.problems import BODY, HISTORY_UNAVAILABLE, UNKNOWN_MODEL, responses
from service.api.schemas import DecisionOut, ModeBody, ModelList, ModelOut, SloBody

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("", operation_id="listModels", responses=responses())
async def list_models(supervisor: TheSupervisor) -> ModelList:
    """All models that this service steers, each with its present state."""
    return ModelList(models=[model_out(supervisor.status(name)) for name in supervisor.names()])


@router.get("/{model}", operation_id="getModel", responses=responses(UNKNOWN_MODEL))
async def get_model(model: ModelName, supervisor: TheSupervisor) -> ModelOut:
    """Everything there is to know of one model now. Never waits for a node."""
    return model_out(supervisor.status(model))


@router.get("/{model}/slo", operation_id="getSlo", responses=responses(UNKNOWN_MODEL))
async def get_slo(model: ModelName, supervisor: TheSupervisor) -> SloBody:
    """The objective in force."""
    return slo_out(supervisor.status(model).slo)


@router.put("/{model}/slo", operation_id="putSlo", responses=responses(UNKNOWN_MODEL, HISTORY_UNAVAILABLE, *BODY))
async def put_slo(model: ModelName, body: SloBody, supervisor: TheSupervisor) -> SloBody:
    """Change the objective. Remembered across restarts; the window in progress is judged by the new one."""
    await supervisor.set_slo(model, slo_in(body))
    return slo_out(supervisor.status(model).slo)


@router.get("/{model}/mode", operation_id="getMode", responses=responses(UNKNOWN_MODEL))
async def get_mode(model: ModelName, supervisor: TheSupervisor) -> ModeBody:
    """How much Regulus may do for the model."""
    return ModeBody(mode=supervisor.status(model).mode)


@router.put("/{model}/mode", operation_id="putMode", responses=responses(UNKNOWN_MODEL, HISTORY_UNAVAILABLE, *BODY))
async def put_mode(model: ModelName, body: ModeBody, supervisor: TheSupervisor) -> ModeBody:
    """Change how much Regulus may do. Remembered across restarts.

    Leaving ``auto`` stops changes at once, except one that an agent is already carrying out.
    """
    await supervisor.set_mode(model, body.mode)
    return ModeBody(mode=supervisor.status(model).mode)


@router.post(
    "/{model}/skip-learning", operation_id="skipLearning", responses=responses(UNKNOWN_MODEL, HISTORY_UNAVAILABLE)
)
async def skip_learning(model: ModelName, supervisor: TheSupervisor) -> DecisionOut:
    """End the learning period before its time, so that mode ``auto`` acts on its own from now on."""
    return decision_out(await supervisor.skip_learning(model))
