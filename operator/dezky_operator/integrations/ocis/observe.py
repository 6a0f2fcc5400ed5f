"""Reads only: what OCIS has for a tenant. One read for each space, one for the group, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.ocis.client import OcisClient
from dezky_operator.integrations.ocis.model import Drive, Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """``drives`` by space key, detached ones too; a key without a drive is missing."""

    group: Group | None
    drives: Mapping[str, Drive]


def space_ids(intent: TenantIntent) -> dict[str, str]:
    """The ids of all spaces the tenant has or had, by key."""
    return {**dict(intent.known_spaces), **{space.key: str(space.id) for space in intent.spaces}}


async def observe(client: OcisClient, intent: TenantIntent) -> Observed:
    """Look for the group by name and for every space by its id: names and aliases of spaces are not unique."""
    ids = space_ids(intent)
    group, *drives = await asyncio.gather(
        client.group(intent.users_group), *(client.drive(key) for key in ids.values())
    )
    found = {key: drive for key, drive in zip(ids, drives, strict=True) if isinstance(drive, Drive)}
    return Observed(group=group if isinstance(group, Group) else None, drives=found)
