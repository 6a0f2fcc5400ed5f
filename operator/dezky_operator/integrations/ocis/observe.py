"""Reads only: what OCIS has for a tenant. One read for each space, one for the group, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol

from dezky_operator.integrations.intent import Member, Phase, TenantIntent
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


class People(Enum):
    """What is known of who is in a tenant."""

    KNOWN = "known"
    GROUP_MISSING = "group missing"
    """Authentik answers, and has no group of theirs."""
    UNKNOWN = "unknown"
    """Authentik does not answer."""

    @classmethod
    def of(cls, members: tuple[Member, ...] | None) -> People:
        """What is known when Authentik answered."""
        return cls.GROUP_MISSING if members is None else cls.KNOWN


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
            opened or purged, while it is locked those of people who work for another tenant now.
        left: personal spaces that the lock of a tenant closed, of people who are not in it any more, by user name.
        users: OCIS users by user name, of those whom a purge ends.
        people: whether it is known who the tenant's people are; personal spaces can not be found without.
    """

    operator: str
    group: Group | None = None
    drives: Mapping[str, Drive] = field(default_factory=dict)
    foreign: Mapping[str, Drive] = field(default_factory=dict)
    personal: Mapping[str, Drive] = field(default_factory=dict)
    closed: Mapping[str, Drive] = field(default_factory=dict)
    users: Mapping[str, User] = field(default_factory=dict)
    left: Mapping[str, Drive] = field(default_factory=dict)
    people: People = People.KNOWN

    def with_former(self, former: Iterable[Member]) -> Observed:
        """As it is when of those who left the tenant ``former`` are known to Authentik."""
        working = (self.left[member.username] for member in former if member.works_elsewhere)
        return replace(self, closed={**self.closed, **{drive.uuid: drive for drive in working}})


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
    personal, users = await asyncio.gather(_personal(client, intent), _users(client, intent))
    recorded = set(intent.disabled_drives) - set(space_ids(intent).values()) - {user.id for user in users.values()}
    closed, left = await _recorded(client, intent, recorded, personal)
    return Observed(
        operator=owner,
        group=members,
        drives={key: drive for key, drive in found.items() if may_use(intent, key, drive)},
        foreign={key: drive for key, drive in found.items() if not may_use(intent, key, drive)},
        personal={member.username: drive for member, drive in personal if not member.elsewhere},
        closed=closed,
        users=users,
        left=left,
        people=People.UNKNOWN if intent.locked and intent.members is None else People.KNOWN,
    )


async def _personal(client: Reads, intent: TenantIntent) -> list[tuple[Member, Drive]]:
    """The members of a locked tenant who have a personal space, and that."""
    members = (intent.members or ()) if intent.locked else ()
    drives = await asyncio.gather(*(_personal_of(client, member.username) for member in members))
    return [(member, drive) for member, drive in zip(members, drives, strict=True) if drive is not None]


async def _recorded(
    client: Reads, intent: TenantIntent, recorded: set[str], personal: Iterable[tuple[Member, Drive]]
) -> tuple[dict[str, Drive], dict[str, Drive]]:
    """Of the personal spaces that the tenant's lock closed: those to open again by id, and those of who left by name.

    Nobody else's personal space is ever looked at, and whether somebody left is only known while the members are.
    """
    if not intent.locked:
        drives = await asyncio.gather(*map(client.drive, sorted(recorded)))
        return {drive.uuid: drive for drive in drives if drive and drive.drive_type == PERSONAL}, {}
    shared = {drive.uuid: drive for member, drive in personal if member.works_elsewhere and drive.uuid in recorded}
    if intent.members is None:
        return shared, {}
    gone = sorted(recorded - {drive.uuid for _, drive in personal})
    owners = [user for user in await asyncio.gather(*map(client.user, gone)) if user is not None]
    drives = await asyncio.gather(*(client.drive(owner.id) for owner in owners))
    left = zip(owners, drives, strict=True)
    return shared, {
        who.on_premises_sam_account_name: drive for who, drive in left if drive and drive.drive_type == PERSONAL
    }


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
