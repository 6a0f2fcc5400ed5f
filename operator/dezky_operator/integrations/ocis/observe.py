"""Reads only: what OCIS has for a tenant. One read for each space, one for the group, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from dezky_operator.integrations.intent import Phase, TenantIntent
from dezky_operator.integrations.ocis.desired import may_use
from dezky_operator.integrations.ocis.model import PERSONAL, Drive, Group, User


class Reads(Protocol):
    """Answers what is there: the server, or what it told of all tenants at once (:mod:`fleet`)."""

    async def own_id(self) -> str:
        """The id of the operator's own user."""

    async def group(self, name: str) -> Group | None:
        """The group of this name."""

    async def drive(self, key: str) -> Drive | None:
        """One space with its grants, disabled ones too."""

    async def user(self, name: str) -> User | None:
        """The user of this name or id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What is there.

    Attributes:
        operator: id of the operator's own user, who must be the only manager of every space.
        group: the group of the tenant's people.
        drives: the tenant's spaces by key, detached ones too; a key without a drive is missing.
        foreign: spaces that have our ids and are not ours, by key. They are told of, and never touched.
        personal: personal spaces of the tenant's people by user name, of nobody who is also in another tenant. Read
            while the tenant is locked.
        closed: personal spaces that a suspension closed and that must not be, by id: all of them when the tenant is
            opened or purged, while it is locked those of people who have joined another tenant since.
        users: OCIS users by user name, of those whom a purge ends.
        people_known: whether it is known who the tenant's people are; personal spaces can not be found without.
    """

    operator: str
    group: Group | None = None
    drives: Mapping[str, Drive] = field(default_factory=dict)
    foreign: Mapping[str, Drive] = field(default_factory=dict)
    personal: Mapping[str, Drive] = field(default_factory=dict)
    closed: Mapping[str, Drive] = field(default_factory=dict)
    users: Mapping[str, User] = field(default_factory=dict)
    people_known: bool = True


def space_ids(intent: TenantIntent) -> dict[str, str]:
    """The ids of all spaces the tenant has or had, by key."""
    return {**dict(intent.known_spaces), **{space.key: str(space.id) for space in intent.spaces}}


async def observe(client: Reads, intent: TenantIntent) -> Observed:
    """Look for the group by name and for every space by its id: names and aliases of spaces are not unique."""
    operator = asyncio.create_task(client.own_id())
    group = asyncio.create_task(client.group(intent.users_group))
    drives = {key: asyncio.create_task(client.drive(found)) for key, found in space_ids(intent).items()}
    # All of them end before the first failure is told. Cancelled by a read that is held back, the one request that may
    # try a system left alone would never be sent; and a refused credential is not sent any more afterwards.
    await asyncio.gather(operator, group, *drives.values(), return_exceptions=True)
    owner, members = operator.result(), group.result()
    found = {key: drive for key, task in drives.items() if (drive := task.result()) is not None}
    personal, users, closed = await asyncio.gather(
        _personal(client, intent, elsewhere=False), _users(client, intent), _closed(client, intent)
    )
    return Observed(
        operator=owner,
        group=members,
        drives={key: drive for key, drive in found.items() if may_use(intent, key, drive)},
        foreign={key: drive for key, drive in found.items() if not may_use(intent, key, drive)},
        personal=personal,
        closed={key: drive for key, drive in closed.items() if key not in {user.id for user in users.values()}},
        users=users,
        people_known=intent.members is not None or not intent.locked,
    )


async def _personal(client: Reads, intent: TenantIntent, *, elsewhere: bool) -> dict[str, Drive]:
    """The personal spaces of the members of a locked tenant, by user name."""
    members = (intent.members or ()) if intent.locked else ()
    names = [member.username for member in members if member.elsewhere is elsewhere]
    found = await asyncio.gather(*(_personal_of(client, name) for name in names))
    return {name: drive for name, drive in zip(names, found, strict=True) if drive is not None}


async def _closed(client: Reads, intent: TenantIntent) -> dict[str, Drive]:
    """Personal spaces of the recorded ids that are to be open now, by id. Nobody else's are ever looked at."""
    ids = set(intent.disabled_drives) - set(space_ids(intent).values())
    if intent.locked:
        shared = await _personal(client, intent, elsewhere=True) if ids else {}
        return {drive.uuid: drive for drive in shared.values() if drive.uuid in ids}
    drives = await asyncio.gather(*map(client.drive, sorted(ids)))
    return {drive.uuid: drive for drive in drives if drive and drive.drive_type == PERSONAL}


async def _personal_of(client: Reads, name: str) -> Drive | None:
    """Somebody's personal space: it has the user's id. None before the first sign-in."""
    user = await client.user(name)
    drive = await client.drive(user.id) if user else None
    return drive if drive and drive.drive_type == PERSONAL else None


async def _users(client: Reads, intent: TenantIntent) -> dict[str, User]:
    """Who was recorded as the tenant's own, while they are still the same user."""
    if intent.phase is not Phase.PURGED:
        return {}
    found = await asyncio.gather(*(client.user(key) for _, key in intent.people))
    return {
        name: user
        for (name, key), user in zip(intent.people, found, strict=True)
        if user is not None and user.id == key and user.on_premises_sam_account_name.lower() == name.lower()
    }
