"""Stalwart's events on their way in (facts/stalwart.md 5.4, facts/audit-log.md 6.1 and case 23).

Stalwart sends a batch again, merged with newer events, until it is answered 2xx. So nothing is answered before it is
durable, and nothing that was signed is ever refused for what it says. A body up to ``counted_bytes`` is parsed and its
events are in the log before the answer; a larger one, and any while the log takes nothing, is on the disk by then, and
parsed later: Stalwart gives up what is not taken within a day.
"""

from __future__ import annotations

import asyncio
import secrets as system_random
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from aiohttp import web

from dezky_operator.audit.event import Event
from dezky_operator.audit.fates import Appended
from dezky_operator.audit.times import from_unix_ns
from dezky_operator.config import WebhookSettings
from dezky_operator.http.answers import Answers
from dezky_operator.http.body import Body, BodyError
from dezky_operator.http.drain import AGAIN, CHUNK, UNAVAILABLE, Drain
from dezky_operator.http.signature import HEADER, Seal, signature_of
from dezky_operator.http.spool import Spool, free_bytes
from dezky_operator.ingest.stalwart.body import Reader
from dezky_operator.telemetry.metrics import Metrics

Accept = Callable[[Sequence[Event]], Awaitable[Appended]]
Secrets = Callable[[], tuple[bytes, ...]]
Ask = Callable[[], Awaitable[bool]]
AT_ONCE = 8
"""Bodies taken at the same time. Stalwart sends one at a time for each WebHook object."""
WHOLE_SECONDS = 120.0
IDLE_SECONDS = 15.0


async def nobody_to_ask() -> bool:
    """For a reader that knows of no accounts."""
    return False


class StalwartIngress:
    """The way in. Answers requests to the webhook, and parses what it kept on disk."""

    def __init__(  # noqa: PLR0913 - what it works with
        self,
        accept: Accept,
        directory: Path,
        secrets: Secrets,
        settings: WebhookSettings,
        *,
        reader: Reader,
        metrics: Metrics,
        ask: Ask = nobody_to_ask,
        clock: Callable[[], int] = time.time_ns,
        free: Callable[[Path], int] = free_bytes,
        idle_seconds: float = IDLE_SECONDS,
        whole_seconds: float = WHOLE_SECONDS,
        again_seconds: float = AGAIN,
    ) -> None:
        """Take events in.

        Args:
            accept: puts events into the log; durable when it returns. What it raises is answered 503.
            directory: where bodies wait; made when it is missing.
            secrets: the keys of signatures in use now, asked for each request; none closes the way in.
            settings: sizes.
            reader: of the AuditSource.
            metrics: of the process.
            ask: finds out about accounts that ``reader`` did not know; whether it knows more now.
            clock: ns since 1970.
            free: bytes left on a directory's disk.
            idle_seconds: how long a sender may be silent inside a body.
            whole_seconds: how long a body may take.
            again_seconds: when what could not be parsed or kept is tried again.
        """
        self._accept, self._directory, self._secrets, self._settings = accept, directory, secrets, settings
        self._reader, self._ask, self._clock, self._free = reader, ask, clock, free
        self._idle, self._whole = idle_seconds, whole_seconds
        self._answers = Answers(metrics, settings)
        self._spool = Spool(directory)
        self._drain = Drain(self._spool, reader, self._keep, metrics=metrics, again=again_seconds)
        self._taking = 0
        self._awaited: dict[bytes, asyncio.Future[None]] = {}

    @property
    def notice(self) -> str:
        """What a person must know: why bodies are refused. Empty while none are."""
        return self._answers.notice

    async def run(self) -> None:
        """Parse what waits, until cancelled. After :meth:`open`."""
        await self._drain.run()

    async def open(self) -> None:
        """Make the directory, and remove what a crash left that was acknowledged to nobody. Raises OSError."""
        await asyncio.to_thread(self._spool.open)

    def hear(self, marker: str) -> Awaitable[None]:
        """Done once an event that holds ``marker`` came in under a good signature and is in the log."""
        self._awaited = {text: future for text, future in self._awaited.items() if not future.done()}
        return self._awaited.setdefault(marker.encode(), asyncio.get_running_loop().create_future())

    # -- one request -----------------------------------------------------------------------

    def admit(self, request: web.Request) -> bytes:
        """The signature of a request whose body may be read. Raises the answer to any other."""
        if not self._secrets():
            raise self._answers.closed()
        signature = signature_of(request.headers.get(HEADER, ""))
        if signature is None:
            raise self._answers.unsigned()
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise self._answers.encoded()
        if (request.content_length or 0) > self._settings.max_body_bytes:
            raise self._answers.too_large()
        if self._taking >= AT_ONCE:
            raise self._answers.busy()
        return signature

    async def receive(self, request: web.Request) -> web.StreamResponse:
        """Answer one delivery."""
        signature = self.admit(request)
        arrived = self._clock()
        self._taking += 1
        try:
            body = await self._taken(request, signature, arrived)
            return await self._parsed(body, arrived) if not body.on_disk else self._spooled()
        finally:
            self._taking -= 1

    async def _taken(self, request: web.Request, signature: bytes, arrived: int) -> Body:
        """The body, if it is signed; on disk it is durable then."""
        body = Body(
            lambda: self._spool.begin(arrived, system_random.token_hex(8)),
            in_memory=self._settings.counted_bytes,
            most=self._settings.max_body_bytes,
            room=lambda: self._free(self._directory) - self._settings.reserve_bytes,
        )
        seal = Seal(self._secrets())
        try:
            await self._read(request, body, seal)
            if not seal.fits(signature):
                raise self._answers.forged()
            if body.on_disk:
                await body.keep()
        except TimeoutError:
            raise self._answers.slow() from None
        except BodyError as error:
            raise self._answers.refused(error) from None
        finally:
            await body.close()
        return body

    async def _read(self, request: web.Request, body: Body, seal: Seal) -> None:
        async with asyncio.timeout(self._whole):
            while chunk := await self._chunk(request):
                seal.update(chunk)
                await body.add(chunk)

    async def _chunk(self, request: web.Request) -> bytes:
        async with asyncio.timeout(self._idle):
            return await request.content.readany()

    async def _parsed(self, body: Body, arrived: int) -> web.StreamResponse:
        events = await self._read_events(body.text, arrived)
        if await self._ask():
            events = await self._read_events(body.text, arrived)
        try:
            await self._keep(events)
        except UNAVAILABLE as error:
            return await self._set_aside(body, error)
        return self._answers.accepted(len(events))

    async def _read_events(self, text: bytes, arrived: int) -> list[Event]:
        reading = self._reader.body(from_unix_ns(arrived))
        events: list[Event] = []
        for start in range(0, len(text), CHUNK):
            events += reading.feed(text[start : start + CHUNK])
            await asyncio.sleep(0)  # others come between two chunks
        return [*events, *reading.end()]

    async def _set_aside(self, body: Body, error: Exception) -> web.StreamResponse:
        """The log takes nothing now; the disk does. Events of which the log has some already are in it once."""
        try:
            await body.keep()
        except BodyError:
            return self._answers.unavailable(error)
        finally:
            await body.close()
        self._drain.wake()
        return self._answers.set_aside(error)

    def _spooled(self) -> web.StreamResponse:
        self._drain.wake()
        return self._answers.spooled()

    async def _keep(self, events: Sequence[Event]) -> None:
        """Put events into the log, then tell whoever waits for one of them."""
        if events:
            await self._accept(events)
        for marker in [marker for marker in self._awaited if any(marker in event.raw for event in events)]:
            found = self._awaited.pop(marker)
            if not found.done():
                found.set_result(None)
