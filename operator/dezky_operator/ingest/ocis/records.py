"""A line of OCIS's audit log as an event (facts/ocis.md 4.2, 4.3). Pure."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from dezky_operator.audit.event import Datum, Event, Outcome
from dezky_operator.audit.times import TimeSource, from_source
from dezky_operator.ingest.malformed import malformed
from dezky_operator.ingest.ocis.actions import KNOWN, MUTATIONS, SHARES, resource_of
from dezky_operator.ingest.ocis.secrets import without_tokens
from dezky_operator.ingest.tenants import KnownTenant, Tenants

TYPE = "ocis"
_ACTOR = re.compile(r"user '([^']*)'")
_RAW_NAME = re.compile(r"[a-z0-9_.]{1,100}")
_DECODER = msgspec.json.Decoder(dict[str, Any])
_DATA = {"ItemType": "item_type", "ShareType": "share_type", "Permissions": "permissions", "Type": "space_type"}
"""What of a record may stand in the line: kinds and rights, nobody's name."""
_PEOPLE = ("UserID", "ShareWith", "GranteeUserID", "Owner", "ShareOwner", "RecipientMail", "User")


def allowed(action: str, allow: frozenset[str] | None) -> bool:
    """Whether an action comes into the log: as the list says, and without one everything but known reads."""
    return action in allow if allow is not None else action in MUTATIONS or action not in KNOWN


def event_of(line: bytes, *, src: str, ext: str, recv: str, tenants: Tenants, token_key: bytes) -> tuple[str, Event]:
    """The raw action and the event of one line, without LF.

    What can not be understood is an event all the same: ``ingest.malformed``, and the action is empty. The text that is
    kept is the line with its tokens replaced.
    """
    raw = without_tokens(line, token_key)
    try:
        record = _DECODER.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "", malformed(src=src, source=TYPE, ext=ext, recv=recv, reason="no JSON object", raw=raw)
    action = record.get("Action")
    if not isinstance(action, str) or not _RAW_NAME.fullmatch(action):
        return "", malformed(src=src, source=TYPE, ext=ext, recv=recv, reason="no Action", raw=raw)
    at, time_source = from_source(_text(record, "Time"))
    tenant = _tenant(record, tenants)
    return action, Event(
        src=src,
        source=TYPE,
        ext=ext,
        action=f"{TYPE}.{action}",
        outcome=_outcome(action, record),
        recv=recv,
        at=at,
        time_source=time_source if at else TimeSource.REC,
        actor_type="user" if _actor(action, record) else "",
        resource_type=resource_of(action),
        tenant=tenant.tenant_id if tenant else "",
        partner=tenant.partner if tenant else "",
        data=_data(record),
        values=_values(action, record, tenant),
        raw=raw,
        people=tuple(dict.fromkeys(found for name in _PEOPLE if (found := _text(record, name)))),
    )


def _outcome(action: str, record: dict[str, Any]) -> Outcome:
    if action not in KNOWN:
        return Outcome.UNKNOWN
    return Outcome.FAILURE if record.get("Success") is False else Outcome.SUCCESS


def _actor(action: str, record: dict[str, Any]) -> str:
    """Who did it: by the message, which names the executant. ``User`` is somebody else, except in records of shares."""
    found = _ACTOR.match(_text(record, "Message"))
    if found and found[1]:
        return found[1]
    return _text(record, "User") if action in SHARES else ""


def _data(record: dict[str, Any]) -> dict[str, Datum]:
    return {key: text[:64] for name, key in _DATA.items() if (text := _text(record, name))}


def _values(action: str, record: dict[str, Any], tenant: KnownTenant | None) -> dict[str, str]:
    ids = ("SpaceID", "FileID", "ShareID", "GroupID", "UserID")
    values = {
        "actor.id": _actor(action, record),
        "resource.id": next((found for name in ids if (found := _text(record, name))), ""),
        "resource.name": next((found for name in ("Path", "Name", "NewName") if (found := _text(record, name))), ""),
    }
    if tenant is not None:
        values |= {"tenant.slug": tenant.slug, "partner.slug": tenant.partner_slug}
    return {path: text for path, text in values.items() if text}


def _tenant(record: dict[str, Any], tenants: Tenants) -> KnownTenant | None:
    """By the space, by the share's space, by the group; else nobody's, and the event stays in the global timeline."""
    for name in ("SpaceID", "FileID"):
        space = space_in(_text(record, name))
        if space and (found := tenants.by_drive(space)):
            return found
    share = _text(record, "ShareID").split(":")
    if len(share) == 3 and (found := tenants.by_drive(share[1])):
        return found
    return tenants.by_files_group(_text(record, "GroupID"))


def space_in(text: str) -> str:
    """The space of ``storage$space``, ``storage$space!node`` and ``storage$space!node/rel/path``; empty in others."""
    _, dollar, rest = text.partition("$")
    return rest.partition("!")[0] if dollar else ""


def _text(record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    return value if isinstance(value, str) else ""
