"""Stalwart's management over JMAP, as any client would write it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx2

USING = ["urn:ietf:params:jmap:core", "urn:stalwart:jmap"]
ASCENDING = [{"property": "id", "isAscending": True}]
OWN_LINKS = ("Account", "MailingList", "DkimSignature", "Role")
"""What may hang on an object of ours and then is ours too; a link from anything else is somebody's setting."""


class Jmap:
    """Calls as one principal. What :meth:`make` makes, :meth:`tidy` destroys, and whatever hangs on it."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http
        self._made: list[tuple[str, str]] = []
        self._reload = False

    async def request(self, *calls: tuple[str, Mapping[str, Any]], **more: Any) -> httpx2.Response:
        """One request of many method calls; ``more`` is added to it."""
        tagged = [[name, arguments, f"c{number}"] for number, (name, arguments) in enumerate(calls)]
        return await self.http.post("/jmap", json={"using": USING, "methodCalls": tagged, **more})

    async def call(self, method: str, /, **arguments: Any) -> tuple[str, dict[str, Any]]:
        """One method call: the name and the arguments of its answer; the name is ``error`` when it was refused."""
        answer = await self.request((method, arguments))
        assert answer.status_code == 200, answer.status_code
        name, document, _ = answer.json()["methodResponses"][0]
        return name, document

    async def ok(self, method: str, /, **arguments: Any) -> dict[str, Any]:
        """One method call that is answered."""
        name, document = await self.call(method, **arguments)
        assert name == method, document
        return document

    async def make(self, kind: str, /, *, account: str | None = None, **body: Any) -> dict[str, Any]:
        """A new object; its server-set properties."""
        owner = {"accountId": account} if account else {}
        document = await self.ok(f"x:{kind}/set", **owner, create={"new": body})
        created = (document.get("created") or {}).get("new")
        assert created, document
        if kind not in {"Action", "ApiKey"}:  # keys go with their account
            self._made.append((kind, created["id"]))
        return dict(created)

    async def refusal(self, kind: str, /, **body: Any) -> dict[str, Any]:
        """The error of a create that must be refused, of the object or of the whole method."""
        name, document = await self.call(f"x:{kind}/set", create={"new": body})
        for made in (document.get("created") or {}).values():
            self._made.append((kind, made["id"]))
        return document if name == "error" else dict((document.get("notCreated") or {})["new"])

    async def patch(self, kind: str, key: str, patch: Mapping[str, Any]) -> dict[str, Any] | None:
        """Change properties; the error when it is refused."""
        name, document = await self.call(f"x:{kind}/set", update={key: patch})
        if name == "error":
            return document
        assert (key in (document.get("updated") or {})) != (key in (document.get("notUpdated") or {})), document
        return (document.get("notUpdated") or {}).get(key)

    async def destroy(self, kind: str, key: str) -> dict[str, Any] | None:
        """Destroy; the error when it is refused."""
        document = await self.ok(f"x:{kind}/set", destroy=[key])
        assert (key in (document.get("destroyed") or ())) != (key in (document.get("notDestroyed") or {})), document
        return (document.get("notDestroyed") or {}).get(key)

    async def find(self, kind: str, /, **filters: Any) -> list[dict[str, Any]]:
        """Every object that passes the filters."""
        ids = (await self.ok(f"x:{kind}/query", filter=filters, sort=ASCENDING))["ids"]
        return list((await self.ok(f"x:{kind}/get", ids=ids))["list"]) if ids else []

    async def get(self, kind: str, key: str, /) -> dict[str, Any]:
        """One object that is there."""
        (found,) = (await self.ok(f"x:{kind}/get", ids=[key]))["list"]
        return dict(found)

    async def reload(self) -> None:
        """Let stored settings act."""
        await self.make("Action", **{"@type": "ReloadSettings"})
        self._reload = True

    async def raze(self, kind: str, key: str) -> None:
        """Destroy an object of ours after everything that is linked to it."""
        for _ in range(4):
            error = await self.destroy(kind, key)
            if error is None or error["type"] == "notFound":
                return
            assert error["type"] == "objectIsLinked", error
            for link in error["linkedObjects"]:
                assert link["object"] in OWN_LINKS, error
                await self.raze(link["object"], link["id"])
        raise AssertionError(f"{kind} {key} can not be removed")

    async def tidy(self) -> None:
        """Destroy what was made."""
        for kind, key in reversed(self._made):
            await self.raze(kind, key)
        self._made.clear()
        if self._reload:
            await self.reload()

    async def sweep(self, domains: tuple[str, ...], *marks: str) -> None:
        """Destroy the domains and roles of a tenant, and what hangs on them."""
        for name in domains:
            for found in await self.find("Domain", name=name):
                await self.raze("Domain", found["id"])
        for mark in marks:
            for found in await self.find("Role", description=mark):
                if found["description"] == mark:
                    await self.raze("Role", found["id"])


async def eventually(look: Callable[[], Awaitable[Any]], what: str, *, within: float = 10.0) -> Any:
    """The first true answer of ``look``; fails with ``what`` after ``within`` seconds."""
    deadline = time.monotonic() + within
    while not (found := await look()):
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.05)
    return found
