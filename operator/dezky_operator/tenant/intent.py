"""From a Tenant to what the integrations need to know of it. Pure."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from dezky_operator.config import Settings
from dezky_operator.crd.tenant import (
    ANNOTATION_CONFIRM_DETACH,
    MAIN_SPACE,
    SuspensionStatus,
    Tenant,
    quantity,
)
from dezky_operator.integrations.intent import (
    Admin,
    Adoption,
    Brand,
    Phase,
    Space,
    TenantIntent,
    space_id_of,
)
from dezky_operator.integrations.ocis.desired import alias_of, cleaned
from dezky_operator.tenant.record import Record
from dezky_operator.tenant.suspension import hold_active

CANARY_LOCAL = "dezky-probe"
ESTABLISHED = frozenset({"Active", "Suspended", "Deleting"})
"""Phases of a Tenant that was provisioned once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """The ownership marks of other tenants: living or retained; not deleted; neither deleted nor suspended."""

    held: frozenset[str] = frozenset()
    present: frozenset[str] = frozenset()
    active: frozenset[str] = frozenset()


def intent_of(  # noqa: PLR0913 - each is one independent fact, all by keyword
    tenant: Tenant,
    *,
    tenant_id: uuid.UUID,
    settings: Settings,
    phase: Phase,
    marks: Marks,
    suspension: SuspensionStatus | None = None,
    hold: bool = False,
    record: Record | None = None,
) -> TenantIntent:
    """The intent, still without domains, members and DNS: those are found out on the way.

    ``suspension`` is what is recorded of one, running or being undone. ``record`` is that of an earlier tenant this one
    restores: what it had and the spec leaves out is detached.
    """
    spec = tenant.spec
    return TenantIntent(
        slug=tenant.name,
        tenant_id=tenant_id,
        installation_id=str(settings.installation_id),
        display_name=spec.display_name,
        phase=phase,
        adoption=Adoption(spec.adoption),
        base_domain=settings.base_domain,
        known_domains=known_domains(tenant, record),
        admin=_admin(tenant),
        brand=_brand(tenant, settings),
        spaces=_spaces(tenant, tenant_id),
        known_spaces=_known_spaces(tenant, tenant_id, record),
        removable=_removable(tenant),
        mailbox_quota=quantity(spec.mail.mailbox_quota),
        established=record is not None or tenant.status.phase in ESTABLISHED,
        unlocking=phase is Phase.ACTIVE and suspension is not None,
        hold=hold,
        hold_active=hold_active(suspension.hold if suspension else None),
        disabled_drives=suspension.disabled_drive_ids if suspension else (),
        reopens=spec.drift_policy == "Correct",
        canary=canary_of(tenant),
        admin_signed_in=_admin_signed_in(tenant),
        people=tuple(sorted(record.as_built.people.items())) if record else (),
        living_marks=marks.held,
        present_marks=marks.present,
        active_marks=marks.active,
    )


def canary_of(tenant: Tenant) -> str | None:
    """The user name of the account that proves a lock."""
    return f"{CANARY_LOCAL}@{tenant.spec.domains[0]}" if tenant.spec.domains else None


def known_domains(tenant: Tenant, record: Record | None = None) -> tuple[str, ...]:
    """The domains the tenant has or had objects for, by its status and the record it restores."""
    status = tenant.status
    had = [domain.name for domain in status.mail.domains] if status.mail else []
    detached = [found.name for found in status.detached if found.kind == "Domain"]
    # The record tells only until the restored tenant was looked at: what was removed since must not come back.
    earlier = record.as_built.domains if record and status.mail is None else ()
    return tuple(dict.fromkeys([*had, *detached, *earlier]))


def _known_spaces(tenant: Tenant, tenant_id: uuid.UUID, record: Record | None) -> tuple[tuple[str, str], ...]:
    status = tenant.status
    had = [space.name for space in status.files.spaces] if status.files else []
    detached = [found.name for found in status.detached if found.kind == "Space"]
    earlier = record.as_built.spaces if record and status.files is None else ()
    keys = dict.fromkeys([*had, *detached, *earlier])
    # The ids are derived again, not read: an edited status must never lead to somebody else's space.
    return tuple((key, str(space_id_of(tenant_id, key))) for key in keys)


def _removable(tenant: Tenant) -> frozenset[str]:
    text = tenant.annotation(ANNOTATION_CONFIRM_DETACH) or ""
    return frozenset(name for name in (part.strip() for part in text.split(",")) if name)


def _admin(tenant: Tenant) -> Admin | None:
    admin = tenant.spec.admin
    if admin is None:
        return None
    # Authentik tells Anna@ from anna@: the user name is always in lower case.
    return Admin(username=admin.email.lower(), email=admin.email, name=admin.name or admin.email)


def _admin_signed_in(tenant: Tenant) -> bool:
    """Whether the administrator that the spec names now was seen to have signed in."""
    admin, seen = _admin(tenant), tenant.status.identity
    known = admin is not None and seen is not None and seen.admin_username == admin.username
    return known and bool(seen and seen.admin_signed_in)


def _brand(tenant: Tenant, settings: Settings) -> Brand | None:
    brand = tenant.spec.brand
    if brand is None:
        return None
    return Brand(
        host=f"{tenant.name}.{settings.base_domain}",
        title=brand.title or tenant.spec.display_name,
        logo_url=brand.logo_url,
        primary_color=brand.primary_color,
    )


def _spaces(tenant: Tenant, tenant_id: uuid.UUID) -> tuple[Space, ...]:
    """The main space has the customer's name; further ones add their own, so that a list of spaces reads well."""
    name = cleaned(tenant.spec.display_name)
    main = Space(
        key=MAIN_SPACE,
        id=space_id_of(tenant_id, MAIN_SPACE),
        name=name,
        alias=alias_of(tenant.name),
        quota=quantity(tenant.spec.files.quota),
    )
    further = (
        Space(
            key=space.name,
            id=space_id_of(tenant_id, space.name),
            name=cleaned(f"{name} {space.name}"),
            alias=alias_of(tenant.name, space.name),
            quota=quantity(space.quota),
        )
        for space in tenant.spec.files.spaces
    )
    return (main, *further)
