"""Stalwart's objects as far as we read them (facts/stalwart.md 2.3 to 2.6), parsed at the edge."""

from __future__ import annotations

from typing import Any

import msgspec

from dezky_operator.integrations.stalwart.ids import ALPHABET

PLATFORMS = "dezky:server:platform"
"""The mark that the server's own default domain counts as having: it has none, and is never a tenant's."""
DISABLE_LOGIN = {"authenticate": True}
"""What a role's ``disabledPermissions`` must hold so that nobody with the role can log in (facts/stalwart.md 11.5)."""


def age(key: str) -> tuple[int, ...]:
    """What objects are sorted by, the oldest first: ids count up in their own alphabet (facts/stalwart.md 2.2)."""
    return (len(key), *map(ALPHABET.find, key))


class _Object(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pass


class Variant(_Object, frozen=True, kw_only=True):
    """A union that only its variant matters of."""

    type: str = msgspec.field(name="@type", default="")


class Domain(_Object, frozen=True, kw_only=True):
    """A mail domain. ``description`` holds our mark, ``dns_zone_file`` what to publish."""

    id: str
    name: str
    description: str | None = None
    is_enabled: bool = True
    allow_relaying: bool = False
    catch_all_address: str | None = None
    dkim_management: Variant = Variant()
    dns_zone_file: str = ""


class DkimKey(_Object, frozen=True, kw_only=True):
    """A signing key; the private half never comes back. Belongs to whoever its domain belongs to."""

    id: str
    type: str = msgspec.field(name="@type", default="")
    domain_id: str
    selector: str
    stage: str = "pending"


class Role(_Object, frozen=True, kw_only=True):
    """A role. ``description`` is not unique and holds our mark."""

    id: str
    description: str | None = None
    role_ids: dict[str, bool] = {}
    enabled_permissions: dict[str, bool] = {}
    disabled_permissions: dict[str, bool] = {}


class Roles(_Object, frozen=True, kw_only=True):
    """The roles of an account: a built-in set, or ``Custom`` with ids."""

    type: str = msgspec.field(name="@type", default="User")
    role_ids: dict[str, bool] = {}


class Account(_Object, frozen=True, kw_only=True):
    """A mailbox (or group). ``name`` is the part of the address before the @."""

    id: str
    type: str = msgspec.field(name="@type", default="User")
    name: str
    domain_id: str
    description: str | None = None
    roles: Roles = Roles()
    permissions: Variant = Variant()
    """``Replace`` puts the account's own permissions in place of its roles'."""
    quotas: dict[str, int] = {}
    used_disk_quota: int = 0


class MailingList(_Object, frozen=True, kw_only=True):
    """A list. Belongs to whoever its domain belongs to."""

    id: str
    name: str
    domain_id: str


class Rate(_Object, frozen=True, kw_only=True):
    """How many in which time (milliseconds)."""

    count: int = 0
    period: int = 0


class Throttle(_Object, frozen=True, kw_only=True):
    """A limit on incoming mail. ``description`` holds our mark; only the ``else`` of ``match`` is evaluated."""

    id: str
    description: str = ""
    enable: bool = True
    key: dict[str, bool] = {}
    match: dict[str, Any] = {}
    rate: Rate = Rate()


class Authentication(_Object, frozen=True, kw_only=True):
    """The singleton that tells which roles an ordinary user has."""

    default_user_role_ids: dict[str, bool] = {}
    directory_id: str | None = None
    """The external directory that people sign in through; then no account can have a password of its own."""


class SystemSettings(_Object, frozen=True, kw_only=True):
    """The singleton that tells which domain is the server's own."""

    default_domain_id: str | None = None


class WebHook(_Object, frozen=True, kw_only=True):
    """Where events are sent. The key never comes back; ``http_headers`` hold our mark, there is no description.

    ``timeout``, ``throttle`` and ``discard_after`` in milliseconds.
    """

    id: str
    url: str = ""
    enable: bool = True
    events: dict[str, bool] = {}
    events_policy: str = ""
    http_headers: dict[str, str] = {}
    http_auth: Variant = Variant()
    timeout: int = 0
    throttle: int = 0
    discard_after: int = 0
    lossy: bool = False
    allow_invalid_certs: bool = False


class _EventType(_Object, frozen=True, kw_only=True):
    name: str


class _Enums(_Object, frozen=True, kw_only=True):
    event_types: list[_EventType] = msgspec.field(name="EventType")


class Schema(_Object, frozen=True, kw_only=True):
    """The part of the server's schema that is read."""

    enums: _Enums


def as_json(value: Any) -> Any:
    """An object as Stalwart writes it."""
    return msgspec.to_builtins(value)
