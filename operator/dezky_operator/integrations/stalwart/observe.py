"""Reads only: what Stalwart has for a tenant. Three rounds: names to ids, objects and what hangs on them, the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from dezky_operator.integrations.dns.records import DnsRecord, parse_zone
from dezky_operator.integrations.intent import Phase, TenantIntent
from dezky_operator.integrations.ownership import Owner, owner_of
from dezky_operator.integrations.stalwart.model import Account, DkimKey, Domain, MailingList, Role, Throttle, age

T = TypeVar("T")


class Reads(Protocol):
    """Answers what is there: the server, or what it told of all tenants at once (:mod:`fleet`)."""

    async def query(self, kind: str, filters: Mapping[str, Any]) -> list[str]:
        """The ids of all objects that pass ``filters``, lowest first."""

    async def get(self, kind: str, ids: Sequence[str], shape: type[T], properties: Sequence[str] = ()) -> list[T]:
        """The objects with these ids; missing ones are left out."""

    async def every(self, kind: str, shape: type[T]) -> list[T]:
        """All objects of a type that can not be queried."""


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
    ``linked`` are those roles beside the first of each mark that an account or another role has, wherever that is.
    ``platform_domain`` is the id of the server's own default domain, which is no tenant's.
    ``throttles`` are ours; ``hold_active``: whether the server has loaded a hold of ours, None when it is not known.
    """

    roles: tuple[Role, ...] = ()
    disabled_roles: tuple[Role, ...] = ()
    domains: Mapping[str, ObservedDomain]
    strangers: Mapping[str, str] = field(default_factory=dict)
    linked: frozenset[str] = frozenset()
    platform_domain: str | None = None
    throttles: tuple[Throttle, ...] = ()
    hold_active: bool | None = False

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
        return {
            name: found for name, found in self.domains.items() if _takeable(intent, found.domain, self.platform_domain)
        }

    def is_platforms(self, domain: Domain) -> bool:
        """Whether it is the server's own default domain: its mailboxes are the platform's, also the operator's."""
        return domain.id == self.platform_domain

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


async def observe(client: Reads, intent: TenantIntent, platform_domain: str | None = None) -> Observed:
    """Look for the tenant's roles, and for every domain it has, had or asks for."""
    names = sorted({*intent.domains, *intent.known_domains})
    roles, domains = await asyncio.gather(_roles(client, intent), find_domains(client, names))
    under = await asyncio.gather(*(_under(client, intent, domain, platform_domain) for domain in domains))
    main = tuple(role for role in roles if role.description == role_mark(intent))
    disabled = tuple(role for role in roles if role.description == disabled_mark(intent))
    return Observed(
        roles=main,
        disabled_roles=disabled,
        domains={found.domain.name: found for found in under},
        strangers=await _strangers(client, under, {role.id for role in (*main, *disabled)}),
        linked=await _linked(client, {role.id for role in (*main[1:], *disabled[1:])}),
        platform_domain=platform_domain,
        throttles=await _throttles(client, intent),
        hold_active=intent.hold_active,
    )


async def _throttles(client: Reads, intent: TenantIntent) -> tuple[Throttle, ...]:
    """Ours. Read only where there may be one: all of them have to be read, they can not be asked for."""
    if not intent.hold and intent.hold_active is False and intent.phase is not Phase.PURGED:
        return ()
    found = await client.every("MtaInboundThrottle", Throttle)
    ours = (one for one in found if one.description.startswith(f"{intent.mark}:hold:"))
    return tuple(sorted(ours, key=lambda one: (one.description, age(one.id))))


async def _strangers(client: Reads, under: Iterable[ObservedDomain], known: set[str]) -> dict[str, str]:
    """Roles that are not the tenant's, of accounts in its domains: a fourth round, only where there are such."""
    held = {key for found in under for account in found.accounts for key in account.roles.role_ids}
    roles = await client.get("Role", sorted(held - known), Role) if held - known else []
    return {role.id: role.description or "" for role in roles}


async def _linked(client: Reads, surplus: set[str]) -> frozenset[str]:
    """Whether anything hangs on a second role of one mark: everybody has to be asked, so only where there is one."""
    if not surplus:
        return frozenset()
    accounts, roles = await asyncio.gather(client.query("Account", {}), client.query("Role", {}))
    held, parents = await asyncio.gather(client.get("Account", accounts, Account), client.get("Role", roles, Role))
    used = {key for account in held for key in account.roles.role_ids} | {
        key for role in parents for key in role.role_ids
    }
    return frozenset(surplus & used)


async def find_domains(client: Reads, names: Iterable[str]) -> list[Domain]:
    """The Domain objects of these names that exist. The filter is case-sensitive; our names are lower-case."""
    ids = await asyncio.gather(*(client.query("Domain", {"name": name}) for name in names))
    found = await client.get("Domain", [key for part in ids for key in part], Domain)
    wanted = set(names)
    return [domain for domain in found if domain.name in wanted]


async def _roles(client: Reads, intent: TenantIntent) -> list[Role]:
    """By the whole mark: the filter goes by words, and how a mark is cut into words is the server's business."""
    ids = await asyncio.gather(
        client.query("Role", {"description": role_mark(intent)}),
        client.query("Role", {"description": disabled_mark(intent)}),
    )
    found = await client.get("Role", sorted({key for part in ids for key in part}), Role)
    return sorted(found, key=lambda role: age(role.id))


async def _under(client: Reads, intent: TenantIntent, domain: Domain, platform_domain: str | None) -> ObservedDomain:
    if not _takeable(intent, domain, platform_domain):
        return ObservedDomain(domain=domain)  # somebody else's: nothing in it is our business
    keys, accounts, lists = await asyncio.gather(
        _keys(client, domain), _accounts(client, domain), _lists(client, intent, domain)
    )
    return ObservedDomain(domain=domain, keys=keys, accounts=accounts, lists=lists)


def _takeable(intent: TenantIntent, domain: Domain, platform_domain: str | None) -> bool:
    owner = owner_of(domain.description, domain_mark(intent), intent)
    return owner.ours or (domain.id != platform_domain and owner.takeable(intent.adoption))


async def _keys(client: Reads, domain: Domain) -> tuple[DkimKey, ...]:
    ids = await client.query("DkimSignature", {"domainId": domain.id})
    return tuple(await client.get("DkimSignature", ids, DkimKey, ("@type", "domainId", "selector", "stage")))


async def _accounts(client: Reads, domain: Domain) -> tuple[Account, ...]:
    ids = await client.query("Account", {"domainId": domain.id})
    return tuple(await client.get("Account", ids, Account))


async def _lists(client: Reads, intent: TenantIntent, domain: Domain) -> tuple[MailingList, ...]:
    """Lists are only of interest when the domain goes. They can not be asked for by domain, not even by its words."""
    if intent.phase is not Phase.PURGED and domain.name not in intent.removable:
        return ()
    ids = await client.query("MailingList", {})
    found = await client.get("MailingList", ids, MailingList)
    return tuple(item for item in found if item.domain_id == domain.id)
