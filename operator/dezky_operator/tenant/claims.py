"""Who owns a mail domain (design 6, Domains). Pure.

A domain belongs to the tenant whose mark is on the mail server's Domain object, else to the retained tenant whose
record lists it, else to the oldest of the tenants that ask for it. Nothing is ever taken from a living or retained one.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dezky_operator.tenant.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A living Tenant and the domains in its spec. ``created`` is RFC 3339 text of the API server (to the second)."""

    slug: str
    uid: str
    created: str
    tenant_id: uuid.UUID
    domains: tuple[str, ...]

    @property
    def rank(self) -> tuple[str, str]:
        """The lowest wins. Two tenants of one second are told apart by uid: arbitrary, but the same for everybody."""
        return (self.created, self.uid)


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainConflict:
    """A domain of the spec that is another's."""

    domain: str
    owner: str
    """For a person: ``tenant acme``, ``the retained tenant acme``, ``a tenant of another installation``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """The domains of one spec, divided. Both keep the order of the spec."""

    owned: tuple[str, ...]
    conflicts: tuple[DomainConflict, ...]


def ownership(
    me: Claim,
    *,
    installation_id: str,
    others: Iterable[Claim],
    records: Iterable[Record],
    marks: Mapping[str, str | None],
) -> Ownership:
    """Divide the domains of ``me``. ``marks``: the mark of every Domain object that exists, None where it has none."""
    others = tuple(others)
    records = tuple(record for record in records if record.standing and record.tenant_id != str(me.tenant_id))
    owned, conflicts = [], []
    for domain in me.domains:
        owner = _owner(domain, me, installation_id, others, records, marks)
        if owner is None:
            owned.append(domain)
        else:
            conflicts.append(DomainConflict(domain=domain, owner=owner))
    return Ownership(owned=tuple(owned), conflicts=tuple(conflicts))


def _owner(
    domain: str,
    me: Claim,
    installation_id: str,
    others: tuple[Claim, ...],
    records: tuple[Record, ...],
    marks: Mapping[str, str | None],
) -> str | None:
    """The other owner of ``domain``, for a person; None when it is ours."""
    marked = tenant_of_mark(marks.get(domain))
    if marked is not None:
        if marked == (installation_id, str(me.tenant_id)):
            return None
        return _named(marked, installation_id, others, records)
    for record in records:
        if domain in record.as_built.domains:
            return f"the retained tenant {record.slug}"
    rivals = [claim for claim in others if domain in claim.domains and claim.tenant_id != me.tenant_id]
    first = min((me, *rivals), key=lambda claim: claim.rank)
    return None if first is me else f"tenant {first.slug}"


def _named(
    marked: tuple[str, str], installation_id: str, others: tuple[Claim, ...], records: tuple[Record, ...]
) -> str:
    installation, tenant_id = marked
    if installation != installation_id:
        return "a tenant of another installation"
    for claim in others:
        if str(claim.tenant_id) == tenant_id:
            return f"tenant {claim.slug}"
    for record in records:
        if record.tenant_id == tenant_id:
            return f"the retained tenant {record.slug}"
    return f"the tenant with id {tenant_id}"


def tenant_of_mark(mark: str | None) -> tuple[str, str] | None:
    """(installation id, tenant id) of an ownership mark; None when ``mark`` is not one of this product."""
    parts = (mark or "").split(":")
    if len(parts) < 3 or parts[0] != "dezky":
        return None
    return parts[1], parts[2]
