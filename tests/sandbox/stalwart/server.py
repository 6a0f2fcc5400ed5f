"""The Stalwart stand-in: JMAP management over HTTP, and small SMTP and IMAP servers for log-in and delivery checks."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from aiohttp import web

from tests.sandbox.stalwart import answers
from tests.sandbox.stalwart.delivery import Mailroom
from tests.sandbox.stalwart.events import SPAN, Events, Span, span
from tests.sandbox.stalwart.hooks import Hooks
from tests.sandbox.stalwart.imap import serve_imap
from tests.sandbox.stalwart.limits import AT_ONCE, Limits
from tests.sandbox.stalwart.methods import OBJECTS, Methods
from tests.sandbox.stalwart.names import EVENTS
from tests.sandbox.stalwart.objects import Objects, Record
from tests.sandbox.stalwart.permissions import EVERY
from tests.sandbox.stalwart.requests import CALLS, LARGEST, answer
from tests.sandbox.stalwart.settings import Live
from tests.sandbox.stalwart.smtp import serve_smtp
from tests.sandbox.stalwart.visitors import Refusal, Visitor, Visitors
from tests.sandbox.standin import Handler, Snapshot, StandIn

SCHEMA = "25gnm1_xB9bP"
"""What 0.16.18 calls its schema."""
Protocol = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class StalwartStandIn(StandIn):
    """Stalwart 0.16 as a client sees it. ``objects`` is there for assertions, ``clock`` gives seconds since 1970."""

    name = "stalwart"

    def __init__(
        self,
        *,
        admin: tuple[str, str] = ("admin", "admin-password"),
        hostname: str = "mail.dezky.test",
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self.objects = Objects(hostname=hostname, clock=clock)
        self.live = Live(self.objects)
        self.limits = Limits(self.objects, self.live, clock=clock)
        self.events = Events()
        self.visitors = Visitors(self.objects, self.live, self.limits, admin=admin, events=self.events, clock=clock)
        self.mailroom = Mailroom(self.objects, self.live, self.limits, self.events)
        self._hooks = Hooks(clock)
        self.events.listen(self._hooks.tell)
        self.smtp_port = self.imap_port = 0
        self._methods = Methods(self.objects, self.live, self.events, self._load_hooks)
        self._servers: list[asyncio.Server] = []
        self._spans: WeakKeyDictionary[asyncio.Transport, Span] = WeakKeyDictionary()
        self._met: WeakSet[asyncio.Transport] = WeakSet()
        """Connections of addresses that were not shut out when they came."""
        self.work_time = 0.001
        """Seconds that a request takes: only what takes time can be too much at once."""
        self.app.middlewares.append(self._gate)
        self.app.router.add_post("/jmap", self._jmap)
        self.app.router.add_get("/jmap/session", self._session)
        self.app.router.add_get("/api/account", self._account)
        self.app.router.add_get("/api/schema", self._schema)
        self.app.router.add_get(f"/api/schema/{SCHEMA}", self._schema_document)
        self.app.router.add_get("/healthz/live", self._healthy)
        self.app.router.add_get("/healthz/ready", self._healthy)

    @property
    def admin(self) -> tuple[str, str]:
        """Name and password of the recovery administrator."""
        return self.visitors.admin

    @property
    def failures(self) -> int:
        """Wrong credentials so far."""
        return self.visitors.failures

    def may_log_in(self, account: Record) -> bool:
        """Whether no role of the account, however deep, refuses it."""
        return "authenticate" not in self.disabled(account)

    def disabled(self, account: Record) -> set[str]:
        """Every permission that the account or a role of it takes away."""
        return self.objects.rights.disabled(account)

    # -- life ---------------------------------------------------------------------------

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """HTTP, SMTP and IMAP on loopback."""
        url = await super().start(host, port)
        self._load_hooks()
        protocols: tuple[Protocol, ...] = (
            lambda r, w: serve_smtp(r, w, self.visitors, self.mailroom),
            lambda r, w: serve_imap(r, w, self.visitors, self.objects),
        )
        listeners = ("smtp", "imaps")
        ports = (self.smtp_port, self.imap_port)
        self._servers = [
            await asyncio.start_server(self._guarded(protocol, listener), host, at)
            for protocol, listener, at in zip(protocols, listeners, ports, strict=True)
        ]
        self.smtp_port, self.imap_port = (server.sockets[0].getsockname()[1] for server in self._servers)
        return url

    async def stop(self) -> None:
        """Close all listeners; the state stays."""
        for server in self._servers:
            server.close()
        self._hooks.stop()
        await super().stop()

    def _load_hooks(self) -> None:
        self._hooks.load(self.live.hooks)

    def kept(self) -> tuple[object, ...]:
        """All objects, and the settings in force."""
        return (self.objects, self.live)

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to an earlier state, with nothing counted towards a limit or a ban."""
        super().restore(snapshot)
        self._load_hooks()
        self.limits.clear()
        self.visitors.failures = 0

    async def describe(self, request: web.Request) -> tuple[str, bool]:
        """The method calls in the body, and whether one of them sets something."""
        if request.path != "/jmap":
            return "", False
        try:
            calls = json.loads(await request.read())["methodCalls"]
            labels = [
                f"{name} {','.join(sorted(set(args) & {'create', 'update', 'destroy'}))}".strip()
                for name, args, _ in calls
            ]
        except (ValueError, KeyError, TypeError):
            return "unreadable", False
        return ";".join(labels), any(name.endswith("/set") for name, *_ in calls)

    # -- the gate -----------------------------------------------------------------------------

    @web.middleware
    async def _gate(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Addresses that are shut out: open connections hear 403, new ones nothing."""
        for key in self.objects.work():
            domain = self.objects.by_type["Domain"][key["domainId"]]["name"]
            self.events.tell("dkim.signature-created", bare=True, id=key["selector"], details=domain)
        if request.transport is not None:
            SPAN.set(self._span(request.transport))
        address = request.remote or ""
        if request.path.startswith("/__sandbox"):
            return await handler(request)
        if request.path.startswith("/cgi-bin/"):
            self.limits.block(address)  # one look for a hole is enough
            return answers.not_found()
        if not self.limits.is_blocked(address):
            if request.transport is not None:
                self._met.add(request.transport)
            return await handler(request)
        return answers.forbidden() if request.transport in self._met else self._cut(request)

    def _span(self, transport: asyncio.Transport) -> Span:
        """Requests of one connection share one."""
        if transport not in self._spans:
            local, remote = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
            self._spans[transport] = span("http", local, remote)
        return self._spans[transport]

    def _guarded(self, protocol: Protocol, listener: str) -> Protocol:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            SPAN.set(span(listener, writer.get_extra_info("sockname"), writer.get_extra_info("peername")))
            if self.limits.is_blocked(str(writer.get_extra_info("peername")[0])):
                writer.close()
                return
            await protocol(reader, writer)

        return serve

    async def _caller(self, request: web.Request) -> Visitor | web.Response:
        """Whoever is behind the credential, within the limits of requests."""
        header, address = request.headers.get("Authorization", ""), request.remote or ""
        if not header:
            limit, wait = self.limits.anonymous(address)
            return answers.rate_limited(limit, wait) if wait else answers.refused(Refusal.UNKNOWN)
        visitor = await self.visitors.by_header(header, address)
        return answers.refused(visitor) if isinstance(visitor, Refusal) else visitor

    async def _admitted(self, request: web.Request) -> Visitor | web.Response:
        """As :meth:`_caller`, and the request is counted. Administrators are never too many."""
        visitor = await self._caller(request)
        if isinstance(visitor, Visitor) and "unlimitedRequests" not in visitor.rights:
            limit, wait = self.limits.user(visitor.id, request.remote or "")
            if wait:
                return answers.rate_limited(limit, wait)
        return visitor

    # -- HTTP -------------------------------------------------------------------------------

    async def _jmap(self, request: web.Request) -> web.Response:
        visitor = await self._admitted(request)
        if isinstance(visitor, web.Response):
            return visitor
        with self.limits.one_more(visitor.id) as fits:
            if not fits and "unlimitedRequests" not in visitor.rights:
                return answers.bad_request("limit", "Too many requests at once.", limit="maxConcurrentRequests")
            kind = request.headers.get("Content-Type", "application/json").partition(";")[0].strip().lower()
            if kind != "application/json":
                return answers.bad_request("notJSON", "The Content-Type header must be application/json.")
            await asyncio.sleep(self.work_time)
            return answer(await request.read(), self._methods, visitor)

    async def _session(self, request: web.Request) -> web.Response:
        """200 for everybody without a credential: only the accounts tell whether one was taken. Never counted."""
        if "Authorization" not in request.headers:
            return web.json_response(self._session_document(None))
        visitor = await self._caller(request)
        return visitor if isinstance(visitor, web.Response) else web.json_response(self._session_document(visitor))

    def _session_document(self, visitor: Visitor | None) -> dict[str, Any]:
        """RFC 8620 2. The addresses name the public host, wherever one came in."""
        base = f"https://{self.objects.singletons['SystemSettings']['defaultHostname']}/jmap"
        core = {
            "maxSizeUpload": 50_000_000,
            "maxConcurrentUpload": 4,
            "maxSizeRequest": LARGEST,
            "maxConcurrentRequests": AT_ONCE,
            "maxCallsInRequest": CALLS,
            "maxObjectsInGet": OBJECTS,
            "maxObjectsInSet": OBJECTS,
            "collationAlgorithms": ["i;ascii-numeric", "i;ascii-casemap", "i;unicode-casemap"],
        }
        own = {} if visitor is None else {visitor.id: _account_document(visitor)}
        primary = dict.fromkeys(("urn:stalwart:jmap", "urn:ietf:params:jmap:principals"), visitor.id) if visitor else {}
        return {
            "capabilities": {"urn:ietf:params:jmap:core": core, "urn:ietf:params:jmap:mail": {}},
            "accounts": own,
            "primaryAccounts": primary,
            "username": visitor.name if visitor else "",
            "apiUrl": f"{base}/",
            "downloadUrl": f"{base}/download/{{accountId}}/{{blobId}}/{{name}}?accept={{type}}",
            "uploadUrl": f"{base}/upload/{{accountId}}/",
            "eventSourceUrl": f"{base}/eventsource/?types={{types}}&closeafter={{closeafter}}&ping={{ping}}",
            "state": "0",
        }

    async def _account(self, request: web.Request) -> web.Response:
        visitor = await self._admitted(request)
        if isinstance(visitor, web.Response):
            return visitor
        return web.json_response({"permissions": sorted(visitor.rights), "edition": "oss", "locale": "POSIX"})

    async def _schema(self, request: web.Request) -> web.Response:
        visitor = await self._admitted(request)
        if isinstance(visitor, web.Response):
            return visitor
        return web.Response(status=302, headers={"Location": f"/api/schema/{SCHEMA}"})

    async def _schema_document(self, request: web.Request) -> web.Response:
        """The enumerations that the operator reads, packed as the whole is."""
        visitor = await self._admitted(request)
        if isinstance(visitor, web.Response):
            return visitor
        names = {"EventType": EVENTS, "Permission": EVERY}
        enums = {kind: [{"name": name} for name in sorted(found)] for kind, found in names.items()}
        packed = gzip.compress(json.dumps({"enums": enums}).encode())
        headers = {"Content-Encoding": "gzip", "Cache-Control": "immutable"}
        return web.Response(body=packed, content_type="application/json", headers=headers)

    async def _healthy(self, request: web.Request) -> web.Response:
        limit, wait = self.limits.anonymous(request.remote or "")
        return answers.rate_limited(limit, wait) if wait else answers.problem(200, "OK", "OK")


def _account_document(visitor: Visitor) -> dict[str, Any]:
    capabilities: dict[str, object] = {"urn:stalwart:jmap": {}, "urn:ietf:params:jmap:principals": {}}
    return {"name": visitor.name, "isPersonal": True, "isReadOnly": False, "accountCapabilities": capabilities}
