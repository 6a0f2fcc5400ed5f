"""What surrounds one reconcile: the other tenants, the three systems, and the writes to the API server it may need."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol

from dezky_operator.crd.tenant import SuspensionStatus, Tenant
from dezky_operator.integrations.apply import Outputs, Performer
from dezky_operator.integrations.authentik.integration import AuthentikIntegration
from dezky_operator.integrations.dns.resolver import Resolver
from dezky_operator.integrations.intent import tenant_id_of
from dezky_operator.integrations.ocis.integration import OcisIntegration
from dezky_operator.integrations.stalwart.integration import StalwartIntegration
from dezky_operator.integrations.steps import Step
from dezky_operator.tenant.claims import Claim
from dezky_operator.tenant.credentials import KeptSecret
from dezky_operator.tenant.record import Record


@dataclass(frozen=True, kw_only=True)
class World:
    """What is known beyond the Tenant itself: the other Tenants, and the records of those that are gone."""

    installation_id: str
    others: tuple[Tenant, ...]
    records: tuple[Record, ...]
    unreadable: frozenset[str] = frozenset()

    def record_of(self, slug: str) -> Record | None:
        """The record of a slug."""
        return self._by_slug.get(slug)

    @cached_property
    def _by_slug(self) -> dict[str, Record]:
        return {record.slug: record for record in self.records}

    def id_of(self, other: Tenant) -> uuid.UUID:
        """The tenantId of another living Tenant."""
        record = self.record_of(other.name)
        if record is not None and record.restored_uid == other.metadata.uid:
            return uuid.UUID(record.tenant_id)
        return _own_id(self.installation_id, other.metadata.uid)

    def held_by(self) -> dict[str, str]:
        """Slugs by tenant id, of every other living or retained tenant."""
        living = {str(self.id_of(other)): other.name for other in self.others}
        return {**{record.tenant_id: record.slug for record in self.records if record.standing}, **living}

    def marks(self, tenants: Sequence[Tenant]) -> frozenset[str]:
        """The ownership marks of these other Tenants."""
        return frozenset(f"dezky:{self.installation_id}:{self.id_of(tenant)}" for tenant in tenants)

    @cached_property
    def present(self) -> tuple[Tenant, ...]:
        """The others that nobody has deleted."""
        return tuple(other for other in self.others if not other.metadata.deletion_timestamp)

    def claims(self) -> tuple[Claim, ...]:
        """What those ask for."""
        return tuple(
            Claim(
                slug=other.name,
                uid=other.metadata.uid,
                created=other.metadata.creation_timestamp,
                tenant_id=self.id_of(other),
                domains=other.spec.domains,
            )
            for other in self.present
        )


@lru_cache(maxsize=100_000)
def _own_id(installation_id: str, uid: str) -> uuid.UUID:
    """Asked for every other tenant at every reconcile: computed each time it would cost more than the reconcile."""
    return tenant_id_of(installation_id, uid)


class Keeper(Protocol):
    """The writes to the API server that a reconcile of a Tenant may need."""

    async def hold(self) -> None:
        """Put our finalizer on the Tenant."""

    async def release(self) -> None:
        """Take our finalizer off the Tenant."""

    async def write_ahead(self, suspension: SuspensionStatus) -> None:
        """Write `status.suspension` before the first lock that it must tell how to undo."""

    async def keep(self, record: Record) -> None:
        """Write a record."""

    async def mass_deletion(self) -> str | None:
        """Why deletions must wait for a person now: too many at once, or the whole resource is going. None: go on."""


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
