"""What is removed of a tenant in Stalwart, by a purge or a confirmed detach: only what is marked, links last. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.stalwart.graph import Found, foreign, stalwart_step
from dezky_operator.integrations.stalwart.hold import holds
from dezky_operator.integrations.stalwart.observe import Observed, ObservedDomain
from dezky_operator.integrations.steps import Step, Verb


def purge(intent: TenantIntent, observed: Observed) -> Iterator[Found]:
    """Everything with the tenant's mark, and what hangs on it."""
    yield from holds(intent, observed)
    found = list(removal(intent, observed, dict(sorted(observed.owned(intent).items())), "Purged."))
    yield from found
    before = tuple(item.id for item in found if isinstance(item, Step))
    for number, role in enumerate((*observed.roles, *observed.disabled_roles)):
        name = f"role of {intent.slug}"
        yield stalwart_step(
            "role", f"purge-{number}", Verb.DELETE, name=name, target=role.id, reason="Purged.", after=before
        )


def removal(
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
                yield foreign(
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
