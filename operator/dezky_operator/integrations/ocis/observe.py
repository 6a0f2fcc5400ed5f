"""Reads only: what OCIS has for a tenant. One read for each space, one for the group, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.ocis.client import OcisClient
from dezky_operator.integrations.ocis.desired import may_use
from dezky_operator.integrations.ocis.model import Drive, Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What is there.

    Attributes:
        operator: id of the operator's own user, who must be the only manager of every space.
        group: the group of the tenant's people.
        drives: the tenant's spaces by key, detached ones too; a key without a drive is missing.
        foreign: spaces that have our ids and are not ours, by key. They are told of, and never touched.
    """

    operator: str
    group: Group | None = None
    drives: Mapping[str, Drive] = field(default_factory=dict)
    foreign: Mapping[str, Drive] = field(default_factory=dict)


def space_ids(intent: TenantIntent) -> dict[str, str]:
    """The ids of all spaces the tenant has or had, by key."""
    return {**dict(intent.known_spaces), **{space.key: str(space.id) for space in intent.spaces}}


async def observe(client: OcisClient, intent: TenantIntent) -> Observed:
    """Look for the group by name and for every space by its id: names and aliases of spaces are not unique."""
    try:
        async with asyncio.TaskGroup() as tasks:
            operator = tasks.create_task(client.own_id())
            group = tasks.create_task(client.group(intent.users_group))
            drives = {key: tasks.create_task(client.drive(found)) for key, found in space_ids(intent).items()}
    except ExceptionGroup as failed:
        # One reason is enough, and by then the other reads are over: a refused credential is not sent any more.
        raise failed.exceptions[0] from None
    found = {key: drive for key, task in drives.items() if (drive := task.result()) is not None}
    return Observed(
        operator=operator.result(),
        group=group.result(),
        drives={key: drive for key, drive in found.items() if may_use(intent, key, drive)},
        foreign={key: drive for key, drive in found.items() if not may_use(intent, key, drive)},
    )
