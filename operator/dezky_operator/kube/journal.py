"""What the watch and the controllers tell the audit log: who changed which spec, what became of it, proofs of locks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dezky_operator.audit.event import Event
from dezky_operator.crd.tenant import SuspensionStatus, Tenant
from dezky_operator.ingest.own.acts import OPERATOR, Actor, Whose, act, once, snake
from dezky_operator.ingest.own.specs import Version, spec_changed
from dezky_operator.ingest.tenants import KnownTenant, Tenants
from dezky_operator.integrations.intent import tenant_id_of
from dezky_operator.kube.cache import Seen, TenantCache
from dezky_operator.tenant.outcome import Notice
from dezky_operator.tenant.record import Record

ANNOTATION_CHANGED_BY = "dezky.eu/changed-by"


class Registry:
    """Which tenant has which tenantId: the living ones by the watch, the deleted ones by their records."""

    def __init__(self, *, installation_id: str, cache: TenantCache, records: Callable[[], Iterable[Record]]) -> None:
        self._installation_id, self._cache, self._records = installation_id, cache, records
        self._names: dict[str, str] = {}
        """By tenantId. Every event of every step asks for it."""

    def note(self, tenant: Tenant) -> str:
        """Remember a Tenant that was seen; its tenantId."""
        tenant_id = self.id_of(tenant)
        self._names[tenant_id] = tenant.name
        return tenant_id

    def id_of(self, tenant: Tenant) -> str:
        """Its tenantId: the one it was reconciled under, which may be an earlier tenant's that it restored."""
        return tenant.status.tenant_id or str(tenant_id_of(self._installation_id, tenant.metadata.uid))

    def tenants(self) -> Tenants:
        """All of them, by whatever the sources of events may name them by."""
        kept = [_kept(record) for record in self._records()]
        return Tenants([*kept, *(self._known(tenant) for tenant in self._cache.tenants())])

    def whose(self, tenant_id: str) -> Whose:
        """The tenant of this id, and who wants what is done for it now."""
        seen = self._cache.get(self._names.get(tenant_id, ""))
        if seen is not None and self.id_of(seen.outline) == tenant_id:
            return self._living_one(tenant_id, seen.outline)
        for record in self._records():
            if record.tenant_id == tenant_id:
                return Whose(tenant=tenant_id, slug=record.slug, partner_slug=record.partner or "")
        return Whose(tenant=tenant_id)

    def _living_one(self, tenant_id: str, tenant: Tenant) -> Whose:
        """Until the spec is in place it is done for whoever changed it; what is repaired later the operator does."""
        new = tenant.status.observed_generation != tenant.metadata.generation
        by = tenant.annotation(ANNOTATION_CHANGED_BY) if new and not tenant.metadata.deletion_timestamp else None
        partner = tenant.spec.partner_ref.name if tenant.spec.partner_ref else ""
        return Whose(tenant=tenant_id, slug=tenant.name, partner_slug=partner, actor=Actor(by) if by else OPERATOR)

    def _known(self, tenant: Tenant) -> KnownTenant:
        status = tenant.status
        mail = [domain.name for domain in status.mail.domains] if status.mail else []
        files = [space.id for space in status.files.spaces if space.id] if status.files else []
        return KnownTenant(
            tenant_id=self.id_of(tenant),
            slug=tenant.name,
            partner_slug=tenant.spec.partner_ref.name if tenant.spec.partner_ref else "",
            domains=tuple(dict.fromkeys([*tenant.spec.domains, *mail])),
            drives=tuple(files),
        )


def _kept(record: Record) -> KnownTenant:
    return KnownTenant(
        tenant_id=record.tenant_id,
        slug=record.slug,
        partner_slug=record.partner or "",
        domains=record.as_built.domains,
        drives=tuple(record.as_built.spaces.values()),
    )


class Journalist:
    """Makes events of it and offers them to the log."""

    def __init__(self, offer: Callable[[Event], None], registry: Registry, now: Callable[[], str]) -> None:
        self._offer, self._registry, self._now = offer, registry, now

    def seen(self, before: Seen | None, now: Seen) -> None:
        """The watch told of a version of a Tenant."""
        tenant = now.outline
        whose = Whose(
            tenant=self._registry.note(tenant),
            slug=tenant.name,
            partner_slug=tenant.spec.partner_ref.name if tenant.spec.partner_ref else "",
        )
        event = spec_changed(_version(before) if before else None, _version(now), whose, time=self._now())
        if event is not None:
            self._offer(event)

    def id_of(self, tenant: Tenant) -> str:
        """Its tenantId."""
        return self._registry.id_of(tenant)

    def told(self, tenant_id: str, notice: Notice) -> None:
        """Something was told about a tenant."""
        self._offer(
            act(
                f"tenant.{snake(notice.reason)}",
                ext=once(),
                now=self._now(),
                whose=self._registry.whose(tenant_id),
                resource="tenant",
                data={"warning": notice.warning},
            )
        )

    def proved(self, tenant_id: str, before: SuspensionStatus | None, after: SuspensionStatus | None) -> None:
        """What a lock's receipts say now, where that is news."""
        if after is None or not after.receipts or (before is not None and before.receipts == after.receipts):
            return
        results = {receipt.system: receipt.result for receipt in after.receipts}
        self._offer(
            act(
                "tenant.lock_proof",
                ext=once(),
                now=self._now(),
                whose=self._registry.whose(tenant_id),
                resource="tenant",
                data={**results, "source": after.source or "Spec"},
            )
        )


def _version(seen: Seen) -> Version:
    raw, metadata = seen.raw, seen.raw["metadata"]
    return Version(
        kind="tenant",
        name=str(metadata["name"]),
        uid=seen.uid,
        generation=int(metadata.get("generation", 1)),
        spec=raw.get("spec") or {},
        phase=str((raw.get("status") or {}).get("phase") or ""),
        deleted=bool(metadata.get("deletionTimestamp")),
        changed_by=str((metadata.get("annotations") or {}).get(ANNOTATION_CHANGED_BY) or ""),
    )
