"""A tenant's life: one reconcile, with one exit per case, each saying why now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import structlog

from dezky_operator.crd.conditions import Reason, Truth, Type
from dezky_operator.crd.tenant import (
    ANNOTATION_CONFIRM_PURGE,
    ANNOTATION_PAUSED,
    ANNOTATION_PLAN_ONLY,
    ANNOTATION_RESTORE,
    InvalidTenant,
    SuspensionStatus,
    Tenant,
    TenantStatus,
)
from dezky_operator.integrations.intent import Phase, TenantIntent
from dezky_operator.tenant import burial, report
from dezky_operator.tenant.admission import Admission, OnlyAsked, WriteAhead
from dezky_operator.tenant.checks import objection
from dezky_operator.tenant.drift import drift_of, only_reported
from dezky_operator.tenant.findings import Circumstances
from dezky_operator.tenant.identity import Candidate, Identity, Refused, identify
from dezky_operator.tenant.intent import ESTABLISHED
from dezky_operator.tenant.outcome import Notice, Outcome
from dezky_operator.tenant.picture import preview_of
from dezky_operator.tenant.proof import Proofs
from dezky_operator.tenant.record import RecordState
from dezky_operator.tenant.reports import Reports
from dezky_operator.tenant.rounds import Rounds
from dezky_operator.tenant.suspension import begun, hold_ends_in, settled, text_of, time_of
from dezky_operator.tenant.world import Keeper, World

log = structlog.get_logger(__name__)
FINALIZER = "dezky.eu/operator"
PLAN_PHASES = {
    "apply": Phase.ACTIVE,
    "resume": Phase.ACTIVE,
    "suspend": Phase.SUSPENDED,
    "delete": Phase.DELETED,
    "purge": Phase.PURGED,
}
DNS_VALUES_EVERY = 3600.0
"""Seconds between two writes of DNS values that only the mail server recomputes."""


class TenantLife:
    """Reconciles Tenants. Holds nothing of a tenant that could not be found out again, but the proof of a lock."""

    def __init__(self, rounds: Rounds, proofs: Proofs, *, clock: Callable[[], float]) -> None:
        self._rounds, self._proofs, self._clock = rounds, proofs, clock
        self._settings, self._metrics = rounds.settings, rounds.metrics
        self._dns_values_written: dict[str, float] = {}
        self._closing_since: dict[str, float] = {}

    async def reconcile(  # noqa: PLR0911 - one exit for each case
        self, tenant: Tenant, world: World, keeper: Keeper
    ) -> Outcome:
        """One reconcile, from wherever the tenant stands. Raises only what the API server's client raises."""
        if tenant.annotation(ANNOTATION_PAUSED):
            # Before everything else: paused means that nothing is touched, a deletion included.
            return Outcome(status=report.paused(tenant, now=self._time()))
        if tenant.metadata.deletion_timestamp and FINALIZER not in tenant.metadata.finalizers:
            return Outcome(status=None)  # we own nothing of it; others may still hold it
        who = self._identify(tenant, world)
        if isinstance(who, Refused):
            return await self._refused(tenant, Reason.TOMBSTONE_EXISTS, who.message, keeper)
        if tenant.annotation(ANNOTATION_PLAN_ONLY):
            return await self._preview(tenant, who, world)
        if tenant.metadata.deletion_timestamp:
            return await self._delete(tenant, who, world, keeper)
        if found := objection(tenant, self._settings):
            return await self._refused(tenant, *found, keeper)
        if who.restores:
            restored = await self._restore(tenant, who, world, keeper)
            if isinstance(restored, Refused):
                return await self._refused(tenant, Reason.TOMBSTONE_EXISTS, restored.message, keeper)
            world = restored
        if tenant.suspended:
            return await self._suspend(tenant, who, world, keeper)
        return await self._keep(tenant, who, world, keeper)

    def unreadable(self, raw: dict[str, Any], invalid: InvalidTenant) -> Outcome:
        """The outcome of an object that can not be understood. Only a person can change that: it is not retried."""
        return Outcome(status=report.invalid_status(raw.get("status") or {}, invalid, now=self._time()))

    # -- the cases ---------------------------------------------------------------------

    async def _refused(self, tenant: Tenant, reason: Reason, message: str, keeper: Keeper) -> Outcome:
        """Left alone until a person changes something. Owning nothing, it does not stand in the way of its deletion."""
        if tenant.metadata.deletion_timestamp and tenant.status.tenant_id is None:
            await keeper.release()
            return Outcome(status=None)
        status = report.told(tenant, reason, message, now=self._time())
        return Outcome(status=status, notices=_news(tenant.status, status))

    async def _preview(self, tenant: Tenant, who: Identity, world: World) -> Outcome:
        """What would be done, into `status.plan`; nothing is applied, and a deletion waits for the annotation to go."""
        wanted = tenant.annotation(ANNOTATION_PLAN_ONLY) or ""
        phase = PLAN_PHASES.get(wanted)
        if phase is None:
            message = f"dezky.eu/plan-only is {wanted!r}; expected one of {', '.join(PLAN_PHASES)}."
            return Outcome(status=report.told(tenant, Reason.INVALID_SPEC, message, now=self._time()))
        suspension = _recorded(tenant, world)
        if phase is Phase.SUSPENDED:
            suspension = begun(tenant, self._rounds.now())
        intent = self._rounds.intent(tenant, who, world, phase, suspension)
        reports = await self._rounds.look(tenant, intent, world)
        preview = preview_of(reports, intent) if phase is Phase.PURGED else None
        status = report.previewed(tenant, reports, preview, now=self._time())
        return Outcome(status=status, settled=all(found.error is None for found in reports.all))

    async def _keep(self, tenant: Tenant, who: Identity, world: World, keeper: Keeper) -> Outcome:
        """The ordinary case: bring all three systems to what is declared, and keep them there.

        Where a suspension is recorded it is undone on the way: exactly what it did, nothing that others closed.
        """
        suspension = _recorded(tenant, world)
        intent = self._rounds.intent(tenant, who, world, Phase.ACTIVE, suspension)
        established = tenant.status.tenant_id == str(who.tenant_id)
        if established:
            await keeper.hold()  # taken off by hand, or never set on a restored one: it would be forgotten when deleted
        if established and only_reported(tenant):
            reports = await self._rounds.run(tenant, intent, world, OnlyAsked())
            withheld = Reason.DRIFT if reports.steps else None
            status = report.status_of(tenant, reports, self._around(intent, withheld=withheld))
            return self._outcome(tenant, status, reports, withheld=withheld is not None)
        admission = Admission(keeper.hold, first_time=not established)
        reports = await self._rounds.run(tenant, intent, world, admission)
        if admission.refusal is not None:
            return await self._refused(tenant, Reason.TOMBSTONE_EXISTS, admission.refusal.message, keeper)
        if self._rounds.stopping():
            return Outcome(status=None, settled=False)  # half of it may be done; the next process observes and goes on
        if reports.ready:
            await keeper.hold()
            await self._opened(tenant, who, world, keeper)
        around = self._around(intent, suspension=None if reports.ready else suspension)
        return self._outcome(tenant, report.status_of(tenant, reports, around), reports)

    async def _suspend(self, tenant: Tenant, who: Identity, world: World, keeper: Keeper) -> Outcome:
        """Lock all three systems, and prove it; what is locked already stays so, whatever else the spec says now.

        Drift of a lock is undone with every driftPolicy: spec.suspended asks for a lock, not for a report of one.
        """
        now = self._rounds.now()
        before = _recorded(tenant, world)
        begins = begun(tenant, now)
        if before is not None:
            begins = msgspec.structs.replace(begins, disabled_drive_ids=before.disabled_drive_ids)
        self._closing_since.setdefault(tenant.name, self._clock())
        intent = self._rounds.intent(tenant, who, world, Phase.SUSPENDED, begins)
        if intent.established and begins.locked_at is None and not begins.receipts:
            await self._proofs.control(intent)
        admission = Admission(keeper.hold, first_time=tenant.status.tenant_id != str(who.tenant_id))
        gate = WriteAhead(admission, keeper.write_ahead, begins)
        reports = await self._rounds.run(tenant, intent, world, gate)
        if admission.refusal is not None:
            return await self._refused(tenant, Reason.TOMBSTONE_EXISTS, admission.refusal.message, keeper)
        if self._rounds.stopping():
            return Outcome(status=None, settled=False)
        at = text_of(self._rounds.now())
        suspension = settled(
            gate.suspension,
            locked=reports.ready,
            held=intent.hold if reports.mail.ready else None,
            receipts=await self._proofs.receipts(intent, gate.suspension, reports.locked, at=at),
            now=now,
        )
        self._measure_lockout(tenant, begins, suspension)
        status = report.status_of(tenant, reports, self._around(intent, suspension=suspension))
        outcome = self._outcome(tenant, status, reports)
        ends = hold_ends_in(suspension, now)
        return outcome if ends is None else _rechecked(outcome, ends)

    async def _restore(self, tenant: Tenant, who: Identity, world: World, keeper: Keeper) -> World | Refused:
        """Remember that this object took an earlier identity, before anything else: nothing but the record tells it."""
        old = world.record_of(tenant.name)
        if old is None and not await self._left_anything(tenant, who, world):
            return Refused(
                message=f"Annotation dezky.eu/restore names {who.tenant_id}, and nothing in the three systems carries "
                "its mark. Correct the annotation, or remove it for a new tenant."
            )
        record = msgspec.structs.replace(
            old or burial.empty(tenant, who),
            state=RecordState.RESTORED,
            purge_confirmed=False,
            blocked=None,
            restored_uid=tenant.metadata.uid,
        )
        await keeper.keep(record)
        await keeper.hold()
        log.info("tenant restored", tenant_id=record.tenant_id)
        return replace(world, records=(*(one for one in world.records if one.slug != record.slug), record))

    async def _left_anything(self, tenant: Tenant, who: Identity, world: World) -> bool:
        """Whether an earlier tenant of this identity left something; a mistyped one has not."""
        intent = self._rounds.intent(tenant, who, world, Phase.ACTIVE)
        reports = await self._rounds.look(tenant, intent, world)
        identity, mail, files = reports.sign_in.picture, reports.mail.picture, reports.files.picture
        group = identity.identity.users_group if identity else None
        return bool(
            (group is not None and group.mark == f"{intent.mark}:users")
            or (mail is not None and mail.mail.owned(intent))
            or (files is not None and files.drives)
        )

    async def _delete(self, tenant: Tenant, who: Identity, world: World, keeper: Keeper) -> Outcome:
        """Everything a deletion does is done from its tombstone; the Tenant goes at once, but for a confirmed purge."""
        confirmed = (
            tenant.spec.deletion_policy == "Purge" and tenant.annotation(ANNOTATION_CONFIRM_PURGE) == tenant.name
        )
        known = world.record_of(tenant.name)
        if confirmed and known is not None and known.standing:
            reason, message = burial.progress(known)
            status = report.told(tenant, reason, message, now=self._time(), phase="Deleting")
            return Outcome(status=status, settled=True, recheck=self._settings.deletion.look_seconds)
        record, notice = burial.tombstone(
            tenant,
            who,
            known,
            confirmed=confirmed,
            held=await keeper.mass_deletion() if tenant.spec.deletion_policy != "Retain" else None,
        )
        await keeper.keep(record)
        log.info("tombstone written", state=record.state, tenant_id=record.tenant_id)
        if not confirmed:
            await keeper.release()
            return Outcome(status=None, notices=(notice,))
        reason, message = burial.progress(record)
        status = report.told(tenant, reason, message, now=self._time(), phase="Deleting")
        return Outcome(status=status, notices=(notice,), recheck=self._settings.deletion.look_seconds)

    # -- parts of them -------------------------------------------------------------------

    async def _opened(self, tenant: Tenant, who: Identity, world: World, keeper: Keeper) -> None:
        """Everything is open: nothing has to be remembered of a suspension any more."""
        self._proofs.forget(who.tenant_id)
        self._closing_since.pop(tenant.name, None)
        record = world.record_of(tenant.name)
        if record is not None and record.suspension is not None:
            await keeper.keep(msgspec.structs.replace(record, suspension=None))

    def _identify(self, tenant: Tenant, world: World) -> Identity | Refused:
        if tenant.name in world.unreadable:
            return Refused(
                message=f"The record dezky-tombstone-{tenant.name} of an earlier tenant can not be read, so it is not "
                "known whose this name is. Repair the ConfigMap, or choose another name."
            )
        candidate = Candidate(
            slug=tenant.name,
            uid=tenant.metadata.uid,
            primary_domain=tenant.spec.domains[0] if tenant.spec.domains else None,
            partner=tenant.spec.partner_ref.name if tenant.spec.partner_ref else None,
            restore=tenant.annotation(ANNOTATION_RESTORE),
            known_as=tenant.status.tenant_id,
        )
        return identify(
            candidate,
            installation_id=str(self._settings.installation_id),
            record=world.record_of(tenant.name),
            held_by=world.held_by(),
        )

    def _around(
        self, intent: TenantIntent, *, withheld: Reason | None = None, suspension: SuspensionStatus | None = None
    ) -> Circumstances:
        written = self._dns_values_written.get(intent.slug)
        return Circumstances(
            settings=self._settings,
            intent=intent,
            now=self._time(),
            dns_values_may_change=written is None or self._clock() - written > DNS_VALUES_EVERY,
            withheld=withheld,
            suspension=suspension,
        )

    def _outcome(self, tenant: Tenant, status: TenantStatus, reports: Reports, *, withheld: bool = False) -> Outcome:
        drift = drift_of(tenant, reports, withheld=withheld)
        drift.count(self._metrics)
        if put_back := drift.status(self._time()):
            status = msgspec.structs.replace(status, drift=put_back)
        if status.dns != tenant.status.dns:
            self._dns_values_written[tenant.name] = self._clock()
        if reports.ready:
            self._metrics.last_sync.labels(tenant.name).set(self._rounds.now().timestamp())
            self._measure_first_ready(tenant)
        waiting = status.condition(Type.DNS_READY)
        recheck = self._settings.dns.recheck_seconds if waiting and waiting.status != Truth.TRUE else None
        return Outcome(
            status=status,
            notices=(*drift.notices(), *_news(tenant.status, status)),
            settled=reports.ready or _waits_for_dns_only(reports) or withheld,
            recheck=recheck,
            not_before=reports.retry_after,
        )

    def _measure_first_ready(self, tenant: Tenant) -> None:
        if tenant.status.phase not in ESTABLISHED and tenant.metadata.creation_timestamp:
            created = time_of(tenant.metadata.creation_timestamp)
            self._metrics.time_to_ready.observe(max((self._rounds.now() - created).total_seconds(), 0.0))

    def _measure_lockout(self, tenant: Tenant, before: SuspensionStatus, after: SuspensionStatus) -> None:
        if before.locked_at is None and after.locked_at is not None:
            self._metrics.time_to_lockout.observe(self._clock() - self._closing_since[tenant.name])

    def _time(self) -> str:
        return text_of(self._rounds.now())


def _recorded(tenant: Tenant, world: World) -> SuspensionStatus | None:
    """What is known of a suspension: from the status, or from the tombstone that this Tenant was restored from."""
    record = world.record_of(tenant.name)
    if record is None or record.restored_uid != tenant.metadata.uid or record.suspension is None:
        return tenant.status.suspension
    if tenant.status.suspension is None:
        return record.suspension
    ids = (*record.suspension.disabled_drive_ids, *tenant.status.suspension.disabled_drive_ids)
    return msgspec.structs.replace(tenant.status.suspension, disabled_drive_ids=tuple(dict.fromkeys(ids)))


def _rechecked(outcome: Outcome, seconds: float) -> Outcome:
    """Looked at again in ``seconds`` at the latest."""
    sooner = seconds if outcome.recheck is None else min(seconds, outcome.recheck)
    return replace(outcome, recheck=sooner)


def _waits_for_dns_only(reports: Reports) -> bool:
    """A domain that is not proven yet is looked for at the pace of DNS, not at that of failures."""
    problems = [found for found in reports.mail.obstacles if found.blocking and found.reason != "DomainNotVerified"]
    others = reports.sign_in.ready and reports.files.ready
    return others and reports.mail.error is None and not problems and not reports.mail.plan.steps


def _news(old: TenantStatus, new: TenantStatus) -> tuple[Notice, ...]:
    """What a person wants to hear, one thing at a time: how a lock turned out, else whether it is ready and why not."""
    notice = _lock(old, new) or _readiness(old, new)
    return (notice,) if notice else ()


def _readiness(old: TenantStatus, new: TenantStatus) -> Notice | None:
    ready, before = report.ready_condition(new), report.ready_condition(old)
    if ready is None or (before is not None and (before.status, before.reason) == (ready.status, ready.reason)):
        return None
    if ready.status == Truth.TRUE:
        return Notice(reason=ready.reason, message=ready.message)
    if ready.reason == Reason.PROVISIONING:
        return None
    return Notice(reason=ready.reason, message=ready.message, warning=True)


def _lock(old: TenantStatus, new: TenantStatus) -> Notice | None:
    told = {Reason.LOCKED, Reason.PROOF_INCOMPLETE, Reason.STILL_OPEN}
    found, before = new.condition(Type.SUSPENDED), old.condition(Type.SUSPENDED)
    if found is None or found.reason not in told or (before is not None and before.reason == found.reason):
        return None
    return Notice(reason=found.reason, message=found.message, warning=found.reason != Reason.LOCKED)
