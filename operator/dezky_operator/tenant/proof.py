"""Proof of a lock from outside: a control before, the same tokens after, a receipt for each system (design 6, Proof).

Probes run at a transition only. Without a control (a restart in between, a system down, a lock already in place) a
receipt is inconclusive, and then nobody claims that the tenant is locked out.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable

import structlog

from dezky_operator.crd.tenant import ReceiptStatus, SuspensionStatus
from dezky_operator.integrations.canary.model import Canary, Rehearsal
from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.steps import System
from dezky_operator.tenant.suspension import SYSTEMS, Result, unproven

log = structlog.get_logger(__name__)
CONTROL_WITHIN = 15.0
"""Seconds a lock waits for its control. A silent system costs the proof, never the lock."""
NO_CONTROL = "There is no control from before the lock: resume and suspend again for a proof."


class Proofs:
    """The rehearsals of this process, by tenantId. They end with it."""

    def __init__(self, canary: Canary) -> None:
        self._canary = canary
        self._rehearsed: dict[uuid.UUID, Rehearsal] = {}

    async def control(self, intent: TenantIntent) -> None:
        """Sign the canary in everywhere, before the first lock step. Once for each suspension."""
        if intent.tenant_id in self._rehearsed:
            return
        try:
            async with asyncio.timeout(CONTROL_WITHIN):
                rehearsal = await self._canary.rehearse(intent)
        except TimeoutError:
            late = f"It was not done within {CONTROL_WITHIN:.0f} s."
            rehearsal = Rehearsal(controls={}, failures=dict.fromkeys(SYSTEMS, late), keys=None)
        self._rehearsed[intent.tenant_id] = rehearsal
        for system, why in rehearsal.failures.items():
            log.warning("no control", system=system, reason=why)

    async def receipts(
        self, intent: TenantIntent, suspension: SuspensionStatus, locked: Iterable[System], *, at: str
    ) -> tuple[ReceiptStatus, ...]:
        """Receipts for the systems that are ``locked`` now and have none yet."""
        have = {receipt.system for receipt in suspension.receipts}
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
