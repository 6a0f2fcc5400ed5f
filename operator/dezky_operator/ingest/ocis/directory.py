"""Names of OCIS's users and groups, so that records which hold only their ids find a tenant (facts/ocis.md 4.3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from dezky_operator.integrations.ocis.model import Group, User

MOST = 200_000
"""Names that are kept; beyond it those of what was deleted are forgotten."""


class Lists(Protocol):
    """The two reads of :class:`dezky_operator.integrations.ocis.client.OcisClient` that this needs."""

    async def groups(self) -> list[Group]:
        """All groups. Raises IntegrationError."""

    async def users(self) -> list[User]:
        """All users. Raises IntegrationError."""


class Directory:
    """Gives names by id, as ``names`` of :class:`dezky_operator.ingest.ocis.tail.OcisTail`.

    What was deleted keeps its name: the record of the deletion comes after it. Somebody who came since the last refresh
    has none yet; such a record belongs to no tenant unless its space tells.
    """

    def __init__(self, lists: Lists, *, most: int = MOST) -> None:
        self._lists = lists
        self._most = most
        self._names: dict[str, str] = {}

    async def refresh(self) -> None:
        """Read both lists. Raises IntegrationError, and keeps what was known."""
        fresh = dict(_named(await self._lists.groups(), await self._lists.users()))
        known = self._names | fresh
        self._names = known if len(known) <= self._most else fresh

    def __call__(self, key: str) -> str:
        """A group's name or a user's, which is an address where a tenant's member has one. Empty: nobody knows."""
        return self._names.get(key, "")


def _named(groups: Iterable[Group], users: Iterable[User]) -> Iterable[tuple[str, str]]:
    for group in groups:
        yield group.id, group.display_name
    for user in users:
        yield user.id, user.on_premises_sam_account_name
