"""The audit log as a part of the process: opened once this process is the one that writes, told by all others.

It comes before everything that could change something: a step that is not recorded is not done.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import structlog
from lightkube import AsyncClient

from dezky_operator import __version__
from dezky_operator.audit import hot
from dezky_operator.audit.anchors import DirectoryAnchor
from dezky_operator.audit.chain import Tip
from dezky_operator.audit.checkpoint import KeyChain, KeyRange
from dezky_operator.audit.draft import Draft, prepare
from dezky_operator.audit.event import Datum, Event
from dezky_operator.audit.fates import Appended
from dezky_operator.audit.guard import Barrier
from dezky_operator.audit.heads import TenantMap
from dezky_operator.audit.keyring import KeyRing
from dezky_operator.audit.keystore import KeyStore
from dezky_operator.audit.log import AuditLog
from dezky_operator.audit.log_keys import LogKeys
from dezky_operator.audit.notary import Notary
from dezky_operator.audit.pace import Pace
from dezky_operator.audit.randomness import Randomness
from dezky_operator.audit.refusals import RollbackError
from dezky_operator.audit.sequencer import Sequencer
from dezky_operator.audit.times import from_unix_ns
from dezky_operator.config import AuditSettings, Settings, SettingsError
from dezky_operator.crd.tenant import SuspensionStatus, Tenant
from dezky_operator.ingest.own.acts import act, once
from dezky_operator.ingest.own.keeping import Keeping
from dezky_operator.ingest.own.spool import Spool
from dezky_operator.ingest.own.steps import Trail
from dezky_operator.ingest.own.unfinished import open_intents
from dezky_operator.integrations.apply import Recorder
from dezky_operator.kube.audit_keys import KeysSecret
from dezky_operator.kube.cache import Seen
from dezky_operator.kube.chores import tended
from dezky_operator.kube.guard import ConfigMapGuard
from dezky_operator.kube.journal import Journalist, Registry
from dezky_operator.kube.sources import Way
from dezky_operator.store.interface import Reader, StartError, Store, UnavailableError
from dezky_operator.store.sqlite import SqliteStore
from dezky_operator.telemetry.metrics import Metrics
from dezky_operator.tenant.outcome import Notice

log = structlog.get_logger(__name__)
WrapStore = Callable[[Store], Store]
CLOCK_CHECK = 60.0
"""Seconds between two comparisons of this host's clock with the API server's."""


@dataclass(frozen=True, kw_only=True)
class Around:
    """What the log needs of the rest of the process. ``api_time`` is what time it is for the API server."""

    settings: Settings
    client: AsyncClient
    registry: Registry
    metrics: Metrics
    api_time: Callable[[], Awaitable[datetime | None]]
    wrap_store: WrapStore


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What there is while the log is open."""

    store: Store
    keys: LogKeys
    log: AuditLog
    barrier: Barrier
    notary: Notary
    keeping: Keeping
    writing: asyncio.Task[None]
    trail: Trail
    journal: Journalist


class Audit:
    """The log of one installation. Nothing may be told before :meth:`open` or after :meth:`close`."""

    def __init__(self, audit: AuditSettings, around: Around) -> None:
        self._audit, self._around = audit, around
        self._difference = 0.0
        self._opened: Opened | None = None

    @property
    def origin(self) -> str:
        """The log's name, in every line."""
        return f"{self._around.settings.installation_id}/audit/{self._audit.epoch}"

    @property
    def opened(self) -> Opened:
        """The open log. Raises RuntimeError while it is not."""
        if self._opened is None:
            raise RuntimeError("the audit log is not open")
        return self._opened

    # -- its life ---------------------------------------------------------------------

    async def open(self) -> None:
        """Open it and keep that this process started. Raises SettingsError, and httpx2.HTTPError."""
        directory = Path(self._audit.directory)
        store = self._around.wrap_store(await _store(directory, self._audit))
        try:
            opened = await self._open(store, directory)
        except BaseException:
            await store.close()
            raise
        self._opened = opened
        opened.keeping.offer(act("log.start", ext=once(), now=_now(), data={"version": __version__}))
        log.info("audit log open", origin=self.origin, vkey=opened.keys.log.verify_key.vkey)

    async def _open(self, store: Store, directory: Path) -> Opened:
        around = self._around
        await self._compare_clocks()
        guard = ConfigMapGuard(around.client, around.settings.namespace, self._audit.epoch)
        new = not (await store.read(_tip)).size and await guard.newest() is None
        secret = KeysSecret(around.client, around.settings.namespace, self._audit.keys_secret)
        keys = await secret.read(self.origin, new=new, environment=os.environ)
        sequencer = Sequencer(store, origin=self.origin, clock=time.time_ns, clock_difference=lambda: self._difference)
        barrier, people, random = Barrier(sequencer), KeyStore(store, keys.master), Randomness(os.urandom)
        notary = self._notary(store, sequencer, keys, guard, partial(_heads, ring=people.ring, random=random))
        await _compared(notary, barrier)
        audit_log = AuditLog(barrier, people, random)
        keeping = Keeping(self._counted(audit_log), await _spool(directory))
        trail = Trail(
            keeping, around.registry.whose, secret=keys.dedupe, now=_now, open_=await store.read(open_intents)
        )
        opened = Opened(
            store=store,
            keys=keys,
            log=audit_log,
            barrier=barrier,
            notary=notary,
            keeping=keeping,
            writing=asyncio.create_task(tended("audit log", keeping.run), name="audit log"),
            trail=trail,
            journal=Journalist(keeping.offer, around.registry, _now),
        )
        _measure(around.metrics, opened)
        return opened

    def _notary(
        self,
        store: Store,
        sequencer: Sequencer,
        keys: LogKeys,
        guard: ConfigMapGuard,
        heads: Callable[[int, TenantMap], Draft],
    ) -> Notary:
        pace = self._audit.checkpoint
        return Notary(
            store,
            sequencer,
            signers=keys.signers,
            chain=KeyChain([KeyRange(keys.log.verify_key)]),
            guard=guard,
            anchors=[DirectoryAnchor(Path(directory)) for directory in self._audit.anchor_directories],
            pace=Pace(
                at_most_every=pace.at_most_every_seconds,
                at_least=pace.at_least_seconds,
                idle=pace.idle_seconds,
                events=pace.events,
            ),
            heads=heads,
        )

    async def run(self) -> None:
        """Sign the log and compare the clocks, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(tended("clocks", self._watch_clocks))
            group.create_task(tended("notary", self._sign))

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
                _refuse(opened.barrier, error)
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Keep what was told last, and that this process stopped."""
        if self._opened is None:
            return
        opened, self._opened = self._opened, None
        opened.trail.give_up()
        opened.keeping.offer(act("log.stop", ext=once(), now=_now()))
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
        return Way(store=opened.store, accept=self._counted(opened.log), tell=opened.keeping.offer)

    # -- parts of it ----------------------------------------------------------------------

    def _counted(self, audit_log: AuditLog) -> Callable[[Sequence[Event]], Awaitable[Appended]]:
        """What takes events and counts what became of them."""

        async def accept(events: Sequence[Event]) -> Appended:
            appended = await audit_log.accept(events)
            for one in appended.placed:
                self._around.metrics.audit_events.labels(one.src, one.fate).inc()
            return appended

        return accept

    async def _compare_clocks(self) -> None:
        """How far this host's clock is from the API server's; a server that does not say leaves it as it was."""
        server = await self._around.api_time()
        if server is not None:
            self._difference = time.time() - server.timestamp()


async def _compared(notary: Notary, barrier: Barrier) -> None:
    """Compare the log with what was signed of it. The process goes on without it: locks must, and the disk keeps what
    it is told.
    """
    try:
        await notary.start()
    except RollbackError as error:
        _refuse(barrier, error)


def _refuse(barrier: Barrier, error: RollbackError) -> None:
    log.error("audit log refused", reason=str(error))
    barrier.refusal = error


def _heads(size: int, heads: TenantMap, *, ring: KeyRing, random: Callable[[int], bytes]) -> Draft:
    """The event that commits to the newest line of every tenant."""
    data: dict[str, Datum] = {"count": len(heads), "root": heads.root.hex()}
    return prepare(act("log.heads", ext=f"log.heads:{size}", now=_now(), data=data), keys=ring, random=random)


def _measure(metrics: Metrics, opened: Opened) -> None:
    keeping, notary = opened.keeping, opened.notary
    metrics.audit_waiting.labels("disk").set_function(lambda: keeping.spooled)
    metrics.audit_waiting.labels("memory").set_function(lambda: len(keeping.unwritten))
    metrics.audit_refused.set_function(lambda: bool(keeping.refused))
    metrics.audit_unanchored.set_function(lambda: notary.news)
    metrics.audit_anchor_lag.set_function(lambda: notary.lag)
    metrics.audit_anchored.set_function(lambda: notary.anchored)


async def _store(directory: Path, audit: AuditSettings) -> Store:
    """Raises SettingsError."""
    if audit.mongodb is not None:
        raise SettingsError("audit.mongodb: this build keeps its log in SQLite only; leave it out.")
    try:
        await asyncio.to_thread(directory.mkdir, mode=0o700, parents=True, exist_ok=True)
        return await SqliteStore.open(directory / f"audit-{audit.epoch}.db")
    except OSError as error:
        raise SettingsError(f"audit.directory: {directory} can not be made ({error.strerror}).") from error
    except (StartError, UnavailableError) as error:
        raise SettingsError(f"audit.directory: {error}") from error


async def _spool(directory: Path) -> Spool:
    """Raises SettingsError."""
    try:
        return await asyncio.to_thread(Spool, directory / "spool")
    except OSError as error:
        raise SettingsError(f"audit.directory: {directory}/spool can not be used ({error.strerror}).") from error


async def _tip(rows: Reader) -> Tip:
    return await hot.tip(rows, await hot.head_row(rows))


def _now() -> str:
    return from_unix_ns(time.time_ns())
