"""Log lines: one event name each, tenant and step bound once, JSON for machines or a console form for people."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import Processor

from dezky_operator.config import LogFormat, LogSettings

QUIET = ("kopf", "httpx2", "httpcore2", "asyncio", "aiohttp.access")
"""Libraries that tell every request or watch event: only their warnings are for a person with a pager."""
EXPECTED = "kopf._core.reactor.running"
"""Warns at every start that it leaves the signals alone, which is what it is run in a thread for."""


def configure(settings: LogSettings) -> None:
    """Send every log line, ours and the libraries', to stderr in the chosen form."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(settings.format)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    logging.getLogger(EXPECTED).setLevel(logging.ERROR)


def _rendering(form: LogFormat) -> list[Processor]:
    if form is LogFormat.JSON:
        return [
            # Without locals: they hold credentials.
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(sort_keys=True),
        ]
    return [
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
    ]
