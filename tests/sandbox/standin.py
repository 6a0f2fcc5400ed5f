"""What every stand-in shares: a real HTTP server on loopback, a record of each write, faults that can be switched on.

A stand-in is controlled over HTTP under ``/__sandbox``: a test, the demo and a second process all use the same way.

========================== =======================================================================
``GET /__sandbox/writes``  every write since the last clear: ``[{"n", "method", "path", "label"}]``
``DELETE …/writes``        forget them
``GET /__sandbox/requests`` every request, reads included, in the same shape
``POST /__sandbox/faults`` add a rule, see :class:`Fault`
``DELETE …/faults``        remove all rules
========================== =======================================================================
"""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Snapshot = list[dict[str, Any]]


@dataclass
class Fault:
    """One rule: what happens to calls whose ``METHOD path`` (or a label inside the body) matches ``match``.

    ``latency`` is in seconds. ``status`` answers instead of acting. ``lost`` acts, then cuts the connection without
    an answer. ``refused`` cuts the connection before acting. ``times`` is how often the rule applies, -1 = always.
    ``after`` lets that many matching calls pass first.
    """

    match: str = ".*"
    latency: float = 0.0
    status: int = 0
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    lost: bool = False
    refused: bool = False
    times: int = -1
    after: int = 0

    def takes(self, text: str) -> bool:
        """Whether this call is hit; counts ``after`` and ``times`` down."""
        if self.times == 0 or not re.search(self.match, text):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.times > 0:
            self.times -= 1
        return True


@dataclass(frozen=True)
class Call:
    """One request as the stand-in saw it. ``label`` tells what a shared endpoint was asked (``x:Role/set create``)."""

    n: int
    method: str
    path: str
    label: str
    write: bool


class StandIn:
    """A stateful HTTP stand-in. Subclasses add routes and say what a call means (:meth:`describe`)."""

    name = "stand-in"

    def __init__(self) -> None:
        self.app = web.Application(middlewares=[self._traffic], client_max_size=64 * 2**20)
        self.faults: list[Fault] = []
        self.calls: list[Call] = []
        self.ambush: Callable[[Call], Fault | None] | None = None
        """Looks at each call before it is acted on, and may have a fault hit it."""
        self.url = ""
        self._runner: web.AppRunner | None = None
        self.app.router.add_get("/__sandbox/writes", self._get_writes)
        self.app.router.add_delete("/__sandbox/writes", self._clear_writes)
        self.app.router.add_get("/__sandbox/requests", self._get_requests)
        self.app.router.add_post("/__sandbox/faults", self._add_fault)
        self.app.router.add_delete("/__sandbox/faults", self._clear_faults)

    @property
    def writes(self) -> list[Call]:
        """Every call that was meant to change something, in order."""
        return [call for call in self.calls if call.write]

    def kept(self) -> tuple[object, ...]:
        """The objects whose attributes are the state: what a real system has on disk."""
        return ()

    def snapshot(self) -> Snapshot:
        """A deep copy of the state, for :meth:`restore`."""
        return self._copy([vars(part) for part in self.kept()])

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a state this stand-in had. Recorded calls and faults are forgotten."""
        for part, attributes in zip(self.kept(), self._copy(snapshot), strict=True):
            vars(part).clear()
            vars(part).update(attributes)
        self.calls.clear()
        self.faults.clear()

    def _copy(self, snapshot: Snapshot) -> Snapshot:
        # The parts know each other: those references must go on pointing to the living ones.
        return copy.deepcopy(snapshot, {id(part): part for part in self.kept()})

    async def describe(self, request: web.Request) -> tuple[str, bool]:
        """The label of a call and whether it writes. Plain REST: the method decides."""
        return "", request.method not in {"GET", "HEAD", "OPTIONS", "PROPFIND", "REPORT"}

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen on loopback; returns the base URL."""
        self._runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        bound = self._runner.addresses[0][1]
        self.url = f"http://{host}:{bound}"
        return self.url

    async def stop(self) -> None:
        """Close the listener and every connection; the state stays, so that ``start`` on the same port resumes."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @web.middleware
    async def _traffic(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/__sandbox"):
            return await handler(request)
        label, write = await self.describe(request)
        call = Call(len(self.calls), request.method, request.path_qs, label, write)
        self.calls.append(call)
        ambush = self.ambush(call) if self.ambush else None
        text = f"{request.method} {request.path_qs} {label}"
        lost = False
        for fault in (*self.faults, *((ambush,) if ambush else ())):
            if not fault.takes(text):
                continue
            if fault.latency:
                await asyncio.sleep(fault.latency)
            if fault.refused:
                return self._cut(request)
            if fault.status:
                return web.Response(status=fault.status, text=fault.body, headers=fault.headers)
            lost = lost or fault.lost
        answer = await handler(request)
        return self._cut(request) if lost else answer

    @staticmethod
    def _cut(request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    async def _get_writes(self, _: web.Request) -> web.Response:
        return web.json_response([asdict(call) for call in self.writes])

    async def _get_requests(self, _: web.Request) -> web.Response:
        return web.json_response([asdict(call) for call in self.calls])

    async def _clear_writes(self, _: web.Request) -> web.Response:
        self.calls.clear()
        return web.json_response({})

    async def _add_fault(self, request: web.Request) -> web.Response:
        rule: dict[str, Any] = await request.json()
        self.faults.append(Fault(**rule))
        return web.json_response({}, status=201)

    async def _clear_faults(self, _: web.Request) -> web.Response:
        self.faults.clear()
        return web.json_response({})
