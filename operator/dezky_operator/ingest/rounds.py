"""One source, read again and again: look, keep what was found, then keep how far it was read.

In this order: a crash in between reads the same events again, and the log knows them. Nothing is skipped: a look that
fails is made again, and while the log takes nothing the source waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Literal

import msgspec
import structlog

from dezky_operator.audit.errors import AuditError
from dezky_operator.audit.event import Datum, Event
from dezky_operator.audit.fates import Appended
from dezky_operator.ingest.own.acts import act, once
from dezky_operator.ingest.source import Look, Source, SourceError
from dezky_operator.ingest.tally import Tally
from dezky_operator.store.interface import StoreError
from dezky_operator.store.tables import CursorRow

log = structlog.get_logger(__name__)
Accept = Callable[[Sequence[Event]], Awaitable[Appended]]
LONGEST_PAUSE = 300.0
"""Seconds between two tries of a source that can not be read."""
HEARTBEAT = 60.0
"""Seconds after which a cursor is stored again though nothing came."""
HOUR = 13
"""Characters of a canonical time up to its hour."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds between two looks, and without an event until the source counts as silent (0: never)."""

    interval: float
    silent_after: float = 0.0


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a source stands. ``reason`` and ``message`` say why and what to do."""

    state: Literal["Running", "Failing", "Silent", "Waiting"]
    reason: str
    message: str


RUNNING = Standing(state="Running", reason="Reading", message="Its events come into the log.")


class Round:
    """Reads one source into the log.

    Attributes:
        standing: how it stands now.
        lag: seconds from the newest event to its line, at the last look that found one.
        caught_up: up to when everything was read; None before that.
        verified: of a source whose events are sent: whether they were seen to come.
    """

    def __init__(  # noqa: PLR0913 - each is one independent part, all by keyword
        self,
        source: Source,
        tally: Tally,
        *,
        name: str,
        accept: Accept,
        tell: Callable[[Event], None],
        pace: Pace,
        now: Callable[[], str],
        jitter: Callable[[], float],
        sent: bool = False,
    ) -> None:
        """Read ``source``.

        Args:
            source: what is read.
            tally: its cursor and counts.
            name: of the AuditSource.
            accept: the log's; what it returned for is durable.
            tell: keeps events about the source itself.
            pace: when it is looked at.
            now: canonical time.
            jitter: a number from 0 up to 1.
            sent: its events are sent to us, and not seen to come yet.
        """
        self._source, self._tally, self._name = source, tally, name
        self._accept, self._tell = accept, tell
        self._pace, self._now, self._jitter = pace, now, jitter
        self._failures, self._accounted = 0, ""
        self.standing = RUNNING
        self.lag: float | None = None
        self.caught_up: datetime | None = None
        self.verified: bool | None = False if sent else None

    async def run(self, changed: Callable[[], Awaitable[None]]) -> None:
        """Look for ever; ``changed`` is called after every look. Cancelled, it ends between two of them or in one."""
        while True:
            pause = await self.once()
            await changed()
            await asyncio.sleep(pause)

    async def once(self) -> float:
        """One look; seconds until the next."""
        begun = datetime.fromisoformat(self._now())
        try:
            # Read anew: of a source whose events are sent, whoever takes them in counts beside this.
            look = await self._source.look(await self._tally.load())
            await self._keep(look)
        except SourceError as error:
            self.verified = None if self.verified is None else False
            return self._failed(Standing(state="Failing", reason=error.reason, message=str(error)))
        except (StoreError, AuditError) as error:
            message = f"The log takes nothing now, so nothing is read: {error}."
            return self._failed(Standing(state="Waiting", reason="LogUnavailable", message=message))
        self._failures = 0
        if not look.more:
            self.caught_up = begun
        self.verified = look.verified
        self._stands(look)
        self._account()
        return 0.0 if look.more else self._pace.interval

    async def _keep(self, look: Look) -> None:
        if not look.events and not look.filtered and self._same(look.cursor):
            return
        appended = await self._accept(look.events) if look.events else Appended()
        await self._tally.save(
            look.events, appended, cursor=look.cursor, filtered=look.filtered, last_event=look.last_event
        )
        if look.last_event:
            self.lag = max(_seconds(look.last_event, self._now()), 0.0)

    def _same(self, cursor: CursorRow) -> bool:
        """Whether storing the cursor would tell nothing but that it was looked again, a moment ago."""
        row = self._tally.row
        if row is None or _seconds(row.heartbeat or cursor.heartbeat, cursor.heartbeat) >= HEARTBEAT:
            return False
        return (row.position, row.generations) == (cursor.position, cursor.generations)

    def _failed(self, standing: Standing) -> float:
        if standing != self.standing:
            log.warning("source not read", source=self._name, reason=standing.reason, error=standing.message)
        self.standing = standing
        self._failures += 1
        pause = min(self._pace.interval * float(2 ** min(self._failures - 1, 10)), LONGEST_PAUSE)
        return pause * (0.75 + 0.5 * self._jitter())

    def _stands(self, look: Look) -> None:
        """Read, and perhaps silent: once for each silence the log says so."""
        last = self._tally.row.last_event if self._tally.row else ""
        silent = self._pace.silent_after and last and _seconds(last, self._now()) > self._pace.silent_after
        if silent:
            message = look.notice or f"Nothing has come since {last}."
            self.standing = Standing(state="Silent", reason="Silent", message=message)
            self._tell(about("source.silent", self._name, ext=f"source.silent:{self._name}:{last}", now=self._now()))
        elif look.notice:
            self.standing = Standing(state="Silent", reason="Silent", message=look.notice)
        else:
            self.standing = RUNNING

    def _account(self) -> None:
        """Once an hour the log says what became of everything this source told since it began."""
        hour = self._now()[:HOUR]
        if hour != self._accounted:
            self._accounted = hour
            self._tell(accounted(self._name, self._tally.counts, hour=hour, now=self._now()))


def about(action: str, source: str, *, ext: str, now: str, data: dict[str, Datum] | None = None) -> Event:
    """An event about a source itself. Its name is one an administrator gave to a thing, not a person's."""
    return act(action, ext=ext, now=now, resource="auditsource", data={"source": source, **(data or {})})


def accounted(source: str, counts: dict[str, int], *, hour: str, now: str) -> Event:
    """The account of a source in one hour: the first of each hour counts, others are the same event."""
    return about("ingest.accounted", source, ext=f"ingest.accounted:{source}:{hour}", now=now, data={**counts})


def paused(source: str, *, now: str, going_on: bool) -> Event:
    """Somebody paused a source, or lets it go on."""
    return about("source.resumed" if going_on else "source.paused", source, ext=once(), now=now)


def _seconds(earlier: str, later: str) -> float:
    if not earlier or not later:
        return 0.0
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()
