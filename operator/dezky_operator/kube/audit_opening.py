"""Opening the audit log: its store, its keys, what was signed of it, and what an earlier process left unfinished."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import msgspec
import structlog
from lightkube import AsyncClient

from dezky_operator.audit import hot, rotation
from dezky_operator.audit.anchors import DirectoryAnchor
from dezky_operator.audit.chain import Tip
from dezky_operator.audit.checkpoint import KeyChain, KeyRange
from dezky_operator.audit.draft import Draft, prepare
from dezky_operator.audit.epoch import carry_over
from dezky_operator.audit.errors import KeyFormatError, NoteError
from dezky_operator.audit.event import Datum, Event
from dezky_operator.audit.fates import Appended, Fate
from dezky_operator.audit.guard import Barrier
from dezky_operator.audit.heads import TenantMap
from dezky_operator.audit.keyring import KeyRing
from dezky_operator.audit.keys import VerifyKey
from dezky_operator.audit.keystore import KeyStore
from dezky_operator.audit.log import AuditLog
from dezky_operator.audit.log_keys import LogKeys
from dezky_operator.audit.notary import Notary
from dezky_operator.audit.pace import Pace
from dezky_operator.audit.randomness import Randomness
from dezky_operator.audit.refusals import RollbackError
from dezky_operator.audit.sequencer import Sequencer
from dezky_operator.audit.stored_trust import first_note
from dezky_operator.audit.times import from_unix_ns
from dezky_operator.config import AuditSettings, CheckpointSettings, Settings, SettingsError
from dezky_operator.ingest.own.acts import SRC, act
from dezky_operator.ingest.own.keeping import Keeping
from dezky_operator.ingest.own.spool import Spool
from dezky_operator.ingest.own.steps import Trail
from dezky_operator.ingest.own.unfinished import open_intents
from dezky_operator.kube.audit_keys import KeysSecret
from dezky_operator.kube.audit_store import open_store, way_into
from dezky_operator.kube.chores import tended
from dezky_operator.kube.guard import ConfigMapGuard
from dezky_operator.kube.journal import Journalist, Registry
from dezky_operator.store.interface import Reader, Store
from dezky_operator.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)
WrapStore = Callable[[Store], Store]


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
    """What there is while the log is open. ``chain`` has the log's first key, which is what it is verified under;
    ``held`` are the places outside the store that keep checkpoints.
    """

    store: Store
    secret: KeysSecret
    keys: LogKeys
    chain: KeyChain
    log: AuditLog
    held: tuple[ConfigMapGuard | DirectoryAnchor, ...]
    barrier: Barrier
    notary: Notary
    keeping: Keeping
    writing: asyncio.Task[None]
    trail: Trail
    journal: Journalist


async def open_log(audit: AuditSettings, around: Around, *, clock_difference: Callable[[], float]) -> Opened:
    """Open it. Raises SettingsError, GuardError, and httpx2.HTTPError."""
    store = around.wrap_store(await open_store(audit, around.client, around.settings.namespace))
    try:
        return await _open(store, audit, around, clock_difference)
    except BaseException:
        await store.close()
        raise


async def _open(store: Store, audit: AuditSettings, around: Around, clock_difference: Callable[[], float]) -> Opened:
    origin = f"{around.settings.installation_id}/audit/{audit.epoch}"
    guard = ConfigMapGuard(around.client, around.settings.namespace, audit.epoch)
    anchors = [DirectoryAnchor(Path(directory)) for directory in audit.anchor_directories]
    new = not (await store.read(_tip)).size and await guard.newest() is None
    secret = KeysSecret(around.client, around.settings.namespace, audit.keys_secret)
    keys = await secret.read(origin, new=new, environment=os.environ)
    first = await _first_key(keys, store, guard, audit.epoch)
    chain = KeyChain([KeyRange(first)])
    sequencer = Sequencer(store, origin=origin, clock=time.time_ns, clock_difference=clock_difference)
    barrier, people = Barrier(way_into(store, sequencer, audit)), KeyStore(store, keys.master)
    random = Randomness(os.urandom)
    notary = Notary(
        store,
        sequencer,
        signers=keys.signers(first),
        chain=chain,
        guard=guard,
        anchors=anchors,
        pace=_pace(audit.checkpoint),
        heads=partial(_heads, ring=people.ring, random=random),
        rotated=partial(_rotated, ring=people.ring, random=random),
    )
    if new and audit.epoch > 1:
        await _begin_epoch(store, sequencer, audit, around, people.ring)
    await _compared(notary, barrier)
    audit_log = AuditLog(barrier, people, random)
    keeping = Keeping(counted(audit_log, around.metrics), await _spool(Path(audit.directory)))
    unfinished = await store.read(open_intents)
    return Opened(
        store=store,
        secret=secret,
        keys=keys,
        chain=chain,
        log=audit_log,
        held=(guard, *anchors),
        barrier=barrier,
        notary=notary,
        keeping=keeping,
        writing=asyncio.create_task(tended("audit log", keeping.run), name="audit log"),
        trail=Trail(keeping, around.registry.whose, secret=keys.dedupe, now=now, open_=unfinished),
        journal=Journalist(keeping.offer, around.registry, now),
    )


async def _first_key(keys: LogKeys, store: Store, guard: ConfigMapGuard, epoch: int) -> VerifyKey:
    """The first key of the log. Raises SettingsError, GuardError, UnavailableError."""
    note = await first_note(store)
    try:
        return keys.first(note if note is not None else await guard.newest(), epoch=epoch)
    except (KeyFormatError, NoteError) as error:
        raise SettingsError(f"audit.keysSecret: {error}. Restore the Secret from your backup.") from error


async def _begin_epoch(store: Store, sequencer: Sequencer, audit: AuditSettings, around: Around, ring: KeyRing) -> None:
    """Go on after the log of the epoch before, and say so in the first line."""
    earlier = msgspec.structs.replace(audit, epoch=audit.epoch - 1)
    old = await open_store(earlier, around.client, around.settings.namespace)
    try:
        said = await carry_over(old, store)
    finally:
        await old.close()
    data: dict[str, Datum] = {"earlier": earlier.epoch, **said}
    event = act("log.epoch", ext=f"log.epoch:{audit.epoch}", now=now(), data=data)
    await sequencer.append([prepare(event, keys=ring, random=os.urandom)])
    log.warning("audit log begins a new epoch", epoch=audit.epoch, earlier_size=said["size"])


def counted(audit_log: AuditLog, metrics: Metrics) -> Callable[[Sequence[Event]], Awaitable[Appended]]:
    """What takes events and counts what became of them."""

    async def accept(events: Sequence[Event]) -> Appended:
        appended = await audit_log.accept(events)
        for event, one in zip(events, appended.placed, strict=True):
            metrics.audit_events.labels(one.src, one.fate).inc()
            if one.fate is Fate.STORED and not event.tenant and event.src != SRC:
                metrics.audit_unattributed.labels(one.src).inc()
        return appended

    return accept


def refuse(barrier: Barrier, error: RollbackError) -> None:
    """Take nothing into the log any more."""
    log.error("audit log refused", reason=str(error))
    barrier.refusal = error


def now() -> str:
    """Canonical time."""
    return from_unix_ns(time.time_ns())


async def _compared(notary: Notary, barrier: Barrier) -> None:
    """Compare the log with what was signed of it. The process goes on without it: locks must, and the disk keeps what
    it is told.
    """
    try:
        await notary.start()
    except RollbackError as error:
        refuse(barrier, error)


def _heads(size: int, heads: TenantMap, *, ring: KeyRing, random: Callable[[int], bytes]) -> Draft:
    """The event that commits to the newest line of every tenant."""
    data: dict[str, Datum] = {"count": len(heads), "root": heads.root.hex()}
    return prepare(act("log.heads", ext=f"log.heads:{size}", now=now(), data=data), keys=ring, random=random)


def _rotated(key: VerifyKey, *, ring: KeyRing, random: Callable[[int], bytes]) -> Draft:
    """The event that names a new key."""
    event = act(rotation.ACTION, ext=f"{rotation.ACTION}:{key.id.hex()}", now=now(), data=rotation.naming(key))
    return prepare(event, keys=ring, random=random)


def _pace(settings: CheckpointSettings) -> Pace:
    return Pace(
        at_most_every=settings.at_most_every_seconds,
        at_least=settings.at_least_seconds,
        idle=settings.idle_seconds,
        events=settings.events,
    )


async def _spool(directory: Path) -> Spool:
    """Raises SettingsError."""
    try:
        return await asyncio.to_thread(Spool, directory / "spool")
    except OSError as error:
        raise SettingsError(f"audit.directory: {directory}/spool can not be used ({error.strerror}).") from error


async def _tip(rows: Reader) -> Tip:
    return await hot.tip(rows, await hot.head_row(rows))
