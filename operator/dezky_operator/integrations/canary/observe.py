"""Reads only: what is there for a canary to be made and to sign in with."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from dezky_operator.crd.tenant import MAIN_SPACE
from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.integrations.authentik.model import CANARY, Group, Provider, User, owns_user, path_of
from dezky_operator.integrations.canary.keys import App, OAuthClient
from dezky_operator.integrations.errors import Rejected
from dezky_operator.integrations.intent import TenantIntent, space_id_of
from dezky_operator.integrations.ocis.client import OcisClient
from dezky_operator.integrations.ocis.desired import owns
from dezky_operator.integrations.ocis.model import Drive
from dezky_operator.integrations.stalwart.client import StalwartClient
from dezky_operator.integrations.stalwart.model import Account, Authentication, Role
from dezky_operator.integrations.stalwart.observe import Observed as MailObserved
from dezky_operator.integrations.stalwart.observe import ObservedDomain, domain_mark, find_domains, role_mark
from dezky_operator.integrations.steps import System

SHARED = {App.FILES: "dezky-ocis", App.MAIL: "dezky-mail"}
"""The providers that bootstrap made for all tenants."""
UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400, "weeks": 604800}


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """``group``: pk of the tenant's group. ``old``: canaries whose password nobody knows any more."""

    group: str
    old: tuple[User, ...]
    clients: Mapping[App, OAuthClient]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """The tenant's mail as far as the canary's address goes. ``by_token``: a directory rules, nobody has a password."""

    intent: TenantIntent
    observed: MailObserved
    by_token: bool


async def identity(client: AuthentikClient, intent: TenantIntent) -> Identity:
    """The tenant's group, the canaries of before, and the three applications. Raises IntegrationError."""
    groups, own, named, clients = await asyncio.gather(
        client.find("/core/groups/", Group, op="group.find", name=intent.users_group, include_users="false"),
        client.find("/core/users/", User, op="user.find", path=path_of(intent), include_groups="true"),
        client.find("/core/users/", User, op="user.find", username=intent.canary or "", include_groups="true"),
        _clients(client, intent),
    )
    group = next((one for one in groups if one.name == intent.users_group), None)
    if group is None or group.mark != f"{intent.mark}:users":
        raise Rejected(System.AUTHENTIK, f"Authentik has no group {intent.users_group} of this tenant.")
    taken = [user for user in named if user.username == intent.canary]
    if strangers := [user for user in taken if not (is_own(intent, user) or is_half_made(intent, user))]:
        raise Rejected(
            System.AUTHENTIK,
            f"Authentik's user {strangers[0].username} is not this operator's canary and is not touched. Rename it.",
        )
    known = {user.pk: user for user in (*own, *taken) if is_own(intent, user) or is_half_made(intent, user)}
    return Identity(group=group.pk, old=tuple(known[pk] for pk in sorted(known)), clients=clients)


def is_own(intent: TenantIntent, user: User) -> bool:
    """Whether the operator made this user to be the tenant's canary."""
    ours = user.attributes.get("dezky")
    role = ours.get("role") if isinstance(ours, dict) else None
    return owns_user(intent, user) and role == CANARY and not user.is_superuser


def is_half_made(intent: TenantIntent, user: User) -> bool:
    """Whether this is a canary that a crash left without its mark: the mark can only be set once the account is there.

    It is in no group, so nobody is locked or let in by it; and Authentik lets nobody but its maker delete it.
    """
    unmarked = "dezky" not in user.attributes and not user.groups
    return user.username == intent.canary and user.type == "service_account" and unmarked and not user.is_superuser


async def _clients(client: AuthentikClient, intent: TenantIntent) -> dict[App, OAuthClient]:
    names = {App.OWN: intent.application, **SHARED}
    found = await asyncio.gather(
        *(client.find("/providers/oauth2/", Provider, op="provider.find", name=name) for name in names.values())
    )
    return {app: _client(name, rows) for (app, name), rows in zip(names.items(), found, strict=True)}


def _client(name: str, rows: list[Provider]) -> OAuthClient:
    provider = next((one for one in rows if one.name == name), None)
    uris = [
        uri.url
        for uri in (provider.redirect_uris if provider else ())
        if uri.matching_mode == "strict" and uri.redirect_uri_type == "authorization"
    ]
    if provider is None or not uris:
        raise Rejected(System.AUTHENTIK, f"Authentik has no provider {name} with an address to send a code to.")
    return OAuthClient(
        client_id=provider.client_id,
        secret=provider.client_secret,
        redirect_uri=uris[0],
        refresh_life=life_of(provider.refresh_token_validity),
    )


def life_of(validity: str) -> float:
    """Seconds of a validity such as ``days=30`` or ``hours=1;minutes=30``; for ever where it is not understood."""
    total = 0.0
    for part in validity.split(";"):
        unit, _, number = part.strip().partition("=")
        if unit not in UNITS or not number.isdigit():
            return math.inf
        total += UNITS[unit] * int(number)
    return total


async def mail(client: StalwartClient, intent: TenantIntent) -> Mail:
    """Domain, role and mailbox of the canary. Raises IntegrationError."""
    local, _, name = (intent.canary or "").partition("@")
    settings, role_ids, domains = await asyncio.gather(
        client.singleton("Authentication", Authentication),
        client.query("Role", {"description": role_mark(intent)}),
        find_domains(client, [name]),
    )
    domain = next((one for one in domains if one.description == domain_mark(intent)), None)
    if domain is None:
        raise Rejected(System.STALWART, f"Stalwart has no domain {name} of this tenant.")
    roles, account_ids = await asyncio.gather(
        client.get("Role", role_ids, Role), client.query("Account", {"name": local, "domainId": domain.id})
    )
    own = sorted((one for one in roles if one.description == role_mark(intent)), key=lambda one: (len(one.id), one.id))
    if not own:
        raise Rejected(System.STALWART, f"Stalwart has no role of tenant {intent.slug}.")
    accounts = tuple(await client.get("Account", account_ids, Account))
    return Mail(
        intent=replace(intent, domains=(name,)),
        observed=MailObserved(roles=tuple(own), domains={name: ObservedDomain(domain=domain, accounts=accounts)}),
        by_token=settings.directory_id is not None,
    )


async def files(client: OcisClient, intent: TenantIntent) -> Drive:
    """The tenant's main space. Raises IntegrationError."""
    key = space_id_of(intent.tenant_id, MAIN_SPACE)
    drive = await client.drive(key)
    if drive is None or not owns(intent, drive):
        raise Rejected(System.OCIS, f"OCIS has no space {key} of this tenant.")
    if drive.disabled:
        raise Rejected(System.OCIS, f"OCIS's space {key} was closed before.")
    return drive
