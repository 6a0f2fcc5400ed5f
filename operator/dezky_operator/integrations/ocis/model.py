"""OCIS's objects as far as we read them (facts/ocis.md 2), parsed at the edge."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")

MANAGER = "312c0871-5ef7-4b3a-85b6-0e4074c64049"
EDITOR = "58c63c02-1d89-4572-916a-870abc5a1b7d"
"""Role ids of spaces; the same in every installation (facts/ocis.md 2.3)."""
PROJECT = "project"
"""The type of a space that belongs to no single user."""
PERSONAL = "personal"
"""The type of somebody's own space."""
TRASHED = "trashed"


class _Object(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pass


class Quota(_Object, frozen=True, kw_only=True):
    """Bytes. Only ``total`` is there while the space is disabled; 0 = no limit."""

    total: int = 0
    used: int | None = None
    state: str | None = None


class Permission(_Object, frozen=True, kw_only=True):
    """A grant on a space: ``u:<user id>`` or ``g:<group id>``, and role ids."""

    id: str = ""
    roles: tuple[str, ...] = ()


class Deleted(_Object, frozen=True, kw_only=True):
    """There when the space is disabled."""

    state: str = ""


class Root(_Object, frozen=True, kw_only=True):
    """The root folder of a space, which carries grants and the disabled state."""

    permissions: tuple[Permission, ...] = ()
    deleted: Deleted | None = None


class Drive(_Object, frozen=True, kw_only=True):
    """A space. ``id`` is ``<storage>$<uuid>``."""

    id: str
    name: str
    drive_type: str = PROJECT
    drive_alias: str = ""
    web_url: str = ""
    quota: Quota = Quota()
    root: Root = Root()

    @property
    def uuid(self) -> str:
        """The part of the id that we chose."""
        return self.id.rpartition("$")[2]

    @property
    def disabled(self) -> bool:
        """Whether nobody gets in."""
        return self.root.deleted is not None and self.root.deleted.state == TRASHED


class Group(_Object, frozen=True, kw_only=True):
    """A group."""

    id: str
    display_name: str


class User(_Object, frozen=True, kw_only=True):
    """Somebody who signed in once. The id is also that of the personal space."""

    id: str
    on_premises_sam_account_name: str = ""


class Listed(_Object, Generic[T], frozen=True, kw_only=True):
    """The answer of a list."""

    value: list[T] = []


class Me(_Object, frozen=True, kw_only=True):
    """The operator's own user."""

    id: str


class LinkAddress(_Object, frozen=True, kw_only=True):
    """Where a public link leads; the last part is its token."""

    web_url: str

    def __repr__(self) -> str:
        """Without the address: who has it gets in."""
        return "LinkAddress()"


class SharingLink(_Object, frozen=True, kw_only=True):
    """A public link that was just made."""

    link: LinkAddress


class ServerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What `/status.php` tells; `version` there is a fixed number of old, so it is not read."""

    productversion: str = ""
