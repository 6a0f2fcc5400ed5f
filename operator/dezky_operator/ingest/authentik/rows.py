"""An event as Authentik's list shows it: its text, and what is read of it (facts/authentik.md 5). Pure."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec

from dezky_operator.audit.times import TimeSource, from_source

ANONYMOUS = "AnonymousUser"
"""The account that stands for everybody who is not signed in: not a person."""
LONGEST_PK = 256
"""Characters. A longer one is no id; the text's hash is taken."""


class Who(msgspec.Struct, frozen=True, gc=False):
    """An account as an event keeps it, also when it is gone.

    Attributes:
        on_behalf_of: whom ``self`` had taken the place of (impersonation).
        authenticated_as: whose credential it was, where that was another's.
    """

    pk: int | str | None = None
    username: str | None = None
    email: str | None = None
    is_anonymous: bool | None = None
    on_behalf_of: Who | None = None
    authenticated_as: Who | None = None

    @property
    def number(self) -> int:
        """The account's key; 0 when it is nobody's in particular."""
        if self.is_anonymous or self.username == ANONYMOUS:
            return 0
        return user_number(self.pk)


class Row(msgspec.Struct, frozen=True, gc=False):
    """What is read of an event; the rest is in its text. ``context`` is whatever the action's code put there."""

    pk: str
    created: str
    action: str
    user: Who | None = None
    context: dict[str, Any] | None = None
    client_ip: str | None = None
    brand: dict[str, Any] | None = None

    @property
    def who(self) -> Who:
        """Who did it; nobody when the event names nobody."""
        return self.user or NOBODY

    def part(self, name: str) -> dict[str, Any]:
        """An object of the context; an empty one when there is none."""
        found = (self.context or {}).get(name)
        return found if isinstance(found, dict) else {}


class Found(msgspec.Struct, frozen=True, gc=False):
    """One entry of the list.

    Attributes:
        text: byte by byte as it came.
        ext: its id in the source: the pk, or, where even that can not be read, a hash of the text.
        at: when it happened (canonical), empty when that is no time.
        row: what was read; None when it has an unknown form, of which ``reason`` tells the kind.
    """

    text: bytes
    ext: str
    at: str
    time_source: TimeSource
    row: Row | None
    reason: str = ""


NOBODY = Who()


def parse(text: bytes) -> Found:
    """An entry; never an error, since one that can not be read must not hold up the others."""
    try:
        row = _ROW.decode(text)
        if not 0 < len(row.pk) <= LONGEST_PK:
            raise msgspec.ValidationError
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return _unreadable(text, type(error).__name__)
    at, time_source = from_source(row.created)
    return Found(text, row.pk, at, time_source, row)


def user_number(pk: object) -> int:
    """A user's key; 0 when ``pk`` is none. Paths are made of it, so nothing but digits passes."""
    if isinstance(pk, str) and pk.isascii() and pk.isdigit() and len(pk) < 19:
        return int(pk)
    return pk if isinstance(pk, int) and not isinstance(pk, bool) and pk > 0 else 0


class _Key(msgspec.Struct):
    pk: str = ""


class _Time(msgspec.Struct):
    created: str = ""


_ROW, _KEY, _TIME = msgspec.json.Decoder(Row), msgspec.json.Decoder(_Key), msgspec.json.Decoder(_Time)


def _unreadable(text: bytes, reason: str) -> Found:
    """Key and time are kept even so: the one tells it from others, the other its place."""
    try:
        pk = _KEY.decode(text).pk
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pk = ""
    try:
        at, time_source = from_source(_TIME.decode(text).created)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        at, time_source = "", TimeSource.REC
    ext = pk if 0 < len(pk) <= LONGEST_PK else f"sha256:{sha256(text).hexdigest()}"
    return Found(text, ext, at, time_source, None, reason)
