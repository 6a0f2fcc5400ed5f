"""The audit log as a part of the process: opened once this process is the one that writes, told by all others.

It comes before everything that could change something: a step that is not recorded is not done.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from hashlib import sha256

import httpx2
import msgspec
import structlog

from dezky_operator import __version__
from dezky_operator.audit.errors import AuditError
from dezky_operator.audit.event import Datum, Outcome
from dezky_operator.audit.findings import Report, Verdict
from dezky_operator.audit.guard import GuardError
from dezky_operator.audit.refusals import RollbackError
from dezky_operator.audit.verify_hot import verify_hot
from dezky_operator.config import AuditSettings, SettingsError
from dezky_operator.crd.tenant import SuspensionStatus, Tenant
from dezky_operator.ingest.own.acts import act, once
from dezky_operator.integrations.apply import Recorder
from dezky_operator.kube.audit_opening import Around, Opened, counted, now, open_log, refuse
from dezky_operator.kube.cache import Seen
from dezky_operator.kube.chores import tended
from dezky_operator.kube.sources import Way
from dezky_operator.store.interface import StoreError
from dezky_operator.tenant.outcome import Notice

log = structlog.get_logger(__name__)
CLOCK_CHECK = 60.0
"""Seconds between two comparisons of this host's clock with the API server's."""
FIRST_VERIFICATION = 60.0
"""Seconds after the start: what was signed was compared at the start, and others have more to do then."""
TOLD = 20
"""Findings of a verification that are logged."""
SOUND = (Verdict.VALID, Verdict.UNANCHORED)


class Audit:
    """The log of one installation. Nothing may be told before :meth:`open` or after :meth:`close`."""

    def __init__(self, audit: AuditSettings, around: Around) -> None:
        self._audit, self._around = audit, around
        self._difference = 0.0
        self._opened: Opened | None = None

    @property
    def opened(self) -> Opened:
        """The open log. Raises RuntimeError while it is not."""
        if self._opened is None:
            raise RuntimeError("the audit log is not open")
        return self._opened

    # -- its life ---------------------------------------------------------------------

    async def open(self) -> None:
        """Open it and keep that this process started. Raises SettingsError, GuardError, and httpx2.HTTPError."""
        await self._compare_clocks()
        opened = await open_log(self._audit, self._around, clock_difference=lambda: self._difference)
        self._opened = opened
        self._measure(opened)
        config = sha256(msgspec.json.encode(self._around.settings, order="sorted")).hexdigest()
        opened.keeping.offer(
            act("log.config", ext=f"log.config:{config}", now=now(), data={"sha256": config}),
            act("log.start", ext=once(), now=now(), data={"version": __version__, "config": config}),
        )
        log.info("audit log open", vkey=opened.notary.chain.ranges[-1].key.vkey)

    async def run(self) -> None:
        """Sign the log, verify it, and compare the clocks, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(tended("clocks", self._watch_clocks))
            group.create_task(tended("notary", self._sign))
            group.create_task(tended("audit keys", self._look_for_keys))
            group.create_task(tended("verification", self._verify))

    async def close(self) -> None:
        """Keep what was told last, and that this process stopped."""
        if self._opened is None:
            return
        opened, self._opened = self._opened, None
        opened.trail.give_up()
        opened.keeping.offer(act("log.stop", ext=once(), now=now()))
        opened.writing.cancel()  # it writes what is left before it ends
        await asyncio.gather(opened.writing, return_exceptions=True)
        if opened.barrier.refusal is None:
            await opened.notary.finish()
        if lost := len(opened.keeping.unwritten):
            log.error("audit events lost", count=lost, reason="neither log nor disk took them until the end")
        await opened.store.close()

    def unfinished(self, known: Iterable[str]) -> frozenset[str]:
        """Tenants of ``known`` whose last steps have no end yet; those of others end as unknown."""
        trail = self.opened.trail
        found = trail.unfinished & frozenset(known)
        trail.give_up(trail.unfinished - found)
        return found

    # -- what it is told ----------------------------------------------------------------

    def of(self, tenant: str, phase: str) -> Recorder:
        """What records the steps that bring one tenant to ``phase``."""
        return self.opened.trail.of(tenant, phase)

    def seen(self, before: Seen | None, now: Seen) -> None:
        """The watch told of a version of a Tenant."""
        self.opened.journal.seen(before, now)

    def id_of(self, tenant: Tenant) -> str:
        """The tenantId of a Tenant."""
        return self._around.registry.id_of(tenant)

    def told(self, tenant_id: str, notice: Notice) -> None:
        """Something was told about a tenant."""
        self.opened.journal.told(tenant_id, notice)

    def proved(self, tenant_id: str, before: SuspensionStatus | None, after: SuspensionStatus | None) -> None:
        """What a lock's receipts say now."""
        self.opened.journal.proved(tenant_id, before, after)

    def way(self) -> Way:
        """What the sources need of the open log."""
        opened = self.opened
        return Way(store=opened.store, accept=counted(opened.log, self._around.metrics), tell=opened.keeping.offer)

    # -- what it does by itself -----------------------------------------------------------

    async def verify(self) -> Report:
        """Verify everything in the store against what is kept elsewhere, and keep the result."""
        opened = self.opened
        held = []
        for place in opened.held:
            try:
                note = await place.newest()
            except GuardError as error:
                log.warning("checkpoint not compared", error=str(error))
            else:
                held += [note] if note is not None else []
        report = await verify_hot(opened.store, chain=opened.chain, held=held)
        self._tell(report)
        return report

    def _tell(self, report: Report) -> None:
        metrics, sound = self._around.metrics, report.verdict in SOUND
        wrong = [finding for finding in report.findings if finding.verdict not in SOUND]
        metrics.audit_findings.set(len(wrong))
        if sound:
            metrics.audit_verified.set_to_current_time()
        for finding in wrong[:TOLD]:
            log.error("audit log is not what it was", finding=str(finding))
        outcome = Outcome.SUCCESS if sound else Outcome.FAILURE
        data: dict[str, Datum] = {"verdict": report.verdict.name, "lines": report.lines, "findings": len(wrong)}
        self.opened.keeping.offer(act("log.verify", ext=once(), now=now(), outcome=outcome, data=data))

    async def _verify(self) -> None:
        await asyncio.sleep(FIRST_VERIFICATION)
        while True:
            try:
                await self.verify()
            except (StoreError, AuditError) as error:
                log.warning("audit log not verified", error=str(error))
            await asyncio.sleep(self._audit.verify_seconds)

    async def _look_for_keys(self) -> None:
        """Find a key that is to follow the one that signs now."""
        opened = self.opened
        while True:
            await asyncio.sleep(self._audit.keys_check_seconds)
            try:
                keys = await opened.secret.read(opened.chain.origin, new=False, environment=os.environ)
                opened.notary.signers = keys.signers(opened.chain.ranges[0].key)
            except (SettingsError, AuditError, StoreError, httpx2.HTTPError) as error:
                log.warning("audit keys not read", error=str(error))

    async def _watch_clocks(self) -> None:
        await asyncio.sleep(CLOCK_CHECK)
        await self._compare_clocks()

    async def _sign(self) -> None:
        """Sign until the log turns out to be another one than was signed: then nothing is appended any more."""
        opened = self.opened
        if opened.barrier.refusal is None:
            try:
                await opened.notary.run()
            except RollbackError as error:
                refuse(opened.barrier, error)
        await asyncio.Event().wait()

    async def _compare_clocks(self) -> None:
        """How far this host's clock is from the API server's; a server that does not say leaves it as it was."""
        server = await self._around.api_time()
        if server is not None:
            self._difference = time.time() - server.timestamp()

    def _measure(self, opened: Opened) -> None:
        metrics, keeping, notary = self._around.metrics, opened.keeping, opened.notary
        metrics.audit_waiting.labels("disk").set_function(lambda: keeping.spooled)
        metrics.audit_waiting.labels("memory").set_function(lambda: len(keeping.unwritten))
        metrics.audit_refused.set_function(lambda: bool(keeping.refused))
        metrics.audit_unanchored.set_function(lambda: notary.news)
        metrics.audit_anchor_lag.set_function(lambda: notary.lag)
        metrics.audit_anchored.set_function(lambda: notary.anchored)
