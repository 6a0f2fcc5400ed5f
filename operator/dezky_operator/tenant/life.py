"""A tenant's life: one reconcile, with one exit per case, each saying why now."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import msgspec
import structlog

from dezky_operator.config import Settings
from dezky_operator.crd.conditions import Reason, Truth, Type
from dezky_operator.crd.tenant import (
    ANNOTATION_CONFIRM_PURGE,
    ANNOTATION_PAUSED,
    ANNOTATION_PLAN_ONLY,
    ANNOTATION_RENEW_LINK,
    ANNOTATION_RESTORE,
    InvalidTenant,
    Tenant,
    TenantStatus,
)
from dezky_operator.integrations.apply import Outputs, Performer, Recorder
from dezky_operator.integrations.authentik.integration import AuthentikIntegration
from dezky_operator.integrations.dns.resolver import Resolver
from dezky_operator.integrations.intent import Phase, TenantIntent, tenant_id_of
from dezky_operator.integrations.ocis.integration import OcisIntegration
from dezky_operator.integrations.stalwart.integration import StalwartIntegration
from dezky_operator.integrations.steps import Step, System
from dezky_operator.telemetry.metrics import Metrics
from dezky_operator.tenant import credentials, report
from dezky_operator.tenant.admission import Admission, closed, opened
from dezky_operator.tenant.checks import objection
from dezky_operator.tenant.claims import Claim
from dezky_operator.tenant.converge import Gate, Means, Part, Report, converge
from dezky_operator.tenant.credentials import KeptSecret
from dezky_operator.tenant.identity import Candidate, Identity, Refused, identify
from dezky_operator.tenant.intent import intent_of, known_domains
from dezky_operator.tenant.outcome import Notice, Outcome
from dezky_operator.tenant.parts import Files, Mail, Neighbours, SignIn
from dezky_operator.tenant.record import AsBuilt, Record, RecordState
from dezky_operator.tenant.report import Circumstances, Reports

log = structlog.get_logger(__name__)
T = TypeVar("T")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is known beyond the Tenant itself: the other Tenants, and the records of those that are gone."""

    others: tuple[Tenant, ...]
    records: tuple[Record, ...]
    unreadable: frozenset[str] = frozenset()

    def record_of(self, slug: str) -> Record | None:
        """The record of a slug."""
        return next((record for record in self.records if record.slug == slug), None)


class Keeper(Protocol):
    """The writes to the API server that a reconcile may need."""

    async def hold(self) -> None:
        """Put our finalizer on the Tenant."""

    async def release(self) -> None:
        """Take our finalizer off the Tenant."""

    async def keep(self, record: Record) -> None:
        """Write a record."""

    async def forget(self) -> None:
        """Remove the record of this slug."""


class Secrets(Performer, Protocol):
    """Reads and writes the tenants' Secrets."""

    async def read(self, name: str) -> KeptSecret | None:
        """The Secret; None when there is none."""

    async def perform(self, step: Step) -> Outputs:
        """Write or delete one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Systems:
    """What tenants live in."""

    authentik: AuthentikIntegration
    stalwart: StalwartIntegration
    ocis: OcisIntegration
    secrets: Secrets
    resolver: Resolver


class TenantLife:
    """Reconciles Tenants. Holds nothing of a tenant that could not be found out again."""

    def __init__(
        self,
        *,
        settings: Settings,
        systems: Systems,
        recorder: Recorder,
        metrics: Metrics,
        stopping: Callable[[], bool],
        clock: Callable[[], float],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings, self._systems, self._metrics = settings, systems, metrics
        self._stopping, self._clock, self._now = stopping, clock, now
        self._dns_values_written: dict[str, float] = {}
        performers: dict[System, Performer] = {
            System.AUTHENTIK: systems.authentik,
            System.STALWART: systems.stalwart,
            System.OCIS: systems.ocis,
            System.KUBERNETES: systems.secrets,
        }
        self._means = Means(performers=performers, recorder=recorder, metrics=metrics, stopping=stopping)

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
        if found := objection(tenant, self._settings):
            return await self._refused(tenant, *found, keeper)
        if tenant.annotation(ANNOTATION_PLAN_ONLY):
            return await self._preview(tenant, who, world)
        if tenant.metadata.deletion_timestamp:
            return await self._delete(tenant, who, world, keeper)
        if who.restores:
            await self._restore(tenant, who, world, keeper)
        return await self._keep(tenant, who, world, keeper)

    def unreadable(self, raw: dict[str, Any], invalid: InvalidTenant) -> Outcome:
        """The outcome of an object that can not be understood. Only a person can change that: it is not retried."""
        return Outcome(status=report.invalid_status(raw.get("status") or {}, invalid, now=self._time()))

    # -- the cases ---------------------------------------------------------------------

    async def _refused(self, tenant: Tenant, reason: Reason, message: str, keeper: Keeper) -> Outcome:
        """Left alone until a person changes something. Owning nothing, it does not stand in the way of its deletion."""
        if tenant.metadata.deletion_timestamp:
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
        intent = self._intent(tenant, who, world, phase)
        reports = await self._converge(tenant, intent, world, closed)
        status = report.status_of(tenant, reports, self._around(intent, withheld=Reason.PLAN_ONLY))
        return Outcome(status=status, settled=all(found.error is None for found in reports.all))

    async def _keep(self, tenant: Tenant, who: Identity, world: World, keeper: Keeper) -> Outcome:
        """The ordinary case: bring all three systems to what is declared, and keep them there."""
        intent = self._intent(tenant, who, world, Phase.ACTIVE)
        established = tenant.status.tenant_id == str(who.tenant_id)
        if established and _only_reports_drift(tenant):
            reports = await self._converge(tenant, intent, world, closed)
            withheld = Reason.DRIFT if reports.steps else None
            status = report.status_of(tenant, reports, self._around(intent, withheld=withheld))
            return self._outcome(tenant, status, reports, withheld=withheld is not None)
        admission = Admission(keeper.hold, first_time=not established)
        reports = await self._converge(tenant, intent, world, admission)
        if admission.refusal is not None:
            return await self._refused(tenant, Reason.TOMBSTONE_EXISTS, admission.refusal.message, keeper)
        if self._stopping():
            return Outcome(status=None, settled=False)  # half of it may be done; the next process observes and goes on
        status = report.status_of(tenant, reports, self._around(intent))
        return self._outcome(tenant, status, reports)

    async def _restore(self, tenant: Tenant, who: Identity, world: World, keeper: Keeper) -> None:
        """Remember that this object took an earlier identity, before anything else: nothing but the record tells it."""
        old = world.record_of(tenant.name)
        record = Record(
            tenant_id=str(who.tenant_id),
            slug=tenant.name,
            state=RecordState.RESTORED,
            spec=old.spec if old else _spec(tenant),
            created_at=old.created_at if old else tenant.metadata.creation_timestamp,
            deleted_at=old.deleted_at if old else None,
            as_built=old.as_built if old else AsBuilt(),
            restored_uid=tenant.metadata.uid,
        )
        await keeper.keep(record)
        log.info("tenant restored", tenant_id=record.tenant_id)

    async def _delete(self, tenant: Tenant, who: Identity, world: World, keeper: Keeper) -> Outcome:
        """Purge when the policy says so and a person confirmed it; else keep everything and a record of it."""
        if tenant.spec.deletion_policy == "Purge" and tenant.annotation(ANNOTATION_CONFIRM_PURGE) == tenant.name:
            return await self._purge(tenant, who, world, keeper)
        await keeper.keep(self._record(tenant, who, world))
        await keeper.release()
        return Outcome(status=None, notices=(Notice(reason="Retained", message=_kept_because(tenant), warning=True),))

    async def _purge(self, tenant: Tenant, who: Identity, world: World, keeper: Keeper) -> Outcome:
        """Destroy everything outside, then the Secret, then let the object go. Never gives up; tells what is left."""
        intent = self._intent(tenant, who, world, Phase.PURGED)
        reports = await self._converge(tenant, intent, world, opened)
        if not reports.ready:
            message = " ".join(filter(None, (_left(found) for found in reports.all)))
            reason = _first_reason(reports)
            status = report.told(tenant, reason, f"The purge goes on. {message}", now=self._time(), phase="Deleting")
            return Outcome(status=status, settled=False, not_before=max(found.retry_after for found in reports.all))
        await self._systems.secrets.perform(credentials.removal(tenant.name, after=()))
        await keeper.forget()
        await keeper.release()
        message = f"Everything of tenant {tenant.name} ({who.tenant_id}) is destroyed."
        return Outcome(status=None, notices=(Notice(reason="Purged", message=message),))

    # -- parts of them -------------------------------------------------------------------

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
        )
        return identify(
            candidate,
            installation_id=str(self._settings.installation_id),
            record=world.record_of(tenant.name),
            held_by=self._held_by(world),
        )

    def _held_by(self, world: World) -> dict[str, str]:
        """Slugs by tenant id, of every other living or retained tenant."""
        living = {str(self._id_of(other, world)): other.name for other in world.others}
        return {**{record.tenant_id: record.slug for record in world.records if record.holds}, **living}

    def _id_of(self, other: Tenant, world: World) -> uuid.UUID:
        record = world.record_of(other.name)
        if record is not None and record.restored_uid == other.metadata.uid:
            return uuid.UUID(record.tenant_id)
        return tenant_id_of(str(self._settings.installation_id), other.metadata.uid)

    def _intent(self, tenant: Tenant, who: Identity, world: World, phase: Phase) -> TenantIntent:
        record = world.record_of(tenant.name)
        ours = record if record is not None and record.tenant_id == str(who.tenant_id) else None
        held = self._held_by(world).keys() - {str(who.tenant_id)}
        return intent_of(
            tenant,
            tenant_id=who.tenant_id,
            settings=self._settings,
            living_marks=(f"dezky:{self._settings.installation_id}:{held_id}" for held_id in held),
            phase=phase,
            record=ours,
        )

    async def _converge(self, tenant: Tenant, intent: TenantIntent, world: World, gate: Gate) -> Reports:
        """The three parts side by side; none waits for another but where it must know something from it."""
        systems = self._systems
        sign_in = SignIn(
            authentik=systems.authentik,
            secrets=systems.secrets,
            now=self._now(),
            renew=tenant.annotation(ANNOTATION_RENEW_LINK),
        )
        mail = Mail(
            stalwart=systems.stalwart,
            authentik=systems.authentik,
            resolver=systems.resolver,
            verification=self._settings.domain_verification,
            neighbours=self._neighbours(tenant, intent, world),
        )
        looked = gate.looked if isinstance(gate, Admission) else _nothing
        async with asyncio.TaskGroup() as group:
            first = group.create_task(_then(self._part(sign_in, intent, gate), looked))
            second = group.create_task(self._part(mail, intent, gate))
            third = group.create_task(self._part(Files(ocis=systems.ocis), intent, gate))
        return Reports(sign_in=first.result(), mail=second.result(), files=third.result())

    async def _part(self, part: Part[T], intent: TenantIntent, gate: Gate) -> Report[T]:
        return await converge(part, intent, gate, self._means)

    def _neighbours(self, tenant: Tenant, intent: TenantIntent, world: World) -> Neighbours:
        claims = [_claim(other, self._id_of(other, world)) for other in world.others]
        living = tuple(claim for claim in claims if claim is not None)
        me = Claim(
            slug=tenant.name,
            uid=tenant.metadata.uid,
            created=tenant.metadata.creation_timestamp,
            tenant_id=intent.tenant_id,
            domains=tenant.spec.domains,
        )
        return Neighbours(me=me, others=living, records=world.records)

    def _around(self, intent: TenantIntent, withheld: Reason | None = None) -> Circumstances:
        written = self._dns_values_written.get(intent.slug)
        return Circumstances(
            settings=self._settings,
            intent=intent,
            now=self._time(),
            dns_values_may_change=written is None or self._clock() - written > DNS_VALUES_EVERY,
            withheld=withheld,
        )

    def _outcome(self, tenant: Tenant, status: TenantStatus, reports: Reports, *, withheld: bool = False) -> Outcome:
        if status.dns != tenant.status.dns:
            self._dns_values_written[tenant.name] = self._clock()
        if reports.ready:
            self._metrics.last_sync.labels(tenant.name).set(self._now().timestamp())
            self._measure_first_ready(tenant)
        waiting = status.condition(Type.DNS_READY)
        recheck = self._settings.dns.recheck_seconds if waiting and waiting.status != Truth.TRUE else None
        return Outcome(
            status=status,
            notices=_news(tenant.status, status),
            settled=reports.ready or _waits_for_dns_only(reports) or withheld,
            recheck=recheck,
            not_before=max(found.retry_after for found in reports.all),
        )

    def _measure_first_ready(self, tenant: Tenant) -> None:
        if tenant.status.phase != "Active" and tenant.metadata.creation_timestamp:
            created = datetime.fromisoformat(tenant.metadata.creation_timestamp)
            self._metrics.time_to_ready.observe(max((self._now() - created).total_seconds(), 0.0))

    def _record(self, tenant: Tenant, who: Identity, world: World) -> Record:
        files = tenant.status.files
        return Record(
            tenant_id=str(who.tenant_id),
            slug=tenant.name,
            state=RecordState.RETAINED,
            spec=_spec(tenant),
            created_at=tenant.metadata.creation_timestamp,
            deleted_at=tenant.metadata.deletion_timestamp,
            as_built=AsBuilt(
                domains=known_domains(tenant, world.record_of(tenant.name)),
                spaces={space.name: space.id or "" for space in files.spaces} if files else {},
                secret=credentials.secret_name(tenant.name),
            ),
        )

    def _time(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%SZ")


def _only_reports_drift(tenant: Tenant) -> bool:
    """Drift is a plan of an unchanged spec: a changed one is applied also where drift is only reported."""
    seen = tenant.status.observed_generation == tenant.metadata.generation
    return tenant.spec.drift_policy == "ReportOnly" and seen and tenant.status.phase == "Active"


def _claim(other: Tenant, tenant_id: uuid.UUID) -> Claim | None:
    if other.metadata.deletion_timestamp:
        return None
    metadata = other.metadata
    return Claim(
        slug=other.name,
        uid=metadata.uid,
        created=metadata.creation_timestamp,
        tenant_id=tenant_id,
        domains=other.spec.domains,
    )


def _spec(tenant: Tenant) -> dict[str, Any]:
    return dict(msgspec.to_builtins(tenant.spec))


def _kept_because(tenant: Tenant) -> str:
    kept = f"Nothing outside was changed; the record dezky-tombstone-{tenant.name} keeps the name."
    if tenant.spec.deletion_policy == "Retain":
        return kept
    if tenant.spec.deletion_policy == "Purge":
        return (
            f"The purge was not confirmed by dezky.eu/confirm-purge: {tenant.name}, so the tenant is retained. {kept}"
        )
    return f"SoftDelete behaves as Retain in this version: nobody was locked out. {kept}"


def _left(found: Report[Any]) -> str | None:
    if found.error is not None:
        return str(found.error)
    if found.obstacles:
        return found.obstacles[0].message
    return f"{found.system}: {len(found.plan.steps)} objects are left." if found.plan.steps else None


def _first_reason(reports: Reports) -> Reason:
    for found in reports.all:
        if found.error is not None:
            return report.reason_of(found.error)[0]
        for obstacle in found.obstacles:
            return Reason(obstacle.reason)
    return Reason.DELETING


def _waits_for_dns_only(reports: Reports) -> bool:
    """A domain that is not proven yet is looked for at the pace of DNS, not at that of failures."""
    problems = [found for found in reports.mail.obstacles if found.blocking and found.reason != "DomainNotVerified"]
    others = reports.sign_in.ready and reports.files.ready
    return others and reports.mail.error is None and not problems and not reports.mail.plan.steps


def _news(old: TenantStatus, new: TenantStatus) -> tuple[Notice, ...]:
    """What a person wants to hear: a new phase, or a new reason why it is not ready."""
    ready, before = report.ready_condition(new), report.ready_condition(old)
    if ready is None or (before is not None and (before.status, before.reason) == (ready.status, ready.reason)):
        return ()
    if ready.status == Truth.TRUE:
        return (Notice(reason=ready.reason, message=ready.message),)
    if ready.reason == Reason.PROVISIONING:
        return ()
    return (Notice(reason=ready.reason, message=ready.message, warning=True),)


async def _then(work: Coroutine[Any, Any, T], after: Callable[[], None]) -> T:
    try:
        return await work
    finally:
        after()


def _nothing() -> None:
    """For gates that nobody waits at."""
