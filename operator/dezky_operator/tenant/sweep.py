"""One look at the whole fleet, from lists that all tenants share, for who has drifted (design 5).

What is seen of each tenant goes through the same plan as in a reconcile, and nothing is applied: who differs is a
suspect, and the reconcile that follows observes anew. DNS and the tenants' Secrets are not asked: that is a full look.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import structlog

from dezky_operator.crd.tenant import SuspensionStatus, Tenant
from dezky_operator.integrations.authentik.fleet import Named
from dezky_operator.integrations.dns import records as dns
from dezky_operator.integrations.errors import IntegrationError
from dezky_operator.integrations.intent import Member, Phase, TenantIntent
from dezky_operator.integrations.ocis.observe import People
from dezky_operator.integrations.stalwart.desired import KEYS
from dezky_operator.integrations.stalwart.fleet import StalwartFleet
from dezky_operator.integrations.steps import Plan, System
from dezky_operator.tenant.drift import only_reported, unreported
from dezky_operator.tenant.intent import intent_of
from dezky_operator.tenant.neighbourhood import Neighbourhood
from dezky_operator.tenant.parts import divided, with_former
from dezky_operator.tenant.record import Record, RecordState
from dezky_operator.tenant.rounds import Rounds
from dezky_operator.tenant.settled import is_settled
from dezky_operator.tenant.suspension import begun, holding
from dezky_operator.tenant.world import World

log = structlog.get_logger(__name__)
LOCKED_RECORDS = frozenset({RecordState.LOCKED, RecordState.PURGE_DUE})
"""Tombstones whose tenant is locked and must stay so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Somebody to look at: a settled Tenant, or the tenant of a tombstone."""

    tenant: Tenant
    tenant_id: uuid.UUID
    phase: Phase
    suspension: SuspensionStatus | None = None
    record: Record | None = None

    @property
    def locked(self) -> bool:
        """Whether nobody of it may get in."""
        return self.phase is not Phase.ACTIVE

    @property
    def deleted(self) -> bool:
        """Whether only a tombstone is left of it."""
        return self.phase is Phase.DELETED


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What one look found. ``suspects`` are those with something to do, and what; ``silent`` systems tell of nobody."""

    looked_at: int
    suspects: tuple[tuple[Subject, Plan], ...]
    silent: frozenset[System]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fleet:
    """One look while it goes on. ``people``: the members of each tenant; ``plans``: what is to be done; by slug."""

    subjects: tuple[Subject, ...]
    around: Neighbourhood
    people: dict[str, tuple[Member, ...] | None] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)

    def add(self, intent: TenantIntent, plan: Plan) -> None:
        """Keep what differs; most tenants are as declared, and then nothing is kept."""
        if plan.steps or plan.obstacles:
            self.plans[intent.slug] = self.plans.get(intent.slug, Plan()) + plan


class Sweep:
    """Looks at the fleet, again and again."""

    def __init__(self, rounds: Rounds) -> None:
        self._rounds, self._systems = rounds, rounds.systems
        self._turn = 0
        self._silent: frozenset[System] = frozenset()

    async def look(self, world: World) -> Swept:
        """One look at everybody in ``world``, in which no tenant is left out. Never raises IntegrationError."""
        around = Neighbourhood.of(world)
        fleet = _Fleet(subjects=tuple(subjects_of(around)), around=around)
        # One system after the other: what the lists of all three hold at once is most of the memory there is.
        silent = set[System]()
        for system, look in (
            (System.AUTHENTIK, self._identity),
            (System.STALWART, self._mail),
            (System.OCIS, self._files),
        ):
            if not await self._answered(system, look(fleet)):
                silent.add(system)
        self._silent = frozenset(silent)
        self._turn += 1
        suspects = tuple(
            (subject, plan)
            for subject in fleet.subjects
            if is_suspect(subject, plan := fleet.plans.get(subject.tenant.name, Plan()), self._silent)
        )
        self._note(fleet.subjects, {subject.tenant.name for subject, _ in suspects})
        return Swept(looked_at=len(fleet.subjects), suspects=suspects, silent=self._silent)

    # -- one system after the other ----------------------------------------------------

    async def _identity(self, fleet: _Fleet) -> None:
        authentik = self._systems.authentik
        seen = await authentik.survey([_named(subject) for subject in fleet.subjects], turn=self._turn)
        async for subject in _gently(fleet.subjects):
            intent = self._intent(subject, fleet.around)
            fleet.people[intent.slug] = seen.members(intent)
            fleet.add(intent, authentik.plan(intent, authentik.assembled(intent, seen)))

    async def _mail(self, fleet: _Fleet) -> None:
        stalwart = self._systems.stalwart
        seen = await stalwart.survey()
        async for subject in _gently(fleet.subjects):
            intent = self._with_mail(subject, fleet, seen)
            fleet.add(intent, stalwart.plan(intent, await stalwart.assembled(intent, seen)))

    async def _files(self, fleet: _Fleet) -> None:
        ocis = self._systems.ocis
        seen = await ocis.survey(people=any(subject.locked for subject in fleet.subjects))
        async for subject in _gently(fleet.subjects):
            intent = self._intent(subject, fleet.around)
            if subject.locked:
                intent = replace(intent, members=fleet.people.get(intent.slug))
            observed = await ocis.assembled(intent, seen)
            if subject.locked:
                known = intent.slug in fleet.people
                observed = replace(observed, people=People.of(intent.members) if known else People.UNKNOWN)
                observed = await with_former(self._systems.authentik, intent, observed)
            fleet.add(intent, ocis.plan(intent, observed))

    async def _answered(self, system: System, look: Awaitable[None]) -> bool:
        """Whether the system could be looked at; else its part is unknown. Told once, until it answers again."""
        try:
            await look
        except IntegrationError as error:
            if system not in self._silent:
                log.warning("system not swept", system=system, error=str(error))
            return False
        return True

    # -- parts of them --------------------------------------------------------------------

    def _with_mail(self, subject: Subject, fleet: _Fleet, seen: StalwartFleet) -> TenantIntent:
        """With its domains, its members, and the records that were published when DNS was asked last."""
        tenant, intent = subject.tenant, self._intent(subject, fleet.around)
        marks = self._systems.stalwart.fleet_marks(seen, {*tenant.spec.domains, *intent.known_domains})
        owned = divided(fleet.around.neighbours(tenant, subject.tenant_id), intent, marks).owned
        members = fleet.people.get(intent.slug)
        return replace(intent, domains=owned, members=members, published_dkim=published(tenant, owned))

    def _intent(self, subject: Subject, around: Neighbourhood) -> TenantIntent:
        suspension, now = subject.suspension, self._rounds.now()
        if subject.phase is Phase.SUSPENDED:
            suspension = begun(subject.tenant, now)
        return intent_of(
            subject.tenant,
            tenant_id=subject.tenant_id,
            settings=self._rounds.settings,
            phase=subject.phase,
            marks=around.marks(subject.tenant_id),
            suspension=suspension,
            hold=subject.phase is Phase.SUSPENDED and suspension is not None and holding(suspension, now),
            record=subject.record,
        )

    def _note(self, subjects: Sequence[Subject], suspects: set[str]) -> None:
        """When a tenant was last in sync: no status tells, as that would be a write for every look."""
        if self._silent:
            return
        now = self._rounds.now().timestamp()
        for subject in subjects:
            if not subject.deleted and subject.tenant.name not in suspects:
                self._rounds.metrics.last_sync.labels(subject.tenant.name).set(now)


def subjects_of(around: Neighbourhood) -> Iterator[Subject]:
    """Settled Tenants and locked tombstones, by slug. Everybody else has a key of the queue that waits for him."""
    world = around.world
    living = {tenant.name: tenant for tenant in world.others}
    records = {record.slug: record for record in world.records}
    for slug in sorted(living.keys() | records.keys()):
        record = records.get(slug)
        if record is not None and record.state in LOCKED_RECORDS:
            yield Subject(
                tenant=record.tenant(),
                tenant_id=uuid.UUID(record.tenant_id),
                phase=Phase.DELETED,
                suspension=record.suspension,
                record=record,
            )
        elif slug in living and slug not in world.unreadable:
            yield from _living(living[slug], around.ids[slug], record)


def _living(tenant: Tenant, tenant_id: uuid.UUID, record: Record | None) -> Iterator[Subject]:
    known_as = tenant.status.tenant_id == str(tenant_id)
    unlocking = record is not None and record.suspension is not None and not tenant.suspended
    if not known_as or unlocking or not is_settled(tenant):
        return
    yield Subject(
        tenant=tenant,
        tenant_id=tenant_id,
        phase=Phase.SUSPENDED if tenant.suspended else Phase.ACTIVE,
        suspension=tenant.status.suspension,
        record=record if record is not None and record.tenant_id == str(tenant_id) else None,
    )


def is_suspect(subject: Subject, plan: Plan, silent: frozenset[System]) -> bool:
    """Whether a reconcile would do or tell something that is not done or told yet."""
    if any(found.blocking or not _is_told(subject.tenant, found.system, found.message) for found in plan.obstacles):
        return True
    if subject.phase is Phase.ACTIVE and only_reported(subject.tenant):
        return bool(plan.asked.steps) or unreported(subject.tenant, plan.steps, silent)
    return bool(plan.steps)


def _is_told(tenant: Tenant, system: System, message: str) -> bool:
    errors = tenant.status.provisioning_errors
    return errors is not None and message in (getattr(errors, system.value) or "")


def published(tenant: Tenant, domains: Sequence[str]) -> frozenset[tuple[str, str]]:
    """The signing keys whose record was seen, by what the status tells."""
    seen = {record.name for record in tenant.status.dns if record.state == dns.RecordState.PUBLISHED}
    return frozenset(
        (domain, selector) for domain in domains for selector, _ in KEYS if f"{selector}._domainkey.{domain}" in seen
    )


def _named(subject: Subject) -> Named:
    """Locked tenants' applications are looked at every time, and those of whom a difference is shown already."""
    slug = subject.tenant.name
    certain = subject.locked or bool(subject.tenant.status.plan)
    return Named(application=f"dezky-{slug}", users_group=f"dezky-{slug}-users", certain=certain)


async def _gently(subjects: Sequence[Subject]) -> AsyncIterator[Subject]:
    """One by one, with room between them for everything else that runs."""
    for subject in subjects:
        await asyncio.sleep(0)
        yield subject
