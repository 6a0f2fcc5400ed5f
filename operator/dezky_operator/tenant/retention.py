"""What happens from a tombstone: lock, prove, wait, purge (design 6, Delete). One exit per case, each saying why now.

A tombstone is a queue key of its own: a system that is down delays nothing but its own part, and no Tenant waits in
Terminating for a retention time. Time alone destroys nothing: two clocks must agree twice, an hour apart.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import msgspec
import structlog

from dezky_operator.config import DeletionSettings, PurgeSettings
from dezky_operator.crd.conditions import Reason
from dezky_operator.crd.tenant import SuspensionStatus, Tenant
from dezky_operator.integrations.authentik.purge import left
from dezky_operator.integrations.intent import Phase, TenantIntent
from dezky_operator.integrations.steps import Plan, System
from dezky_operator.tenant import credentials
from dezky_operator.tenant.admission import Opened, WriteAhead
from dezky_operator.tenant.brake import MassDeletion
from dezky_operator.tenant.drift import Drift, repaired
from dezky_operator.tenant.findings import reason_of
from dezky_operator.tenant.identity import Identity
from dezky_operator.tenant.outcome import Notice
from dezky_operator.tenant.proof import Proofs
from dezky_operator.tenant.record import AsBuilt, Blocked, Record, RecordState
from dezky_operator.tenant.reports import Reports
from dezky_operator.tenant.rounds import Rounds, problems
from dezky_operator.tenant.suspension import begun, settled, text_of, time_of
from dezky_operator.tenant.world import World

log = structlog.get_logger(__name__)
CLOCKS_APART = timedelta(seconds=60)
"""Two clocks further apart than this say nothing about the time, and nothing is purged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """What time it is: by this machine, by the API server (None while it does not say), and since boot (seconds)."""

    local: datetime
    server: datetime | None
    boot: float

    @property
    def agree(self) -> bool:
        """Whether both tell the same time, as far as that matters."""
        return self.server is not None and abs(self.server - self.local) <= CLOCKS_APART

    def both_past(self, moment: str) -> bool:
        """Whether ``moment`` is over for both of them."""
        due = time_of(moment)
        return self.agree and self.server is not None and min(self.local, self.server) > due


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What people annotated on the tombstone."""

    purge: bool = False
    release: bool = False


class Undertaker(Protocol):
    """The writes to the API server that a tombstone may need."""

    async def keep(self, record: Record) -> None:
        """Write the record."""

    async def forget(self) -> None:
        """Remove the record: its tenant is gone for good."""

    async def release_tenant(self) -> None:
        """Take our finalizer off the Tenant that waited for its purge, where there is one."""

    async def clocks(self) -> Clocks:
        """What time it is."""

    def may_purge_now(self) -> bool:
        """Whether one more unconfirmed purge fits into this hour; counts it when it does."""


class AuditHook(Protocol):
    """Whether what the systems still tell about a tenant has been kept. Authentik deletes a user's events with him."""

    def released(self, record: Record, now: datetime) -> bool:
        """Whether the tenant's users may be destroyed."""


def nothing_to_read() -> datetime:
    """Up to when the sign-in's events were read where nobody reads them: nothing is missed by going on."""
    return datetime.max.replace(tzinfo=UTC)


class Waited:
    """The hook: some time after the lock, and once the sign-in's events were read beyond it.

    ``read_until`` gives up to when every source of the sign-in's events was read; None where one never was.
    """

    def __init__(self, settings: PurgeSettings, read_until: Callable[[], datetime | None]) -> None:
        self._wait, self._read_until = timedelta(seconds=settings.audit_wait_seconds), read_until

    def released(self, record: Record, now: datetime) -> bool:
        """Whether that time is over and everything before it was read."""
        locked_at = record.suspension.locked_at if record.suspension else None
        if locked_at is None:
            return False
        read, due = self._read_until(), time_of(locked_at) + self._wait
        return read is not None and now >= due and read >= due


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """What one look at a tombstone leads to. ``again`` in seconds; None: only when something changes."""

    notices: tuple[Notice, ...] = ()
    again: float | None = None
    settled: bool = True


class Retention:
    """Reconciles tombstones."""

    def __init__(
        self,
        rounds: Rounds,
        proofs: Proofs,
        *,
        deletion: DeletionSettings,
        purge: PurgeSettings,
        audit: AuditHook,
        brake: MassDeletion,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``clock`` in seconds, one that nobody can set."""
        self._rounds, self._proofs, self._clock = rounds, proofs, clock
        self._deletion, self._purge, self._audit, self._brake = deletion, purge, audit, brake
        self._due_since: dict[str, float] = {}
        self._graced: dict[str, tuple[str, float]] = {}
        """By slug: which deletion was first seen when."""

    async def reconcile(  # noqa: PLR0911 - one exit for each case
        self, record: Record, wishes: Wishes, world: World, undertaker: Undertaker
    ) -> Rest:
        """One look, from wherever the tombstone stands. Raises only what the API server's client raises."""
        match record.state:
            case RecordState.RESTORED:
                return Rest()  # its Tenant lives; the record only says that both are the same
            case RecordState.RETAINED if not wishes.purge:
                return Rest()  # everything outside stays as it is, for good
            case RecordState.HELD if not wishes.release:
                return Rest()  # deleted with too many others: a person has to say that this was meant
            case RecordState.RETAINED | RecordState.HELD:
                return await self._begin(record, wishes, undertaker)
            case RecordState.LOCKING if wait := self._grace(record):
                return Rest(again=wait)  # others of the same mistake may still be on their way
            case RecordState.LOCKING if self._untouched(record) and (why := self._mass(record, world)):
                return await self._hold(record, why, undertaker)
            case RecordState.PURGING:
                return await self._destroy(record, world, undertaker)
            case _:
                return await self._lock(record, wishes, world, undertaker)

    # -- the cases ---------------------------------------------------------------------

    async def _begin(self, record: Record, wishes: Wishes, undertaker: Undertaker) -> Rest:
        """A person lets it go on."""
        wanted = record.purge_confirmed or wishes.purge
        await undertaker.keep(
            msgspec.structs.replace(record, state=RecordState.LOCKING, purge_confirmed=wanted, released=True)
        )
        return Rest(again=0.0)

    async def _hold(self, record: Record, why: str, undertaker: Undertaker) -> Rest:
        """Nothing is locked yet, and too many were deleted with it."""
        await undertaker.keep(msgspec.structs.replace(record, state=RecordState.HELD))
        return Rest(notices=(Notice(reason="DeletionHeld", message=f"{why} Nothing is locked.", warning=True),))

    async def _lock(self, record: Record, wishes: Wishes, world: World, undertaker: Undertaker) -> Rest:
        """Lock, keep it locked, and see whether its time has come."""
        tenant, who = record.tenant(), Identity(tenant_id=_id_of(record))
        begins = _begun(record, tenant, self._rounds.now())
        intent = self._rounds.intent(tenant, who, world, Phase.DELETED, begins)
        if begins.locked_at is None and not begins.receipts:
            await self._proofs.control(intent)
        written = _Ahead(record, undertaker)
        gate = WriteAhead(Opened(), written.write, begins)
        reports = await self._rounds.run(tenant, intent, world, gate)
        if self._rounds.stopping():
            return Rest(settled=False)
        drift = Drift() if record.state is RecordState.LOCKING else repaired(reports)  # what was locked came open
        drift.count(self._rounds.metrics)
        suspension = settled(
            gate.suspension,
            locked=reports.ready,
            held=False if reports.mail.ready else None,
            receipts=await self._proofs.receipts(
                intent, gate.suspension, reports.locked, at=text_of(self._rounds.now())
            ),
            now=self._rounds.now(),
        )
        locked = msgspec.structs.replace(
            record,
            suspension=suspension,
            as_built=_with_people(record, reports),
            state=RecordState.LOCKED if reports.ready and record.state is RecordState.LOCKING else record.state,
            blocked=None if reports.ready else _blocked(reports),
        )
        if not reports.ready:
            await undertaker.keep(locked)
            return Rest(notices=drift.notices(), settled=False)
        rest = await self._wait(locked, wishes, undertaker, first=record.state is RecordState.LOCKING)
        return replace(rest, notices=(*drift.notices(), *rest.notices))

    async def _wait(self, record: Record, wishes: Wishes, undertaker: Undertaker, *, first: bool) -> Rest:
        """Locked. Purge it when a person wants it, or when its time is over for both clocks, twice."""
        told = (Notice(reason="Locked", message=f"Tenant {record.slug} is locked in all systems."),) if first else ()
        confirmed = record.purge_confirmed or wishes.purge
        clocks = await undertaker.clocks()
        if not confirmed:
            return await self._wait_for_time(record, clocks, undertaker, told)
        if not self._audit.released(record, clocks.local):
            await undertaker.keep(msgspec.structs.replace(record, purge_confirmed=True))
            return Rest(notices=told, again=self._deletion.look_seconds)
        return await self._purging(msgspec.structs.replace(record, purge_confirmed=True), undertaker, told)

    async def _wait_for_time(
        self, record: Record, clocks: Clocks, undertaker: Undertaker, told: tuple[Notice, ...]
    ) -> Rest:
        if record.purge_at is None:
            await undertaker.keep(record)
            return Rest(notices=told)
        if not clocks.agree or not clocks.both_past(record.purge_at):
            self._due_since.pop(record.slug, None)
            apart = not clocks.agree and clocks.local > time_of(record.purge_at)
            blocked = Blocked(reason="ClockDisagrees", message=_clocks_disagree(clocks)) if apart else None
            await undertaker.keep(msgspec.structs.replace(record, state=RecordState.LOCKED, blocked=blocked))
            return Rest(notices=told, again=self._purge.look_seconds)
        return await self._due(record, clocks, undertaker, told)

    async def _due(self, record: Record, clocks: Clocks, undertaker: Undertaker, told: tuple[Notice, ...]) -> Rest:
        """Its time is over. One more hour of a clock that nobody can set, then once more both clocks."""
        since = self._due_since.setdefault(record.slug, clocks.boot)
        waited = clocks.boot - since >= self._purge.wait_seconds
        if waited and self._audit.released(record, clocks.local) and undertaker.may_purge_now():
            self._due_since.pop(record.slug, None)
            return await self._purging(record, undertaker, told)
        if record.state is not RecordState.PURGE_DUE:
            message = (
                f"Tenant {record.slug} was kept until {record.purge_at}. It is purged in about an hour; apply its "
                "manifest again to keep it."
            )
            told = (*told, Notice(reason="PurgeDue", message=message, warning=True))
        await undertaker.keep(msgspec.structs.replace(record, state=RecordState.PURGE_DUE, blocked=None))
        return Rest(notices=told, again=min(self._purge.wait_seconds, self._purge.look_seconds))

    async def _purging(self, record: Record, undertaker: Undertaker, told: tuple[Notice, ...]) -> Rest:
        """From here on it can not be restored; that is on record before the first thing is destroyed."""
        await undertaker.keep(msgspec.structs.replace(record, state=RecordState.PURGING, blocked=None))
        return Rest(notices=told, again=0.0)

    async def _destroy(self, record: Record, world: World, undertaker: Undertaker) -> Rest:
        """Children first, only what is marked, each confirmed gone. It never gives up, and tells what is left."""
        tenant, who = record.tenant(), Identity(tenant_id=_id_of(record))
        intent = self._rounds.intent(tenant, who, world, Phase.PURGED, record.suspension)
        blocked, named = _first_look(record, intent, await self._rounds.look(tenant, intent, world))
        if named != record:
            await undertaker.keep(named)
        if blocked:
            told = Notice(reason=blocked.reason, message=blocked.message, warning=True)
            return Rest(notices=(told,) if blocked != record.blocked else (), settled=False)
        reports = await self._rounds.run(tenant, intent, world, Opened())
        if not reports.ready:
            await undertaker.keep(msgspec.structs.replace(named, blocked=_blocked(reports)))
            return Rest(settled=False)
        await self._remove_secret(record)
        self._proofs.forget(who.tenant_id)
        await undertaker.release_tenant()
        await undertaker.forget()
        return Rest(notices=(_final_report(named),))

    async def _remove_secret(self, record: Record) -> None:
        """Last of all, and only the tenant's own: until then running applications may still need it."""
        kept = await self._rounds.systems.secrets.read(credentials.secret_name(record.slug))
        own = kept is not None and kept.tenant_id == record.tenant_id
        plan = Plan((credentials.removal(record.slug, record.tenant_id),) if own else ())
        await self._rounds.apply(plan, System.KUBERNETES, record.tenant_id)

    # -- parts of them -------------------------------------------------------------------

    def _grace(self, record: Record) -> float | None:
        """Seconds until a lock may begin. A confirmed purge was meant."""
        if record.purge_confirmed or record.deleted_at is None or not self._untouched(record):
            return None
        begins = time_of(record.deleted_at) + timedelta(seconds=self._deletion.grace_seconds)
        left_over = min((begins - self._rounds.now()).total_seconds(), self._graced_for(record.slug, record.deleted_at))
        return left_over if left_over > 0 else None

    def _graced_for(self, slug: str, deleted_at: str) -> float:
        """Seconds until it waited here long enough: the deletion's time is the API server's, and a clock of ours that
        lags behind must not hold up a lock.
        """
        if self._graced.get(slug, ("", 0.0))[0] != deleted_at:
            self._graced[slug] = (deleted_at, self._clock())
        return self._graced[slug][1] + self._deletion.grace_seconds - self._clock()

    def _untouched(self, record: Record) -> bool:
        return record.suspension is None or record.suspension.locked_at is None

    def _mass(self, record: Record, world: World) -> str | None:
        if record.released or record.deleted_at is None:
            return None
        others = tuple(one for one in world.records if one.slug != record.slug)
        return self._brake.why(record.deleted_at, replace(world, records=others))


class _Ahead:
    """Writes a suspension ahead into the tombstone."""

    def __init__(self, record: Record, undertaker: Undertaker) -> None:
        self._record, self._undertaker = record, undertaker

    async def write(self, suspension: SuspensionStatus) -> None:
        await self._undertaker.keep(msgspec.structs.replace(self._record, suspension=suspension))


def _id_of(record: Record) -> uuid.UUID:
    return uuid.UUID(record.tenant_id)


def _begun(record: Record, tenant: Tenant, now: datetime) -> SuspensionStatus:
    """The lock of a deletion. A tenant that was suspended before goes on with that lock; mail is accepted meanwhile."""
    if record.suspension is not None:
        return msgspec.structs.replace(record.suspension, hold_until=None)
    begins = begun(tenant, now)
    return msgspec.structs.replace(begins, source="Deletion", reason=None, mail_policy="Accept", hold_until=None)


def _with_people(record: Record, reports: Reports) -> AsBuilt:
    """The tenant's own people at OCIS, known before their users go: a purge ends them there too."""
    mail, files = reports.mail.picture, reports.files.picture
    if mail is None or files is None:
        return record.as_built
    own = {member.username for member in mail.intent.members or () if member.own and not member.elsewhere}
    found = {name: drive.uuid for name, drive in files.personal.items() if name in own}
    return msgspec.structs.replace(record.as_built, people={**record.as_built.people, **found})


def _blocked(reports: Reports) -> Blocked:
    for found in reports.all:
        if found.error is not None:
            return Blocked(reason=reason_of(found.error)[0], message=problems(reports.all))
        for obstacle in found.obstacles:
            if obstacle.blocking:
                return Blocked(reason=obstacle.reason, message=problems(reports.all))
    return Blocked(reason=Reason.NOT_CONVERGING, message=problems(reports.all))


def _first_look(record: Record, intent: TenantIntent, reports: Reports) -> tuple[Blocked | None, Record]:
    """What forbids to begin in any system, and the record with the names of those who stay.

    Whether somebody of another tenant would be destroyed only Authentik knows: while it is silent nothing is.
    """
    identity = reports.sign_in
    obstacle = next((found for found in identity.obstacles if found.reason == Reason.PURGE_BLOCKED), None)
    blocked = Blocked(reason=obstacle.reason, message=obstacle.message) if obstacle else None
    if identity.error is not None:
        blocked = Blocked(reason=reason_of(identity.error)[0], message=str(identity.error))
    stay = left(intent, identity.picture.identity) if identity.picture else ()
    names = tuple(sorted({*record.left, *(name for name in stay if not intent.is_canary(name))}))
    return blocked, msgspec.structs.replace(record, left=names, blocked=blocked)


def _clocks_disagree(clocks: Clocks) -> str:
    server = text_of(clocks.server) if clocks.server else "unknown"
    return (
        f"This machine says {text_of(clocks.local)}, the API server {server}: with clocks more than 60 s apart nothing "
        "is purged. Set them right."
    )


def _final_report(record: Record) -> Notice:
    built = record.as_built
    message = (
        f"Everything of tenant {record.slug} ({record.tenant_id}) is destroyed: {len(built.domains)} domains, "
        f"{len(built.spaces)} spaces, {len(built.people)} personal spaces, its users and its Secret."
    )
    stayed = f" Not its own, and so left: {', '.join(record.left)}." if record.left else ""
    return Notice(reason="Purged", message=f"{message}{stayed}")
