"""How often somebody may ask, and who is shut out (facts/stalwart.md 2.7, 11.11)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.sandbox.stalwart.credentials import within
from tests.sandbox.stalwart.objects import Objects
from tests.sandbox.stalwart.settings import Live

AT_ONCE = 4
DAY = 86_400


class Limits:
    """Counts requests and failures in fixed windows of the clock, as the real one does."""

    def __init__(self, objects: Objects, live: Live, *, clock: Callable[[], float] = time.time) -> None:
        self._objects, self._live, self._clock = objects, live, clock
        self._counted: Counter[tuple[str, int, int]] = Counter()
        self._active: Counter[str] = Counter()

    def clear(self) -> None:
        """Forget what was counted; nobody is shut out any more."""
        self._counted.clear()
        self._live.blocked.clear()

    # -- rates ----------------------------------------------------------------------------

    def count(self, what: str, *, limit: int, seconds: int) -> int:
        """Count one use; 0 while it is within the limit, else the seconds until the window ends."""
        now = int(self._clock())
        window = now // max(1, seconds)
        self._counted[what, seconds, window] += 1
        used = self._counted[what, seconds, window]
        return 0 if used <= limit else (window + 1) * max(1, seconds) - now

    def user(self, account: str, address: str) -> tuple[int, int]:
        """(limit, seconds to wait) of an authenticated request; no wait for an allowed address."""
        return self._rate("rateLimitAuthenticated", f"user {account}", address)

    def anonymous(self, address: str) -> tuple[int, int]:
        """(limit, seconds to wait) of a request that needs no credential, by address."""
        return self._rate("rateLimitAnonymous", f"address {address}", address)

    def _rate(self, setting: str, what: str, address: str) -> tuple[int, int]:
        rate = self._live.http[setting]
        if rate is None or self.is_allowed(address):
            return 0, 0
        wait = self.count(f"http {what}", limit=rate["count"], seconds=rate["period"] // 1000)
        return int(rate["count"]), wait

    @contextmanager
    def one_more(self, account: str) -> Iterator[bool]:
        """Whether the account may have one more request under way."""
        self._active[account] += 1
        try:
            yield self._active[account] <= AT_ONCE
        finally:
            self._active[account] -= 1

    # -- bans -----------------------------------------------------------------------------

    def is_allowed(self, address: str) -> bool:
        """Whether an address is free of limits and bans. Loopback is none here: tests come from there."""
        return within(address, self._live.allowed)

    def is_blocked(self, address: str) -> bool:
        """Whether an address is shut out."""
        return address in self._live.blocked and not self.is_allowed(address)

    def failed(self, address: str, login: str) -> bool:
        """Count a wrong credential; True when that was one too many and the address is shut out from now on."""
        if self.is_allowed(address):
            return False
        over = self.count(f"auth {address}", limit=self._live.ban_after, seconds=DAY)
        if login:
            over += self.count(f"login {login}", limit=self._live.ban_after, seconds=DAY)
        if over:
            self.block(address)
        return bool(over)

    def block(self, address: str) -> None:
        """Shut an address out; the ban is an object that can be found."""
        if not self.is_allowed(address) and address not in self._live.blocked:
            self._live.blocked.add(address)
            self._objects.create("BlockedIp", {"address": address, "reason": "authFailure"})
