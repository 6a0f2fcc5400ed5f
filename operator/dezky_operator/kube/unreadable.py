"""Tenants that can not be understood: what is certain about them all the same. Pure.

They live, so what is theirs must not be given to others, and a person must be able to delete them. Such objects come
with a schema that was replaced under them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from dezky_operator.crd.tenant import (
    ANNOTATION_PAUSED,
    ANNOTATION_PLAN_ONLY,
    Metadata,
    Tenant,
    TenantSpec,
    TenantStatus,
)
from dezky_operator.integrations.intent import tenant_id_of
from dezky_operator.tenant.credentials import secret_name
from dezky_operator.tenant.intent import known_domains
from dezky_operator.tenant.outcome import Notice
from dezky_operator.tenant.record import AsBuilt, Record, RecordState


def outline(raw: Mapping[str, Any]) -> Tenant:
    """The Tenant in ``raw`` as far as it can be understood: whose it is, and the domains it asks for."""
    metadata, spec = raw["metadata"], _mapping(raw.get("spec"))
    return Tenant(
        metadata=Metadata(
            name=metadata["name"],
            uid=metadata["uid"],
            creation_timestamp=metadata.get("creationTimestamp") or "",
            deletion_timestamp=metadata.get("deletionTimestamp"),
            finalizers=tuple(metadata.get("finalizers") or ()),
            annotations=dict(metadata.get("annotations") or {}),
        ),
        spec=TenantSpec(display_name=metadata["name"], domains=_texts(spec.get("domains"))),
        status=_status(raw.get("status")),
    )


def may_go(tenant: Tenant) -> bool:
    """Whether its deletion was asked for and nobody holds it up: `paused` and `plan-only` do."""
    held_up = tenant.annotation(ANNOTATION_PAUSED) or tenant.annotation(ANNOTATION_PLAN_ONLY)
    return tenant.metadata.deletion_timestamp is not None and not held_up


def retained(tenant: Tenant, spec: object, known: Record | None, *, installation_id: str) -> Record | None:
    """What to keep of a deleted one; None when its slug is an earlier tenant's, so that it never owned anything."""
    own = str(tenant_id_of(installation_id, tenant.metadata.uid))
    if known is not None:
        ours = known.tenant_id == own or known.restored_uid == tenant.metadata.uid
        changes = {"state": RecordState.RETAINED, "deleted_at": tenant.metadata.deletion_timestamp}
        return msgspec.structs.replace(known, **changes) if ours else None
    files = tenant.status.files
    return Record(
        tenant_id=own,
        slug=tenant.name,
        state=RecordState.RETAINED,
        spec={**_mapping(spec), "domains": list(tenant.spec.domains)},
        created_at=tenant.metadata.creation_timestamp,
        deleted_at=tenant.metadata.deletion_timestamp,
        as_built=AsBuilt(
            domains=known_domains(tenant),
            spaces={space.name: space.id or "" for space in files.spaces} if files else {},
            secret=secret_name(tenant.name),
        ),
    )


def farewell(record: Record) -> Notice:
    """What is told when it goes."""
    return Notice(
        reason="Retained",
        message=f"Tenant {record.slug} could not be understood, so nothing outside was changed; the record "
        f"dezky-tombstone-{record.slug} keeps the name.",
        warning=True,
    )


def _status(raw: object) -> TenantStatus:
    try:
        return msgspec.convert(raw or {}, TenantStatus)
    except msgspec.ValidationError:
        return TenantStatus()


def _mapping(raw: object) -> dict[str, Any]:
    return dict(raw) if isinstance(raw, Mapping) else {}


def _texts(raw: object) -> tuple[str, ...]:
    return tuple(item for item in raw if isinstance(item, str)) if isinstance(raw, list) else ()
