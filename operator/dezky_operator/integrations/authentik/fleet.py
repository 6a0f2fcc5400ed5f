"""What Authentik has for all tenants at once, from a few lists: cost grows with pages, not with tenants times objects.

The daily token can not list applications (facts/authentik.md 11.5). So each look asks for some of them by slug, a part
of the fleet in turn, and for all that are locked: a changed `policy_engine_mode` opens a lock. Of the others two things
are known, that they are there (their provider says so) and their key (their binding says so); the rest is taken to be
as declared until it is their turn. A list answer holds client secrets: nothing of it is logged, and no secret is kept.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.integrations.authentik.desired import Desired
from dezky_operator.integrations.authentik.model import Application, Binding, Brand, Group, Provider, User, suspended_by
from dezky_operator.integrations.authentik.observe import (
    Observed,
    asks_marked,
    asks_people,
    brands_in_order,
    further_groups,
    has_members,
    host_of,
    in_order,
    members_of,
)
from dezky_operator.integrations.authentik.plan import application_fields
from dezky_operator.integrations.intent import Member, TenantIntent

AT_ONCE = 20
"""Applications asked for side by side."""
BREATH = 250
"""Objects gone through before everything else in the process gets its turn: some milliseconds."""
BY_KEY = {"ordering": "pk"}
"""The order of every list: rows that come or go meanwhile must not push others over the edge of a page."""
S = TypeVar("S", bound=msgspec.Struct)
V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """The names by which a tenant's application is found. ``certain``: it is asked for at every look."""

    application: str
    users_group: str
    certain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthentikFleet:
    """Everything the lists told, by what it is looked up by.

    Attributes:
        names: keys of groups by name.
        bindings: by the key of their application.
        doors: keys of applications by that of a group that is bound to them.
        people: by the key of a group.
        marked: users by the tenantId whose suspension deactivated them.
        applications: those asked for by slug; None where there is none.
    """

    groups: Mapping[str, Group]
    names: Mapping[str, str]
    providers: Mapping[str, Provider]
    bindings: Mapping[str, tuple[Binding, ...]]
    doors: Mapping[str, tuple[str, ...]]
    brands: Mapping[str, tuple[Brand, ...]]
    users: Mapping[str, User]
    people: Mapping[str, tuple[User, ...]]
    marked: Mapping[str, tuple[User, ...]]
    applications: Mapping[str, Application | None] = field(default_factory=dict)

    def observed(self, intent: TenantIntent, desired: Desired) -> Observed:
        """What :func:`observe.observe` would give for one tenant, without its client secret."""
        users_group, admins_group = self._group(intent.users_group), self._group(intent.admins_group)
        application = self._application(intent, desired)
        bindings = in_order(self.bindings.get(application.pk, ())) if application else []
        brands = brands_in_order(intent, self.brands.get(host_of(intent), ()))
        people = self._people(users_group, intent) if asks_people(intent) else ()
        marked = self.marked.get(str(intent.tenant_id), ()) if asks_marked(intent, bindings) else ()
        own = {group.pk for group in (users_group, admins_group) if group}
        return Observed(
            users_group=users_group,
            admins_group=admins_group,
            provider=self.providers.get(intent.application),
            application=application,
            bindings=tuple(bindings),
            brand=brands[0] if brands else None,
            more_brands=brands[1:],
            admin=self.users.get(intent.admin.username) if intent.admin else None,
            people=people,
            marked=marked,
            others_groups=self._further((*people, *marked), own),
        )

    def members(self, intent: TenantIntent) -> tuple[Member, ...] | None:
        """What :func:`observe.members` would give."""
        group = self._group(intent.users_group)
        if not has_members(group, intent):
            return None
        users = self.people.get(group.pk, ())
        others = self._further(users, {group.pk}) if intent.locked or intent.unlocking else ()
        return members_of(intent, users, others)

    def door(self, named: Named) -> str | None:
        """The key of an application that is certainly there: its provider and the only binding of its group say so."""
        provider = self.providers.get(named.application)
        if provider is None or provider.assigned_application_slug != named.application:
            return None
        doors = self.doors.get(self.names.get(named.users_group, ""), ())
        return doors[0] if len(doors) == 1 else None

    def _application(self, intent: TenantIntent, desired: Desired) -> Application | None:
        slug = intent.application
        if slug in self.applications:
            return self.applications[slug]
        key = self.door(Named(application=slug, users_group=intent.users_group))
        if key is None:
            return None
        fields = application_fields(intent, desired, self.providers[slug].pk)
        return msgspec.convert({"pk": key, "slug": slug, **fields}, Application)

    def _group(self, name: str) -> Group | None:
        key = self.names.get(name)
        return self.groups[key] if key else None

    def _people(self, group: Group | None, intent: TenantIntent) -> tuple[User, ...]:
        return self.people.get(group.pk, ()) if has_members(group, intent) else ()

    def _further(self, users: Iterable[User], own: set[str]) -> tuple[Group, ...]:
        return tuple(self.groups[key] for key in further_groups(users, own) if key in self.groups)


async def survey(client: AuthentikClient, named: Collection[Named], *, turn: int, turns: int) -> AuthentikFleet:
    """Read the lists one after the other: pages side by side win nothing (facts/authentik.md 11.5).

    ``named`` in a fixed order; every ``turns``-th of them, from ``turn`` on, has its application looked at.
    Raises IntegrationError.
    """
    lean = Lean()
    groups = await lean.all(await client.find("/core/groups/", Group, op="group.list", include_users="false", **BY_KEY))
    providers = await lean.all(await client.find("/providers/oauth2/", Provider, op="provider.list", **BY_KEY))
    bindings = await lean.all(await client.find("/policies/bindings/", Binding, op="binding.list", **BY_KEY))
    brands = await lean.all(await client.find("/core/brands/", Brand, op="brand.list", ordering="domain"))
    users = await lean.all(await client.find("/core/users/", User, op="user.list", include_groups="true", **BY_KEY))
    users.sort(key=lambda user: user.pk)
    fleet = AuthentikFleet(
        groups={found.pk: found for found in groups},
        names={found.name: found.pk for found in groups},
        providers={found.name: found for found in providers},
        bindings=_by((found.target, found) for found in bindings),
        doors=_by({(found.group, found.target): None for found in bindings if found.group}),
        brands=_by((found.domain, found) for found in brands),
        users={found.username: found for found in users},
        people=_by((group, found) for found in users for group in found.groups or ()),
        marked=_by((owner, found) for found in users if (owner := suspended_by(found))),
    )
    asked = [
        one.application
        for number, one in enumerate(named)
        if one.certain or number % turns == turn % turns or fleet.door(one) is None
    ]
    return replace(fleet, applications=await _applications(client, asked))


class Lean:
    """Has equal texts be the same object: flows, mappings and keys of groups are named again by every tenant."""

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    async def all(self, found: list[S]) -> list[S]:
        """The objects, one by one put in place of the others; no client secret is kept."""
        for number, one in enumerate(found):
            if number % BREATH == 0:
                await asyncio.sleep(0)
            fields = {name: self._one(getattr(one, name)) for name in one.__struct_fields__}
            if "client_secret" in fields:
                fields["client_secret"] = ""
            found[number] = msgspec.structs.replace(one, **fields)
        return found

    def _one(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._known.setdefault(value, value)
        if isinstance(value, tuple) and all(isinstance(part, str) for part in value):
            whole = tuple(map(self._one, value))
            return self._known.setdefault(whole, whole)
        if isinstance(value, dict):
            return {self._one(key): self._one(inner) for key, inner in value.items()}
        return value


async def _applications(client: AuthentikClient, slugs: Sequence[str]) -> dict[str, Application | None]:
    found: dict[str, Application | None] = {}
    for start in range(0, len(slugs), AT_ONCE):
        some = slugs[start : start + AT_ONCE]
        paths = (f"/core/applications/{quote(slug)}/" for slug in some)
        answers = await asyncio.gather(*(client.get(path, Application, op="application.get") for path in paths))
        found |= dict(zip(some, answers, strict=True))
    return found


def _by(pairs: Iterable[tuple[str, V]]) -> dict[str, tuple[V, ...]]:
    """The values of each key, in their order."""
    found: defaultdict[str, list[V]] = defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    return {key: tuple(values) for key, values in found.items()}
