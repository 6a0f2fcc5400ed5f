"""Authentik's REST API, as far as a tenant needs it (facts/authentik.md 2 and 3).

What is special: a bad token is 403 as a missing right is, so a 403 is followed by one shared question that only a bad
token fails; duplicates are 400; some server errors appear as 405 with an empty body; applications are read by slug
only, because their list lies.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, TypeVar

import httpx2
import msgspec

from dezky_operator.integrations.connection import Connection, sent
from dezky_operator.integrations.errors import (
    AlreadyExists,
    AuthFailed,
    IntegrationError,
    NoPermission,
    NotFound,
    Rejected,
    Unreachable,
)
from dezky_operator.integrations.steps import System

T = TypeVar("T")
PAGE = 100
"""Rows per page; Authentik silently caps at 100."""


class AuthentikClient:
    """Reads and writes single objects. Raises IntegrationError; messages never hold a body."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._asking = asyncio.Lock()
        self._questions = 0

    async def version(self) -> str:
        """The server's version. Answers any valid token (facts/authentik.md 2): the cheapest credential check."""
        answer = await self._connection.send("GET", "/api/v3/admin/version/", op="version.get", write=False)
        if answer.status_code in {401, 403}:
            raise self._connection.refuse(sent(answer))
        return str(self._json(answer, "version")["version_current"])

    async def find(self, path: str, kind: type[T], /, *, op: str, **filters: str) -> list[T]:
        """Every object of a list that passes ``filters``. An unknown filter is ignored by Authentik: compare again."""
        found: list[T] = []
        page = 1
        while page:
            params = {**filters, "page": str(page), "page_size": str(PAGE)}
            answer = await self._read(path, op=op, params=params)
            document = self._json(answer, path)
            found += self._parsed(document["results"], list[kind], path)  # type: ignore[valid-type]
            page = int(document["pagination"]["next"])
        return found

    async def page(self, path: str, *, op: str, params: Mapping[str, str]) -> tuple[bytes, str]:
        """One page of a list, byte by byte, and the server's own time (the header ``Date``, empty without one)."""
        answer = await self._read(path, op=op, params=params)
        return answer.content, answer.headers.get("Date", "")

    async def get(self, path: str, kind: type[T], *, op: str) -> T | None:
        """One object by its own path; None when there is none."""
        answer = await self._connection.send("GET", f"/api/v3{path}", op=op, write=False)
        if answer.status_code == 404:
            return None
        await self._check(answer, path)
        return self._parsed(self._json(answer, path), kind, path)

    async def create(self, path: str, kind: type[T], body: Mapping[str, Any], *, op: str) -> T:
        """Make an object. Raises AlreadyExists when its key is taken; after an odd answer the caller looks again."""
        answer = await self._write("POST", path, body, op=op)
        return self._parsed(self._json(answer, path), kind, path)

    async def patch(self, path: str, body: Mapping[str, Any], *, op: str) -> None:
        """Change the given fields. Maps are replaced as a whole, so the caller sends them merged."""
        await self._write("PATCH", path, body, op=op)

    async def put(self, path: str, body: Mapping[str, Any], *, op: str) -> None:
        """Write a whole object. Only for bindings: a PATCH of a binding breaks in the server, a PUT of anything else
        empties memberships.
        """
        await self._write("PUT", path, body, op=op)

    async def call(self, path: str, body: Mapping[str, Any], *, op: str) -> Mapping[str, Any]:
        """An action of an object, such as ``add_user``; its answer, empty when there is none."""
        answer = await self._write("POST", path, body, op=op)
        return {} if answer.status_code == 204 else self._json(answer, path)

    async def delete(self, path: str, *, op: str) -> None:
        """Destroy an object; gone already is done."""
        answer = await self._connection.send("DELETE", f"/api/v3{path}", op=op, write=True)
        if answer.status_code != 404:
            await self._check(answer, path)

    async def _read(self, path: str, *, op: str, params: Mapping[str, str]) -> httpx2.Response:
        answer = await self._connection.send("GET", f"/api/v3{path}", op=op, write=False, params=params)
        await self._check(answer, path)
        return answer

    async def _write(self, method: str, path: str, body: Mapping[str, Any], *, op: str) -> httpx2.Response:
        answer = await self._connection.send(method, f"/api/v3{path}", op=op, write=True, json=body)
        await self._check(answer, path)
        return answer

    async def _check(self, answer: httpx2.Response, path: str) -> None:
        """Raise what a refusal means; return for every 2xx."""
        status = answer.status_code
        if status < 300:
            return
        if status in {401, 403}:
            raise await self._forbidden(path)
        if status == 404:
            raise NotFound(System.AUTHENTIK, f"Authentik does not know {path}.")
        if status == 400:
            raise self._rejected(answer, path)
        if status == 405 and not answer.content:
            # A crash in a view of the server looks like this; the object may have been made (facts/authentik.md 0.11).
            raise Unreachable(System.AUTHENTIK, f"Authentik failed at {path} (HTTP 405 without a body).")
        raise Unreachable(System.AUTHENTIK, f"Authentik failed at {path} (HTTP {status}).")

    async def _forbidden(self, path: str) -> IntegrationError:
        """Bad token or missing right? One question decides, asked once for all that wait."""
        credential = await self._connection.credential()
        arrived = self._questions
        async with self._asking:
            try:
                # A question begun after this refusal came answers for it too. An older answer does not: the token may
                # have been revoked since.
                if self._questions == arrived:
                    self._questions += 1
                    await self.version()
                credential = await self._connection.credential()
            except AuthFailed as refused:
                return refused
        return NoPermission(
            System.AUTHENTIK,
            f"Authentik's token of {credential.source} may not use {path}. Run `dezky-operator bootstrap` to restore "
            "the rights of its role, or give the object back to it.",
        )

    def _rejected(self, answer: httpx2.Response, path: str) -> IntegrationError:
        """A 400. Its messages name fields and rules; values that were sent are not repeated in ours."""
        try:
            document = answer.json()
        except json.JSONDecodeError:
            document = {}
        fields = sorted(document) if isinstance(document, dict) else []
        told = json.dumps(document).lower()
        if "already exists" in told or "must be unique" in told or "must make a unique set" in told:
            return AlreadyExists(
                System.AUTHENTIK, f"Authentik has another object with this {' and '.join(fields)} at {path}."
            )
        return Rejected(
            System.AUTHENTIK,
            f"Authentik refused {path}: field {', '.join(fields) or 'unknown'}. "
            "If an object it refers to was removed, run `dezky-operator bootstrap`.",
        )

    def _json(self, answer: httpx2.Response, path: str) -> Any:
        try:
            return msgspec.json.decode(answer.content)
        except msgspec.DecodeError as error:
            raise Unreachable(System.AUTHENTIK, f"Authentik's answer at {path} is not JSON.") from error

    def _parsed(self, document: object, kind: type[T], path: str) -> T:
        try:
            return msgspec.convert(document, kind)
        except msgspec.ValidationError as error:
            # The text of the error names field and type, never a value.
            raise Rejected(System.AUTHENTIK, f"Authentik's answer at {path} has an unknown form: {error}.") from error
