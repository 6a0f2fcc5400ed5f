"""Parsing of bodies that were acknowledged on the strength of the disk: again after a crash, until they are in the log.

A body is removed once all its events are accepted. Stopped in between, it is read again from its beginning: its events
have the same ids and are not stored twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from dezky_operator.audit.event import Event
from dezky_operator.audit.refusals import NotAppendedError
from dezky_operator.audit.times import from_unix_ns
from dezky_operator.http.spool import Pending, Spool
from dezky_operator.ingest.stalwart.body import Reader, Reading
from dezky_operator.store.interface import StoreError
from dezky_operator.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)
Keep = Callable[[Sequence[Event]], Awaitable[None]]
UNAVAILABLE = (StoreError, NotAppendedError, OSError)
"""What keeping events may end with when it has to be tried again."""
CHUNK = 64 << 10
TOGETHER = 500
"""Events of one call."""
TOGETHER_BYTES = 4 << 20
AGAIN = 5.0


class Drain:
    """Parses what waits in a spool, the oldest first."""

    def __init__(self, spool: Spool, reader: Reader, keep: Keep, *, metrics: Metrics, again: float = AGAIN) -> None:
        """``keep`` returns once events are durable; after ``again`` seconds what failed is tried again."""
        self._spool, self._reader, self._keep = spool, reader, keep
        self._metrics, self._again = metrics, again
        self._more = asyncio.Event()

    def wake(self) -> None:
        """Something was added."""
        self._more.set()

    async def run(self) -> None:
        """Parse for ever what there is and what comes."""
        while True:
            self._more.clear()
            if not await self._round():
                await asyncio.sleep(self._again)
                continue
            await self._more.wait()

    async def _round(self) -> bool:
        """Everything that waits; False when some of it is to be tried again."""
        try:
            for body in await asyncio.to_thread(lambda: list(self._spool.pending())):
                await self._measure()
                await self._parse(body)
                await asyncio.to_thread(self._spool.done, body)
            await self._measure()
        except UNAVAILABLE as error:
            # Without its text: a disk's or a store's may hold paths and values.
            log.warning("webhook_bodies_wait", reason=type(error).__name__)
            return False
        except Exception as error:  # noqa: BLE001 - what was acknowledged is never given up, whatever it meets
            log.error("webhook_body_fails", reason=type(error).__name__)  # noqa: TRY400 - the trace may hold values
            return False
        return True

    async def _measure(self) -> None:
        self._metrics.webhook_pending.set(await asyncio.to_thread(self._spool.waiting_bytes))

    async def _parse(self, body: Pending) -> None:
        """Keep every event of a body, a few at a time."""
        reading = self._reader.body(from_unix_ns(body.arrived))
        batch = Batch(self._keep)
        with body.path.open("rb") as file:
            while chunk := await asyncio.to_thread(file.read, CHUNK):
                await self._add(batch, reading, chunk)
        for event in reading.end():
            await batch.add(event)
        await batch.send()

    async def _add(self, batch: Batch, reading: Reading, chunk: bytes) -> None:
        for event in reading.feed(chunk):
            await batch.add(event)
        await asyncio.sleep(0)  # others come between two chunks


class Batch:
    """Events that are kept together, bounded in number and bytes."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._events: list[Event] = []
        self._bytes = 0

    async def add(self, event: Event) -> None:
        """Take one more; those before it are kept first when they are enough."""
        if len(self._events) >= TOGETHER or self._bytes + len(event.raw) > TOGETHER_BYTES:
            await self.send()
        self._events.append(event)
        self._bytes += len(event.raw)

    async def send(self) -> None:
        """Keep what was taken."""
        events, self._events, self._bytes = self._events, [], 0
        if events:
            await self._keep(events)
