"""An event of Authentik as one of the log (facts/authentik.md 5). Pure."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec

from dezky_operator.audit.event import Datum, Event
from dezky_operator.audit.times import from_source
from dezky_operator.ingest.authentik.actions import outcome_of, verb_of
from dezky_operator.ingest.malformed import malformed
from dezky_operator.ingest.tenants import KnownTenant, Tenants

TYPE = "authentik"
APPLICATION = "dezky-"
"""Before a tenant's slug in the slug of its application."""


class User(msgspec.Struct, frozen=True):
    """Who did it, as the event keeps it."""

    pk: int = 0
    username: str = ""
    email: str = ""


class Record(msgspec.Struct, frozen=True):
    """What is read of an event; the rest is in its text."""

    pk: str
    action: str
    created: str
    user: User = User()
    context: dict[str, Any] = {}
    client_ip: str | None = None
    brand: dict[str, Any] = {}


_DECODER = msgspec.json.Decoder(Record)


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """An event with its id and its time as Authentik writes them; both empty where it has none."""

    pk: str
    created: str
    action: str
    event: Event


def read(text: bytes, *, src: str, recv: str, tenants: Tenants, own: str) -> Read:
    """The event of one text.

    Args:
        text: the event's JSON, byte by byte.
        src: name of the AuditSource.
        recv: canonical time of its arrival.
        tenants: all tenants.
        own: user name of the operator's service account: what it did is marked, its steps are in the log already.
    """
    try:
        record = _DECODER.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        ext = _pk_of(text)
        bad = malformed(src=src, source=TYPE, ext=ext, recv=recv, reason=type(error).__name__, raw=text)
        return Read(pk=ext, created="", action="", event=bad)
    at, time_source = from_source(record.created)
    tenant = _tenant(record, tenants)
    event = Event(
        src=src,
        source=TYPE,
        ext=record.pk,
        action=verb_of(record.action),
        outcome=outcome_of(record.action),
        recv=recv,
        at=at,
        time_source=time_source,
        actor_type="user" if record.user.username else "",
        resource_type=_model(record).get("model_name", "") or ("application" if _application(record) else ""),
        tenant=tenant.tenant_id if tenant else "",
        partner=tenant.partner if tenant else "",
        data=_data(record, own),
        values=_values(record, tenant),
        raw=text,
    )
    return Read(pk=record.pk, created=at, action=record.action, event=event)


def _data(record: Record, own: str) -> dict[str, Datum]:
    data: dict[str, Datum] = {}
    if isinstance(method := record.context.get("auth_method"), str) and method:
        data["method"] = method[:64]
    request = record.context.get("http_request")
    if isinstance(request, dict) and isinstance(number := request.get("request_id"), str):
        data["request_id"] = number[:64]
    if own and record.user.username == own:
        data["own"] = True
    return data


def _values(record: Record, tenant: KnownTenant | None) -> dict[str, str]:
    user, model = record.user, _model(record)
    values = {
        "actor.id": str(user.pk) if user.pk else "",
        "actor.email": user.email or (user.username if "@" in user.username else ""),
        "actor.ip": record.client_ip or "",
        "resource.id": str(model.get("pk") or ""),
        "resource.name": model.get("name", "") or _application(record),
        "tenant.slug": tenant.slug if tenant else "",
        "partner.slug": tenant.partner_slug if tenant else "",
    }
    return {path: text for path, text in values.items() if text}


def _tenant(record: Record, tenants: Tenants) -> KnownTenant | None:
    """By who acted, by the application signed in to, by the object changed; else nobody's.

    A member's user name is an address in one of the tenant's domains (design 6), so no user has to be looked up, and an
    event of a user who is gone still finds its tenant.
    """
    name = _model(record).get("name", "")
    found = tenants.by_address(record.user.username) or tenants.by_address(record.user.email)
    found = found or tenants.by_slug(_application(record).removeprefix(APPLICATION))
    return (
        found or tenants.by_address(name) or tenants.by_group(name) or tenants.by_slug(name.removeprefix(APPLICATION))
    )


def _application(record: Record) -> str:
    """Slug of the application that was signed in to."""
    application = record.context.get("authorized_application")
    slug = application.get("slug") if isinstance(application, dict) else None
    return slug if isinstance(slug, str) else ""


def _model(record: Record) -> dict[str, str]:
    """The object an event is about; only texts of it count."""
    model = record.context.get("model")
    held = model if isinstance(model, dict) else {}
    return {key: str(value) for key, value in held.items() if isinstance(value, str | int)}


class _Pk(msgspec.Struct, frozen=True):
    pk: str


def _pk_of(text: bytes) -> str:
    """The id of an event whose other fields have an unknown form; a hash of its text where even that is none."""
    try:
        return msgspec.json.decode(text, type=_Pk).pk
    except msgspec.MsgspecError:
        return f"sha256:{sha256(text).hexdigest()}"
