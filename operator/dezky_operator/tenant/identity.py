"""Which identity a Tenant has (design 5 and 6, Restore). Pure.

A slug used again must not hand one customer's mail to another: a Tenant takes an earlier identity only when it says so,
or when its first domain and its partner are the recorded ones.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from dezky_operator.integrations.intent import tenant_id_of
from dezky_operator.tenant.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What of a Tenant decides who it is.

    ``restore`` is the value of `dezky.eu/restore`, ``known_as`` the tenantId it was reconciled under before.
    """

    slug: str
    uid: str
    primary_domain: str | None
    partner: str | None
    restore: str | None
    known_as: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The Tenant's identity. ``restores``: it takes an earlier one now, to be recorded before anything else."""

    tenant_id: uuid.UUID
    restores: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The Tenant may not exist under this slug. The text is fit for a condition."""

    message: str


def identify(
    candidate: Candidate, *, installation_id: str, record: Record | None, held_by: Mapping[str, str]
) -> Identity | Refused:
    """The identity of ``candidate``. ``record`` is that of its slug; ``held_by`` maps tenant ids of living and retained
    tenants to their slugs.
    """
    own = tenant_id_of(installation_id, candidate.uid)
    if record is not None:
        return _with_record(candidate, own, record)
    if candidate.restore is None or candidate.known_as == str(own):
        return Identity(tenant_id=own)  # a tenant that lives already restores nothing
    return _restored(candidate, own, held_by)


def _with_record(candidate: Candidate, own: uuid.UUID, record: Record) -> Identity | Refused:
    recorded = uuid.UUID(record.tenant_id)
    deleting = record.restored_uid == candidate.uid and record.standing
    if not record.restorable and not deleting:
        return Refused(
            message=f"An earlier tenant {candidate.slug} ({record.tenant_id}) is being destroyed. Wait until its "
            f"tombstone dezky-tombstone-{candidate.slug} is gone; this Tenant then begins by itself."
        )
    if recorded == own or record.restored_uid == candidate.uid:
        return Identity(tenant_id=recorded)
    same_customer = (candidate.primary_domain, candidate.partner) == (record.primary_domain, record.partner)
    if candidate.restore == record.tenant_id or (same_customer and candidate.restore is None):
        return Identity(tenant_id=recorded, restores=True)
    return tombstone_exists(candidate.slug, record.tenant_id, record.purge_at)


def _restored(candidate: Candidate, own: uuid.UUID, held_by: Mapping[str, str]) -> Identity | Refused:
    """A restore without a record: the marks in the three systems are all that is left of the earlier tenant."""
    try:
        wanted = uuid.UUID(candidate.restore or "")
    except ValueError:
        return Refused(
            message=f"Annotation dezky.eu/restore is {candidate.restore!r}; expected the tenantId to restore, a UUID."
        )
    holder = held_by.get(str(wanted))
    if holder is not None and holder != candidate.slug:
        return Refused(
            message=f"Annotation dezky.eu/restore names {wanted}, which is tenant {holder}. "
            f"Correct the annotation, or apply the Tenant under the name {holder}."
        )
    return Identity(tenant_id=wanted, restores=wanted != own)


def tombstone_exists(slug: str, tenant_id: str, purge_at: str | None) -> Refused:
    """The refusal of a slug that an earlier tenant still holds."""
    until = f"until {purge_at}" if purge_at else "until it is purged"
    return Refused(
        message=f"An earlier tenant {slug} with tenantId {tenant_id} is kept {until}. This one has another first "
        f"domain or partner, or dezky.eu/restore names another one. To restore the earlier one, annotate "
        f"dezky.eu/restore={tenant_id}; for a new customer choose another name."
    )
