"""From a deleted Tenant to its tombstone, and what a tombstone says about itself. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from dezky_operator.crd.conditions import Reason
from dezky_operator.crd.tenant import Tenant
from dezky_operator.tenant import credentials
from dezky_operator.tenant.identity import Identity
from dezky_operator.tenant.intent import known_domains
from dezky_operator.tenant.outcome import Notice
from dezky_operator.tenant.record import AsBuilt, Record, RecordState
from dezky_operator.tenant.suspension import text_of, time_of


def tombstone(
    tenant: Tenant, who: Identity, known: Record | None, *, confirmed: bool, held: str | None
) -> tuple[Record, Notice]:
    """The tombstone of a Tenant that is being deleted, and what to tell about it.

    ``known`` is an earlier record of this slug. ``confirmed``: everything is to be destroyed. ``held``: why nothing may
    happen before a person releases it.
    """
    state = _state(tenant, held)
    record = Record(
        tenant_id=str(who.tenant_id),
        slug=tenant.name,
        state=state,
        spec=spec_of(tenant),
        created_at=tenant.metadata.creation_timestamp,
        deleted_at=tenant.metadata.deletion_timestamp,
        purge_at=None if state is RecordState.RETAINED else _purge_at(tenant),
        as_built=_as_built(tenant, known),
        suspension=tenant.status.suspension or (known.suspension if known else None),
        purge_confirmed=confirmed,
        restored_uid=tenant.metadata.uid,
    )
    return record, _told(tenant, record, held)


def empty(tenant: Tenant, who: Identity) -> Record:
    """The record of an earlier tenant whose own is lost: that it is the same is all that is known."""
    return Record(
        tenant_id=str(who.tenant_id),
        slug=tenant.name,
        state=RecordState.RESTORED,
        spec=spec_of(tenant),
        created_at=tenant.metadata.creation_timestamp,
    )


def _state(tenant: Tenant, held: str | None) -> RecordState:
    if tenant.spec.deletion_policy == "Retain":
        return RecordState.RETAINED
    return RecordState.HELD if held else RecordState.LOCKING


def _purge_at(tenant: Tenant) -> str | None:
    """When the retention is over; None keeps it until a person purges it."""
    if tenant.spec.retention_days == 0 or tenant.metadata.deletion_timestamp is None:
        return None
    return text_of(time_of(tenant.metadata.deletion_timestamp) + timedelta(days=tenant.spec.retention_days))


def _as_built(tenant: Tenant, known: Record | None) -> AsBuilt:
    files = tenant.status.files
    earlier = known.as_built.spaces if known and files is None else {}
    return AsBuilt(
        domains=known_domains(tenant, known),
        spaces={
            **earlier,
            **({space.name: space.id or "" for space in files.spaces} if files else {}),
            **{found.name: found.id or "" for found in tenant.status.detached if found.kind == "Space"},
        },
        people=known.as_built.people if known else {},
        secret=credentials.secret_name(tenant.name),
    )


def spec_of(tenant: Tenant) -> dict[str, Any]:
    """The spec as a record keeps it."""
    return dict(msgspec.to_builtins(tenant.spec))


def _told(tenant: Tenant, record: Record, held: str | None) -> Notice:
    where = f"the tombstone dezky-tombstone-{record.slug} keeps its name"
    if record.state is RecordState.RETAINED:
        return Notice(reason="Retained", message=f"Nothing outside was changed; {where}.", warning=True)
    if record.state is RecordState.HELD:
        return Notice(reason="DeletionHeld", message=f"{held} Nothing is locked; {where}.", warning=True)
    if record.purge_confirmed:
        message = f"Everything of tenant {record.slug} is locked now and destroyed as soon as its events are kept."
        return Notice(reason="Purging", message=message, warning=True)
    until = f"until {record.purge_at}" if record.purge_at else "until a person purges it"
    unconfirmed = (
        f"The purge was not confirmed by dezky.eu/confirm-purge: {record.slug}, so it is a soft delete. "
        if tenant.spec.deletion_policy == "Purge"
        else ""
    )
    message = f"{unconfirmed}Nobody gets in any more; everything is kept {until}, and {where}."
    return Notice(reason="SoftDeleted", message=message, warning=True)


def progress(record: Record) -> tuple[Reason, str]:
    """How far a confirmed purge is, for the Tenant that waits for it."""
    if record.state is RecordState.HELD:
        return Reason.DELETING, (
            f"Too many tenants were deleted at once, so nothing is locked or destroyed. Annotate ConfigMap "
            f"dezky-tombstone-{record.slug} with dezky.eu/release-deletions=true to go on."
        )
    if record.blocked is not None:
        return Reason(record.blocked.reason), f"The purge goes on. {record.blocked.message}"
    if record.state is RecordState.LOCKED:
        return Reason.WAITING_FOR_AUDIT, "Everything is locked. It is destroyed once its audit events are kept."
    if record.state is RecordState.PURGING:
        return Reason.DELETING, "Everything outside is being destroyed."
    return Reason.DELETING, "Everything is being locked before it is destroyed."
