"""The gRPC methods besides Predict, ready to be registered: they count requests and answer errors as statuses."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import grpc
import grpc.aio

from service.modelserver.inference_service import classify, multi_inference, regress
from service.modelserver.manager import ModelManager
from service.modelserver.metadata import get_model_metadata
from service.modelserver.model_service import get_model_status, handle_reload_config_request
from service.modelserver.status import Code, ServingError

_log = logging.getLogger(__name__)

#: A unary method of grpc.aio: (request, context) → response.
Method = Callable[[Any, "grpc.aio.ServicerContext[Any, Any]"], Awaitable[Any]]
#: A method as the modules of this package write it: (manager, request) → response, or an awaitable of it.
_Answer = Callable[[ModelManager, Any], Any]

#: A deadline is reckoned here from the request's arrival, so a client's comes a little before; seconds.
_DEADLINE_SLACK = 0.05

GRPC_CODES: Mapping[Code, grpc.StatusCode] = {Code(code.value[0]): code for code in grpc.StatusCode}


def prediction_methods(manager: ModelManager) -> dict[str, Method]:
    """The methods of PredictionService besides Predict, by name. GetModelMetadata is no inference and not counted."""
    return {
        "Classify": _counted(manager, "Classify", classify, lambda request: request.model_spec.name),
        "Regress": _counted(manager, "Regress", regress, lambda request: request.model_spec.name),
        "MultiInference": _counted(
            manager,
            "MultiInference",
            multi_inference,
            lambda request: request.tasks[0].model_spec.name if request.tasks else "",
        ),
        "GetModelMetadata": _uncounted(manager, get_model_metadata),
    }


def model_methods(manager: ModelManager) -> dict[str, Method]:
    """The methods of ModelService, by name."""
    return {
        "GetModelStatus": _uncounted(manager, get_model_status),
        "HandleReloadConfigRequest": _uncounted(manager, handle_reload_config_request),
    }


def _uncounted(manager: ModelManager, answer: _Answer) -> Method:
    async def method(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        response, error = await _attempt(manager, answer, request)
        if error is not None:
            await context.abort(GRPC_CODES[error.code], error.message)
        return response

    return method


def _counted(manager: ModelManager, api: str, answer: _Answer, model_of: Callable[[Any], str]) -> Method:
    async def method(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        model, started = model_of(request), time.monotonic()
        manager.metrics.arrival(model, started)
        code = Code.OK
        try:
            response, error = await _attempt(manager, answer, request)
            code = error.code if error is not None else Code.OK
        except asyncio.CancelledError:
            code = given_up(context)
            raise
        finally:
            manager.metrics.request(model, api, "GRPC", code.name, time.monotonic() - started)
        if error is not None:
            await context.abort(GRPC_CODES[error.code], error.message)
        return response

    return method


def given_up(context: grpc.aio.ServicerContext[Any, Any]) -> Code:
    """Why a call was cancelled: its client's deadline has passed, or the client left for reasons of its own."""
    # None without a deadline, whatever the stubs say.
    remaining = cast("float | None", context.time_remaining())
    return Code.DEADLINE_EXCEEDED if remaining is not None and remaining <= _DEADLINE_SLACK else Code.CANCELLED


async def _attempt(manager: ModelManager, answer: _Answer, request: Any) -> tuple[Any, ServingError | None]:
    """The response, or why there is none."""
    try:
        response = answer(manager, request)
        return (await response if inspect.isawaitable(response) else response), None
    except ServingError as error:
        return None, error
    except asyncio.CancelledError:
        raise
    except Exception as error:
        _log.exception("%s failed unexpectedly", type(request).__name__)
        return None, ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")
