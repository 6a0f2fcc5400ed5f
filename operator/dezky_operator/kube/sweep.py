"""The sweep over the fleet: the first as soon as every Tenant is known, then again and again. Suspects are queued."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import httpx2
import structlog

from dezky_operator.kube.cache import TenantCache
from dezky_operator.kube.queue import Urgency, WorkQueue
from dezky_operator.kube.tombstones import key_of
from dezky_operator.telemetry.metrics import Metrics
from dezky_operator.tenant.sweep import Subject, Sweep
from dezky_operator.tenant.world import World

log = structlog.get_logger(__name__)
AGAIN = 0.5
"""Seconds between two looks at whether every Tenant is known."""


class FleetSweep:
    """Sweeps for ever."""

    def __init__(  # noqa: PLR0913 - each is one independent part, all by keyword
        self,
        sweep: Sweep,
        *,
        listed: Callable[[], Awaitable[Mapping[str, str]]],
        world: Callable[[], World],
        cache: TenantCache,
        queue: WorkQueue,
        metrics: Metrics,
        interval: float,
        jitter: Callable[[], float],
    ) -> None:
        """``listed`` gives every Tenant's name past the watch; ``world`` leaves nobody out; ``jitter`` in 0..1."""
        self._sweep, self._listed, self._world = sweep, listed, world
        self._cache, self._queue = cache, queue
        self._metrics, self._interval, self._jitter = metrics, interval, jitter
        self.done = 0
        """Sweeps so far."""

    async def run(self) -> None:
        """Sweep, and sweep again after about the interval. A defect ends one sweep, not all of them."""
        while not await self._all_known():  # noqa: ASYNC110 - what is waited for comes over the network
            await asyncio.sleep(AGAIN)
        while True:
            try:
                await self.once()
            except Exception:
                log.exception("sweep broke")
            await asyncio.sleep(self._interval * (0.9 + 0.2 * self._jitter()))

    async def once(self) -> None:
        """One sweep: whoever differs is looked at by a reconcile of his own."""
        began = time.monotonic()
        found = await self._sweep.look(self._world())
        for subject, plan in found.suspects:
            steps = [step.id for step in plan.steps]
            log.info("drift suspected", tenant=subject.tenant.name, steps=steps[:10], count=len(steps))
            self._queue.add(_key(subject), Urgency.LOCK if subject.locked else Urgency.ROUTINE)
        self.done += 1
        self._metrics.sweeps.inc()
        self._metrics.sweep_seconds.set(time.monotonic() - began)
        log.info(
            "fleet swept",
            looked_at=found.looked_at,
            suspects=len(found.suspects),
            silent=sorted(found.silent),
            seconds=round(time.monotonic() - began, 3),
        )

    async def _all_known(self) -> bool:
        """Whether the watch has told of everybody: until then others' marks and claims are not known either."""
        try:
            listed = await self._listed()
        except httpx2.HTTPError as error:
            log.warning("api server did not answer", error=type(error).__name__)
            return False
        return listed.keys() <= set(self._cache.names)


def _key(subject: Subject) -> str:
    return key_of(subject.tenant.name) if subject.deleted else subject.tenant.name
