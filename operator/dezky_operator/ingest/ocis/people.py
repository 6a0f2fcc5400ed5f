"""Names of OCIS's users and groups by their ids, which is all that its records tell of them.

A user's name is an address where the user belongs to a tenant. Names are remembered once they are known, as the record
of a removal comes when nobody can be asked any more. What was known before a restart and is gone by then has no name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from dezky_operator.integrations.errors import IntegrationError
from dezky_operator.integrations.ocis.model import Group, User

AT_ONCE = 100
"""Ids asked for after one look; the rest is asked for when it comes again."""
MISSES = 10_000
"""Ids remembered to have no name."""
PAUSE = 60.0
"""Seconds in which OCIS is not asked again after it did not answer."""
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Directory(Protocol):
    """Whom to ask (:class:`dezky_operator.integrations.ocis.client.OcisClient`). All raise IntegrationError."""

    async def users(self) -> list[User]:
        """All users."""

    async def groups(self) -> list[Group]:
        """All groups."""

    async def user(self, name: str) -> User | None:
        """The user with an id."""

    async def group(self, name: str) -> Group | None:
        """The group with an id."""


class People:
    """What is known of them. Without an answer a name is unknown and nothing waits for it."""

    def __init__(self, directory: Directory, *, clock: Callable[[], float]) -> None:
        """``clock`` gives seconds that only go forward."""
        self._directory, self._clock = directory, clock
        self._names: dict[str, str] = {}
        self._nobody: dict[str, None] = {}
        self._wanted: dict[str, None] = {}
        self._listed = False
        self._ask_from = clock()

    def __call__(self, key: str) -> str:
        """The name of a user or group; empty when it is not known, or not yet."""
        found = self._names.get(key)
        if found is None and key not in self._nobody and _ID.fullmatch(key):
            self._wanted[key] = None
        return found or ""

    async def ask(self) -> bool:
        """Ask for everybody at first, then for those that were wanted; whether more names are known now."""
        wanted, self._wanted = list(self._wanted)[:AT_ONCE], {}
        if (self._listed and not wanted) or self._clock() < self._ask_from:
            return False
        before = len(self._names)
        try:
            if not self._listed:
                await self._list()
            await self._ask_for([key for key in wanted if key not in self._names])
        except IntegrationError:
            # Its client told it already, and the log must not wait for a system that is down.
            self._ask_from = self._clock() + PAUSE
        return len(self._names) > before

    async def _list(self) -> None:
        users, groups = await self._directory.users(), await self._directory.groups()
        self._names.update((user.id, user.on_premises_sam_account_name) for user in users)
        self._names.update((group.id, group.display_name) for group in groups)
        self._listed = True

    async def _ask_for(self, wanted: list[str]) -> None:
        for key in wanted:
            if user := await self._directory.user(key):
                self._names[key] = user.on_premises_sam_account_name
            elif group := await self._directory.group(key):
                self._names[key] = group.display_name
            else:
                self._nobody[key] = None
        while len(self._nobody) > MISSES:
            del self._nobody[next(iter(self._nobody))]
