"""Is the watch alive? Bookmarks never reach handlers, and a stalled stream looks like a quiet one.

So the list of names and versions is compared with what the watch has told (design 4): what it has not told after
``patience`` seconds is fetched here, and `/healthz` fails until nothing is missing any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import httpx2
import structlog

from dezky_operator.kube.cache import TenantCache, newer

log = structlog.get_logger(__name__)
PATIENCE = 30.0
"""Seconds an event may be late."""


class Watchdog:
    """Compares the API server's list with the cache, again and again."""

    def __init__(
        self,
        *,
        versions: Callable[[], Awaitable[Mapping[str, str]]],
        cache: TenantCache,
        fetch: Callable[[str], Awaitable[None]],
        interval: float,
        clock: Callable[[], float],
        patience: float = PATIENCE,
    ) -> None:
        """``versions`` gives resourceVersions by name; ``fetch`` reads one object and hands it on like the watch."""
        self._versions, self._cache, self._fetch = versions, cache, fetch
        self._interval, self._clock, self._patience = interval, clock, patience
        self._late: dict[str, float] = {}
        self._lost: frozenset[str] = frozenset()

    def check(self) -> str | None:
        """What is wrong with the watch, for `/healthz`."""
        if not self._lost:
            return None
        return f"the watch has not told of {len(self._lost)} changed Tenants, the first {min(self._lost)}"

    async def run(self) -> None:
        """Compare for ever."""
        while True:
            await asyncio.sleep(min(self._interval, self._patience) if self._late else self._interval)
            await self.compare()

    async def compare(self) -> None:
        """One comparison. An API server that does not answer proves nothing about the watch."""
        try:
            versions = await self._versions()
        except httpx2.HTTPError as error:
            log.warning("watch not checked", error=type(error).__name__)
            return
        now = self._clock()
        behind = self._behind(versions)
        self._late = {name: self._late.get(name, now) for name in behind}
        self._lost = frozenset(name for name, since in self._late.items() if now - since >= self._patience)
        for name in sorted(self._lost):
            log.error("watch missed a change", tenant=name)
            await self._read(name)

    async def _read(self, name: str) -> None:
        try:
            await self._fetch(name)
        except httpx2.HTTPError as error:  # it stays lost, and is tried again with the next comparison
            log.warning("tenant not read", tenant=name, error=type(error).__name__)

    def _behind(self, versions: Mapping[str, str]) -> set[str]:
        changed = {name for name, version in versions.items() if self._is_behind(name, version)}
        return changed | {name for name in self._cache.names if name not in versions}

    def _is_behind(self, name: str, version: str) -> bool:
        seen = self._cache.get(name)
        return seen is None or newer(version, seen.version)
