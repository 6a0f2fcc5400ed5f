"""Proof of a lock from outside: a control before, the same tokens after, a receipt for each system (design 6, Proof).

Probes run at a transition only. Without a control (a restart in between, a system down, a lock already in place) a
receipt is inconclusive, and then nobody claims that the tenant is locked out.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Callable, Iterable

import structlog

from dezky_operator.crd.tenant import ReceiptStatus, SuspensionStatus
from dezky_operator.integrations.canary.model import Canary, Rehearsal
from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.steps import System
from dezky_operator.tenant.suspension import SYSTEMS, Result, unproven

log = structlog.get_logger(__name__)
CONTROL_WITHIN = 15.0
"""Seconds a lock waits for its control. A silent system costs the proof, never the lock."""
LOCKS_WITHIN = 90.0
"""Seconds in which every lock that was asked for must be in place; controls that would take longer are left out."""
NO_CONTROL = "There is no control from before the lock: resume and suspend again for a proof."


class Proofs:
    """The rehearsals of this process, by tenantId. They end with it."""

    def __init__(self, canary: Canary, *, waiting: Callable[[], float], clock: Callable[[], float]) -> None:
        """``waiting`` tells how many locks wait for each worker; ``clock`` in seconds."""
        self._canary, self._waiting, self._clock = canary, waiting, clock
        self._rehearsed: dict[uuid.UUID, Rehearsal] = {}
        self._takes = 0.0
        self._crowded = self._asked = -math.inf
        """Since when locks wait without a pause, and when that was last looked at."""

    async def control(self, intent: TenantIntent) -> None:
        """Sign the canary in everywhere, before the first lock step. Once for each suspension."""
        if intent.tenant_id in self._rehearsed:
            return
        rehearsal = await self._rehearsal(intent)
        self._rehearsed[intent.tenant_id] = rehearsal
        for system, why in rehearsal.failures.items():
            log.warning("no control", system=system, reason=why)

    async def _rehearsal(self, intent: TenantIntent) -> Rehearsal:
        if self._crowd():
            return _none("Too many tenants were suspended at once: the locks came first.")
        begun = self._clock()
        try:
            async with asyncio.timeout(CONTROL_WITHIN):
                return await self._canary.rehearse(intent)
        except TimeoutError:
            return _none(f"It was not done within {CONTROL_WITHIN:.0f} s.")
        finally:
            # The newest counts a quarter: one slow answer is no reason to give up the proof of hundreds.
            self._takes += (self._clock() - begun - self._takes) / 4

    def _crowd(self) -> bool:
        """Whether controls for all who wait, after the time they have waited already, would take too long."""
        now, waiting = self._clock(), self._waiting()
        if not waiting or now - self._asked > LOCKS_WITHIN:
            self._crowded = now
        self._asked = now
        return now - self._crowded + waiting * self._takes > LOCKS_WITHIN

    async def receipts(
        self, intent: TenantIntent, suspension: SuspensionStatus, locked: Iterable[System], *, at: str
    ) -> tuple[ReceiptStatus, ...]:
        """Receipts for the systems that are ``locked`` now and have none yet."""
        have = {receipt.system for receipt in suspension.receipts if receipt.result != Result.OPEN}
        wanted = [system for system in locked if system.value not in have]
        return tuple(await asyncio.gather(*(self._receipt(intent, system, at) for system in wanted)))

    def forget(self, tenant_id: uuid.UUID) -> None:
        """The tenant is open again, or gone."""
        self._rehearsed.pop(tenant_id, None)

    async def _receipt(self, intent: TenantIntent, system: System, at: str) -> ReceiptStatus:
        rehearsal = self._rehearsed.get(intent.tenant_id)
        if rehearsal is None or system not in rehearsal.controls:
            why = rehearsal.failures.get(system) if rehearsal else None
            return unproven(system, at, f"{NO_CONTROL}{f' ({why})' if why else ''}")
        attempt = await self._canary.attempt(rehearsal, intent, system)
        results = {True: Result.REFUSED, False: Result.OPEN, None: Result.INCONCLUSIVE}
        return ReceiptStatus(
            system=system.value,
            at=at,
            tried=attempt.tried,
            before=rehearsal.controls[system],
            after=attempt.after,
            result=results[attempt.refused],
        )


def _none(why: str) -> Rehearsal:
    return Rehearsal(controls={}, failures=dict.fromkeys(SYSTEMS, why), keys=None)
