"""Reads only: what Authentik has for a tenant, found by the names the tenant's objects must have."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TypeGuard
from urllib.parse import quote

from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.integrations.authentik.model import (
    SUSPENDED_BY,
    Application,
    Binding,
    Brand,
    Group,
    Provider,
    User,
    owns_user,
    path_of,
    suspended_by,
)
from dezky_operator.integrations.intent import Member, Phase, TenantIntent


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Everything found. None where there is no object of the name, whoever it belongs to.

    Attributes:
        users: the tenant's own users; read for a purge only.
        people: who is in the tenant's group; read while it is locked, and for a purge.
        marked: users that this tenant's suspension deactivated, members or not; read while they may exist.
        more_brands: further brands of the tenant's host: Authentik checks for them, but not in its database.
        others_groups: the groups beyond the tenant's that those users are in.
    """

    users_group: Group | None = None
    admins_group: Group | None = None
    provider: Provider | None = None
    application: Application | None = None
    bindings: tuple[Binding, ...] = ()
    brand: Brand | None = None
    more_brands: tuple[Brand, ...] = ()
    admin: User | None = None
    users: tuple[User, ...] = ()
    people: tuple[User, ...] = ()
    marked: tuple[User, ...] = ()
    service_user: User | None = None
    others_groups: tuple[Group, ...] = ()

    def works_elsewhere(self, user: User, intent: TenantIntent) -> bool:
        """Whether the user is also in a tenant that is neither deleted nor suspended: the account must stay."""
        return self._in_group_marked(user, intent.active_marks)

    def _in_group_marked(self, user: User, marks: frozenset[str]) -> bool:
        groups = {group.pk: group.mark or "" for group in self.others_groups}
        return any(groups.get(pk, "").rpartition(":")[0] in marks for pk in user.groups or ())


async def observe(client: AuthentikClient, intent: TenantIntent) -> Observed:
    """Two rounds of reads side by side: by name first, then what hangs on the application."""
    (users_group, admins_group, brands), (providers, application), (admin, users) = await asyncio.gather(
        asyncio.gather(
            _group(client, intent.users_group), _group(client, intent.admins_group), _brands(client, intent)
        ),
        asyncio.gather(
            client.find("/providers/oauth2/", Provider, op="provider.find", name=intent.application),
            client.get(f"/core/applications/{quote(intent.application)}/", Application, op="application.get"),
        ),
        asyncio.gather(_admin(client, intent), _purge_users(client, intent)),
    )
    bindings: list[Binding] = []
    if application is not None:
        bindings = await client.find("/policies/bindings/", Binding, op="binding.find", target=application.pk)
        bindings = in_order(binding for binding in bindings if binding.target == application.pk)
    own_groups = {group.pk for group in (users_group, admins_group) if group}
    people, marked = await asyncio.gather(_people(client, intent, users_group), _marked(client, intent, bindings))
    return Observed(
        users_group=users_group,
        admins_group=admins_group,
        provider=next((found for found in providers if found.name == intent.application), None),
        application=application,
        bindings=tuple(bindings),
        brand=brands[0] if brands else None,
        more_brands=brands[1:],
        admin=admin,
        users=tuple(user for user in users if user.path == path_of(intent)),
        people=people,
        marked=marked,
        service_user=next((user for user in users if user.username == _service_username(intent)), None),
        others_groups=await _others_groups(client, [*users, *people, *marked], own_groups),
    )


async def members(client: AuthentikClient, intent: TenantIntent) -> tuple[Member, ...] | None:
    """Who is in the tenant's own group; None while the group is missing or somebody else's.

    None is not nobody: a group deleted by mistake must not lock a whole company out of its mail.
    """
    group = await _group(client, intent.users_group)
    if not has_members(group, intent):
        return None
    users = await _in_group(client, group)
    others = await _others_groups(client, users, {group.pk}) if intent.locked or intent.unlocking else ()
    return members_of(intent, users, others)


async def former(client: AuthentikClient, intent: TenantIntent, names: Collection[str]) -> tuple[Member, ...]:
    """Who has one of these user names, in whatever group: people whom a locked tenant does not hold any more."""
    found = await asyncio.gather(*(_named(client, name) for name in names))
    users = [user for user in found if user is not None]
    return members_of(intent, users, await _others_groups(client, users, set()))


def has_members(group: Group | None, intent: TenantIntent) -> TypeGuard[Group]:
    """Whether the group is the tenant's own, so that who is in it is a member."""
    return group is not None and group.mark == f"{intent.mark}:users"


def members_of(intent: TenantIntent, users: Iterable[User], others: Iterable[Group]) -> tuple[Member, ...]:
    """The users of the tenant's group as members; ``others`` are the further groups they are in."""
    marks = {found.pk: (found.mark or "").rpartition(":")[0] for found in others}
    return tuple(
        Member(
            pk=user.pk,
            username=user.username,
            name=user.name,
            email=user.email or "",
            is_active=user.is_active,
            signed_in=user.last_login is not None,
            own=owns_user(intent, user),
            elsewhere=any(marks.get(pk) in intent.present_marks for pk in user.groups or ()),
            works_elsewhere=any(marks.get(pk) in intent.active_marks for pk in user.groups or ()),
        )
        for user in users
    )


def in_order(bindings: Iterable[Binding]) -> list[Binding]:
    """Bindings as they are evaluated. How old one is Authentik does not tell."""
    return sorted(bindings, key=lambda binding: (binding.order, binding.pk))


def brands_in_order(intent: TenantIntent, brands: Iterable[Brand]) -> tuple[Brand, ...]:
    """Brands of one host, the one that stays first: the tenant's own, then the lowest key, for want of an age."""
    return tuple(sorted(brands, key=lambda brand: (brand.mark != f"{intent.mark}:brand", brand.brand_uuid)))


async def _in_group(client: AuthentikClient, group: Group) -> list[User]:
    """The members, lowest key first. The answer is checked again: an unknown filter is ignored, and gives everybody."""
    users = await client.find("/core/users/", User, op="user.find", groups_by_pk=group.pk, include_groups="true")
    return sorted((user for user in users if group.pk in (user.groups or ())), key=lambda user: user.pk)


async def _people(client: AuthentikClient, intent: TenantIntent, group: Group | None) -> tuple[User, ...]:
    """The members, where they are locked or let go. A group of the tenant's name without its mark is not asked."""
    if not asks_people(intent) or not has_members(group, intent):
        return ()
    return tuple(await _in_group(client, group))


def asks_people(intent: TenantIntent) -> bool:
    """Whether it matters who the members are."""
    return intent.locked or intent.phase is Phase.PURGED


async def _marked(client: AuthentikClient, intent: TenantIntent, bindings: list[Binding]) -> tuple[User, ...]:
    """Who carries our mark of a suspension, lowest key first."""
    if not asks_marked(intent, bindings):
        return ()
    wanted = json.dumps({f"dezky__{SUSPENDED_BY}": str(intent.tenant_id)})
    found = await client.find("/core/users/", User, op="user.find", attributes=wanted, include_groups="true")
    ours = (user for user in found if suspended_by(user) == str(intent.tenant_id))
    return tuple(sorted(ours, key=lambda user: user.pk))


def asks_marked(intent: TenantIntent, bindings: Iterable[Binding]) -> bool:
    """Whether there may be such users. A deny binding that is on tells of a suspension even where no status does."""
    denied = any(binding.policy is not None and binding.enabled for binding in bindings)
    return intent.locked or intent.unlocking or denied or intent.phase is Phase.PURGED


async def _group(client: AuthentikClient, name: str) -> Group | None:
    found = await client.find("/core/groups/", Group, op="group.find", name=name, include_users="false")
    return next((group for group in found if group.name == name), None)


async def _brands(client: AuthentikClient, intent: TenantIntent) -> tuple[Brand, ...]:
    host = host_of(intent)
    found = await client.find("/core/brands/", Brand, op="brand.find", domain=host)
    return brands_in_order(intent, (brand for brand in found if brand.domain == host))


def host_of(intent: TenantIntent) -> str:
    """The host name of the tenant's own sign-in page."""
    return f"{intent.slug}.{intent.base_domain}"


async def _admin(client: AuthentikClient, intent: TenantIntent) -> User | None:
    return await _named(client, intent.admin.username) if intent.admin else None


async def _named(client: AuthentikClient, name: str) -> User | None:
    found = await client.find("/core/users/", User, op="user.find", username=name, include_groups="true")
    return next((user for user in found if user.username == name), None)


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
    keys = further_groups(users, own)
    found = await asyncio.gather(*(client.get(f"/core/groups/{pk}/", Group, op="group.get") for pk in keys))
    return tuple(group for group in found if group is not None)


def further_groups(users: Iterable[User], own: set[str]) -> list[str]:
    """The keys of the groups that users are in beyond the tenant's ``own``."""
    return sorted({pk for user in users for pk in user.groups or ()} - own)
