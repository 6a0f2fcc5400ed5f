"""The difference between what Stalwart has and what it must have, as steps. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.ownership import owner_of
from dezky_operator.integrations.stalwart.desired import KEYS, Desired, Mailbox
from dezky_operator.integrations.stalwart.graph import DISABLED_ROLE, ROLE, Found, stalwart_step
from dezky_operator.integrations.stalwart.hold import holds
from dezky_operator.integrations.stalwart.model import DISABLE_LOGIN, Account, Role
from dezky_operator.integrations.stalwart.observe import (
    Observed,
    ObservedDomain,
    disabled_mark,
    domain_mark,
    role_mark,
)
from dezky_operator.integrations.steps import Obstacle, Plan, Ref, Step, System, Value, Verb


def plan(intent: TenantIntent, user_roles: tuple[str, ...], desired: Desired, observed: Observed) -> Plan:
    """Everything still to do, in a fixed order. ``user_roles`` are the roles of an ordinary user."""
    if not desired.exists:
        found = list(_purge(intent, observed))
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
    for found in _role(intent, user_roles, desired, observed.role):
        yield replace(found, privileged=False) if isinstance(found, Step) else found
    yield from _unlocked_mailboxes(intent, observed)
    yield from holds(intent, observed)


def _unlocked_mailboxes(intent: TenantIntent, observed: Observed) -> Iterator[Obstacle]:
    """An account in a domain of ours that has not our role would go on logging in; whose it is a person must say."""
    for name, found in sorted(observed.owned(intent).items()):
        for account in found.accounts:
            if account.type == "User" and not observed.is_ours(account):
                yield _foreign(
                    f"Stalwart's account {account.name}@{name} has not this tenant's role, so it is not locked. "
                    f"Give it the role {role_mark(intent)}, or remove it."
                )


def _keep(intent: TenantIntent, user_roles: tuple[str, ...], desired: Desired, observed: Observed) -> Iterator[Found]:
    yield from _role(intent, user_roles, desired, observed.role)
    for name in desired.domains:
        yield from _domain(intent, desired, name, observed.domains.get(name))
    yield from _mailboxes(intent, desired, observed)
    yield from _people_who_left(intent, desired, observed)
    gone = {name for name in intent.known_domains if name in intent.removable and name not in desired.domains}
    detached = {name: found for name, found in sorted(observed.owned(intent).items()) if name in gone}
    yield from _removal(intent, observed, detached, "Detached, and its removal was confirmed.")
    yield from holds(intent, observed)


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
        yield stalwart_step(
            "role", "main", Verb.CREATE, name=name, reason="What the tenant's mailboxes may do.", body=body
        )
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
    return stalwart_step(
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
        yield stalwart_step("domain", name, Verb.CREATE, name=name, reason=reason, body={**more, **wanted})
        yield from _keys(name, Ref(System.STALWART, "domain", name), frozenset(), None, desired)
        return
    domain = found.domain
    owner = owner_of(domain.description, domain_mark(intent), intent)
    if not owner.takeable(intent.adoption):
        yield _foreign(
            f"Stalwart's domain {name} exists and {owner.sentence}. It is not touched. {owner.way_out(intent.adoption)}"
        )
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
        yield _changed("domain", name, name, domain.id, changes)
    yield from _keys(name, domain.id, {key.selector for key in found.keys}, found, desired)


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
    for existing in found.keys if found else ():
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
            )


# -- mailboxes ---------------------------------------------------------------------------------


def _mailboxes(intent: TenantIntent, desired: Desired, observed: Observed) -> Iterator[Found]:
    """Only in domains that are ours, or about to be; one that is somebody else's gets none of our accounts."""
    ours = observed.takeable(intent)
    accounts = {f"{account.name}@{name}": account for name, found in ours.items() for account in found.accounts}
    for address, wanted in desired.mailboxes.items():
        account = accounts.get(address)
        if account is None:
            if wanted.domain in ours or wanted.domain not in observed.domains:
                yield _new_mailbox(wanted, observed)
        elif account.type != "User":
            message = f"Stalwart's address {address} is a {account.type.lower()}, so its member gets no mailbox. "
            yield _foreign(f"{message}Rename the group or the user.")
        elif not (owner := observed.owner(account, intent)).takeable(intent.adoption):
            yield _foreign(
                f"Stalwart's account {address} exists without this tenant's role and {owner.sentence}. "
                f"It is not touched. {owner.way_out(intent.adoption)}"
            )
        else:
            yield from _mailbox(wanted, account, observed)


def _foreign(message: str) -> Obstacle:
    return Obstacle(system=System.STALWART, reason="ForeignObject", message=message)


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
    return stalwart_step("account", wanted.address, Verb.CREATE, name=wanted.address, reason=reason, body=body)


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
    left = [
        (f"{account.name}@{name}", account)
        for name, found in sorted(observed.takeable(intent).items())
        if name in desired.domains and desired.members_known
        for account in found.accounts
        if observed.is_ours(account) and f"{account.name}@{name}" not in desired.mailboxes
    ]
    disabled = observed.disabled_role
    yield from _disabled_role(intent, disabled, needed=bool(left))
    role: Any = observed.role.id if observed.role else ROLE
    disabled_id: Any = disabled.id if disabled else DISABLED_ROLE
    for address, account in left:
        if disabled is None or disabled.id not in account.roles.role_ids:
            yield stalwart_step(
                "account",
                address,
                Verb.DISABLE,
                name=address,
                target=account.id,
                body={"roles": {"@type": "Custom", "roleIds": {role: True, disabled_id: True}}},
                fields=("roles",),
                reason="No longer a member of the tenant; the mail is kept.",
            )


def _disabled_role(intent: TenantIntent, found: Role | None, *, needed: bool) -> Iterator[Found]:
    """Made for the first person who leaves; kept right even while nobody knows who the members are."""
    name = f"role of people who left {intent.slug}"
    if found is not None:
        if found.disabled_permissions != DISABLE_LOGIN:
            yield _changed("role", "disabled", name, found.id, {"disabledPermissions": DISABLE_LOGIN})
    elif needed:
        body: dict[str, Value] = {
            "description": disabled_mark(intent),
            "roleIds": {},
            "enabledPermissions": {},
            "disabledPermissions": DISABLE_LOGIN,
        }
        yield stalwart_step("role", "disabled", Verb.CREATE, name=name, reason="Refuses their log-ins.", body=body)


# -- removal --------------------------------------------------------------------------------------


def _purge(intent: TenantIntent, observed: Observed) -> Iterator[Found]:
    """Everything with the tenant's mark, and what hangs on it."""
    yield from holds(intent, observed)
    found = list(_removal(intent, observed, dict(sorted(observed.owned(intent).items())), "Purged."))
    yield from found
    before = tuple(item.id for item in found if isinstance(item, Step))
    for number, role in enumerate((*observed.roles, *observed.disabled_roles)):
        name = f"role of {intent.slug}"
        yield stalwart_step(
            "role", f"purge-{number}", Verb.DELETE, name=name, target=role.id, reason="Purged.", after=before
        )


def _removal(
    intent: TenantIntent, observed: Observed, domains: Mapping[str, ObservedDomain], reason: str
) -> Iterator[Found]:
    """Mailboxes and lists, groups, keys, domains: so nothing is linked any more (facts/stalwart.md 11.9).

    A group is linked by its members and a domain by aliases, whatever domain those are in, so each rank waits for the
    whole rank before it. A domain stays, with its keys, while somebody else's mailbox is in it.
    """
    people, groups = [], []
    held = set()
    for name, found in domains.items():
        for account in found.accounts:
            owner = observed.owner(account, intent)
            if account.type == "Group":
                groups.append(_destroyed("account", f"{account.name}@{name}", account.id, reason))
            elif owner.takeable(intent.adoption):
                people.append(_destroyed("account", f"{account.name}@{name}", account.id, reason))
            else:
                held.add(name)
                yield _foreign(
                    f"Stalwart's domain {name} can not be removed: its account {account.name}@{name} has not this "
                    f"tenant's role and {owner.sentence}. {owner.way_out(intent.adoption)}"
                )
        people += [_destroyed("list", f"{item.name}@{name}", item.id, reason) for item in found.lists]
    yield from people
    rank = tuple(step.id for step in people)
    groups = [replace(step, after=rank) for step in groups]
    yield from groups
    rank += tuple(step.id for step in groups)
    for name, found in domains.items():
        if name not in held:
            yield from _domain_and_keys(name, found, reason, rank)


def _destroyed(kind: str, address: str, target: str, reason: str) -> Step:
    return stalwart_step(kind, address, Verb.DELETE, name=address, target=target, reason=reason)


def _domain_and_keys(name: str, found: ObservedDomain, reason: str, after: tuple[str, ...]) -> Iterator[Step]:
    keys = []
    for key in found.keys:
        label, shown = f"{name}/{key.id}", f"{key.selector}._domainkey.{name}"
        keys.append(stalwart_step("dkim", label, Verb.DELETE, name=shown, target=key.id, reason=reason, after=after))
    yield from keys
    after += tuple(step.id for step in keys)
    yield stalwart_step("domain", name, Verb.DELETE, name=name, target=found.domain.id, reason=reason, after=after)
