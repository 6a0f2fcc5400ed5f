"""Authentik's events polled from the stand-in: what happens there, and what was kept of it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from dezky_operator.audit.event import Event
from dezky_operator.audit.times import from_unix_ns
from dezky_operator.ingest.authentik.poll import AuthentikPoll
from dezky_operator.ingest.source import Look
from dezky_operator.ingest.tenants import KnownTenant, Tenants
from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.integrations.connection import Connection, Limits, NoFence
from dezky_operator.integrations.steps import System
from dezky_operator.store.tables import CursorRow
from dezky_operator.telemetry.metrics import Metrics
from tests.drafts import ACME, NORD
from tests.identity import Given
from tests.sandbox.authentik.server import AuthentikStandIn

NOON = 1_794_916_800.0
"""2026-11-17 12:00:00 UTC, in seconds since 1970."""
TENANTS = Tenants(
    [
        KnownTenant(tenant_id=ACME, slug="acme", partner=NORD, partner_slug="nord", domains=("acme.test",)),
        KnownTenant(tenant_id="0c5f1d6e-6a3b-4b12-9c55-3d1f4a7e9b01", slug="beta", domains=("beta.test",)),
    ]
)
EVENTS = "/api/v3/events/events/"


@dataclass
class Clock:
    """Seconds since 1970, as a test sets them."""

    seconds: float = NOON

    def __call__(self) -> float:
        return self.seconds

    def written(self) -> str:
        """As the log writes it."""
        return from_unix_ns(int(self.seconds * 1e6) * 1_000)


class Unfiltered(httpx2.AsyncHTTPTransport):
    """A way to the server on which the search is lost."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Pass it on without."""
        request.url = request.url.copy_remove_param("search")
        return await super().handle_async_request(request)


@dataclass
class Scene:
    """A stand-in with its clock, the operator's, who polls it, and what the log then has."""

    server: AuthentikStandIn
    theirs: Clock
    ours: Clock
    http: httpx2.AsyncClient
    token: Given
    allow: Collection[str] | None = None
    cursor: CursorRow | None = None
    kept: dict[str, Event] = field(default_factory=dict)
    twice: int = 0
    filtered: int = 0
    looks: int = 0

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Whatever the process had in memory is gone."""
        connection = Connection(
            system=System.AUTHENTIK,
            client=self.http,
            authorizer=self.token,
            limits=Limits(requests_per_second=100_000, pause=0.0),
            fence=NoFence(),
            metrics=Metrics(),
        )
        self.poll = AuthentikPoll(
            AuthentikClient(connection),
            src="authentik-main",
            allow=self.allow,
            tenants=lambda: TENANTS,
            now=self.ours.written,
            own="dezky-operator",
        )

    def pass_time(self, seconds: float) -> None:
        """For both."""
        self.theirs.seconds += seconds
        self.ours.seconds += seconds

    def happens(self, age: float = 0.0, action: str = "login", **more: Any) -> str:
        """An event ``age`` seconds before the server's now; its id."""
        record = {
            "pk": str(uuid.uuid4()),
            "user": {"pk": 900, "username": "gone", "email": ""},
            "action": action,
            "app": "authentik.events.signals",
            "context": {},
            "client_ip": "203.0.113.7",
            "created": from_unix_ns(round((self.theirs.seconds - age) * 1e6) * 1_000),
            "expires": None,
            "brand": {},
            **more,
        }
        self.server.store.events.append(record)
        return str(record["pk"])

    async def look(self, *, crash: bool = False) -> Look:
        """One look, of which everything is kept; a crash then loses the cursor and what was in memory."""
        look = await self.poll.look(self.cursor)
        self.looks += 1
        self.filtered += look.filtered
        for event in look.events:
            self.twice += event.ext in self.kept
            self.kept.setdefault(event.ext, event)
        if crash:
            self.restart()
        else:
            self.cursor = look.cursor
        return look

    async def read(self) -> None:
        """Look until there is no more for now."""
        while (await self.look()).more:
            pass

    def asked(self, path: str = EVENTS) -> list[str]:
        """The requests for a path so far."""
        return [call.path for call in self.server.calls if call.path.startswith(path)]


@asynccontextmanager
async def scene(
    *,
    akql: bool = True,
    transport: httpx2.AsyncHTTPTransport | None = None,
    allow: Collection[str] | None = None,
) -> AsyncIterator[Scene]:
    """A stand-in in which nothing has happened yet."""
    clock = Clock()
    async with (
        AuthentikStandIn(clock=clock, akql=akql) as server,
        httpx2.AsyncClient(base_url=server.url, trust_env=False, transport=transport) as http,
    ):
        server.store.events.clear()
        yield Scene(server, clock, Clock(), http, Given(server.bootstrap_token), allow=allow)
