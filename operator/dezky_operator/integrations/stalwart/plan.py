"""The difference between what Stalwart has and what it must have, as steps. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.ownership import owner_of
from dezky_operator.integrations.stalwart.desired import KEYS, Desired, Mailbox
from dezky_operator.integrations.stalwart.model import DISABLE_LOGIN, Account, Role
from dezky_operator.integrations.stalwart.observe import (
    Observed,
    ObservedDomain,
    disabled_mark,
    domain_mark,
    role_mark,
)
from dezky_operator.integrations.steps import Obstacle, Plan, Ref, Step, System, Value, Verb

Found = Step | Obstacle
ROLE = Ref(System.STALWART, "role", "main")
DISABLED_ROLE = Ref(System.STALWART, "role", "disabled")


def plan(intent: TenantIntent, user_roles: tuple[str, ...], desired: Desired, observed: Observed) -> Plan:
    """Everything still to do, in a fixed order. ``user_roles`` are the roles of an ordinary user."""
    found = list(_purge(intent, observed) if not desired.exists else _keep(intent, user_roles, desired, observed))
    return Plan(
        tuple(item for item in found if isinstance(item, Step)),
        tuple(item for item in found if isinstance(item, Obstacle)),
    )


def _step(kind: str, key: str, verb: Verb, *, name: str, reason: str, **more: Any) -> Step:
    return Step(system=System.STALWART, kind=kind, key=key, verb=verb, name=name, reason=reason, **more)


def _keep(intent: TenantIntent, user_roles: tuple[str, ...], desired: Desired, observed: Observed) -> Iterator[Found]:
    yield from _role(intent, user_roles, desired, observed.role)
    for name in desired.domains:
        yield from _domain(intent, desired, name, observed.domains.get(name))
    yield from _mailboxes(intent, desired, observed)
    yield from _people_who_left(intent, desired, observed)
    for name in sorted(set(intent.known_domains) - set(desired.domains)):
        if name in intent.removable and name in observed.owned(intent):
            yield from _remove_domain(name, observed.domains[name], "Detached, and its removal was confirmed.")


# -- roles ------------------------------------------------------------------------------


def _role(intent: TenantIntent, user_roles: tuple[str, ...], desired: Desired, found: Role | None) -> Iterator[Found]:
    parents = dict.fromkeys(sorted(user_roles), True)
    name = f"role of {intent.slug}"
    disabled = DISABLE_LOGIN if desired.locked else {}
    if found is None:
        body: dict[str, Value] = {
            "description": role_mark(intent),
            "roleIds": parents,
            "enabledPermissions": {},
            "disabledPermissions": disabled,
        }
        yield _step("role", "main", Verb.CREATE, name=name, reason="What the tenant's mailboxes may do.", body=body)
        return
    changes: dict[str, Value] = {}
    if found.role_ids != parents:
        changes["roleIds"] = parents
    if found.enabled_permissions:
        changes["enabledPermissions"] = {}
    if found.disabled_permissions != disabled:
        changes["disabledPermissions"] = disabled
    if changes:
        yield _changed("role", "main", name, found.id, changes)


def _changed(kind: str, key: str, name: str, target: str, changes: dict[str, Value]) -> Step:
    return _step(
        kind,
        key,
        Verb.UPDATE,
        name=name,
        target=target,
        body=changes,
        fields=tuple(sorted(changes)),
        reason="Changed by another hand, or declared anew.",
    )


# -- domains and keys ----------------------------------------------------------------------


def _domain(intent: TenantIntent, desired: Desired, name: str, found: ObservedDomain | None) -> Iterator[Found]:
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
        yield _step("domain", name, Verb.CREATE, name=name, reason=reason, body={**more, **wanted})
        yield from _keys(name, Ref(System.STALWART, "domain", name), frozenset(), None, desired)
        return
    domain = found.domain
    owner = owner_of(domain.description, domain_mark(intent), intent)
    if not owner.takeable(intent.adoption):
        yield Obstacle(
            system=System.STALWART,
            reason="ForeignObject",
            message=f"Stalwart's domain {name} exists and {owner.sentence}. It is not touched. "
            f"{owner.way_out(intent.adoption)}",
        )
        return
    actual: dict[str, Value] = {
        "description": domain.description,
        "isEnabled": domain.is_enabled,
        "allowRelaying": domain.allow_relaying,
        "dkimManagement": {"@type": domain.dkim_management.type},
    }
    changes = {key: value for key, value in wanted.items() if actual[key] != value}
    if changes:
        yield _changed("domain", name, name, domain.id, changes)
    yield from _keys(name, domain.id, {key.selector for key in found.keys}, found, desired)


def _keys(
    domain: str, domain_id: str | Ref, have: frozenset[str] | set[str], found: ObservedDomain | None, desired: Desired
) -> Iterator[Found]:
    for selector, kind in KEYS:
        key, name = f"{domain}/{selector}", f"{selector}._domainkey.{domain}"
        if selector not in have:
            body: dict[str, Value] = {"@type": kind, "domainId": domain_id, "selector": selector, "stage": "pending"}
            yield _step("dkim", key, Verb.CREATE, name=name, reason="Mail of this domain is signed with it.", body=body)
    for existing in found.keys if found else ():
        waiting = existing.stage == "pending" and (domain, existing.selector) in desired.published_keys
        if waiting and existing.selector in dict(KEYS):
            yield _step(
                "dkim",
                f"{domain}/{existing.selector}",
                Verb.UPDATE,
                name=f"{existing.selector}._domainkey.{domain}",
                target=existing.id,
                body={"stage": "active"},
                fields=("stage",),
                reason="Its record was seen in DNS, so it may sign.",
            )


# -- mailboxes ---------------------------------------------------------------------------------


def _mailboxes(intent: TenantIntent, desired: Desired, observed: Observed) -> Iterator[Found]:
    accounts = {
        f"{account.name}@{name}": account
        for name, found in observed.owned(intent).items()
        for account in found.accounts
    }
    for address, wanted in desired.mailboxes.items():
        account = accounts.get(address)
        if account is None:
            if _may_get_mailboxes(wanted.domain, intent, observed):
                yield _new_mailbox(wanted, observed)
        elif not observed.is_ours(account) and intent.adoption.value == "Never":
            yield Obstacle(
                system=System.STALWART,
                reason="ForeignObject",
                message=f"Stalwart's account {address} exists without this tenant's role. It is not touched. "
                "Remove it, or set spec.adoption: IfUnowned to take it.",
            )
        else:
            yield from _mailbox(wanted, account, observed)


def _may_get_mailboxes(domain: str, intent: TenantIntent, observed: Observed) -> bool:
    """Ours, or about to be made; a domain that is somebody else's gets none of our accounts."""
    found = observed.domains.get(domain)
    return found is None or owner_of(found.domain.description, domain_mark(intent), intent).takeable(intent.adoption)


def _new_mailbox(wanted: Mailbox, observed: Observed) -> Step:
    found = observed.domains.get(wanted.domain)
    role: Any = observed.role.id if observed.role else ROLE
    body: dict[str, Value] = {
        "@type": "User",
        "name": wanted.local,
        "domainId": found.domain.id if found else Ref(System.STALWART, "domain", wanted.domain),
        "description": wanted.display,
        "roles": {"@type": "Custom", "roleIds": {role: True}},
        "permissions": {"@type": "Inherit"},
        "encryptionAtRest": {"@type": "Disabled"},
        "quotas": _quotas(wanted),
    }
    # No credentials: people sign in through the directory; without the account their mail would be refused until then.
    reason = "A member's mailbox; mail can arrive before the first sign-in."
    return _step("account", wanted.address, Verb.CREATE, name=wanted.address, reason=reason, body=body)


def _quotas(wanted: Mailbox) -> dict[str, Value]:
    return {"maxDiskQuota": wanted.quota} if wanted.quota else {}


def _mailbox(wanted: Mailbox, account: Account, observed: Observed) -> Iterator[Found]:
    role: Any = observed.role.id if observed.role else ROLE
    changes: dict[str, Value] = {}
    if account.roles.type != "Custom" or account.roles.role_ids != {role: True}:
        changes["roles"] = {"@type": "Custom", "roleIds": {role: True}}
    if account.quotas.get("maxDiskQuota", 0) != wanted.quota:
        changes["quotas"] = {
            **{key: size for key, size in account.quotas.items() if key != "maxDiskQuota"},
            **_quotas(wanted),
        }
    if changes:
        yield _changed("account", wanted.address, wanted.address, account.id, changes)


def _people_who_left(intent: TenantIntent, desired: Desired, observed: Observed) -> Iterator[Found]:
    """Their mail is kept and still arrives; logging in is over."""
    if not desired.members_known or observed.role is None:
        return
    left = [
        (f"{account.name}@{name}", account)
        for name, found in sorted(observed.owned(intent).items())
        if name in desired.domains
        for account in found.accounts
        if observed.is_ours(account) and f"{account.name}@{name}" not in desired.mailboxes
    ]
    if not left:
        return
    disabled = observed.disabled_role
    if disabled is None:
        body: dict[str, Value] = {
            "description": disabled_mark(intent),
            "roleIds": {},
            "enabledPermissions": {},
            "disabledPermissions": DISABLE_LOGIN,
        }
        name = f"role of people who left {intent.slug}"
        yield _step("role", "disabled", Verb.CREATE, name=name, reason="Refuses their log-ins.", body=body)
    elif disabled.disabled_permissions != DISABLE_LOGIN:
        name = f"role of people who left {intent.slug}"
        yield _changed("role", "disabled", name, disabled.id, {"disabledPermissions": DISABLE_LOGIN})
    disabled_id: Any = disabled.id if disabled else DISABLED_ROLE
    for address, account in left:
        if disabled is None or disabled.id not in account.roles.role_ids:
            yield _step(
                "account",
                address,
                Verb.DISABLE,
                name=address,
                target=account.id,
                body={"roles": {"@type": "Custom", "roleIds": {observed.role.id: True, disabled_id: True}}},
                fields=("roles",),
                reason="No longer a member of the tenant; the mail is kept.",
            )


# -- removal --------------------------------------------------------------------------------------


def _purge(intent: TenantIntent, observed: Observed) -> Iterator[Found]:
    """Accounts, lists, keys, domain, role: the order in which nothing is linked any more (facts/stalwart.md 11.9)."""
    domains = []
    for name, found in sorted(observed.owned(intent).items()):
        steps = list(_remove_domain(name, found, "Purged."))
        domains += [step.id for step in steps]
        yield from steps
    for number, role in enumerate((*observed.roles, *observed.disabled_roles)):
        yield _step(
            "role", f"purge-{number}", Verb.DELETE, name=f"role of {intent.slug}", target=role.id, reason="Purged.",
            after=tuple(domains),
        )  # fmt: skip


def _remove_domain(name: str, found: ObservedDomain, reason: str) -> Iterator[Step]:
    before = []
    for account in found.accounts:
        address = f"{account.name}@{name}"
        before.append(_step("account", address, Verb.DELETE, name=address, target=account.id, reason=reason))
    for item in found.lists:
        address = f"{item.name}@{name}"
        before.append(_step("list", address, Verb.DELETE, name=address, target=item.id, reason=reason))
    yield from before
    people = tuple(step.id for step in before)
    keys = []
    for key in found.keys:
        label = f"{name}/{key.id}"
        keys.append(_step("dkim", label, Verb.DELETE, name=key.selector, target=key.id, reason=reason, after=people))
    yield from keys
    after = (*people, *(step.id for step in keys))
    yield _step("domain", name, Verb.DELETE, name=name, target=found.domain.id, reason=reason, after=after)
