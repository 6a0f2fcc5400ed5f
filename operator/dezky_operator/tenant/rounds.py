"""The three systems of one tenant, brought to the desired state side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from dezky_operator.config import Settings
from dezky_operator.crd.tenant import ANNOTATION_RENEW_LINK, SuspensionStatus, Tenant
from dezky_operator.integrations.apply import Performer, Trail
from dezky_operator.integrations.errors import HeldBack, IntegrationError
from dezky_operator.integrations.intent import Phase, TenantIntent
from dezky_operator.integrations.steps import Plan, System
from dezky_operator.telemetry.metrics import Metrics
from dezky_operator.tenant.admission import Closed, Gate
from dezky_operator.tenant.claims import Claim
from dezky_operator.tenant.converge import Means, Part, Report, applied, converge
from dezky_operator.tenant.identity import Identity
from dezky_operator.tenant.intent import Marks, intent_of
from dezky_operator.tenant.parts import Files, Mail, Neighbours, SignIn
from dezky_operator.tenant.reports import Reports
from dezky_operator.tenant.suspension import holding
from dezky_operator.tenant.world import Systems, World

T = TypeVar("T")


class Rounds:
    """Observe, plan, apply, until nothing is left, in each of the three."""

    def __init__(
        self,
        *,
        settings: Settings,
        systems: Systems,
        trail: Trail,
        metrics: Metrics,
        stopping: Callable[[], bool],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.settings, self.systems, self.metrics = settings, systems, metrics
        self.stopping, self.now = stopping, now
        self._failures: dict[tuple[str, System], IntegrationError] = {}
        performers: dict[System, Performer] = {
            System.AUTHENTIK: systems.authentik,
            System.STALWART: systems.stalwart,
            System.OCIS: systems.ocis,
            System.KUBERNETES: systems.secrets,
        }
        self._performers, self._trail = performers, trail

    def intent(
        self,
        tenant: Tenant,
        who: Identity,
        world: World,
        phase: Phase,
        suspension: SuspensionStatus | None = None,
    ) -> TenantIntent:
        """What the integrations need to know of ``tenant`` in ``phase``."""
        record = world.record_of(tenant.name)
        return intent_of(
            tenant,
            tenant_id=who.tenant_id,
            settings=self.settings,
            phase=phase,
            marks=self._marks(who, world),
            suspension=suspension,
            hold=phase is Phase.SUSPENDED and suspension is not None and holding(suspension, self.now()),
            record=record if record is not None and record.tenant_id == str(who.tenant_id) else None,
        )

    async def run(self, tenant: Tenant, intent: TenantIntent, world: World, gate: Gate) -> Reports:
        """The three parts side by side; none waits for another but where it must know something from it."""
        systems = self.systems
        sign_in = SignIn(
            authentik=systems.authentik,
            secrets=systems.secrets,
            now=self.now(),
            renew=tenant.annotation(ANNOTATION_RENEW_LINK),
        )
        mail = Mail(
            stalwart=systems.stalwart,
            authentik=systems.authentik,
            resolver=systems.resolver,
            verification=self.settings.domain_verification,
            neighbours=_neighbours(tenant, intent, world),
        )
        files = Files(ocis=systems.ocis, authentik=systems.authentik)
        means = self._means(str(intent.tenant_id), intent.phase)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(self._part(sign_in, intent, gate, means))
            second = group.create_task(self._part(mail, intent, gate, means))
            third = group.create_task(self._part(files, intent, gate, means))
        return Reports(sign_in=first.result(), mail=second.result(), files=third.result())

    async def apply(self, plan: Plan, system: System, tenant_id: str) -> None:
        """Apply what is left to be purged of ``system``. Raises the first failure, an IntegrationError."""
        means = self._means(tenant_id, Phase.PURGED)
        means.recorder.observed(system, plan)
        if error := await applied(plan, means, []):
            raise error

    async def look(self, tenant: Tenant, intent: TenantIntent, world: World) -> Reports:
        """What would be done; nothing is."""
        return await self.run(tenant, intent, world, Closed())

    def _means(self, tenant_id: str, phase: Phase) -> Means:
        return Means(
            performers=self._performers,
            recorder=self._trail.of(tenant_id, phase.value),
            metrics=self.metrics,
            stopping=self.stopping,
        )

    async def _part(self, part: Part[T], intent: TenantIntent, gate: Gate, means: Means) -> Report[T]:
        try:
            report = await converge(part, intent, gate, means)
        finally:
            gate.over(part.system)
        return self._in_words_of_the_failure(intent.slug, report)

    def _in_words_of_the_failure(self, slug: str, report: Report[T]) -> Report[T]:
        """A tenant that is held back is told of by its own last failure, so that a pause changes no status."""
        key = (slug, report.system)
        if report.error is None:
            self._failures.pop(key, None)
        elif isinstance(report.error, HeldBack):
            return replace(report, error=self._failures.get(key, report.error))
        else:
            self._failures[key] = report.error
        return report

    def _marks(self, who: Identity, world: World) -> Marks:
        held = world.held_by().keys() - {str(who.tenant_id)}
        present = world.present
        return Marks(
            held=frozenset(f"dezky:{self.settings.installation_id}:{other}" for other in held),
            present=world.marks(present),
            active=world.marks([other for other in present if not other.suspended]),
        )


def _neighbours(tenant: Tenant, intent: TenantIntent, world: World) -> Neighbours:
    me = Claim(
        slug=tenant.name,
        uid=tenant.metadata.uid,
        created=tenant.metadata.creation_timestamp,
        tenant_id=intent.tenant_id,
        domains=tenant.spec.domains,
    )
    return Neighbours(me=me, others=world.claims(), records=world.records)


def problems(reports: Sequence[Report[Any]]) -> str:
    """What is left to do and why, for a person."""
    return " ".join(filter(None, map(_left, reports)))


def _left(found: Report[Any]) -> str | None:
    if found.error is not None:
        return str(found.error)
    if found.obstacles:
        return found.obstacles[0].message
    return f"{found.system}: {len(found.plan.steps)} objects are left." if found.plan.steps else None
