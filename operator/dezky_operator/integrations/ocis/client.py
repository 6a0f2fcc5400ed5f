"""OCIS's LibreGraph API, as far as a tenant needs it (facts/ocis.md 2).

What is special: bodies are decoded strictly, so nothing extra may be sent; a duplicate id is a 500; a 401, 403 or 500
may mean a refused credential, so one shared question (`/me`) decides; composite ids are never sent, only bare UUIDs.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import quote

import httpx2
import msgspec

from dezky_operator.integrations.breaker import CALLER, calling
from dezky_operator.integrations.connection import Connection
from dezky_operator.integrations.errors import (
    AlreadyExists,
    IntegrationError,
    NoPermission,
    NotFound,
    Rejected,
    Unreachable,
)
from dezky_operator.integrations.ocis.model import Drive, Group, Listed, Me, ServerStatus, SharingLink, User
from dezky_operator.integrations.steps import System

T = TypeVar("T")
GRAPH = "/graph/v1.0"
BETA = "/graph/v1beta1"
PROJECTS = "driveType eq 'project'"
"""The only filter that is not ignored (facts/ocis.md 2.2)."""
FILE_ID = b"""<?xml version="1.0"?>
<d:propfind xmlns:d="DAV:" xmlns:oc="http://owncloud.org/ns"><d:prop><oc:fileid/></d:prop></d:propfind>
"""


class OcisClient:
    """Reads and writes groups and spaces. Raises IntegrationError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._asking, self._meeting = asyncio.Lock(), asyncio.Lock()
        self._answers = 0
        self._verdict: IntegrationError | None = None
        self._own: tuple[str, str] | None = None

    async def me(self) -> Me:
        """The operator's own user. A refused credential shows itself here, as 401, 403 or 500."""
        # Taken before the request: a token renewed meanwhile is a good one, and must not be given up with the old one.
        credential = await self._connection.credential()
        answer = await self._connection.send("GET", f"{GRAPH}/me", op="me.get", write=False)
        if answer.status_code in {401, 403, 500}:
            raise self._connection.refuse(credential)
        await self._check(answer, "its own user")
        return _parsed(answer, Me)

    async def own_id(self) -> str:
        """The id of the operator's own user, asked once for each credential: another one may be another user."""
        version = (await self._connection.credential()).version
        async with self._meeting:
            if self._own is None or self._own[0] != version:
                self._own = (version, (await self.me()).id)
            return self._own[1]

    async def version(self) -> tuple[int, int] | None:
        """Major and minor version of the server; None when it does not tell (facts/ocis.md 5)."""
        answer = await self._send("GET", "/status.php", op="status.get", what="its status")
        found = re.match(r"v?(\d+)\.(\d+)", _parsed(answer, ServerStatus).productversion)
        return (int(found[1]), int(found[2])) if found else None

    async def group(self, name: str) -> Group | None:
        """The group of this name; OCIS looks groups up by name as well as by id."""
        path = f"{GRAPH}/groups/{quote(name, safe='')}"
        answer = await self._send("GET", path, op="group.get", what=f"group {name}", absent=True)
        return None if answer.status_code == 404 else _parsed(answer, Group)

    async def create_group(self, name: str) -> Group:
        """Make a group. Raises AlreadyExists."""
        body = {"displayName": name}
        answer = await self._send("POST", f"{GRAPH}/groups", op="group.create", what=f"group {name}", body=body)
        return _parsed(answer, Group)

    async def delete_group(self, key: str) -> None:
        """Remove a group; gone already is done. Its grants must be gone before: they would stay without a name."""
        await self._send("DELETE", f"{GRAPH}/groups/{key}", op="group.delete", what=f"group {key}", absent=True)

    async def user(self, name: str) -> User | None:
        """The user of this name or id; None when nobody of it ever signed in."""
        path = f"{GRAPH}/users/{quote(name, safe='')}"
        answer = await self._send("GET", path, op="user.get", what=f"user {name}", absent=True)
        return None if answer.status_code == 404 else _parsed(answer, User)

    async def delete_user(self, key: str) -> None:
        """End a user and, at once and for good, the personal space (facts/ocis.md 2.4); gone already is done."""
        await self._send("DELETE", f"{GRAPH}/users/{key}", op="user.delete", what=f"user {key}", absent=True)

    async def drive(self, key: uuid.UUID | str) -> Drive | None:
        """One space with its grants, disabled ones too; None when there is none."""
        answer = await self._send("GET", f"{BETA}/drives/{key}", op="drive.get", what=f"space {key}", absent=True)
        return None if answer.status_code == 404 else _parsed(answer, Drive)

    async def groups(self) -> list[Group]:
        """All groups, in one answer: there are no pages."""
        return _listed(await self._send("GET", f"{GRAPH}/groups", op="group.list", what="the list of groups"), Group)

    async def users(self) -> list[User]:
        """All users who ever signed in, in one answer."""
        return _listed(await self._send("GET", f"{GRAPH}/users", op="user.list", what="the list of users"), User)

    async def drives(self, *, personal: bool) -> list[Drive]:
        """All spaces with their grants, disabled ones too; personal ones where asked for. One answer, no pages."""
        only = "" if personal else f"?$filter={quote(PROJECTS)}"
        path = f"{BETA}/drives{only}"
        return _listed(await self._send("GET", path, op="drive.list", what="the list of spaces"), Drive)

    async def create_drive(self, body: Mapping[str, Any]) -> Drive:
        """Make a space under our own id. Raises AlreadyExists, also when it exists disabled."""
        _refuse_negative_quota(body)
        answer = await self._send("POST", f"{GRAPH}/drives", op="drive.create", what=f"space {body['name']}", body=body)
        return _parsed(answer, Drive)

    async def patch_drive(self, key: str, body: Mapping[str, Any]) -> None:
        """Change fields of a space. A negative quota is never sent: it poisons the space (facts/ocis.md 2.2)."""
        _refuse_negative_quota(body)
        await self._change("PATCH", key, op="drive.update", body=body)

    async def restore_drive(self, key: str) -> None:
        """Enable a disabled space; repeatable. The empty object is needed: an empty body is refused."""
        await self._change("PATCH", key, op="drive.restore", body={}, headers={"Restore": "T"})

    async def disable_drive(self, key: str) -> None:
        """Disable a space and its links; repeatable."""
        await self._change("DELETE", key, op="drive.disable")

    async def purge_drive(self, key: str) -> None:
        """Destroy a disabled space for good; gone already is done."""
        path = f"{GRAPH}/drives/{key}"
        await self._send("DELETE", path, op="drive.purge", what=f"space {key}", headers={"Purge": "T"}, absent=True)

    async def invite(self, drive: str, group: str, role: str) -> None:
        """Give a group a role on a space; a grant that is there already gets the role.

        Raises NotFound also where the operator is no member of the space, or the space is disabled.
        """
        body = {"recipients": [{"objectId": group, "@libre.graph.recipient.type": "group"}], "roles": [role]}
        path = f"{BETA}/drives/{drive}/root"
        try:
            await self._send("POST", f"{path}/invite", op="grant.create", what=f"the grant on space {drive}", body=body)
        except AlreadyExists:
            await self._send(
                "PATCH", f"{path}/permissions/g:{group}", op="grant.update", what=f"the grant on space {drive}",
                body={"roles": [role]},
            )  # fmt: skip

    async def revoke(self, drive: str, permission: str) -> None:
        """Take a grant away. An absent one is a 500, and so Unreachable here."""
        path = f"{BETA}/drives/{drive}/root/permissions/{permission}"
        await self._send("DELETE", path, op="grant.delete", what=f"the grant on space {drive}")

    async def create_folder(self, drive: str, name: str) -> str:
        """Make a folder in a space, or find it; its id. ``drive`` is the whole id: items and spaces are compared by it.

        WebDAV tells no id when it makes something, so it is asked for.
        """
        path = f"/dav/spaces/{quote(drive, safe='')}/{quote(name)}"
        made = await self._connection.send("MKCOL", path, op="folder.create", write=True)
        if made.status_code != 405:  # there already
            await self._check(made, f"folder {name}")
        found = await self._connection.send(
            "PROPFIND", path, op="folder.get", write=False, headers={"Depth": "0"}, content=FILE_ID
        )
        await self._check(found, f"folder {name}")
        told = re.search(r"<(?:\w+:)?fileid>([^<]+)</", found.text)
        if told is None:
            raise Rejected(System.OCIS, f"OCIS tells no id of folder {name}.")
        return told[1]

    async def create_link(self, drive: str, item: str, body: Mapping[str, Any]) -> str:
        """Make a public link to an item; its token. Both ids whole: they must name the same storage."""
        path = f"{BETA}/drives/{quote(drive, safe='')}/items/{quote(item, safe='')}/createLink"
        answer = await self._send("POST", path, op="link.create", what="a public link", body=body)
        return _parsed(answer, SharingLink).link.web_url.rstrip("/").rpartition("/")[2]

    async def _change(
        self,
        method: str,
        key: str,
        *,
        op: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        path = f"{GRAPH}/drives/{key}"
        await self._send(method, path, op=op, what=f"space {key}", body=body, headers=headers)

    async def _send(
        self,
        method: str,
        path: str,
        *,
        op: str,
        what: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        absent: bool = False,
    ) -> httpx2.Response:
        """Send; every refusal is raised, but a 404 where the object may be ``absent``."""
        write = method != "GET"
        answer = await self._connection.send(method, path, op=op, write=write, json=body, headers=headers)
        if not (absent and answer.status_code == 404):
            await self._check(answer, what)
        return answer

    async def _check(self, answer: httpx2.Response, what: str) -> None:
        status = answer.status_code
        if status < 300:
            return
        code, message = _error(answer)
        if status == 409 or (status == 500 and "already exists" in message):
            raise AlreadyExists(System.OCIS, f"OCIS has {what} already.")
        if status in {401, 403, 500}:
            raise await self._refused(what, status)
        if status == 404:
            raise NotFound(System.OCIS, f"OCIS does not find {what}, or does not show it to the operator.")
        if status in {400, 501}:
            raise Rejected(System.OCIS, f"OCIS refused {what} (HTTP {status}, {code or 'no code'}).")
        raise Unreachable(System.OCIS, f"OCIS failed at {what} (HTTP {status}).")

    async def _refused(self, what: str, status: int) -> IntegrationError:
        """Bad credential, missing right, or a plain failure? One question, asked once for all that wait."""
        before = self._answers
        async with self._asking:
            if self._answers == before:
                self._verdict = await self._ask()
                self._answers += 1
            if self._verdict is not None:
                return self._verdict
        if status == 500:
            return Unreachable(System.OCIS, f"OCIS failed at {what} (HTTP 500).")
        return NoPermission(System.OCIS, f"OCIS does not let the operator change {what}. Give its user the role Admin.")

    async def _ask(self) -> IntegrationError | None:
        """In nobody's name: that OCIS answers the operator says nothing of the tenant whose objects fail."""
        try:
            with calling(replace(CALLER.get(), tenant="")):
                await self.me()
        except IntegrationError as error:
            return error
        return None


def _parsed(answer: httpx2.Response, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except msgspec.MsgspecError as error:
        raise Rejected(System.OCIS, f"OCIS's {kind.__name__} has an unknown form: {error}.") from error


def _listed(answer: httpx2.Response, kind: type[T]) -> list[T]:
    try:
        return msgspec.json.decode(answer.content, type=Listed[kind]).value  # type: ignore[valid-type]
    except msgspec.MsgspecError as error:
        raise Rejected(System.OCIS, f"OCIS's list of {kind.__name__} has an unknown form: {error}.") from error


def _error(answer: httpx2.Response) -> tuple[str, str]:
    """Code and message of LibreGraph's error object."""
    try:
        document = msgspec.json.decode(answer.content).get("error", {})
        return str(document.get("code", "")), str(document.get("message", ""))
    except (msgspec.DecodeError, AttributeError):
        return "", ""


def _refuse_negative_quota(body: Mapping[str, Any]) -> None:
    if body.get("quota", {}).get("total", 0) < 0:
        raise Rejected(System.OCIS, "The quota of a space is negative; expected bytes, or 0 for no limit.")
