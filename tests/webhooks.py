"""The way in for Stalwart's events, served on loopback over a real log in SQLite."""

from __future__ import annotations

import asyncio
import base64
import hmac
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import msgspec
from aiohttp import web

from dezky_operator.audit.draft import prepare
from dezky_operator.audit.event import Event
from dezky_operator.audit.fates import Appended
from dezky_operator.audit.line import Line
from dezky_operator.audit.sequencer import Sequencer
from dezky_operator.config import WebhookSettings
from dezky_operator.http.application import WEBHOOK, runner
from dezky_operator.http.ingress import StalwartIngress
from dezky_operator.http.spool import free_bytes
from dezky_operator.ingest.stalwart.body import Reader
from dezky_operator.ingest.tenants import KnownTenant, Tenants
from dezky_operator.store.interface import Store, UnavailableError
from dezky_operator.store.sqlite import SqliteStore
from dezky_operator.telemetry.metrics import Metrics
from tests.audit.events import ring
from tests.drafts import ACME, NORD
from tests.logs import Clock, lines_of, sequencer

SECRET = b"the secret of the webhook, 32 B."
KEY = b"installation's key of hashes"
RECEIVED = "2026-11-24T04:00:00.000000Z"
TENANTS = Tenants(
    [
        KnownTenant(tenant_id=ACME, slug="acme", domains=("acme.test",)),
        KnownTenant(tenant_id=NORD, slug="nord", domains=("nord.test", "nord.eu")),
    ]
)


def reader(tenants: Tenants = TENANTS, *, known: dict[str, str] | None = None) -> Reader:
    """A reader of the source `mail`; ``known`` are addresses by account id."""
    accounts = known or {}
    return Reader(src="mail", key=KEY, tenants=lambda: tenants, address_of=lambda key: accounts.get(key, ""))


def sent(
    kind: str = "auth.success", created: str = "2026-11-24T04:04:17Z", /, *, number: str = "1", **data: Any
) -> dict[str, Any]:
    """An event as Stalwart writes it; ``number`` is its id in this delivery."""
    return {"id": number, "createdAt": created, "type": kind, "data": data}


def batch(*events: object) -> bytes:
    """A body of these events."""
    return msgspec.json.encode({"events": events})


def signature(body: bytes, secret: bytes = SECRET) -> str:
    """What Stalwart puts beside a body."""
    return base64.b64encode(hmac.digest(secret, body, "sha256")).decode()


async def until(look: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for a condition; fails with ``what`` after half a minute."""
    deadline = time.monotonic() + 30
    while not await look():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.01)


class Log:
    """A log that takes events, and may be down."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.down: Exception | None = None
        self.left: int | None = None
        """How many more calls it takes."""
        self.calls: list[int] = []
        """How many events each call had."""
        self._sequencer: Sequencer = sequencer(store, Clock())
        self._keys = ring()

    async def accept(self, events: Sequence[Event]) -> Appended:
        """Durable when it returns."""
        if self.down is not None:
            raise self.down
        if self.left is not None:
            if not self.left:
                raise UnavailableError("enough")
            self.left -= 1
        self.calls.append(len(events))
        return await self._sequencer.append([prepare(one, keys=self._keys, random=os.urandom) for one in events])

    async def lines(self) -> list[Line]:
        """Everything that is in it."""
        return await lines_of(self.store)

    async def actions(self) -> list[str]:
        """What happened, in the order of the log."""
        return [line.action for line in await self.lines()]


@dataclass
class Door:
    """The way in, open."""

    url: str
    directory: Path
    log: Log
    ingress: StalwartIngress
    metrics: Metrics
    secrets: list[bytes]
    http: httpx2.AsyncClient = field(repr=False)

    @property
    def port(self) -> int:
        """Where it listens on loopback."""
        return int(self.url.rpartition(":")[2])

    async def post(self, body: bytes, *, secret: bytes = SECRET, **headers: str) -> httpx2.Response:
        """Deliver a body as Stalwart does. A header that is given takes the place of its own."""
        own = {"X-Signature": signature(body, secret), "Content-Type": "application/json"}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post(WEBHOOK, content=body, headers={**own, **named})

    def answers(self, what: str) -> float:
        """How many requests ended like this."""
        return self.metrics.registry.get_sample_value("dezky_audit_webhook_requests_total", {"answer": what}) or 0.0

    async def has_files(self, *names: str) -> bool:
        """Whether the spool holds just these."""
        return self.files() == list(names)

    def files(self) -> list[str]:
        """Names of all files of the spool, with their room."""
        found = (path for path in self.directory.rglob("*") if path.is_file())
        return sorted(f"{path.parent.name}/{path.suffix}" for path in found)


def settings(**changed: Any) -> WebhookSettings:
    """Small sizes, so that a test needs no large bodies."""
    return WebhookSettings(**({"counted_bytes": 4096, "max_body_bytes": 1 << 20, "reserve_bytes": 0} | changed))


@asynccontextmanager
async def door(
    directory: Path,
    *,
    log: Log | None = None,
    wanted: WebhookSettings | None = None,
    secrets: list[bytes] | None = None,
    free: Callable[[Path], int] = free_bytes,
    **more: Any,
) -> AsyncIterator[Door]:
    """The way in with its spool under ``directory``; ``more`` goes to the ingress."""
    opened = None if log else await SqliteStore.open(directory / "audit.db")
    log = log or Log(opened)  # type: ignore[arg-type]  # opened when no log was given
    metrics, keys = Metrics(), [SECRET] if secrets is None else secrets
    ingress = StalwartIngress(
        log.accept,
        directory / "webhook",
        lambda: tuple(keys),
        wanted or settings(),
        reader=reader(),
        metrics=metrics,
        free=free,
        **more,
    )
    serving = runner(ingress)
    await serving.setup()
    site = web.TCPSite(serving, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{serving.addresses[0][1]}"
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=20) as http:
        try:
            yield Door(url, directory / "webhook", log, ingress, metrics, keys, http)
        finally:
            await serving.cleanup()
            if opened is not None:
                await opened.close()
