"""The work queue: every key at most once at a time, urgent keys first, failed ones later and later.

The same contract as client-go's work queue: a key added while it is being worked on is worked on once more afterwards;
a key added twice before that is worked on once.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable
from enum import IntEnum

from dezky_operator.telemetry.metrics import Metrics


class Urgency(IntEnum):
    """What goes first. A lock or a deletion never waits behind a routine check of a thousand tenants."""

    LOCK = 0
    CHANGE = 1
    ROUTINE = 2


class WorkQueue:
    """Keys to be worked on, by one event loop."""

    def __init__(
        self,
        *,
        metrics: Metrics,
        clock: Callable[[], float],
        first_backoff: float = 1.0,
        longest_backoff: float = 300.0,
        jitter: Callable[[], float] = random.random,
        turn: Callable[[str], str] = lambda key: key,
    ) -> None:
        """``clock`` in seconds, as the loop's; ``jitter`` in 0..1; backoffs in seconds.

        Of keys with the same ``turn`` one is worked on at a time.
        """
        self._metrics = metrics
        self._clock = clock
        self._first, self._longest, self._jitter = first_backoff, longest_backoff, jitter
        self._turn = turn
        self._order = itertools.count()
        self._ready: list[tuple[int, int, str]] = []
        self._waiting: dict[str, Urgency] = {}
        self._working: set[str] = set()
        self._again: dict[str, Urgency] = {}
        self._delayed: dict[str, tuple[float, Urgency]] = {}
        self._failures: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        """Keys that wait, now or for later; not those being worked on."""
        return len(self._waiting) + len(self._again) + len(self._delayed.keys() - self._waiting.keys())

    @property
    def idle(self) -> bool:
        """Nothing is being worked on and nothing is due; delayed keys may wait."""
        return not self._working and not self._waiting

    def waiting(self, urgency: Urgency) -> int:
        """How many keys of this urgency wait to be worked on now."""
        return sum(found is urgency for found in self._waiting.values())

    def add(self, key: str, urgency: Urgency = Urgency.CHANGE) -> None:
        """Have ``key`` worked on as soon as possible; whatever delay it had is over."""
        self._delayed.pop(key, None)
        self._put(key, urgency)

    def add_later(self, key: str, delay: float, urgency: Urgency = Urgency.ROUTINE) -> None:
        """Have ``key`` worked on in ``delay`` seconds, or earlier when something else asks for it."""
        due = self._clock() + delay
        known = self._delayed.get(key)
        if known is None or due < known[0]:
            self._delayed[key] = (due, urgency)
            self._changed.set()
        self._measure()

    def retry(self, key: str, *, at_least: float = 0.0, urgency: Urgency = Urgency.ROUTINE) -> float:
        """Have a failed ``key`` worked on again after its backoff (doubling, half of it random); returns the delay.

        ``urgency`` is what it has then: a lock that failed once is a lock all the same.
        """
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        longest = min(self._first * 2.0 ** min(failures, 30), self._longest)
        delay = max(longest * (0.5 + 0.5 * self._jitter()), at_least)
        self.add_later(key, delay, urgency)
        return delay

    def forget(self, key: str) -> None:
        """``key`` did well: its next failure starts with the shortest delay."""
        self._failures.pop(key, None)

    def drop(self, key: str) -> None:
        """The object is gone: nothing about it is kept."""
        self.forget(key)
        self._delayed.pop(key, None)
        self._again.pop(key, None)
        self._waiting.pop(key, None)

    async def take(self) -> str | None:
        """The next key, once there is one; None when the queue was closed. Follow with :meth:`done`."""
        while not self._closed:
            self._promote()
            key = self._pop()
            if key is not None:
                self._working.add(key)
                self._measure()
                return key
            self._changed.clear()
            await self._sleep()
        return None

    def done(self, key: str) -> None:
        """``key`` is no longer being worked on."""
        self._working.discard(key)
        urgency = self._again.pop(key, None)
        if urgency is not None:
            self._put(key, urgency)
        self._changed.set()

    def close(self) -> None:
        """Hand out nothing more."""
        self._closed = True
        self._changed.set()

    def _put(self, key: str, urgency: Urgency) -> None:
        if key in self._working:
            self._again[key] = min(urgency, self._again.get(key, urgency))
        elif key not in self._waiting or urgency < self._waiting[key]:
            # A more urgent entry is put beside the old one; the old one is skipped when it comes up.
            self._waiting[key] = urgency
            heapq.heappush(self._ready, (urgency, next(self._order), key))
            self._changed.set()
        self._measure()

    def _pop(self) -> str | None:
        busy, passed = {self._turn(key) for key in self._working}, []
        try:
            while self._ready:
                entry = urgency, _, key = heapq.heappop(self._ready)
                if self._waiting.get(key) != urgency:
                    continue
                if self._turn(key) not in busy:
                    del self._waiting[key]
                    return key
                passed.append(entry)
            return None
        finally:
            for entry in passed:
                heapq.heappush(self._ready, entry)

    def _promote(self) -> None:
        now = self._clock()
        for key in [key for key, (due, _) in self._delayed.items() if due <= now]:
            _, urgency = self._delayed.pop(key)
            self._put(key, urgency)

    async def _sleep(self) -> None:
        """Until something changed or the next delayed key is due."""
        nearest = min((due for due, _ in self._delayed.values()), default=None)
        timeout = None if nearest is None else max(nearest - self._clock(), 0.0)
        try:
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        except TimeoutError:
            pass  # a delayed key is due

    def _measure(self) -> None:
        self._metrics.queue_depth.set(len(self))
