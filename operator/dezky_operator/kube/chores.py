"""Work that goes on beside the reconciles, for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger(__name__)
AGAIN = 1.0
"""Seconds before a broken chore is begun again."""


async def tended(name: str, chore: Callable[[], Awaitable[None]]) -> None:
    """Do ``chore`` for ever. A defect in it is told, and it is begun again: nobody would notice that it is gone."""
    while True:
        try:
            await chore()
        except Exception:
            log.exception("chore broke", chore=name)
        await asyncio.sleep(AGAIN)
