"""What a tenant is meant to be, as the three integrations need to know it.

Built by :mod:`dezky_operator.tenant.intent` from the resource, its status and the claims of other tenants. Pure values:
the same intent gives the same desired state.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """The desired phase. Every integration can say what must exist in each."""

    ACTIVE = "Active"
    SUSPENDED = "Suspended"
    DELETED = "Deleted"
    PURGED = "Purged"


class Adoption(StrEnum):
    """What may be done with an object that has our name but not our mark."""

    NEVER = "Never"
    IF_UNOWNED = "IfUnowned"
    """Take it when it carries no mark at all."""
    FORCE = "Force"
    """Take it even from a mark of another tenant, unless that one is living or retained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """The first administrator. ``username`` is the lower-case e-mail: Authentik tells ``Alice@`` from ``alice@``."""

    username: str
    email: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Brand:
    """How the tenant's own sign-in page looks. ``host`` is `<slug>.<baseDomain>`."""

    host: str
    title: str
    logo_url: str | None = None
    primary_color: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """One file space. ``id`` is derived from tenantId and key, so a crash finds its own space again.

    ``quota`` in bytes, 0 = unlimited. ``alias`` is the drive alias (`project/dezky-<slug>[_<key>]`).
    """

    key: str
    id: uuid.UUID
    name: str
    alias: str
    quota: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A user in the tenant's group, as Authentik tells it. ``username`` is kept as it is there."""

    pk: int
    username: str
    name: str
    email: str
    is_active: bool
    signed_in: bool
    """Whether the user has ever signed in (``last_login`` is set)."""
    own: bool = False
    """Made by the operator for this tenant: goes with it."""
    elsewhere: bool = False
    """Also in a group of another tenant that is not deleted: what is personal of theirs is never locked."""
    works_elsewhere: bool = False
    """That other tenant is not suspended either: what a lock closed of theirs is opened again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantIntent:
    """Everything the integrations need to know of a tenant.

    Attributes:
        slug: `metadata.name`.
        tenant_id: the identity every mark and derived id comes from; survives a restore.
        installation_id: tells two installations that share a system apart.
        phase: what the tenant must be now.
        domains: mail domains this tenant may have objects for (owned, or claimed and verified), the primary first.
        known_domains: domains it had before, from status; those not in ``domains`` are detached.
        known_spaces: ids of spaces it had before, from status, by key; those not in ``spaces`` are detached.
        removable: names of detached domains and space keys a person confirmed for destruction.
        members: users of the tenant's group, or None when Authentik could not be asked: then no mailbox is touched
            except the administrator's.
        published_dkim: ``(domain, selector)`` whose record was seen in DNS.
        mailbox_quota: bytes per mailbox, 0 = unlimited.
        established: it was provisioned once. A locked phase then changes locks only; edits apply on resume.
        unlocking: something of it may still be locked by us; what carries our mark is looked for and unlocked.
        hold: mail to its domains is held now: senders are told to come again.
        hold_active: whether Stalwart is known to have loaded that; None when it is not known.
        disabled_drives: drive ids this operator disabled for a suspension (write-ahead list).
        reopens: a space that somebody else closed is opened again (driftPolicy Correct).
        canary: user name of the account that proves a lock; it is locked like everybody and counted nowhere.
        people: OCIS user ids of the tenant's own people by user name, as recorded when it was deleted; a purge ends
            them.
        living_marks: marks of other living or retained tenants; what carries one is never taken, not even by Force.
        present_marks: marks of other tenants that are not deleted.
        active_marks: marks of those among them that are not suspended either: their people keep their accounts.
        recovery_link_due: a recovery link has to be made now.
        recovery_link_asked: it is due because a person asked for another one, which also lets the administrator in.
        admin_signed_in: the administrator has signed in before. From then on membership is what people make of it:
            who is taken out of the tenant, or deleted, does not come back by itself.
    """

    slug: str
    tenant_id: uuid.UUID
    installation_id: str
    display_name: str
    phase: Phase = Phase.ACTIVE
    adoption: Adoption = Adoption.NEVER
    base_domain: str
    domains: tuple[str, ...] = ()
    known_domains: tuple[str, ...] = ()
    admin: Admin | None = None
    brand: Brand | None = None
    spaces: tuple[Space, ...] = ()
    known_spaces: tuple[tuple[str, str], ...] = ()
    removable: frozenset[str] = frozenset()
    mailbox_quota: int = 0
    members: tuple[Member, ...] | None = None
    published_dkim: frozenset[tuple[str, str]] = frozenset()
    established: bool = False
    unlocking: bool = False
    hold: bool = False
    hold_active: bool | None = False
    disabled_drives: tuple[str, ...] = ()
    reopens: bool = True
    canary: str | None = None
    people: tuple[tuple[str, str], ...] = ()
    living_marks: frozenset[str] = frozenset()
    present_marks: frozenset[str] = frozenset()
    active_marks: frozenset[str] = frozenset()
    recovery_link_due: bool = False
    recovery_link_asked: bool = False
    admin_signed_in: bool = False

    @property
    def locked(self) -> bool:
        """Whether nobody of the tenant may get in anywhere."""
        return self.phase in {Phase.SUSPENDED, Phase.DELETED}

    @property
    def locks_only(self) -> bool:
        """Whether locks are all that may change: an edit applies on resume, and a deleted tenant gets nothing new."""
        return self.locked and self.established

    def is_canary(self, username: str) -> bool:
        """Whether an account proves locks, and so is nobody. One of an earlier primary domain is one too."""
        local = (self.canary or "").partition("@")[0]
        return bool(local) and username.partition("@")[0].lower() == local

    @property
    def mark(self) -> str:
        """The ownership mark, in whatever field an object has for it. Roles of an object are a suffix (``:users``)."""
        return f"dezky:{self.installation_id}:{self.tenant_id}"

    @property
    def users_group(self) -> str:
        """The group of everybody in the tenant: one name in Authentik, in the claim and in OCIS, or nobody gets in."""
        return f"dezky-{self.slug}-users"

    @property
    def admins_group(self) -> str:
        """The group of the tenant's administrators."""
        return f"dezky-{self.slug}-admins"

    @property
    def application(self) -> str:
        """Slug of the tenant's own application, name of its provider and its client_id."""
        return f"dezky-{self.slug}"


def tenant_id_of(installation_id: str, uid: str) -> uuid.UUID:
    """The tenantId of a Tenant that restores nothing: known before the first external write (design §5)."""
    return uuid.uuid5(uuid.UUID(installation_id), uid)


def space_id_of(tenant_id: uuid.UUID, key: str) -> uuid.UUID:
    """The id of a tenant's space (facts/ocis.md 9: deterministic ids make create find-or-create)."""
    return uuid.uuid5(tenant_id, f"space/{key}")
