"""Where the operator's own events go: into the log; on disk while the log takes none; in memory, under an alarm, last.

Events of one moment are one call to the log, and while that runs the next gather: sixteen tenants at work cost one sync
of the disk, not sixteen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import structlog

from dezky_operator.audit.errors import AuditError
from dezky_operator.audit.event import Event
from dezky_operator.audit.fates import Appended
from dezky_operator.ingest.own.spool import Spool
from dezky_operator.store.interface import StoreError

log = structlog.get_logger(__name__)
AT_ONCE = 500
"""Events of one call."""
PAUSE = 1.0
"""Seconds until the log is asked again whether it takes what waits."""


class NotKeptError(Exception):
    """Neither the log nor the disk took an event. What it was to record must not be done."""


class _Offered(NamedTuple):
    """An event, and who waits to hear that it is durable; nobody does where it may stay in memory."""

    event: Event
    kept: asyncio.Future[None] | None


class Keeping:
    """Keeps events in their order. Made and used in one event loop.

    Attributes:
        unwritten: events that are in memory only, because neither log nor disk takes them: an end of the process now
            loses them.
        refused: why the log takes none; empty while it does.
    """

    def __init__(self, accept: Callable[[Sequence[Event]], Awaitable[Appended]], spool: Spool) -> None:
        """``accept`` is the log's: what it returned for is durable."""
        self._accept, self._spool = accept, spool
        self._gathered: list[_Offered] = []
        self._some, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self.unwritten: list[Event] = []
        self.refused = ""

    @property
    def spooled(self) -> int:
        """How many events are on disk and wait for the log."""
        return self._spool.waiting

    async def keep(self, *events: Event) -> None:
        """Return once ``events`` are durable. Raises NotKeptError: neither the log nor the disk takes them."""
        loop = asyncio.get_running_loop()
        offered = [_Offered(event, loop.create_future()) for event in events]
        self._gather(offered)
        for one in offered:
            if one.kept is not None:
                await one.kept

    def offer(self, *events: Event) -> None:
        """Keep ``events`` soon. What can not be made durable stays in memory, under the alarm, and is tried again."""
        self._gather([_Offered(event, None) for event in events])

    async def settled(self) -> None:
        """Wait until everything handed over so far is in the log, on disk or, under the alarm, in memory."""
        await self._idle.wait()

    async def run(self) -> None:
        """Write what is gathered and drain what waits, for ever. Cancelled, it writes what is left, and ends."""
        try:
            while True:
                await self._awaken()
                await self._drain()
                await self._write()
        finally:
            await self._write()

    def _gather(self, offered: Sequence[_Offered]) -> None:
        self._gathered += offered
        self._idle.clear()
        self._some.set()

    async def _awaken(self) -> None:
        """Wait for events; with some that wait already no longer than until the log is to be asked again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PAUSE if self.spooled or self.unwritten else None):
                await self._some.wait()

    async def _drain(self) -> None:
        """Bring into the log what is on disk, oldest first, as far as it takes it."""
        while self.spooled:
            events = await asyncio.to_thread(self._spool.first)
            if not await self._accepted(events):
                return
            try:
                await asyncio.to_thread(self._spool.drop_first)
            except OSError as error:
                log.warning("spool keeps what the log has", error=error.strerror)
                return

    async def _write(self) -> None:
        """Write everything gathered; what comes meanwhile is the next call's."""
        while self._gathered or self.unwritten:
            offered, self._gathered = self._gathered[:AT_ONCE], self._gathered[AT_ONCE:]
            events = [*self.unwritten, *(one.event for one in offered)]
            durable = (not self.spooled and await self._accepted(events)) or await self._on_disk(events)
            if durable:
                self.unwritten.clear()
            else:
                # Who waits is told, and does not do what was to be recorded. The others were done, or must be.
                self.unwritten += [one.event for one in offered if one.kept is None]
            _tell(offered, durable=durable)
            if not durable:
                break
        if not self._gathered:
            self._some.clear()
            self._idle.set()

    async def _accepted(self, events: Sequence[Event]) -> bool:
        """Whether the log has them now."""
        try:
            await self._accept(events)
        except (StoreError, AuditError) as error:
            if not self.refused:
                log.error("log takes nothing", error=str(error))  # noqa: TRY400 - the place in our code tells nothing
            self.refused = str(error)
            return False
        if self.refused:
            log.info("log takes events again", spooled=self.spooled)
        self.refused = ""
        return True

    async def _on_disk(self, events: Sequence[Event]) -> bool:
        """Whether the disk has them now."""
        try:
            await asyncio.to_thread(self._spool.append, events)
        except OSError as error:
            log.error("spool takes nothing", error=error.strerror)  # noqa: TRY400 - as above
            return False
        return True


def _tell(offered: Sequence[_Offered], *, durable: bool) -> None:
    for one in offered:
        if one.kept is None or one.kept.done():
            continue
        if durable:
            one.kept.set_result(None)
        else:
            one.kept.set_exception(NotKeptError("neither the audit log nor its spool takes an event"))
