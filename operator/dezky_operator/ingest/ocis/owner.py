"""Whose record it is: the actor, and the tenant (facts/ocis.md 4.3). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from dezky_operator.ingest.ocis.schema import Record
from dezky_operator.ingest.tenants import KnownTenant, Tenants

Names = Callable[[str], str]
"""The name of a user or group by its id in OCIS: a user's name is an address where the user belongs to a tenant. Empty
for an id that nobody knows."""

_EXECUTANT = re.compile(r"user '([^']*)'")
_SHARED = frozenset({"file_shared"})


def unknown(_: str) -> str:
    """Knows no name."""
    return ""


def actor_of(record: Record, action: str) -> str:
    """The id of whoever did it, empty where the record does not tell.

    The message does. ``User`` is empty, or somebody else: the owner of the space a file came into. Only where a share
    is made or changed it is the one who shares. A visitor through a public link is nobody.
    """
    if found := _EXECUTANT.match(record.message):
        return found[1]
    return record.user if action in _SHARED or action.startswith("share_") else ""


def owner_of(record: Record, actor: str, tenants: Tenants, names: Names) -> KnownTenant | None:
    """The tenant: by the space, then by the group, then by the user it is about, then by the actor."""
    for space in _spaces(record):
        # The id of somebody's own space is the id of its user.
        if found := tenants.by_drive(space) or tenants.by_address(names(space)):
            return found
    for group in (record.group_id, record.grantee_group_id):
        if group and (found := tenants.by_files_group(group) or tenants.by_group(names(group))):
            return found
    for user in (record.user_id, actor):
        if user and (found := tenants.by_address(names(user))):
            return found
    return None


def _spaces(record: Record) -> list[str]:
    """Ids of the spaces that a record names, the surest first."""
    spaces = [space_of(key) for key in (record.space_id, record.file_id) if key]
    storage, _, rest = record.share_id.partition(":")
    space, _, share = rest.partition(":")
    if storage and space and share:
        spaces.append(space)
    return spaces


def space_of(key: str) -> str:
    """The id of a space in ``storage$space!node/path``; a node alone stands for itself: it may be a space's root."""
    _, dollar, rest = key.partition("$")
    return (rest if dollar else key).partition("!")[0].partition("/")[0]
