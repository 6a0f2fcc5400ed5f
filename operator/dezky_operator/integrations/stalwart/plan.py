"""The difference between what Stalwart has and what it must have, as steps. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.ownership import owner_of
from dezky_operator.integrations.stalwart.desired import KEYS, Desired
from dezky_operator.integrations.stalwart.duplicates import kept_keys, surplus_keys, surplus_roles
from dezky_operator.integrations.stalwart.graph import Found, changed, foreign, stalwart_step
from dezky_operator.integrations.stalwart.hold import holds
from dezky_operator.integrations.stalwart.mailboxes import mailboxes, people_who_left
from dezky_operator.integrations.stalwart.model import DISABLE_LOGIN, Domain
from dezky_operator.integrations.stalwart.observe import Observed, ObservedDomain, domain_mark, role_mark
from dezky_operator.integrations.stalwart.removal import purge, removal
from dezky_operator.integrations.steps import Obstacle, Plan, Ref, Step, System, Value, Verb


def plan(intent: TenantIntent, user_roles: tuple[str, ...], desired: Desired, observed: Observed) -> Plan:
    """Everything still to do, in a fixed order. ``user_roles`` are the roles of an ordinary user."""
    if not desired.exists:
        found = list(purge(intent, observed))
    elif intent.locks_only:
        found = list(_locks(intent, user_roles, desired, observed))
    else:
        found = list(_keep(intent, user_roles, desired, observed))
    return Plan(
        tuple(item for item in found if isinstance(item, Step)),
        tuple(item for item in found if isinstance(item, Obstacle)),
    )


def _locks(intent: TenantIntent, user_roles: tuple[str, ...], desired: Desired, observed: Observed) -> Iterator[Found]:
    """The role refuses every log-in, every mailbox has that role, and mail is held where that is wanted."""
    for step in _roles(intent, user_roles, desired, observed):
        yield replace(step, privileged=False)
    yield from _unlocked_mailboxes(intent, observed)
    yield from holds(intent, observed)


def _unlocked_mailboxes(intent: TenantIntent, observed: Observed) -> Iterator[Obstacle]:
    """An account in a domain of ours that has not our role would go on logging in; whose it is a person must say."""
    for name, found in sorted(observed.owned(intent).items()):
        for account in found.accounts:
            if account.type == "User" and not observed.is_ours(account):
                yield foreign(
                    f"Stalwart's account {account.name}@{name} has not this tenant's role, so it is not locked. "
                    f"Give it the role {role_mark(intent)}, or remove it."
                )
            elif account.type == "User" and account.permissions.type == "Replace":
                yield foreign(
                    f"Stalwart's account {account.name}@{name} has permissions of its own in place of its role's, so "
                    "it is not locked. Set its permissions to Inherit, or remove it."
                )


def _keep(intent: TenantIntent, user_roles: tuple[str, ...], desired: Desired, observed: Observed) -> Iterator[Found]:
    yield from _roles(intent, user_roles, desired, observed)
    yield from surplus_roles(intent, observed)
    for name in desired.domains:
        yield from _domain(intent, desired, name, observed)
    yield from mailboxes(intent, desired, observed)
    yield from people_who_left(intent, desired, observed)
    detached = {name: found for name, found in sorted(observed.owned(intent).items()) if name in desired.removed}
    for item in removal(intent, observed, detached, "Detached, and its removal was confirmed."):
        yield replace(item, asked=True) if isinstance(item, Step) else item
    yield from holds(intent, observed)


# -- roles ------------------------------------------------------------------------------


def _roles(intent: TenantIntent, user_roles: tuple[str, ...], desired: Desired, observed: Observed) -> Iterator[Step]:
    """One is enough; a second one may have mailboxes too, so it is kept as the first is."""
    wanted: dict[str, Value] = {
        "roleIds": dict.fromkeys(sorted(user_roles), True),
        "enabledPermissions": {},
        "disabledPermissions": DISABLE_LOGIN if desired.locked else {},
    }
    name = f"role of {intent.slug}"
    if not observed.roles:
        body: dict[str, Value] = {"description": role_mark(intent), **wanted}
        yield stalwart_step(
            "role", "main", Verb.CREATE, name=name, reason="What the tenant's mailboxes may do.", body=body
        )
    for number, found in enumerate(observed.roles):
        actual: dict[str, Value] = {
            "roleIds": found.role_ids,
            "enabledPermissions": found.enabled_permissions,
            "disabledPermissions": found.disabled_permissions,
        }
        changes = {key: value for key, value in wanted.items() if actual[key] != value}
        if changes:
            yield changed("role", f"main-{number + 1}" if number else "main", name, found.id, changes)


# -- domains and keys ----------------------------------------------------------------------


def _domain(intent: TenantIntent, desired: Desired, name: str, observed: Observed) -> Iterator[Found]:
    found = observed.domains.get(name)
    wanted: dict[str, Value] = {
        "description": domain_mark(intent),
        "isEnabled": True,
        "allowRelaying": False,
        # Automatic keys sign from their first second, before anybody can have published them.
        "dkimManagement": {"@type": "Manual"},
    }
    if found is None:
        more: dict[str, Value] = {
            "name": name,
            "aliases": {},
            "certificateManagement": {"@type": "Manual"},
            "dnsManagement": {"@type": "Manual"},
            "subAddressing": {"@type": "Enabled"},
            "reportAddressUri": f"mailto:postmaster@{name}",
        }
        reason = "Mail to this domain is taken in."
        yield stalwart_step("domain", name, Verb.CREATE, name=name, reason=reason, body={**more, **wanted})
        yield from _keys(name, Ref(System.STALWART, "domain", name), frozenset(), None, desired)
        return
    domain = found.domain
    if (why := _not_ours(intent, domain, observed)) is not None:
        yield foreign(why)
        return
    actual: dict[str, Value] = {
        "description": domain.description,
        "isEnabled": domain.is_enabled,
        "allowRelaying": domain.allow_relaying,
        "dkimManagement": {"@type": domain.dkim_management.type},
    }
    changes = {key: value for key, value in wanted.items() if actual[key] != value}
    if domain.catch_all_address:
        # It would hide from senders that an address does not exist, and may lead out of the tenant.
        changes["catchAllAddress"] = None
    if changes:
        yield changed("domain", name, name, domain.id, changes)
    yield from _keys(name, domain.id, {key.selector for key in found.keys}, found, desired)
    yield from surplus_keys(name, found)


def _not_ours(intent: TenantIntent, domain: Domain, observed: Observed) -> str | None:
    """Why a domain of this name that is there may not be taken."""
    owner = owner_of(domain.description, domain_mark(intent), intent)
    if observed.is_platforms(domain) and not owner.ours:
        return (
            f"Stalwart's domain {domain.name} is the server's own default domain, so it is never a tenant's. "
            "Remove it from spec.domains, or give the server another default domain."
        )
    if owner.takeable(intent.adoption):
        return None
    way_out = owner.way_out(intent.adoption)
    return f"Stalwart's domain {domain.name} exists and {owner.sentence}. It is not touched. {way_out}"


def _keys(
    domain: str, domain_id: str | Ref, have: frozenset[str] | set[str], found: ObservedDomain | None, desired: Desired
) -> Iterator[Found]:
    for selector, kind in KEYS:
        key, name = f"{domain}/{selector}", f"{selector}._domainkey.{domain}"
        if selector not in have:
            body: dict[str, Value] = {"@type": kind, "domainId": domain_id, "selector": selector, "stage": "pending"}
            yield stalwart_step(
                "dkim", key, Verb.CREATE, name=name, reason="Mail of this domain is signed with it.", body=body
            )
    for existing in kept_keys(found) if found else ():
        waiting = existing.stage == "pending" and (domain, existing.selector) in desired.published_keys
        if waiting and existing.selector in dict(KEYS):
            yield stalwart_step(
                "dkim",
                f"{domain}/{existing.selector}",
                Verb.UPDATE,
                name=f"{existing.selector}._domainkey.{domain}",
                target=existing.id,
                body={"stage": "active"},
                fields=("stage",),
                reason="Its record was seen in DNS, so it may sign.",
                asked=True,
            )
