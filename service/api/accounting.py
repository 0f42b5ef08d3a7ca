"""Accounting: what is said of a request once it is answered, to the log, to Prometheus and to the audit log."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

import structlog

from service.access.audit import Attempt, AuditLog, Outcome
from service.access.scopes import Scope
from service.api.facts import Facts
from service.telemetry.http_metrics import HttpMetrics

#: Asked for every few seconds by machines, so logged at debug level only.
QUIET_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})

#: Refusals that concern access; "too busy" does not.
_ACCESS = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.MISDIRECTED_REQUEST,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)

#: Larger bodies are not copied into the audit log.
_MAX_AUDITED_BYTES = 4096

_log = structlog.get_logger("service.api.access")


class Accounting:
    """Keeps the books.

    Args:
        metrics: Counts requests.
        audit: Takes every change and every refused attempt.
    """

    def __init__(self, metrics: HttpMetrics, audit: AuditLog) -> None:
        self._metrics = metrics
        self._audit = audit

    def answered(self, facts: Facts, status: int | None, seconds: float) -> None:
        """A request has ended.

        Args:
            facts: What is known of it.
            status: Of the answer; None when there was none, because the client left or the connection was broken.
            seconds: From its head to the end of its answer.
        """
        quiet = facts.path in QUIET_PATHS and facts.refusal is None
        (_log.debug if quiet else _log.info)(
            "request",
            method=facts.method,
            path=facts.path,
            status=status,
            seconds=round(seconds, 6),
            caller=facts.caller.name if facts.caller is not None else None,
            address=facts.address,
        )
        self._metrics.answered(facts.method, facts.operation.route, status, seconds)
        refused = facts.refusal is not None and facts.refusal.kind.status in _ACCESS
        # Whoever was let in for more than looking has changed something, or asked for the audit log.
        changed = facts.refusal is None and facts.caller is not None and not Scope.READ.allows(facts.operation.scope)
        if not refused and not changed:
            return
        caller = facts.caller
        self._audit.record(
            Attempt(
                caller=caller.name if caller is not None else "",
                scope=caller.scope.value if caller is not None else "",
                address=facts.address,
                method=facts.method,
                path=facts.path,
                operation=facts.operation.id,
                outcome=_outcome(refused, status),
                status=status,
                request_id=facts.request_id,
                body=_readable(facts.body) if changed else None,
                detail=facts.refusal.detail if facts.refusal is not None else "",
            )
        )


def _outcome(refused: bool, status: int | None) -> Outcome:
    if refused:
        return Outcome.REFUSED
    return Outcome.DONE if status is not None and status < HTTPStatus.BAD_REQUEST else Outcome.FAILED


def _readable(body: bytes) -> Any:
    """A small JSON body as it was meant; anything else is left out."""
    if not body or len(body) > _MAX_AUDITED_BYTES:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
