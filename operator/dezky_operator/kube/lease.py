"""The Lease: at most one process writes.

No external system knows a fencing token, so the promise is: no new write after the Lease is lost. The holder stops
``margin`` seconds before others may take over, by a clock that goes on while the machine sleeps (CLOCK_BOOTTIME).
What is on the wire at that moment may land; every step is safe to repeat.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx2
import structlog
from lightkube import ApiError, AsyncClient
from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.coordination_v1 import Lease

from dezky_operator.config import LeaseSettings
from dezky_operator.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)
RETRY = 2.0
"""Seconds between two tries of a standby."""
RENEW_AGAIN = 0.5
"""Seconds between two tries to renew after one that failed."""
ATTEMPTS = 4
"""How often a write is tried that somebody else's write came before."""


def boottime() -> float:
    """Seconds since boot, sleep included: a suspended machine finds its Lease run out when it wakes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Fence:
    """Whether this process may write now. Open only while the Lease is held and nobody asked to stop."""

    def __init__(self, clock: Callable[[], float] = boottime) -> None:
        self._clock = clock
        self._deadline = 0.0

    def extend(self, deadline: float) -> None:
        """Writes may be on the wire until ``deadline`` (same clock)."""
        self._deadline = deadline

    def close(self) -> None:
        """Nothing is written any more."""
        self._deadline = 0.0

    def remaining(self) -> float:
        """Seconds left in which a write may be on the wire; 0 or less when nothing may be written."""
        return self._deadline - self._clock()


class LeaseHolder:
    """Takes the Lease, keeps it and gives it back."""

    def __init__(  # noqa: PLR0913 - each is one independent part, all by keyword
        self,
        *,
        client: AsyncClient,
        namespace: str,
        identity: str,
        settings: LeaseSettings,
        fence: Fence,
        metrics: Metrics,
        clock: Callable[[], float] = boottime,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._namespace, self._identity, self._settings = namespace, identity, settings
        self._fence, self._metrics = fence, metrics
        self._clock, self._now = clock, now
        self._seen: tuple[str, float] | None = None
        """The other holder's last renewal as we saw it change, and when: clocks of two machines are not compared."""

    async def acquire(self) -> None:
        """Return once this process holds the Lease; a standby stays in here."""
        told = False
        while not await self._try():
            if not told:
                log.info("standing by", lease=self._settings.name)
                told = True
            await asyncio.sleep(RETRY)
        self._metrics.leader.set(1)
        log.info("lease taken", lease=self._settings.name, identity=self._identity)

    async def keep(self) -> None:
        """Renew for ever; returns when the Lease is lost or has run out. The caller then ends the process."""
        pause = self._settings.renew_seconds
        while (left := self._fence.remaining()) > 0:
            await asyncio.sleep(min(pause, left))
            # Once it ran out it is not taken again: others may have held it meanwhile, and what is known here is old.
            if (left := self._fence.remaining()) > 0:
                pause = self._settings.renew_seconds if await self._renew(left) else RENEW_AGAIN
        self._fence.close()
        self._metrics.leader.set(0)
        log.error("lease lost", lease=self._settings.name)

    async def release(self) -> None:
        """Give the Lease back so that a standby need not wait; nothing is written afterwards."""
        self._fence.close()
        self._metrics.leader.set(0)
        try:
            lease = await self._client.get(Lease, self._settings.name, namespace=self._namespace)
            if lease.spec is None or lease.spec.holderIdentity != self._identity:
                return
            lease.spec.holderIdentity = ""
            await self._client.replace(lease)
        except (ApiError, httpx2.HTTPError) as error:
            log.warning("lease not released", error=str(error))

    async def _renew(self, left: float) -> bool:
        """One attempt that is given up when the Lease runs out."""
        try:
            async with asyncio.timeout(left):
                return await self._try()
        except TimeoutError:
            log.warning("lease not renewed", error="no answer in time")
            return False

    async def _try(self) -> bool:
        """One attempt to take or renew. The deadline counts from before the request: the answer may be late."""
        asked = self._clock()
        try:
            held = await self._write()
        except (ApiError, httpx2.HTTPError) as error:
            log.warning("lease not renewed", error=str(error) or type(error).__name__)
            return False
        if held:
            self._fence.extend(asked + self._settings.duration_seconds - self._settings.margin_seconds)
        else:
            self._fence.close()
        return held

    async def _write(self) -> bool:
        """Take or renew. A 409 says only that somebody wrote since it was read; reading again tells who holds it."""
        for _ in range(ATTEMPTS - 1):
            try:
                return await self._read_and_write()
            except ApiError as error:
                if error.status.code != 409:
                    raise
        return await self._read_and_write()

    async def _read_and_write(self) -> bool:
        try:
            lease = await self._client.get(Lease, self._settings.name, namespace=self._namespace)
        except ApiError as error:
            if error.status.code != 404:
                raise
            await self._client.create(self._fresh())
            return True
        if not self._may_take(lease):
            return False
        lease.spec = self._spec(lease.spec)
        # The resourceVersion read above goes with it: of two who try, one gets 409.
        await self._client.replace(lease)
        return True

    def _may_take(self, lease: Lease) -> bool:
        """Ours, given back, or not renewed for its whole duration by our own clock."""
        spec = lease.spec
        if spec is None or not spec.holderIdentity or spec.holderIdentity == self._identity:
            return True
        renewed = f"{spec.holderIdentity} {spec.renewTime}"
        if self._seen is None or self._seen[0] != renewed:
            self._seen = (renewed, self._clock())
            return False
        duration = spec.leaseDurationSeconds or self._settings.duration_seconds
        return self._clock() - self._seen[1] > duration

    def _spec(self, old: LeaseSpec | None) -> LeaseSpec:
        ours = old is not None and old.holderIdentity == self._identity
        return LeaseSpec(
            holderIdentity=self._identity,
            leaseDurationSeconds=int(timedelta(seconds=self._settings.duration_seconds).total_seconds()),
            acquireTime=old.acquireTime if ours and old else self._now(),
            renewTime=self._now(),
            leaseTransitions=((old.leaseTransitions or 0) + (0 if ours else 1)) if old else 0,
        )

    def _fresh(self) -> Lease:
        return Lease(metadata=ObjectMeta(name=self._settings.name, namespace=self._namespace), spec=self._spec(None))
