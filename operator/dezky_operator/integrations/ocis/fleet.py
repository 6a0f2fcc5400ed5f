"""What OCIS has for all tenants at once, in four calls at most. :func:`observe` asks this as it asks a server.

Spaces come in one list with their grants, disabled ones too (facts/ocis.md 9, Drift). Personal spaces and users matter
only while somebody is locked; they are most of a list, so otherwise they are not asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from dezky_operator.integrations.ocis.client import OcisClient
from dezky_operator.integrations.ocis.model import Drive, Group, User


@dataclass(frozen=True, slots=True, kw_only=True)
class OcisFleet:
    """Spaces by id, groups by name, users by both."""

    operator: str
    drives: Mapping[str, Drive]
    groups: Mapping[str, Group]
    users: Mapping[str, User]

    async def own_id(self) -> str:
        """The id of the operator's own user."""
        return self.operator

    async def group(self, name: str) -> Group | None:
        """The group of this name."""
        return self.groups.get(name)

    async def drive(self, key: str) -> Drive | None:
        """One space with its grants."""
        return self.drives.get(key)

    async def user(self, name: str) -> User | None:
        """The user of this name or id."""
        return self.users.get(name)


async def survey(client: OcisClient, *, people: bool) -> OcisFleet:
    """Read the lists. ``people``: personal spaces and users too. Raises IntegrationError."""
    operator = await client.own_id()
    groups, drives, users = await asyncio.gather(
        client.groups(), client.drives(personal=people), client.users() if people else _nobody()
    )
    return OcisFleet(
        operator=operator,
        drives={found.uuid: found for found in drives},
        groups={found.display_name: found for found in groups},
        users={key: found for found in users for key in (found.id, found.on_premises_sam_account_name)},
    )


async def _nobody() -> list[User]:
    return []
