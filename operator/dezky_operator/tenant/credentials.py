"""The tenant's Secret: what applications and the first administrator need to begin (design 6, Secrets). Pure.

`dezky-tenant-<slug>` holds the application's client id and secret and, until the first sign-in, the administrator's
recovery link. The link is made once; `dezky.eu/renew-recovery-link` with a new value makes another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from dezky_operator.integrations.steps import Plan, Ref, Step, System, Value, Verb, step_key

LINK_LIFETIME = timedelta(hours=72)
LINK = "recovery-link"
LINK_EXPIRES = "recovery-link-expires-at"
LINK_ROUND = "recovery-link-round"
"""Which link this is: the first, or the one that a value of the annotation asked for. Outlives the link."""
FIRST_ROUND = "first"
ASKED_ROUND = "asked:"
"""Before the annotation's value, which may be any text, also ``first`` or none at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSecret:
    """The Secret as it is. ``tenant_id`` is its label; None when somebody else made it."""

    name: str
    tenant_id: str | None
    data: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What the Secret must say. ``client_secret`` is a Ref while the provider does not exist yet.

    Attributes:
        administered: the tenant has an administrator of ours who can be given a link.
        signed_in: that administrator has signed in at least once.
        renew: the value of `dezky.eu/renew-recovery-link`, None without it.
    """

    slug: str
    tenant_id: str
    issuer: str
    client_id: str
    client_secret: str | Ref = field(repr=False)
    administered: bool
    signed_in: bool
    renew: str | None = None


def secret_name(slug: str) -> str:
    """The name of a tenant's Secret."""
    return f"dezky-tenant-{slug}"


def link_due(access: Access, kept: KeptSecret | None) -> bool:
    """Whether a recovery link has to be made now."""
    if not access.administered:
        return False
    made = kept.data.get(LINK_ROUND) if kept else None
    if access.renew is not None:
        return made != _round(access)
    return made is None and not access.signed_in


def _round(access: Access) -> str:
    return FIRST_ROUND if access.renew is None else f"{ASKED_ROUND}{access.renew}"


def plan(access: Access, kept: KeptSecret | None, *, now: datetime) -> Plan:
    """What has to be written. ``now`` only dates a link that is made with this plan."""
    due = link_due(access, kept)
    wanted: dict[str, Value] = {
        "client-id": access.client_id,
        "client-secret": access.client_secret,
        "issuer": access.issuer,
    }
    if due:
        wanted[LINK] = Ref(System.AUTHENTIK, "recovery-link", "admin", "link")
        wanted[LINK_EXPIRES] = (now + LINK_LIFETIME).strftime("%Y-%m-%dT%H:%M:%SZ")
        wanted[LINK_ROUND] = _round(access)
    elif kept and LINK in kept.data and _spent(access, kept, now):
        wanted |= {LINK: None, LINK_EXPIRES: None}
    changed = {key: value for key, value in wanted.items() if kept is None or kept.data.get(key) != value}
    if not changed:
        return Plan()
    # A link that was asked for, or is spent, is an event; the other fields differ only by another hand.
    asked = (due and access.renew is not None) or changed.keys() <= {LINK, LINK_EXPIRES}
    return Plan((replace(_step(access, changed, exists=kept is not None), asked=asked),))


def _spent(access: Access, kept: KeptSecret, now: datetime) -> bool:
    """The first link with the first sign-in; a later one, for somebody who signed in before, with its time."""
    if kept.data.get(LINK_ROUND) == FIRST_ROUND and access.signed_in:
        return True
    return kept.data.get(LINK_EXPIRES, "") < now.strftime("%Y-%m-%dT%H:%M:%SZ")


def removal(slug: str, tenant_id: str) -> Step:
    """The end of a purge: the Secret goes last, and only if it is still this tenant's."""
    return Step(
        system=System.KUBERNETES,
        kind="secret",
        key="tenant",
        verb=Verb.DELETE,
        name=secret_name(slug),
        target=secret_name(slug),
        body={"tenantId": tenant_id},
        reason="The tenant is purged; nothing needs its credentials any more.",
    )


def _step(access: Access, changed: Mapping[str, Value], *, exists: bool) -> Step:
    name = secret_name(access.slug)
    body: dict[str, Value] = {"slug": access.slug, "tenantId": access.tenant_id, "data": dict(changed)}
    return Step(
        system=System.KUBERNETES,
        kind="secret",
        key="tenant",
        verb=Verb.UPDATE if exists else Verb.CREATE,
        name=name,
        target=name if exists else None,
        body=body,
        fields=tuple(sorted(changed)),
        # Without its bindings the application is open to everybody who has an account (facts/authentik.md 10).
        after=(step_key(System.AUTHENTIK, "binding", "users"), step_key(System.AUTHENTIK, "binding", "deny")),
        reason="Applications and the first administrator find their way in here.",
    )
