"""Webhooks that send, with all that makes a receiver's life hard (facts/stalwart.md 5.2 to 5.4, 11.7).

At least ``throttle`` apart, one request at a time, everything that waits in one body. What was not answered 2xx comes
again, merged with newer events, under new ids. When the time to send falls into a request that is still under way the
rest waits for the next event, however long that takes. What is older than ``discardAfter`` is dropped. All of it is in
memory only.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from tests.sandbox.stalwart.events import Data
from tests.sandbox.stalwart.names import EVENTS

Record = dict[str, Any]
_TYPE_IDS = {name: number for number, name in enumerate(sorted(EVENTS))}
NEVER_SENT = "telemetry.webhook-error"


@dataclass(frozen=True)
class Told:
    """One event; ``at`` in whole seconds since 1970."""

    at: int
    kind: str
    data: Data


class Hook:
    """One that runs. What it keeps until it was once off is taken when it starts."""

    def __init__(self, stored: Record, clock: Callable[[], float], number: Callable[[], int]) -> None:
        self.stored, self._clock, self._number = stored, clock, number
        self._arrived: asyncio.Queue[Sequence[Told]] = asyncio.Queue()
        self._in_flight = False
        self.stalled = False
        """What waits is sent with the next event only: the time for it fell into a delivery."""
        self._sending: set[asyncio.Task[None]] = set()
        self._running = asyncio.create_task(self._run())

    def wants(self, kind: str) -> bool:
        """Whether the event is one of its set."""
        named = kind in self.stored["events"]
        return kind != NEVER_SENT and named == (self.stored["eventsPolicy"] == "include")

    def offer(self, told: Told) -> None:
        """An event for it."""
        self._arrived.put_nowait([told])

    def stop(self) -> None:
        """End; what waits is lost."""
        for task in (self._running, *self._sending):
            task.cancel()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        pending: list[Told] = []
        next_delivery, patience = loop.time(), None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    oldest = self._clock() - self.stored["discardAfter"] / 1000
                    pending += [told for told in await self._arrived.get() if told.at > oldest]
            patience = None
            now = loop.time()
            if not pending:
                continue
            if next_delivery > now:
                patience = next_delivery - now
                continue
            next_delivery = now + self.stored["throttle"] / 1000
            self.stalled = self._in_flight
            if not self.stalled:
                self._send(pending)
                pending = []

    def _send(self, events: list[Told]) -> None:
        self._in_flight = True
        task = asyncio.create_task(self._deliver(events))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _deliver(self, events: list[Told]) -> None:
        try:
            if not await self._posted(self._body(events)):
                self._arrived.put_nowait(events)
        finally:
            self._in_flight = False

    async def _posted(self, body: bytes) -> bool:
        headers = {"Content-Type": "application/json", **self.stored["httpHeaders"]}
        if key := _key(self.stored["signatureKey"]):
            headers["X-Signature"] = base64.b64encode(hmac.digest(key, body, "sha256")).decode()
        timeout = aiohttp.ClientTimeout(total=self.stored["timeout"] / 1000)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as http,
                http.post(self.stored["url"], data=body, headers=headers) as answer,
            ):
                return 200 <= answer.status < 300
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return False

    def _body(self, events: list[Told]) -> bytes:
        """Each event gets another id whenever it is written."""
        written = [
            {
                "id": f"{told.at}{self._number()}{_TYPE_IDS[told.kind]}",
                "createdAt": datetime.fromtimestamp(told.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "type": told.kind,
                "data": told.data,
            }
            for told in events
        ]
        return json.dumps({"events": written}, separators=(",", ":")).encode()


class Hooks:
    """All that run."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._running: dict[str, Hook] = {}
        self._written = 0

    def tell(self, kind: str, data: Data) -> None:
        """Something happened."""
        for hook in self._running.values():
            if hook.wants(kind):
                hook.offer(Told(int(self._clock()), kind, data))

    def load(self, hooks: dict[str, Record]) -> None:
        """Those that the settings in force name, and no others."""
        for key in self._running.keys() - hooks.keys():
            self._running.pop(key).stop()
        for key, stored in hooks.items():
            if key in self._running:
                self._running[key].stored = stored
            else:
                self._running[key] = Hook(stored, self._clock, self._next)

    def stop(self) -> None:
        """As when the process ends."""
        self.load({})
        self._written = 0

    def _next(self) -> int:
        self._written += 1
        return self._written - 1


def _key(secret: Record) -> bytes:
    if secret["@type"] == "EnvironmentVariable":
        return os.environ.get(secret["variableName"], "").encode()
    if secret["@type"] == "File":
        return Path(secret["filePath"]).read_bytes()
    return str(secret.get("secret", "")).encode()
