"""The REST API under /api/v3: the frame of every call, and the collections (facts/authentik.md 2, 3, 11)."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any

import msgspec
from aiohttp import web

from tests.sandbox.authentik.checks import Checks
from tests.sandbox.authentik.kinds import KINDS, Kind, Record
from tests.sandbox.authentik.lists import Lists, document, page
from tests.sandbox.authentik.rights import Caller, Refused, Rights
from tests.sandbox.authentik.shapes import Shapes
from tests.sandbox.authentik.store import HTTP_REQUEST, Store

Answer = tuple[int, Any]
Call = Callable[[web.Request, Caller], Awaitable[Answer]]


class Api:
    """Handlers of all collections. Actions are added before them: their paths would match a key."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.rights = Rights(store)
        self.checks = Checks(store, self.rights)
        self.lists = Lists(store)
        self.shapes = Shapes(store)

    def add_routes(self, app: web.Application) -> None:
        """Every collection."""
        for kind in KINDS.values():
            app.router.add_get(f"/api/v3/{kind.path}/", self.guarded(self._list(kind)))
            app.router.add_post(f"/api/v3/{kind.path}/", self.guarded(self._create(kind)))
            for method in ("GET", "PUT", "PATCH", "DELETE"):
                app.router.add_route(method, f"/api/v3/{kind.path}/{{key}}/", self.guarded(self._one(kind)))

    def guarded(self, call: Call) -> Callable[[web.Request], Awaitable[web.Response]]:
        """A handler that knows who asks. Its answer carries the id that is in the events it caused."""

        async def handler(request: web.Request) -> web.Response:
            request_id = noted(request)
            try:
                status, body = await call(request, self.rights.caller(request.headers.get("Authorization", "")))
            except Refused as refused:
                status, body = refused.status, refused.body
            date = formatdate(self.store.clock(), usegmt=True)
            headers = {"X-authentik-id": request_id, "Date": date}
            if body is None:
                return web.Response(status=status, headers=headers)
            return web.Response(
                status=status, headers=headers, body=msgspec.json.encode(body), content_type="application/json"
            )

        return handler

    # -- collections --------------------------------------------------------------------

    def _list(self, kind: Kind) -> Call:
        async def call(request: web.Request, caller: Caller) -> Answer:
            rows = self.lists.rows(kind, request.query)
            if kind.name == "application":
                shown, pagination = self.lists.applications(caller, rows, request.query)
            else:
                shown, pagination = page(self.rights.visible(caller, kind, rows), request.query)
            return 200, document(shown, pagination, lambda row: self.shapes.shown(kind.name, row, request.query))

        return call

    def _create(self, kind: Kind) -> Call:
        async def call(request: web.Request, caller: Caller) -> Answer:
            self.rights.require(caller, kind.right("add"))
            fields = self.checks.checked(kind, await body_of(request), None, caller, partial=False)
            record = self.store.insert(kind.name, fields)
            if kind.name == "token":
                self.store.set_key(record["identifier"], uuid.uuid4().hex * 2)
            self.rights.grant_initial(caller, record)
            # A group under a parent is two events: with them a tenant of eight writes makes the ten measured (5).
            self.store.changed("model_created", caller.user, kind.name, record, times=2 if fields.get("parents") else 1)
            return 201, self.shapes.shown(kind.name, record, request.query)

        return call

    def _one(self, kind: Kind) -> Call:
        async def call(request: web.Request, caller: Caller) -> Answer:
            record = self.rights.found(caller, kind, request.match_info["key"])
            if request.method == "GET":
                return 200, self.shapes.shown(kind.name, record, request.query)
            if request.method == "DELETE":
                self.rights.require(caller, kind.right("delete"), record)
                self.store.remove(kind.name, record)
                self.store.changed("model_deleted", caller.user, kind.name, record)
                return 204, None
            self.rights.require(caller, kind.right("change"), record)
            return 200, await self._change(request, caller, kind, record)

        return call

    async def _change(self, request: web.Request, caller: Caller, kind: Kind, record: Record) -> Record:
        body = await body_of(request)
        partial = request.method == "PATCH"
        if kind.name == "policybinding" and partial and "target" not in body:
            raise Refused(405, None)  # an AttributeError of the server, shown so (facts/authentik.md 0.7)
        fields = self.checks.checked(kind, body, record, caller, partial=partial)
        self.store.update(kind.name, record, fields, patch=partial)
        times = 3 if kind.name == "group" and "parents" in fields else 1  # measured, facts/authentik.md 11.3
        self.store.changed("model_updated", caller.user, kind.name, record, times=times)
        return self.shapes.shown(kind.name, record, request.query)


def noted(request: web.Request) -> str:
    """Have the events that this request causes carry its id, which is returned."""
    request_id = uuid.uuid4().hex
    seen = {"request_id": request_id, "path": request.path, "method": request.method}
    agent = request.headers.get("User-Agent", "")
    HTTP_REQUEST.set({**seen, "args": dict(request.query), "user_agent": agent})
    return request_id


async def body_of(request: web.Request) -> Record:
    """The body; 400 when it is not a JSON object."""
    try:
        found = msgspec.json.decode(await request.read() or b"{}")
    except msgspec.DecodeError as error:
        raise Refused(400, {"detail": f"JSON parse error - {error}"}) from error
    if not isinstance(found, dict):
        kind = type(found).__name__
        raise Refused(400, {"non_field_errors": [f"Invalid data. Expected a dictionary, but got {kind}."]})
    return found
