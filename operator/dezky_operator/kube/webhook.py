"""Stalwart's events: the port they come in at, the WebHook object that sends them, and the proof that they come.

All of it lives as long as its AuditSource is served: without one, or paused, the way in is closed, and Stalwart keeps
what it has to say for a day.
"""

from __future__ import annotations

import asyncio
import secrets as system_random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import httpx2
import structlog
from aiohttp import web

from dezky_operator.audit.event import Event
from dezky_operator.audit.fates import Appended
from dezky_operator.audit.times import written
from dezky_operator.config import AuditSettings, SecretRef, Settings
from dezky_operator.http.application import WEBHOOK, runner
from dezky_operator.http.ingress import StalwartIngress
from dezky_operator.ingest.source import Look, SourceError
from dezky_operator.ingest.stalwart.accounts import Accounts
from dezky_operator.ingest.stalwart.body import Reader
from dezky_operator.ingest.tally import Tally
from dezky_operator.ingest.tenants import Tenants
from dezky_operator.integrations.apply import Trail
from dezky_operator.integrations.errors import IntegrationError
from dezky_operator.integrations.stalwart.client import StalwartClient
from dezky_operator.integrations.stalwart.directory import addresses
from dezky_operator.integrations.stalwart.webhook import ensure_webhook, verify_webhook
from dezky_operator.kube.credentials import SecretReader, UnusableSecret
from dezky_operator.kube.sources import Way
from dezky_operator.store.tables import CursorRow
from dezky_operator.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)
PREVIOUS = "-previous"
"""Behind the key's name in the Secret: the one before, taken while it is rotated."""
VERIFIED_FOR = 900.0
"""Seconds until it is tried again whether events come: what stalled comes with it."""
WITHIN = 20.0
"""Seconds an event has to come in."""
PHASE = "Webhook"
UNVERIFIED = "WebhookUnverified"


@dataclass(frozen=True, kw_only=True)
class Means:
    """What the webhook needs of the process. ``key`` keys the hashes that tell Stalwart's events apart."""

    settings: Settings
    audit: AuditSettings
    client: StalwartClient
    secrets: SecretReader
    tenants: Callable[[], Tenants]
    metrics: Metrics
    trail: Trail
    key: Callable[[], bytes]
    clock: Callable[[], float]


class StalwartWebhook:
    """The source whose events are sent. A look sees to it that they can come, and finds none itself."""

    def __init__(self, src: str, way: Way, means: Means) -> None:
        self._src, self._way, self._means = src, way, means
        self._tally, self._turn = Tally(way.store, src), asyncio.Lock()
        self._keys: tuple[bytes, ...] = ()
        self._verified_at: float | None = None
        self._loaded = True
        self._served: web.AppRunner | None = None
        self._accounts = Accounts(partial(addresses, means.client), clock=means.clock)
        reader = Reader(src=src, key=means.key(), tenants=means.tenants, address_of=self._accounts)
        self._ingress = StalwartIngress(
            self._accept,
            Path(means.audit.directory) / "webhook",
            lambda: self._keys,
            means.audit.webhook,
            reader=reader,
            metrics=means.metrics,
            ask=self._accounts.ask,
        )

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens."""
        return [address[:2] for address in self._served.addresses] if self._served else []

    async def look(self, cursor: CursorRow | None) -> Look:
        """See that events can come. Raises SourceError."""
        self._keys = await self._secrets()
        await self._accounts.ask()
        await self._serve()
        if self._means.audit.webhook.url is not None:
            await self._hook(self._means.audit.webhook.url)
        now = written(datetime.now(UTC))
        row = cursor or CursorRow(self._src, "pushed", now, ())
        return Look(cursor=row, notice=self._ingress.notice, verified=self._verified_at is not None)

    async def close(self) -> None:
        """Close the way in."""
        if self._served is not None:
            await self._served.cleanup()
            self._served = None

    # -- what comes in ---------------------------------------------------------------------

    async def _accept(self, events: Sequence[Event]) -> Appended:
        """Keep one batch after the other, so that its counts are its own."""
        async with self._turn:
            appended = await self._way.accept(events)
            row = await self._tally.load() or CursorRow(self._src, "pushed", written(datetime.now(UTC)), ())
            last = max((event.at for event in events), default="")
            await self._tally.save(events, appended, cursor=row, last_event=last)
            return appended

    async def _serve(self) -> None:
        if self._served is not None:
            return
        settings, served = self._means.audit.webhook, runner(self._ingress)
        try:
            await served.setup()
            await web.TCPSite(served, settings.host, settings.port).start()
        except OSError as error:
            await served.cleanup()
            raise SourceError(
                "NotListening",
                f"{settings.host}:{settings.port} can not be listened on ({error.strerror}): free it, or set another "
                "audit.webhook.port. Only one AuditSource of type stalwart can be served.",
            ) from error
        self._served = served
        log.info("webhook served", addresses=[f"{address[0]}:{address[1]}" for address in served.addresses])

    async def _secrets(self) -> tuple[bytes, ...]:
        ref = self._means.audit.webhook.secret_ref
        if ref is None:
            raise SourceError(
                "NoSecret", "audit.webhook.secretRef is not set, so the way in is closed (404). Name a Secret there."
            )
        found = [await self._secret(ref), await self._secret(SecretRef(name=ref.name, key=f"{ref.key}{PREVIOUS}"))]
        keys = tuple(key for key in found if key)
        if not found[0]:
            raise SourceError("NoSecret", f"{self._means.secrets.describe(ref)} does not exist. Create it.")
        return keys

    async def _secret(self, ref: SecretRef) -> bytes:
        try:
            value = await self._means.secrets.read(ref)
        except UnusableSecret as error:
            raise SourceError("NoSecret", str(error)) from error
        except httpx2.HTTPError as error:
            raise SourceError("Unreachable", f"{self._means.secrets.describe(ref)} could not be read.") from error
        return value.value.encode() if value else b""

    # -- who sends it ----------------------------------------------------------------------

    async def _hook(self, url: str) -> None:
        """Make or repair the object in Stalwart, and see that an event comes. Raises SourceError."""
        means, verified = self._means, self._verified_at
        try:
            state = await ensure_webhook(
                means.client,
                url=f"{url.rstrip('/')}{WEBHOOK}",
                key=self._keys[0].decode(),
                installation_id=str(means.settings.installation_id),
                recorder=means.trail.of("", PHASE),
                loaded=self._loaded,
                works=verified is not None,
            )
            self._loaded = True
            due = verified is None or means.clock() - verified > VERIFIED_FOR or state.changed
            if due and state.can_be_verified:
                await self._verify()
        except IntegrationError as error:
            raise SourceError("HookNotKept", str(error)) from error

    async def _verify(self) -> None:
        token = system_random.token_hex(8)
        heard = await verify_webhook(self._means.client, token=token, heard=self._ingress.hear, within=WITHIN)
        if not heard:
            self._verified_at, self._loaded = None, False
            raise SourceError(
                UNVERIFIED,
                f"Stalwart was made to tell an event, and it did not come within {WITHIN:.0f} s. Can it reach "
                f"{self._means.audit.webhook.url}?",
            )
        self._verified_at = self._means.clock()
