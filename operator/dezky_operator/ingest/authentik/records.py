"""An entry of Authentik's list as an event of the log (facts/authentik.md 5). Pure."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from dezky_operator.audit.event import Datum, Event
from dezky_operator.ingest.authentik.actions import outcome_of, verb_of
from dezky_operator.ingest.authentik.rows import Found, Row, user_number
from dezky_operator.ingest.malformed import malformed
from dezky_operator.ingest.tenants import KnownTenant

TYPE = "authentik"
USER = "user"
PARTS = ("model", "authorized_application", "secret", "source", "invitation")
"""Where an event keeps the object it is about, the surest place first."""
UNKNOWN_ADDRESS = "255.255.255.255"
"""What Authentik writes where it could not tell from where a request came."""
_WORD = re.compile("[a-z0-9_]{1,64}", re.ASCII)
_HEX = re.compile("[0-9a-f]{8,64}", re.ASCII)


class Thing(msgspec.Struct, frozen=True, gc=False):
    """The object an event is about. ``id`` is a user's number for a user, so that actor and object are one subject."""

    kind: str = ""
    id: str = ""
    name: str = ""


NOTHING = Thing()


def event_of(found: Found, *, src: str, recv: str, tenant: KnownTenant | None, own: str) -> Event:
    """The event of one entry.

    Args:
        found: the entry.
        src: name of the AuditSource.
        recv: canonical time of its arrival.
        tenant: whose it is, as :func:`dezky_operator.ingest.authentik.whose.whose` finds it.
        own: user name of the operator's service account: what it did is marked, its steps are in the log already.
    """
    row = found.row
    if row is None:
        return malformed(src=src, source=TYPE, ext=found.ext, recv=recv, reason=found.reason, raw=found.text)
    thing = thing_of(row)
    number = row.who.number
    return Event(
        src=src,
        source=TYPE,
        ext=found.ext,
        action=verb_of(row.action),
        outcome=outcome_of(row.action, passing=row.part("result").get("passing")),
        recv=recv,
        at=found.at,
        time_source=found.time_source,
        actor_type=USER if number else "anonymous" if row.who.username else "",
        resource_type=thing.kind,
        tenant=tenant.tenant_id if tenant else "",
        partner=tenant.partner if tenant else "",
        data=_data(row, own),
        values=_values(row, thing, tenant),
        raw=found.text,
        people=_people(row, number, thing),
    )


def thing_of(row: Row) -> Thing:
    """What the event is about."""
    if row.action.startswith("impersonation_") and row.who.on_behalf_of is not None:
        other = row.who.on_behalf_of
        return Thing(USER, str(other.number or ""), other.username or "")
    for name in PARTS:
        if (part := row.part(name)) and (found := _thing(part)).kind:
            return found
    if row.action == "login_failed" and not row.who.number:
        return Thing(USER, "", tried(row))
    return NOTHING


def tried(row: Row) -> str:
    """The name somebody tried to sign in with; empty when the event tells none."""
    name = (row.context or {}).get("username")
    return name if isinstance(name, str) else ""


def _thing(part: dict[str, Any]) -> Thing:
    kind, pk, name = part.get("model_name"), part.get("pk"), part.get("name")
    if not isinstance(kind, str) or _WORD.fullmatch(kind) is None:
        return NOTHING
    if kind == USER:
        key = str(user_number(pk) or "")
    elif isinstance(pk, int) or (isinstance(pk, str) and pk.isdigit()):
        # Providers are numbered as users are: without its kind one would be taken for the other, in an erasure too.
        key = f"{kind}:{pk}"
    else:
        key = pk if isinstance(pk, str) else ""
    return Thing(kind, key, name if isinstance(name, str) else "")


def _data(row: Row, own: str) -> dict[str, Datum]:
    """Only what can be nobody's name: words of Authentik's own, ids that it drew, yes and no."""
    context = row.context or {}
    words = {
        "method": context.get("auth_method"),
        "app": row.part("model").get("app"),
        "stage": row.part("stage").get("model_name"),
    }
    data: dict[str, Datum] = {
        key: word for key, word in words.items() if isinstance(word, str) and _WORD.fullmatch(word)
    }
    request = row.part("http_request").get("request_id")
    if isinstance(request, str) and _HEX.fullmatch(request) is not None:
        data["request_id"] = request
    if row.part("auth_method_args").get("mfa_devices"):
        data["mfa"] = True
    if row.action == "user_write" and isinstance(made := context.get("created"), bool):
        data["created"] = made
    if isinstance(scopes := context.get("scopes"), str):
        data["offline"] = "offline_access" in scopes.split()
    if row.who.on_behalf_of is not None:
        data["impersonating"] = True
    if own and row.who.username == own:
        data["own"] = True
    return data


def _values(row: Row, thing: Thing, tenant: KnownTenant | None) -> dict[str, str]:
    who, number = row.who, row.who.number
    name = who.username or ""
    values = {
        "actor.id": str(number) if number else "",
        "actor.email": (who.email or (name if "@" in name else "")) if number else "",
        "actor.ip": row.client_ip if row.client_ip and row.client_ip != UNKNOWN_ADDRESS else "",
        "resource.id": thing.id,
        "resource.name": thing.name,
        "tenant.slug": tenant.slug if tenant else "",
        "partner.slug": tenant.partner_slug if tenant else "",
    }
    return {path: text for path, text in values.items() if text}


def _people(row: Row, actor: int, thing: Thing) -> tuple[str, ...]:
    """Everybody else whom the text names: erasing one of them erases it."""
    others = {other.number for other in (row.who.on_behalf_of, row.who.authenticated_as) if other is not None}
    for part in (row.context or {}).values():
        if isinstance(part, dict) and part.get("model_name") == USER:
            others.add(user_number(part.get("pk")))
    if not others:
        return ()
    return tuple(str(number) for number in sorted(others - {0, actor}) if str(number) != thing.id)
