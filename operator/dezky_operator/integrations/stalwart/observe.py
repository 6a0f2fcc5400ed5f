"""Reads only: what Stalwart has for a tenant. Three rounds: names to ids, objects and what hangs on them, the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dezky_operator.integrations.dns.records import DnsRecord, parse_zone
from dezky_operator.integrations.intent import Phase, TenantIntent
from dezky_operator.integrations.ownership import Owner, owner_of
from dezky_operator.integrations.stalwart.client import StalwartClient
from dezky_operator.integrations.stalwart.model import Account, DkimKey, Domain, MailingList, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedDomain:
    """A Domain object and everything under it, whoever it belongs to."""

    domain: Domain
    keys: tuple[DkimKey, ...] = ()
    accounts: tuple[Account, ...] = ()
    lists: tuple[MailingList, ...] = ()

    @property
    def records(self) -> tuple[DnsRecord, ...]:
        """What has to be published for the domain. Raises ZoneError."""
        return parse_zone(self.domain.name, self.domain.dns_zone_file)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """``roles`` and ``disabled_roles`` carry the tenant's marks; normally there is one of each, the lowest id counts.

    ``strangers`` are the descriptions of other custom roles that accounts in the tenant's domains have, by role id.
    """

    roles: tuple[Role, ...] = ()
    disabled_roles: tuple[Role, ...] = ()
    domains: Mapping[str, ObservedDomain]
    strangers: Mapping[str, str] = field(default_factory=dict)

    @property
    def role(self) -> Role | None:
        """The role of the tenant's mailboxes."""
        return self.roles[0] if self.roles else None

    @property
    def disabled_role(self) -> Role | None:
        """The role that people who left have beside it."""
        return self.disabled_roles[0] if self.disabled_roles else None

    def owned(self, intent: TenantIntent) -> dict[str, ObservedDomain]:
        """The domains that carry the tenant's mark."""
        return {name: found for name, found in self.domains.items() if found.domain.description == domain_mark(intent)}

    def takeable(self, intent: TenantIntent) -> dict[str, ObservedDomain]:
        """The domains that carry the tenant's mark, or that it may take."""
        return {name: found for name, found in self.domains.items() if _takeable(intent, found.domain)}

    def is_ours(self, account: Account) -> bool:
        """Whether the account has the tenant's role: accounts have no field for a mark, their role is it."""
        return any(role.id in account.roles.role_ids for role in (*self.roles, *self.disabled_roles))

    def owner(self, account: Account, intent: TenantIntent) -> Owner:
        """Whose the account is, by the marks of its roles."""
        if self.is_ours(account):
            return owner_of(role_mark(intent), role_mark(intent), intent)
        marks = sorted(self.strangers[key] for key in account.roles.role_ids if key in self.strangers)
        mark = next((mark for mark in marks if mark.startswith(MARK_PREFIX)), None)
        return owner_of(mark, role_mark(intent), intent)


MARK_PREFIX = "dezky:"
"""What the mark of any tenant of any installation begins with; other descriptions of a role are no mark."""


def domain_mark(intent: TenantIntent) -> str:
    """The description of a Domain of ours."""
    return f"{intent.mark}:domain"


def role_mark(intent: TenantIntent) -> str:
    """The description of the tenant's role."""
    return f"{intent.mark}:role"


def disabled_mark(intent: TenantIntent) -> str:
    """The description of the role of people who left."""
    return f"{intent.mark}:disabled"


async def observe(client: StalwartClient, intent: TenantIntent) -> Observed:
    """Look for the tenant's roles, and for every domain it has, had or asks for."""
    names = sorted({*intent.domains, *intent.known_domains})
    roles, domains = await asyncio.gather(_roles(client, intent), find_domains(client, names))
    under = await asyncio.gather(*(_under(client, intent, domain) for domain in domains))
    return Observed(
        roles=tuple(role for role in roles if role.description == role_mark(intent)),
        disabled_roles=tuple(role for role in roles if role.description == disabled_mark(intent)),
        domains={found.domain.name: found for found in under},
        strangers=await _strangers(client, under, {role.id for role in roles}),
    )


async def _strangers(client: StalwartClient, under: Iterable[ObservedDomain], known: set[str]) -> dict[str, str]:
    """Roles that are not the tenant's, of accounts in its domains: a fourth round, only where there are such."""
    held = {key for found in under for account in found.accounts for key in account.roles.role_ids}
    roles = await client.get("Role", sorted(held - known), Role) if held - known else []
    return {role.id: role.description or "" for role in roles}


async def find_domains(client: StalwartClient, names: Iterable[str]) -> list[Domain]:
    """The Domain objects of these names that exist. The filter is case-sensitive; our names are lower-case."""
    ids = await asyncio.gather(*(client.query("Domain", {"name": name}) for name in names))
    found = await client.get("Domain", [key for part in ids for key in part], Domain)
    wanted = set(names)
    return [domain for domain in found if domain.name in wanted]


async def _roles(client: StalwartClient, intent: TenantIntent) -> list[Role]:
    """By the whole mark: the filter goes by words, and how a mark is cut into words is the server's business."""
    ids = await asyncio.gather(
        client.query("Role", {"description": role_mark(intent)}),
        client.query("Role", {"description": disabled_mark(intent)}),
    )
    found = await client.get("Role", sorted({key for part in ids for key in part}), Role)
    return sorted(found, key=lambda role: (len(role.id), role.id))


async def _under(client: StalwartClient, intent: TenantIntent, domain: Domain) -> ObservedDomain:
    if not _takeable(intent, domain):
        return ObservedDomain(domain=domain)  # somebody else's: nothing in it is our business
    keys, accounts, lists = await asyncio.gather(
        _keys(client, domain), _accounts(client, domain), _lists(client, intent, domain)
    )
    return ObservedDomain(domain=domain, keys=keys, accounts=accounts, lists=lists)


def _takeable(intent: TenantIntent, domain: Domain) -> bool:
    return owner_of(domain.description, domain_mark(intent), intent).takeable(intent.adoption)


async def _keys(client: StalwartClient, domain: Domain) -> tuple[DkimKey, ...]:
    ids = await client.query("DkimSignature", {"domainId": domain.id})
    return tuple(await client.get("DkimSignature", ids, DkimKey, ("@type", "domainId", "selector", "stage")))


async def _accounts(client: StalwartClient, domain: Domain) -> tuple[Account, ...]:
    ids = await client.query("Account", {"domainId": domain.id})
    return tuple(await client.get("Account", ids, Account))


async def _lists(client: StalwartClient, intent: TenantIntent, domain: Domain) -> tuple[MailingList, ...]:
    """Lists are only of interest when the domain goes. They can not be asked for by domain, not even by its words."""
    if intent.phase is not Phase.PURGED and domain.name not in intent.removable:
        return ()
    ids = await client.query("MailingList", {})
    found = await client.get("MailingList", ids, MailingList)
    return tuple(item for item in found if item.domain_id == domain.id)
