"""The state of the OCIS stand-in: users, groups, spaces, files."""

from __future__ import annotations

import base64
import math
import secrets
import string
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

STORAGE = "a0ca6a90-a365-4782-871e-d44447bbc668"
MANAGER = "312c0871-5ef7-4b3a-85b6-0e4074c64049"
EDITOR = "58c63c02-1d89-4572-916a-870abc5a1b7d"
VIEWER = "a8d5fe5e-96e3-418d-825b-534dbdf22b99"
ROLES = (MANAGER, EDITOR, VIEWER)
DEFAULT_QUOTA = 1_000_000_000
FORBIDDEN = set('/\\.:?*"><|')


@dataclass
class User:
    """A user; ``role`` is one of ocisAdmin, ocisSpaceAdmin, ocisUser, ocisGuest."""

    id: str
    name: str
    display: str
    role: str
    mail: str = ""
    password: str | None = None
    enabled: bool = True
    groups: set[str] = field(default_factory=set)
    synced: float = 0.0


@dataclass
class Space:
    """A space. ``grants`` maps ``u:<id>`` and ``g:<id>`` to a role id, ``files`` paths to contents."""

    id: str
    name: str
    alias: str
    kind: str = "project"
    description: str = ""
    quota: int = DEFAULT_QUOTA
    disabled: bool = False
    poisoned: bool = False
    grants: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
    """Paths and node ids."""

    def node(self, path: str) -> str | None:
        """The whole id of what is at ``path``, or None."""
        nodes = {
            "": self.id,
            **self.folders,
            **{name: str(uuid.uuid5(uuid.NAMESPACE_URL, name)) for name in self.files},
        }
        return f"{STORAGE}${self.id}!{nodes[path]}" if path in nodes else None

    @property
    def used(self) -> int:
        """Bytes of all files."""
        return sum(map(len, self.files.values()))

    def shown(self, url: str, *, beta: bool, groups: dict[str, str]) -> dict[str, Any]:
        """The drive as LibreGraph shows it (facts/ocis.md 2.2)."""
        full = f"{STORAGE}${self.id}"
        quota: dict[str, Any] = {"total": self.quota}
        root: dict[str, Any] = {"id": f"{full}!{self.id}", "webDavUrl": f"{url}/dav/spaces/{full}", "eTag": '"1"'}
        if self.disabled:
            root["deleted"] = {"state": "trashed"}
        else:
            quota |= {"used": self.used, "remaining": max(self.quota - self.used, 0), "state": self.state}
            if beta:
                root["permissions"] = [permission(key, role, groups) for key, role in self.grants.items()]
        return {
            "id": full,
            "name": self.name,
            "description": self.description,
            "driveAlias": self.alias,
            "driveType": self.kind,
            "owner": {"user": {"displayName": "", "id": self.id}},
            "quota": quota,
            "lastModifiedDateTime": "2026-11-24T00:00:00Z",
            "webUrl": f"{url}/f/{full}",
            "root": root,
        }

    @property
    def state(self) -> str:
        """How full it is."""
        if not self.quota:
            return "normal"
        share = self.used / self.quota
        return "exceeded" if share > 0.99 else "critical" if share > 0.9 else "nearing" if share > 0.75 else "normal"


@dataclass(frozen=True)
class Link:
    """A public link to ``item`` (a whole id) in a space, made by ``sharer``. ``until``: seconds since 1970."""

    token: str
    space: str
    item: str
    password: str
    until: float
    sharer: str

    @property
    def header(self) -> str:
        """How somebody who has the password comes."""
        return "Basic " + base64.b64encode(f"public:{self.password}".encode()).decode()


def permission(key: str, role: str, groups: dict[str, str]) -> dict[str, Any]:
    """A grant; one of a deleted group stays, without a name (facts/ocis.md 2.4)."""
    kind, _, pk = key.partition(":")
    who = "user" if kind == "u" else "group"
    return {"id": key, "roles": [role], "grantedToV2": {who: {"id": pk, "displayName": groups.get(pk, "")}}}


class Store:
    """Everything OCIS would keep."""

    def __init__(self, admin: tuple[str, str]) -> None:
        self.users: dict[str, User] = {}
        self.groups: dict[str, str] = {}
        self.group_ids: dict[str, str] = {}
        self.spaces: dict[str, Space] = {}
        self.links: dict[str, Link] = {}
        self.admin = self.add_user(admin[0], display="Admin", role="ocisAdmin", password=admin[1])

    def add_user(
        self, name: str, *, display: str, role: str = "ocisUser", password: str | None = None, mail: str = ""
    ) -> User:
        """A new user with a personal space; the same name again gets another id."""
        user = User(id=str(uuid.uuid4()), name=name, display=display, role=role, password=password, mail=mail)
        self.users[user.id] = user
        self.spaces[user.id] = Space(
            id=user.id, name=display, alias=f"personal/{name}", kind="personal", grants={f"u:{user.id}": MANAGER}
        )
        return user

    def user(self, key: str) -> User | None:
        """By id or by name."""
        return self.users.get(key) or next((user for user in self.users.values() if user.name == key), None)

    def drop_user(self, user: User) -> None:
        """Remove a user and the personal space."""
        del self.users[user.id]
        self.spaces.pop(user.id, None)

    def add_group(self, name: str) -> str:
        """A new group; its id."""
        key = str(uuid.uuid4())
        self.groups[key], self.group_ids[name] = name, key
        return key

    def drop_group(self, key: str) -> None:
        """Remove a group and its memberships; its grants stay."""
        self.group_ids.pop(self.groups.pop(key), None)
        for user in self.users.values():
            user.groups.discard(key)

    def add_link(self, space: Space, item: str, password: str, until: float, sharer: User) -> Link:
        """A new public link."""
        token = "".join(secrets.choice(string.ascii_letters) for _ in range(15))
        link = Link(token=token, space=space.id, item=item, password=password, until=until, sharer=sharer.id)
        self.links[link.token] = link
        return link

    def role_of(self, user: User, space: Space) -> str | None:
        """The best role a user has on a space."""
        keys = {f"u:{user.id}", *(f"g:{group}" for group in user.groups)}
        held = [role for key, role in space.grants.items() if key in keys]
        return min(held, key=ROLES.index) if held else None


def until_of(text: str | None) -> float:
    """The end of a link in seconds since 1970; one without lives for ever."""
    return datetime.fromisoformat(text).timestamp() if text else math.inf


def password_refusal(password: str) -> str | None:
    """What is wrong with a link's password by the default policy: there is one, of 8 characters of four kinds."""
    kinds = (str.islower, str.isupper, str.isdigit, lambda letter: not letter.isalnum())
    if not password:
        return "password protection is enforced"
    if len(password) < 8 or not all(any(map(kind, password)) for kind in kinds):
        return "the password does not meet the policy"
    return None
