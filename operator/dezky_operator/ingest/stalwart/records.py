"""One event of Stalwart's as an event of the log (facts/stalwart.md 5.2). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from dezky_operator.audit.event import LARGEST_INT, LONGEST_EXT, Datum, Event
from dezky_operator.audit.times import from_source
from dezky_operator.ingest.stalwart.actions import Action, Role
from dezky_operator.ingest.stalwart.people import People
from dezky_operator.ingest.tenants import Tenants

SOURCE = "stalwart"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_NUMBERS = {
    "localPort": "local_port",
    "remotePort": "remote_port",
    "code": "code",
    "size": "size",
    "total": "total",
    "spanId": "span",
    "queueId": "queue",
}
_NAMES = {"listenerId": "listener", "result": "result", "causedBy": "cause"}
"""The server's own names, and types of nested errors. Whatever else stands there is free text, and may name people."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What one event says. ``kind`` is its type, ``id`` what this delivery of it is called."""

    kind: str
    created: object
    data: Mapping[str, object]
    id: object = ""

    @property
    def content(self) -> dict[str, object]:
        """What makes it the same event in every delivery."""
        return {"createdAt": self.created, "data": self.data, "type": self.kind}


def event_of(  # noqa: PLR0913 - what an event is made of
    report: Report, action: Action, people: People, *, src: str, ext: str, recv: str, raw: bytes, tenants: Tenants
) -> Event:
    """The event of the log; ``raw`` is the report's text as it was sent."""
    at, time_source = from_source(report.created if isinstance(report.created, str) else "")
    tenant = people.tenant(tenants)
    values = _values(people, action.role)
    if tenant is not None:
        values |= {"tenant.slug": tenant.slug, "partner.slug": tenant.partner_slug}
    actor, resource = _types(people, action.role)
    parties = {values.get("actor.id"), values.get("resource.id")}
    return Event(
        src=src,
        source=SOURCE,
        ext=ext,
        action=action.name,
        outcome=action.outcome,
        at=at,
        time_source=time_source,
        recv=recv,
        actor_type=actor,
        resource_type=resource,
        tenant=tenant.tenant_id if tenant else "",
        partner=tenant.partner if tenant else "",
        data=_data(report),
        values=values,
        raw=raw,
        people=tuple(dict.fromkeys(one for one in people.everybody() if one not in parties)),
        evt_id=_delivery(report.id),
    )


def _values(people: People, role: Role) -> dict[str, str]:
    """Personal values by commitment path. A message's sender acts on the mailbox, an account on whatever it names."""
    account = {"id": people.subject, "name": people.address or people.account_name}
    sender = {"id": people.sender.lower(), "name": people.sender}
    recipient = people.recipients[0] if people.recipients else ""
    other = {"id": recipient.lower(), "name": recipient or people.domain}
    if role is Role.MAILBOX and not account["name"] and len(people.recipients) == 1:
        account["name"] = recipient  # of several it may be any
    if role is Role.TARGET:
        actor, resource = {"id": "", "name": ""}, account
    elif role is Role.MAILBOX:
        actor, resource = sender, account if people.subject else other
    else:
        actor, resource = account if people.subject else sender, other
    return {
        "actor.id": actor["id"],
        "actor.email": actor["name"],
        "actor.ip": people.ip,
        "resource.id": resource["id"],
        "resource.name": resource["name"],
    }


def _types(people: People, role: Role) -> tuple[str, str]:
    actor = "user" if people.subject else "sender" if people.sender else ""
    named = "mailbox" if people.recipients else "domain" if people.domain else ""
    if role is Role.TARGET:
        return "", "account"
    if role is Role.MAILBOX:
        return "sender" if people.sender else "", "mailbox"
    return actor, named


def _data(report: Report) -> dict[str, Datum]:
    """What the line itself may hold: the type, and numbers and names of the server's own."""
    data: dict[str, Datum] = {"event": report.kind.lower()}
    for key, name in _NUMBERS.items():
        value = report.data.get(key)
        if type(value) is int:
            data[name] = value if abs(value) <= LARGEST_INT else str(value)[:32]
    for key, name in _NAMES.items():
        value = report.data.get(key)
        text = value.get("type") if isinstance(value, dict) else value
        if isinstance(text, str) and _NAME.fullmatch(text):
            data[name] = text
    return data


def _delivery(sent: object) -> str:
    """The sender's id, if it is one."""
    text = str(sent) if type(sent) in {str, int} else ""
    return text if len(text) <= LONGEST_EXT else ""
