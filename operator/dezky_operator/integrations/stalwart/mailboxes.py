"""Mailboxes of the tenant's people, as steps: made for members, closed to those who left, never destroyed. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.stalwart.desired import Desired, Mailbox
from dezky_operator.integrations.stalwart.graph import DISABLED_ROLE, ROLE, Found, changed, foreign, stalwart_step
from dezky_operator.integrations.stalwart.model import DISABLE_LOGIN, Account, Role
from dezky_operator.integrations.stalwart.observe import Observed, disabled_mark
from dezky_operator.integrations.steps import Ref, Step, System, Value, Verb


def mailboxes(intent: TenantIntent, desired: Desired, observed: Observed) -> Iterator[Found]:
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
            yield foreign(f"{message}Rename the group or the user.")
        elif not (owner := observed.owner(account, intent)).takeable(intent.adoption):
            yield foreign(
                f"Stalwart's account {address} exists without this tenant's role and {owner.sentence}. "
                f"It is not touched. {owner.way_out(intent.adoption)}"
            )
        else:
            yield from _mailbox(wanted, account, observed)


def _new_mailbox(wanted: Mailbox, observed: Observed) -> Step:
    found = observed.domains.get(wanted.domain)
    body: dict[str, Value] = {
        "@type": "User",
        "name": wanted.local,
        "domainId": found.domain.id if found else Ref(System.STALWART, "domain", wanted.domain),
        "description": wanted.display,
        "roles": _roles(observed, left=False),
        "permissions": {"@type": "Inherit"},
        "encryptionAtRest": {"@type": "Disabled"},
        "quotas": _quotas(wanted),
    }
    # No credentials: people sign in through the directory; without the account their mail would be refused until then.
    reason = "A member's mailbox; mail can arrive before the first sign-in."
    return stalwart_step(
        "account", wanted.address, Verb.CREATE, name=wanted.address, reason=reason, body=body, asked=True
    )


def _roles(observed: Observed, *, left: bool) -> dict[str, Value]:
    """The roles of an account of ours; ``left``: of somebody who is in the tenant no more."""
    role: Any = observed.role.id if observed.role else ROLE
    disabled: Any = observed.disabled_role.id if observed.disabled_role else DISABLED_ROLE
    return {"@type": "Custom", "roleIds": {role: True, disabled: True} if left else {role: True}}


def _quotas(wanted: Mailbox) -> dict[str, Value]:
    return {"maxDiskQuota": wanted.quota} if wanted.quota else {}


def _mailbox(wanted: Mailbox, account: Account, observed: Observed) -> Iterator[Found]:
    changes: dict[str, Value] = {}
    back = _is_closed(account, observed)
    if back:
        yield _let_in(wanted.address, account, observed)
    elif account.roles.type != "Custom" or account.roles.role_ids != _roles(observed, left=False)["roleIds"]:
        changes["roles"] = _roles(observed, left=False)
    if account.quotas.get("maxDiskQuota", 0) != wanted.quota:
        changes["quotas"] = {
            **{key: size for key, size in account.quotas.items() if key != "maxDiskQuota"},
            **_quotas(wanted),
        }
    if changes:
        key = f"{wanted.address}/quota" if back else wanted.address
        yield changed("account", key, wanted.address, account.id, changes)


def _is_closed(account: Account, observed: Observed) -> bool:
    return any(role.id in account.roles.role_ids for role in observed.disabled_roles)


def _let_in(address: str, account: Account, observed: Observed) -> Step:
    return stalwart_step(
        "account",
        address,
        Verb.ENABLE,
        name=address,
        target=account.id,
        body={"roles": _roles(observed, left=False)},
        fields=("roles",),
        reason="A member again.",
        asked=True,
    )


# -- people who left ----------------------------------------------------------------------


def people_who_left(intent: TenantIntent, desired: Desired, observed: Observed) -> Iterator[Found]:
    """Their mail is kept and still arrives; logging in is over. In a detached domain as in any other."""
    accounts = [pair for pair in _accounts(intent, desired, observed) if observed.is_ours(pair[1])]
    left = [pair for pair in accounts if pair[0] not in desired.people]
    yield from _disabled_role(intent, observed.disabled_role, needed=bool(left))
    for address, account in left:
        if observed.disabled_role is None or observed.disabled_role.id not in account.roles.role_ids:
            yield _shut_out(address, account, observed)
    for address, account in accounts:
        if address in desired.people and address not in desired.mailboxes and _is_closed(account, observed):
            yield _let_in(address, account, observed)


def _accounts(intent: TenantIntent, desired: Desired, observed: Observed) -> Iterator[tuple[str, Account]]:
    """Every account whose owner may have left, by address; none while nobody knows who the members are."""
    if not desired.members_known:
        return
    owned = observed.owned(intent)
    for name, found in sorted(observed.takeable(intent).items()):
        if name in desired.domains or (name in owned and name not in desired.removed):
            yield from ((f"{account.name}@{name}", account) for account in found.accounts)


def _shut_out(address: str, account: Account, observed: Observed) -> Step:
    return stalwart_step(
        "account",
        address,
        Verb.DISABLE,
        name=address,
        target=account.id,
        body={"roles": _roles(observed, left=True)},
        fields=("roles",),
        reason="No longer a member of the tenant; the mail is kept.",
        asked=True,
    )


def _disabled_role(intent: TenantIntent, found: Role | None, *, needed: bool) -> Iterator[Found]:
    """Made for the first person who leaves; kept right even while nobody knows who the members are."""
    name = f"role of people who left {intent.slug}"
    if found is not None:
        if found.disabled_permissions != DISABLE_LOGIN:
            yield changed("role", "disabled", name, found.id, {"disabledPermissions": DISABLE_LOGIN})
    elif needed:
        body: dict[str, Value] = {
            "description": disabled_mark(intent),
            "roleIds": {},
            "enabledPermissions": {},
            "disabledPermissions": DISABLE_LOGIN,
        }
        reason = "Refuses their log-ins."
        yield stalwart_step("role", "disabled", Verb.CREATE, name=name, reason=reason, body=body, asked=True)
