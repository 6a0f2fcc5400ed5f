"""Reads only: what Authentik has for a tenant, found by the names the tenant's objects must have."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import quote

from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.integrations.authentik.model import (
    Application,
    Binding,
    Brand,
    Group,
    Provider,
    User,
    path_of,
)
from dezky_operator.integrations.intent import Member, Phase, TenantIntent


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Everything found. None where there is no object of the name, whoever it belongs to.

    ``users`` (the tenant's own) and ``others_groups`` (groups beyond the tenant's, by pk) are read for a purge only.
    """

    users_group: Group | None = None
    admins_group: Group | None = None
    provider: Provider | None = None
    application: Application | None = None
    bindings: tuple[Binding, ...] = ()
    brand: Brand | None = None
    admin: User | None = None
    users: tuple[User, ...] = ()
    service_user: User | None = None
    others_groups: tuple[Group, ...] = ()


async def observe(client: AuthentikClient, intent: TenantIntent) -> Observed:
    """Two rounds of reads side by side: by name first, then what hangs on the application."""
    (users_group, admins_group, brand), (providers, application), (admin, users) = await asyncio.gather(
        asyncio.gather(_group(client, intent.users_group), _group(client, intent.admins_group), _brand(client, intent)),
        asyncio.gather(
            client.find("/providers/oauth2/", Provider, op="provider.find", name=intent.application),
            client.get(f"/core/applications/{quote(intent.application)}/", Application, op="application.get"),
        ),
        asyncio.gather(_admin(client, intent), _purge_users(client, intent)),
    )
    bindings: list[Binding] = []
    if application is not None:
        bindings = await client.find("/policies/bindings/", Binding, op="binding.find", target=application.pk)
        bindings = [binding for binding in bindings if binding.target == application.pk]
    own_groups = {group.pk for group in (users_group, admins_group) if group}
    return Observed(
        users_group=users_group,
        admins_group=admins_group,
        provider=next((found for found in providers if found.name == intent.application), None),
        application=application,
        bindings=tuple(sorted(bindings, key=lambda binding: (binding.order, binding.pk))),
        brand=brand,
        admin=admin,
        users=tuple(user for user in users if user.path == path_of(intent)),
        service_user=next((user for user in users if user.username == _service_username(intent)), None),
        others_groups=await _others_groups(client, users, own_groups),
    )


async def members(client: AuthentikClient, intent: TenantIntent) -> tuple[Member, ...] | None:
    """Who is in the tenant's own group; None while the group is missing or somebody else's.

    None is not nobody: a group deleted by mistake must not lock a whole company out of its mail.
    """
    group = await _group(client, intent.users_group)
    if group is None or group.mark != f"{intent.mark}:users":
        return None
    users = await client.find("/core/users/", User, op="user.find", groups_by_pk=group.pk, include_groups="true")
    return tuple(
        Member(
            pk=user.pk,
            username=user.username,
            name=user.name,
            email=user.email or "",
            is_active=user.is_active,
            signed_in=user.last_login is not None,
        )
        for user in sorted(users, key=lambda user: user.pk)
        # The answer is checked again: a filter that a later version renames would be ignored, and give everybody.
        if group.pk in (user.groups or ())
    )


async def _group(client: AuthentikClient, name: str) -> Group | None:
    found = await client.find("/core/groups/", Group, op="group.find", name=name, include_users="false")
    return next((group for group in found if group.name == name), None)


async def _brand(client: AuthentikClient, intent: TenantIntent) -> Brand | None:
    host = f"{intent.slug}.{intent.base_domain}"
    found = await client.find("/core/brands/", Brand, op="brand.find", domain=host)
    return next((brand for brand in found if brand.domain == host), None)


async def _admin(client: AuthentikClient, intent: TenantIntent) -> User | None:
    if intent.admin is None:
        return None
    found = await client.find("/core/users/", User, op="user.find", username=intent.admin.username)
    return next((user for user in found if user.username == intent.admin.username), None)


def _service_username(intent: TenantIntent) -> str:
    """The user Authentik makes by itself for client_credentials (facts/authentik.md 6); it outlives the provider."""
    return f"ak-{intent.application}-client_credentials"


async def _purge_users(client: AuthentikClient, intent: TenantIntent) -> list[User]:
    if intent.phase is not Phase.PURGED:
        return []
    own, service = await asyncio.gather(
        client.find("/core/users/", User, op="user.find", path=path_of(intent)),
        client.find("/core/users/", User, op="user.find", username=_service_username(intent)),
    )
    return own + [user for user in service if user.username == _service_username(intent)]


async def _others_groups(client: AuthentikClient, users: list[User], own: set[str]) -> tuple[Group, ...]:
    """The groups beyond the tenant's that its users are in: they may be another tenant's people too."""
    keys = sorted({pk for user in users for pk in user.groups or ()} - own)
    found = await asyncio.gather(*(client.get(f"/core/groups/{pk}/", Group, op="group.get") for pk in keys))
    return tuple(group for group in found if group is not None)
