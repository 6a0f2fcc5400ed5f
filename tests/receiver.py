"""Somebody who is sent webhooks: keeps every delivery, and answers as told."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.webhooks import until

NUDGE = "x:Nudge/get"
"""The method whose refusal is the event of a nudge."""
PATIENCE = 0.5
"""Seconds until what did not come is nudged."""


@dataclass(frozen=True)
class Delivery:
    """One request."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def events(self) -> list[dict[str, Any]]:
        """What it tells."""
        return list(json.loads(self.body)["events"])

    def is_signed_with(self, key: str) -> bool:
        """Base64 of the HMAC-SHA-256 over the body."""
        code = base64.b64encode(hmac.digest(key.encode(), self.body, "sha256")).decode()
        return self.headers.get("X-Signature") == code


@dataclass
class Receiver:
    """``url`` takes deliveries. While ``answer`` is no 2xx they are refused; while ``gate`` is not set, unanswered."""

    url: str = ""
    answer: int = 200
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    deliveries: list[Delivery] = field(default_factory=list)
    nudge: Callable[[], Awaitable[object]] | None = None
    """Makes another event happen: one that stalls comes with the next one only (facts/stalwart.md 5.4)."""

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        """Everything told so far without the nudges, or all of one type."""
        every = [one for delivery in self.deliveries for one in delivery.events]
        return [one for one in every if one["type"] == kind or (not kind and one["data"].get("details") != NUDGE)]

    async def has(self, kind: str, count: int = 1) -> None:
        """Wait until so many events of a type came."""
        nudged = time.monotonic()

        async def look() -> bool:
            nonlocal nudged
            if self.nudge and time.monotonic() - nudged > PATIENCE:
                nudged = time.monotonic()
                await self.nudge()
            return len(self.events(kind)) >= count

        await until(look, f"{kind} never came")

    async def take(self, request: web.Request) -> web.Response:
        """One delivery."""
        self.deliveries.append(Delivery(request.headers.copy(), await request.read()))
        await self.gate.wait()
        return web.json_response({}, status=self.answer)


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    """One on loopback that answers 200."""
    found = Receiver()
    found.gate.set()
    app = web.Application(client_max_size=1 << 28)
    app.router.add_post("/hook", found.take)
    serving = web.AppRunner(app, shutdown_timeout=0.1)
    await serving.setup()
    await web.TCPSite(serving, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{serving.addresses[0][1]}/hook"
    try:
        yield found
    finally:
        found.gate.set()
        await serving.cleanup()
