"""Stalwart's management API: JMAP method calls, packed into shared requests (facts/stalwart.md 2, 11).

Calls of different tenants that come within a few milliseconds travel in one request: Stalwart takes 16 calls a request,
4 requests at once and, from a caller without admin rights, 1,000 requests a minute. Bodies are never logged: the answer
to a malformed request repeats the whole request, private keys included.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2
import msgspec

from dezky_operator.integrations.breaker import CALLER, Caller, calling
from dezky_operator.integrations.connection import Connection, sent
from dezky_operator.integrations.errors import (
    AlreadyExists,
    IntegrationError,
    NoPermission,
    NotFound,
    RateLimited,
    Rejected,
    Unreachable,
)
from dezky_operator.integrations.stalwart.model import Schema, as_json
from dezky_operator.integrations.steps import System

T = TypeVar("T")
USING = ("urn:ietf:params:jmap:core", "urn:stalwart:jmap")
CALLS = 16
"""Method calls in one request; one more and the whole request is refused."""
OBJECTS = 500
"""Objects in one get or set."""
ROWS = 5000
"""Ids in one page of a query."""
WINDOW = 0.005
"""Seconds a call waits for others to travel with."""
ASCENDING = [{"property": "id", "isAscending": True}]
"""Every query is sorted so: in the default order, pages repeat some rows and lose others (facts/stalwart.md 11.0.1)."""


@dataclass(slots=True)
class _Call:
    method: str
    arguments: Mapping[str, Any]
    answer: asyncio.Future[Mapping[str, Any]]
    caller: Caller = field(default_factory=CALLER.get)

    @property
    def writes(self) -> bool:
        return self.method.endswith("/set")


class _Malformed(Rejected):
    """HTTP 400: the request as a whole was refused, and nothing of it done."""


class StalwartClient:
    """Reads and writes objects by type name (``Domain``, ``Role``, ``Account`` …). Raises IntegrationError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: list[_Call] = []
        self._sending: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._reloading = asyncio.Lock()
        self._event_types: tuple[str, frozenset[str]] = ("", frozenset())

    # -- what callers use -----------------------------------------------------------

    async def probe(self) -> None:
        """Raise unless the server answers, takes the credential and is new enough."""
        answer = await self._connection.send("GET", "/api/account", op="account.get", write=False)
        if answer.status_code == 404:
            raise Rejected(System.STALWART, "Stalwart is older than 0.16 (no /api/account); update it to 0.16.")
        self._check_http(answer)

    async def query(self, kind: str, filters: Mapping[str, Any]) -> list[str]:
        """The ids of all objects that pass ``filters``, lowest first. Text filters give supersets: compare again."""
        found: list[str] = []
        while True:
            page = {"filter": filters, "sort": ASCENDING, "limit": ROWS, "position": len(found)}
            ids = (await self._call(f"x:{kind}/query", page))["ids"]
            found += ids
            if len(ids) < ROWS:
                return found

    async def get(self, kind: str, ids: Sequence[str], shape: type[T], properties: Sequence[str] = ()) -> list[T]:
        """The objects with these ids; missing ones are left out."""
        chunks = [ids[start : start + OBJECTS] for start in range(0, len(ids), OBJECTS)]
        answers = await asyncio.gather(*(self._get(kind, chunk, properties) for chunk in chunks))
        return [self._parsed(kind, found, shape) for answer in answers for found in answer["list"]]

    async def singleton(self, kind: str, shape: type[T]) -> T:
        """A settings object of which there is one."""
        answer = await self._call(f"x:{kind}/get", {"ids": ["singleton"]})
        if not answer["list"]:
            raise Rejected(System.STALWART, f"Stalwart has no {kind} settings; is it still in its bootstrap mode?")
        return self._parsed(kind, answer["list"][0], shape)

    async def every(self, kind: str, shape: type[T], *, account: str | None = None) -> list[T]:
        """All objects of a type that can not be queried. Only for types of which there are few: 500 at most come back.

        ``account`` gives those of another account, which only an administrator may see.
        """
        owner = {"accountId": account} if account else {}
        answer = await self._call(f"x:{kind}/get", {**owner, "ids": None})
        return [self._parsed(kind, found, shape) for found in answer["list"]]

    async def create(self, kind: str, body: Mapping[str, Any], *, account: str | None = None) -> Mapping[str, Any]:
        """Make an object; its server-set properties, ``id`` among them. Raises AlreadyExists with the other's id.

        ``account`` makes it in another account's name, which only an administrator may.
        """
        owner = {"accountId": account} if account else {}
        answer = await self._call(f"x:{kind}/set", {**owner, "create": {"new": as_json(body)}})
        created = (answer.get("created") or {}).get("new")
        if created is None:
            raise self._refused(kind, (answer.get("notCreated") or {}).get("new") or {})
        return dict(created)

    async def patch(self, kind: str, key: str, patch: Mapping[str, Any]) -> None:
        """Change properties by JMAP patch. Never write an object back: what was read is not what can be sent."""
        answer = await self._call(f"x:{kind}/set", {"update": {key: as_json(patch)}})
        if key not in (answer.get("updated") or {}):
            raise self._refused(kind, (answer.get("notUpdated") or {}).get(key) or {})

    async def destroy(self, kind: str, key: str, *, account: str | None = None) -> None:
        """Destroy an object; gone already is done. ``account`` as in :meth:`create`."""
        owner = {"accountId": account} if account else {}
        answer = await self._call(f"x:{kind}/set", {**owner, "destroy": [key]})
        error = (answer.get("notDestroyed") or {}).get(key)
        if error and error.get("type") != "notFound":
            raise self._refused(kind, error)

    async def reload_settings(self) -> None:
        """Let stored settings act, one reload at a time. Nothing acts while any one setting is bad (Rejected)."""
        async with self._reloading:
            await self.create("Action", {"@type": "ReloadSettings"})

    async def event_types(self) -> frozenset[str]:
        """Names of all events that this version knows (facts/stalwart.md 2.1, 5.5)."""
        found = await self._connection.send("GET", "/api/schema", op="schema.get", write=False)
        # The address names the version, so what it gives never changes. Its host is the public one: not ours to use.
        path = urlsplit(found.headers.get("Location", "")).path
        if found.status_code != 302 or not path:
            self._check_http(found)
            raise Rejected(System.STALWART, "Stalwart does not say where its schema is; is it older than 0.16?")
        if path != self._event_types[0]:
            answer = await self._connection.send("GET", path, op="schema.get", write=False)
            self._check_http(answer)
            schema = self._parsed("schema", _decoded(answer.content), Schema)
            self._event_types = (path, frozenset(event.name for event in schema.enums.event_types))
        return self._event_types[1]

    # -- packing ---------------------------------------------------------------------

    async def _get(self, kind: str, ids: Sequence[str], properties: Sequence[str]) -> Mapping[str, Any]:
        # "ids": null would give the lowest 500 without saying that there are more.
        arguments: dict[str, Any] = {"ids": list(ids)}
        if properties:
            arguments["properties"] = list(properties)
        return await self._call(f"x:{kind}/get", arguments)

    async def _call(self, method: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        loop = asyncio.get_running_loop()
        call = _Call(method, arguments, loop.create_future())
        self._waiting.append(call)
        if len(self._waiting) >= CALLS:
            self._flush()
        elif self._timer is None:
            self._timer = loop.call_later(WINDOW, self._flush)
        return await call.answer

    def _flush(self) -> None:
        """Send what waits. Reads and writes go apart: a write must not be repeated because a read beside it was."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        calls, self._waiting = self._waiting, []
        for batch in ([call for call in calls if call.writes], [call for call in calls if not call.writes]):
            if batch:
                task = asyncio.get_running_loop().create_task(self._send(batch))
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)

    async def _send(self, calls: list[_Call]) -> None:
        try:
            answers = await self._request(calls)
        except _Malformed as error:
            await self._apart(calls, error)
        except IntegrationError as error:
            _fail(calls, error)
        except BaseException as error:
            _fail(calls, _broken(error))  # whatever it is, nobody may wait for ever
            if not isinstance(error, Exception):
                raise
        else:
            for call, (name, document, _) in zip(calls, answers, strict=True):
                if call.answer.done():
                    continue  # its caller gave up
                if name == "error":
                    call.answer.set_exception(self._method_error(call.method, document))
                else:
                    call.answer.set_result(document)

    async def _apart(self, calls: list[_Call], error: _Malformed) -> None:
        """Send each call alone: nothing was done, and one tenant's bad value must not stop those it travelled with."""
        if len(calls) == 1:
            _fail(calls, error)
            return
        for call in calls:
            await self._send([call])

    async def _request(self, calls: list[_Call]) -> list[Any]:
        body = {
            "using": USING,
            "methodCalls": [[call.method, call.arguments, f"c{number}"] for number, call in enumerate(calls)],
        }
        writes = calls[0].writes
        op = "set" if writes else "read"
        # One request for several tenants: it is urgent when one of them is, and no single one's when it fails.
        with calling(Caller(urgent=any(call.caller.urgent for call in calls))):
            answer = await self._connection.send("POST", "/jmap", op=op, write=writes, json=body)
        if answer.status_code == 400:
            raise self._bad_request(answer.content)
        self._check_http(answer)
        responses = _decoded(answer.content).get("methodResponses") or []
        if len(responses) != len(calls):
            raise Unreachable(System.STALWART, f"Stalwart answered {len(responses)} of {len(calls)} calls.")
        return list(responses)

    # -- what answers mean --------------------------------------------------------------

    def _check_http(self, answer: httpx2.Response) -> None:
        status = answer.status_code
        if status == 401:
            raise self._connection.refuse(sent(answer))
        if status == 403:
            raise NoPermission(System.STALWART, "Stalwart's key may not log in. Run `dezky-operator bootstrap` again.")
        if status >= 300:
            raise Unreachable(System.STALWART, f"Stalwart failed (HTTP {status}).")

    def _bad_request(self, content: bytes) -> IntegrationError:
        """HTTP 400. Only type and limit are read: the detail repeats our whole request."""
        document = _decoded(content)
        if document.get("limit") == "maxConcurrentRequests":
            return RateLimited(System.STALWART, "Stalwart has too many requests of ours at once.", retry_after=1.0)
        kind = str(document.get("type", "")).rsplit(":", 1)[-1]
        what = " ".join(filter(None, (kind, str(document.get("limit", "")))))
        return _Malformed(System.STALWART, f"Stalwart can not read a request ({what}).")

    def _method_error(self, method: str, error: Mapping[str, Any]) -> IntegrationError:
        kind = error.get("type")
        if kind == "forbidden":
            return NoPermission(
                System.STALWART, f"Stalwart's key may not call {method}. Run `dezky-operator bootstrap` again."
            )
        if kind == "serverUnavailable":
            # A lost race, or an account that names a role which is gone: the next round observes and tells them apart.
            return Unreachable(System.STALWART, f"Stalwart could not do {method} now.")
        return Rejected(System.STALWART, f"Stalwart refused {method}: {kind}.")

    def _refused(self, kind: str, error: Mapping[str, Any]) -> IntegrationError:
        """What an object-level error means. Property names are told, values are not."""
        what, properties = error.get("type"), ", ".join(error.get("properties") or ())
        if what == "primaryKeyViolation":
            other = error.get("objectId") or {}
            return AlreadyExists(
                System.STALWART,
                f"Stalwart has a {other.get('object', kind)} with this {properties or 'name'} already.",
                existing_id=other.get("id"),
            )
        if what == "notFound":
            return NotFound(System.STALWART, f"Stalwart has no such {kind}.")
        if what == "objectIsLinked":
            links = sorted({str(link.get("object")) for link in error.get("linkedObjects") or ()})
            return Rejected(System.STALWART, f"Stalwart keeps the {kind}: still used by {', '.join(links)}.")
        if what == "forbidden":
            return NoPermission(
                System.STALWART, f"Stalwart's key may not write {kind}. Run `dezky-operator bootstrap` again."
            )
        detail = str(error.get("description", "")) if what in {"invalidPatch", "invalidForeignKey"} else ""
        other = error.get("objectId") or {}
        whose = f"because of {other['object']} {other.get('id', '')}" if other.get("object") else ""
        told = " ".join(filter(None, (str(what), properties, whose, detail)))
        return Rejected(System.STALWART, f"Stalwart refused the {kind}: {told.rstrip('.')}.")

    def _parsed(self, kind: str, document: object, shape: type[T]) -> T:
        try:
            return msgspec.convert(document, shape)
        except msgspec.ValidationError as error:
            raise Rejected(System.STALWART, f"Stalwart's {kind} has an unknown form: {error}.") from error


def _decoded(content: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise Unreachable(System.STALWART, "Stalwart's answer is not JSON.") from error
    return document if isinstance(document, dict) else {}


def _fail(calls: list[_Call], error: IntegrationError) -> None:
    for call in calls:
        if not call.answer.done():
            call.answer.set_exception(error)


def _broken(error: BaseException) -> IntegrationError:
    return Unreachable(System.STALWART, f"the request to Stalwart was given up ({type(error).__name__}).")
