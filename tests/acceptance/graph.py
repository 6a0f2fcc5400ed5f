"""OCIS over LibreGraph and WebDAV, as any client would write it."""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass
from typing import Any

import httpx2

GRAPH = "/graph/v1.0"
BETA = "/graph/v1beta1"
PURGE, RESTORE = {"Purge": "T"}, {"Restore": "T"}
MANAGER = "312c0871-5ef7-4b3a-85b6-0e4074c64049"
EDITOR = "58c63c02-1d89-4572-916a-870abc5a1b7d"
VIEWER = "a8d5fe5e-96e3-418d-825b-534dbdf22b99"


@dataclass(frozen=True, slots=True)
class Person:
    """A user with a password."""

    id: str
    name: str
    password: str


def error(answer: httpx2.Response) -> tuple[int, str, str]:
    """Status, code and message of LibreGraph's error object."""
    found = answer.json()["error"]
    return answer.status_code, found["code"], found["message"]


def uuid_of(drive: dict[str, Any]) -> str:
    """The part of a drive's id behind the storage."""
    return str(drive["id"]).rpartition("$")[2]


def invitation(key: str, role: str = EDITOR, kind: str | None = "user") -> dict[str, Any]:
    """What is sent to give somebody a role on a space."""
    recipient = {"objectId": key, **({"@libre.graph.recipient.type": kind} if kind else {})}
    return {"recipients": [recipient], "roles": [role]}


class Graph:
    """Asks as one user. What it makes, :meth:`tidy` removes."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http
        self._spaces: list[str] = []
        self._groups: list[str] = []
        self._users: list[str] = []

    async def own_id(self) -> str:
        """The id of the user who asks."""
        return str((await self.http.get(f"{GRAPH}/me")).json()["id"])

    async def create(self, name: str, **more: Any) -> httpx2.Response:
        """Ask for a project space."""
        answer = await self.http.post(f"{GRAPH}/drives", json={"name": name, "driveType": "project", **more})
        if answer.status_code == 201:
            self._spaces.append(uuid_of(answer.json()))
        return answer

    async def space(self, name: str, **more: Any) -> str:
        """A new project space under an id of our own."""
        key = str(uuid.uuid4())
        answer = await self.create(name, id=key, **more)
        assert answer.status_code == 201, answer.text
        return key

    async def drive(self, key: str) -> dict[str, Any]:
        """A space that is there, with its grants."""
        answer = await self.http.get(f"{BETA}/drives/{key}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def grants(self, key: str) -> dict[str, list[str]]:
        """Role ids by grant."""
        return {found["id"]: found["roles"] for found in (await self.drive(key))["root"]["permissions"]}

    async def patch(self, key: str, body: Any = None, **headers: str) -> httpx2.Response:
        """Change a space."""
        return await self.http.patch(f"{GRAPH}/drives/{key}", json=body, headers=headers)

    async def delete(self, key: str, **headers: str) -> httpx2.Response:
        """Disable a space, or purge it."""
        return await self.http.delete(f"{GRAPH}/drives/{key}", headers=headers)

    async def invite(self, key: str, body: Any) -> httpx2.Response:
        """Give somebody a role on a space."""
        return await self.http.post(f"{BETA}/drives/{key}/root/invite", json=body)

    async def group(self, name: str) -> str:
        """A new group."""
        answer = await self.http.post(f"{GRAPH}/groups", json={"displayName": name})
        assert answer.status_code == 201, answer.text
        self._groups.append(answer.json()["id"])
        return str(answer.json()["id"])

    async def person(self, name: str) -> Person:
        """A new user with a password."""
        password = secrets.token_urlsafe(18)
        body = {
            "displayName": name.title(),
            "onPremisesSamAccountName": name,
            "mail": f"{name}@{name}.test",
            "passwordProfile": {"password": password},
        }
        answer = await self.http.post(f"{GRAPH}/users", json=body)
        assert answer.status_code == 201, answer.text
        self._users.append(answer.json()["id"])
        return Person(answer.json()["id"], name, password)

    async def raze(self, key: str) -> None:
        """Remove a space, whatever state it is in."""
        await self.delete(key)
        answer = await self.delete(key, **PURGE)
        assert answer.status_code in {204, 404}, answer.text

    async def tidy(self) -> None:
        """Remove what was made: spaces before the groups that have grants on them."""
        for key in self._spaces:
            await self.raze(key)
        for kind, keys in (("groups", self._groups), ("users", self._users)):
            for key in keys:
                answer = await self.http.delete(f"{GRAPH}/{kind}/{key}")
                assert answer.status_code in {204, 404}, answer.text

    async def sweep(self, spaces: list[str], group: str) -> None:
        """Remove what a tenant may have left."""
        for key in spaces:
            await self.raze(key)
        found = await self.http.get(f"{GRAPH}/groups/{group}")
        if found.status_code == 200:
            await self.http.delete(f"{GRAPH}/groups/{found.json()['id']}")
