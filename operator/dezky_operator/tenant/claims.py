"""Who owns a mail domain (design 6, Domains). Pure.

A domain belongs to the tenant whose mark is on the mail server's Domain object, else to the retained tenant whose
record lists it, else to the oldest of the tenants that ask for it. Nothing is ever taken from a living or retained one.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dezky_operator.tenant.record import Record

PLATFORM = "platform"
"""In the place of a tenant id, in the marks of what is nobody's own."""


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
    remedy: str
    """What would free it, for a person, as the end of a sentence: where to do what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """The domains of one spec, divided. Both keep the order of the spec."""

    owned: tuple[str, ...]
    conflicts: tuple[DomainConflict, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """Everything that decides, beyond the domain itself."""

    me: Claim
    installation_id: str
    others: tuple[Claim, ...]
    records: tuple[Record, ...]
    marks: Mapping[str, str | None]
    held: frozenset[str]
    force: bool


def ownership(
    me: Claim,
    *,
    installation_id: str,
    others: Iterable[Claim],
    records: Iterable[Record],
    marks: Mapping[str, str | None],
    held: frozenset[str] = frozenset(),
    force: bool = False,
) -> Ownership:
    """Divide the domains of ``me``.

    Args:
        me: the Tenant that asks.
        installation_id: ours.
        others: the other Tenants that nobody deleted.
        records: those kept of tenants that are gone.
        marks: the mark of every Domain object that exists, None where it has none.
        held: marks of living and retained tenants, also of those being deleted: not even ``force`` takes from them.
        force: `spec.adoption: Force`: what a tenant of this installation left that is neither may be taken.
    """
    scene = _Scene(
        me=me,
        installation_id=installation_id,
        others=tuple(others),
        records=tuple(record for record in records if record.standing and record.tenant_id != str(me.tenant_id)),
        marks=marks,
        held=held,
        force=force,
    )
    conflicts = {domain: _conflict(domain, scene) for domain in me.domains}
    return Ownership(
        owned=tuple(domain for domain in me.domains if conflicts[domain] is None),
        conflicts=tuple(found for found in conflicts.values() if found is not None),
    )


def _conflict(domain: str, scene: _Scene) -> DomainConflict | None:
    """Whose ``domain`` is, when it is not ours: by its mark, by a record, by the age of the claims."""
    marked = tenant_of_mark(scene.marks.get(domain))
    if marked == (scene.installation_id, str(scene.me.tenant_id)):
        return None
    if marked is not None and (found := _by_mark(domain, marked, scene)):
        return found
    for record in scene.records:
        if domain in record.as_built.domains:
            return _retained(domain, record)
    rivals = [other for other in scene.others if domain in other.domains and other.tenant_id != scene.me.tenant_id]
    first = min((scene.me, *rivals), key=lambda claim: claim.rank)
    return None if first is scene.me else _living(domain, first, made=False)


def _by_mark(domain: str, marked: tuple[str, str], scene: _Scene) -> DomainConflict | None:
    """Whose the mark is; None when its tenant is nowhere any more and we may take what it left."""
    installation, tenant_id = marked
    if tenant_id == PLATFORM:
        remedy = "give the mail server another default domain"
        return DomainConflict(domain=domain, owner="the platform: it is the mail server's own domain", remedy=remedy)
    if installation != scene.installation_id:
        remedy = f"remove the Domain object {domain} from the mail server, where that installation made it"
        return DomainConflict(domain=domain, owner="a tenant of another installation", remedy=remedy)
    for claim in scene.others:
        if str(claim.tenant_id) == tenant_id:
            return _living(domain, claim, made=True)
    for record in scene.records:
        if record.tenant_id == tenant_id:
            return _retained(domain, record)
    is_held = any(mark.endswith(f":{tenant_id}") for mark in scene.held)
    if scene.force and not is_held:
        return None
    remedy = (
        "wait until that tenant is gone" if is_held else "set spec.adoption: Force here, as nothing else is left of it"
    )
    return DomainConflict(domain=domain, owner=f"the tenant with id {tenant_id}", remedy=remedy)


def _living(domain: str, owner: Claim, *, made: bool) -> DomainConflict:
    """Another Tenant has it. What was made for it and is no longer listed is detached: kept until a person confirms."""
    steps = [f"remove it from spec.domains of tenant {owner.slug}"] if domain in owner.domains else []
    if made:
        confirm = f"dezky.eu/confirm-detach={domain}"
        steps.append(f"annotate tenant {owner.slug} with {confirm}, which destroys its mailboxes there")
    return DomainConflict(domain=domain, owner=f"tenant {owner.slug}", remedy=", then ".join(steps))


def _retained(domain: str, record: Record) -> DomainConflict:
    remedy = f"purge the retained tenant {record.slug} first (its tombstone dezky-tombstone-{record.slug})"
    return DomainConflict(domain=domain, owner=f"the retained tenant {record.slug}", remedy=remedy)


def tenant_of_mark(mark: str | None) -> tuple[str, str] | None:
    """(installation id, tenant id) of an ownership mark; None when ``mark`` is not one of this product."""
    parts = (mark or "").split(":")
    if len(parts) < 3 or parts[0] != "dezky":
        return None
    return parts[1], parts[2]
