"""Addresses of Stalwart's accounts by their ids, which is all that many of its events tell (facts/stalwart.md 11.0.8).

An app password's and an API key's events have the bare local part beside the id, a refusal or a message taken in not
even that; whose tenant they are hangs on the account. Ids are never used again, so what was known of one stays so when
it is gone.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence

from dezky_operator.integrations.errors import IntegrationError
from dezky_operator.integrations.stalwart.ids import ALPHABET

Ask = Callable[[Sequence[str] | None], Awaitable[dict[str, str]]]
"""Gives addresses by account id, of these accounts or of all. Raises IntegrationError."""
AT_ONCE = 100
"""Ids asked for at once; the rest is asked for when it comes again."""
MISSES = 10_000
"""Ids remembered to be nobody's."""
AGAIN = 3_600.0
"""Seconds after which all are asked for again: addresses are changed, too."""
PAUSE = 60.0
"""Seconds in which Stalwart is not asked again after it did not answer."""
_ID = re.compile(f"[{ALPHABET}]{{1,13}}")
WITHIN = 5.0
"""Seconds an answer may take: events wait for it."""


class Accounts:
    """What is known of them. Without an answer an account has no address, and nothing waits for it."""

    def __init__(self, ask: Ask, *, clock: Callable[[], float], within: float = WITHIN) -> None:
        """``clock`` gives seconds that only go forward; an answer may take ``within``."""
        self._ask, self._clock, self._within = ask, clock, within
        self._addresses: dict[str, str] = {}
        self._nobody: dict[str, None] = {}
        self._wanted: dict[str, None] = {}
        self._list_from = self._ask_from = clock()

    def __call__(self, account: str) -> str:
        """The address of an account; empty when it is not known, or not yet."""
        found = self._addresses.get(account)
        if found is None and account not in self._nobody and _ID.fullmatch(account):
            self._wanted[account] = None
        return found or ""

    async def ask(self) -> bool:
        """Ask for all at first and now and then, else for those that were wanted; whether one of these is known now."""
        wanted, self._wanted = list(self._wanted)[:AT_ONCE], {}
        now = self._clock()
        if now < self._ask_from or not (wanted or now >= self._list_from):
            return False
        try:
            async with asyncio.timeout(self._within):
                if now >= self._list_from:
                    self._addresses |= await self._ask(None)
                    self._list_from = now + AGAIN
                if rest := [account for account in wanted if account not in self._addresses]:
                    self._addresses |= await self._ask(rest)
        except (IntegrationError, TimeoutError):
            # Its client told it already, and the log must not wait for a system that is down.
            self._ask_from = self._clock() + PAUSE
            return any(account in self._addresses for account in wanted)
        self._remember_nobody(wanted)
        return any(account in self._addresses for account in wanted)

    def _remember_nobody(self, wanted: Sequence[str]) -> None:
        self._nobody |= dict.fromkeys(account for account in wanted if account not in self._addresses)
        while len(self._nobody) > MISSES:
            del self._nobody[next(iter(self._nobody))]
