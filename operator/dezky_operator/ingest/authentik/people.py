"""Where accounts stand, looked up one by one and remembered: events outlive them (facts/authentik.md 5).

Only what the token of a reader may ask: there is no list of accounts by number.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from dezky_operator.ingest.authentik.whose import Place
from dezky_operator.integrations.authentik.client import AuthentikClient

MOST = 10_000
"""Accounts remembered; beyond it the one used longest ago goes. About 300 bytes each."""
FRESH = 900.0
"""Seconds after which an account is looked up again: people are moved to other groups."""


SIDE_BY_SIDE = 4
"""Lookups at once: the connection may be the one on which tenants are locked, and a lock must not wait behind them."""


class _Named(msgspec.Struct):
    name: str


class _Account(msgspec.Struct):
    path: str = ""
    groups_obj: list[_Named] | None = None


class _Known(msgspec.Struct, frozen=True, gc=False):
    place: Place | None
    since: float


class People:
    """Accounts by number. One that is gone stays as it was last seen."""

    def __init__(self, client: AuthentikClient, *, most: int = MOST) -> None:
        self._client, self._most = client, most
        self._slots = asyncio.Semaphore(SIDE_BY_SIDE)
        self._known: OrderedDict[int, _Known] = OrderedDict()

    def place(self, number: int) -> Place | None:
        """Where the account stands, or stood; None when it was never seen."""
        known = self._known.get(number)
        if known is None:
            return None
        self._known.move_to_end(number)
        return known.place

    def missing(self, numbers: Iterable[int], *, time: float) -> list[int]:
        """Those that must be looked up at ``time``, in seconds of any clock that is always the same."""
        return [
            number
            for number in numbers
            if (known := self._known.get(number)) is None or not 0 <= time - known.since < FRESH
        ]

    async def learn(self, numbers: Iterable[int], *, time: float) -> None:
        """Look them up, a few side by side. Raises IntegrationError; what was learned until then stays."""
        for found in await asyncio.gather(*(self._learn(number, time) for number in numbers), return_exceptions=True):
            if isinstance(found, BaseException):
                raise found

    async def _learn(self, number: int, time: float) -> None:
        async with self._slots:
            account = await self._client.get(f"/core/users/{number}/", _Account, op="event.user")
        if account is not None:
            place: Place | None = Place(account.path, tuple(group.name for group in account.groups_obj or ()))
        else:
            place = self.place(number)
        self._known[number] = _Known(place, time)
        self._known.move_to_end(number)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
