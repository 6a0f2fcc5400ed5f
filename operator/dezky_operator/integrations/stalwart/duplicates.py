"""What there must be only one of and Stalwart keeps several of: roles of one mark, keys of one selector. Pure.

The oldest stays. What is surplus goes where it is ours and nothing hangs on it; else a person is told of both.
"""

from __future__ import annotations

from collections.abc import Iterator

from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.stalwart.desired import KEYS
from dezky_operator.integrations.stalwart.graph import Found, stalwart_step
from dezky_operator.integrations.stalwart.model import DkimKey, Role, age
from dezky_operator.integrations.stalwart.observe import Observed, ObservedDomain
from dezky_operator.integrations.steps import Obstacle, System, Verb, step_key

SURPLUS = "A second one; the oldest is used."


def surplus_roles(intent: TenantIntent, observed: Observed) -> Iterator[Found]:
    """Roles beside the first of each mark. Mailboxes of the tenant's people are given the first one by the plan."""
    used = observed.linked | {
        role for found in observed.domains.values() for account in found.accounts for role in account.roles.role_ids
    }
    for key, roles in (("main", observed.roles), ("disabled", observed.disabled_roles)):
        for number, role in enumerate(roles[1:], start=2):
            if role.id in used:
                yield _linked_role(roles[0], role)
                continue
            yield stalwart_step(
                "role", f"{key}-{number}/surplus", Verb.DELETE, name=f"role of {intent.slug}", target=role.id,
                reason=SURPLUS, after=(step_key(System.STALWART, "role", f"{key}-{number}"),),
            )  # fmt: skip


def _linked_role(first: Role, role: Role) -> Obstacle:
    return Obstacle(
        system=System.STALWART,
        reason="ForeignObject",
        message=f"Stalwart has two roles {first.description}: {first.id} is used, {role.id} is too many, and stays "
        f"while an account or a role has it. Give that the role {first.id}; the operator then removes {role.id}.",
        blocking=False,
    )


def kept_keys(found: ObservedDomain) -> tuple[DkimKey, ...]:
    """The keys of other selectors, and the one of each of ours that stays: one that signs already, else the oldest."""
    ours = [_ranked(found, selector)[:1] for selector, _ in KEYS]
    others = [key for key in found.keys if key.selector not in dict(KEYS)]
    return (*others, *(key for keys in ours for key in keys))


def surplus_keys(name: str, found: ObservedDomain) -> Iterator[Found]:
    """Keys beside that one. Nothing hangs on a key but the mail it signs; one that signs is left to a person."""
    for selector, _ in KEYS:
        keys = _ranked(found, selector)
        yield from (_surplus_key(name, keys[0], key) for key in keys[1:])


def _ranked(found: ObservedDomain, selector: str) -> list[DkimKey]:
    keys = (key for key in found.keys if key.selector == selector)
    return sorted(keys, key=lambda key: (key.stage != "active", age(key.id)))


def _surplus_key(name: str, kept: DkimKey, key: DkimKey) -> Found:
    record = f"{key.selector}._domainkey.{name}"
    if key.stage == "pending":
        return stalwart_step("dkim", f"{name}/{key.id}", Verb.DELETE, name=record, target=key.id, reason=SURPLUS)
    return Obstacle(
        system=System.STALWART,
        reason="ForeignObject",
        message=f"Stalwart has two keys {record}: {kept.id}, and {key.id}, which is {key.stage}: one of two signatures "
        "is wrong. Remove the one that is not published.",
        blocking=False,
    )
