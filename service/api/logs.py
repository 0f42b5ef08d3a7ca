"""Logs: structlog for everything, the libraries' own lines included; to standard error, for people or machines."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from service.access import redaction
from service.api.settings import LogFormat, LogSettings

#: Libraries whose info lines repeat what we log ourselves.
QUIET_LIBRARIES = ("httpx", "httpcore", "uvicorn", "alembic", "asyncio")


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Send all logs to ``stream``, standard error by default, in the chosen format. Call once, at the start."""
    target = stream if stream is not None else sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    people = settings.format is LogFormat.CONSOLE or (settings.format is LogFormat.AUTO and target.isatty())
    renderer: Processor = (
        # Plain tracebacks: the pretty ones show local variables, which may hold secrets.
        structlog.dev.ConsoleRenderer(colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if people
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    last = (
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        mask_secrets,
        renderer,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.level.upper())
    for name in QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(settings.level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def mask_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hide what may be a secret, wherever an error message brought it from. After exceptions have become text."""
    for name, value in event.items():
        event[name] = redaction.mask_named(name, value)
    return event
