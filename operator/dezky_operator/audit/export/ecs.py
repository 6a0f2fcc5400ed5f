"""Events in the Elastic Common Schema 8 (facts/audit-log.md 6.1). Pure.

``event.original`` is the log's own line, and ``event.hash`` its leaf hash: SHA-256 of one byte 00 and the line.
"""

from __future__ import annotations

from typing import Any

from dezky_operator.audit.event import Outcome
from dezky_operator.audit.export.ocsf import API, AUTHENTICATION, ENTITIES, FILES, USERS, Kind, kind_of
from dezky_operator.audit.view import View

VERSION = "8.17.0"
_CATEGORY = {AUTHENTICATION: "authentication", ENTITIES: "configuration", USERS: "iam"}
_OF_APPLICATIONS = {API: "api", FILES: "file"}
_CHANGES = {1: "creation", 2: "access", 3: "change", 4: "deletion"}
_SESSIONS = {1: "start", 2: "end"}
_USERS = {1: "creation", 2: "change", 3: "deletion", 8: "change"}
_IAM = 3
"""OCSF's category of identity and access."""


def ecs(view: View, *, line: bytes, origin: str) -> dict[str, Any]:
    """One event.

    Args:
        view: what people read.
        line: its canonical bytes.
        origin: name of the log.
    """
    event = {
        "kind": "event",
        **_categories(kind_of(view.action), Outcome(view.outcome)),
        "id": f"{origin}/{view.seq}",
        "action": view.action,
        "module": view.source,
        "dataset": f"dezky.{view.source}",
        "provider": view.src,
        "sequence": view.seq,
        "created": view.received,
        "ingested": view.recorded,
        "hash": view.hash,
        "original": line.decode(),
    }
    people = _some([view.actor_email, view.actor_id])
    return {
        "@timestamp": view.at,
        "ecs": {"version": VERSION},
        "event": event,
        "observer": {"vendor": "Dezky", "product": "Dezky"},
        **_known("user", id=view.actor_id, email=view.actor_email),
        **_known("source", ip=view.actor_ip),
        **_known("organization", id=view.tenant_id, name=view.tenant_slug),
        **({"related": {"user": people} | ({"ip": [view.actor_ip]} if view.actor_ip else {})} if people else {}),
        "dezky": _own(view),
    }


def _categories(kind: Kind, outcome: Outcome) -> dict[str, Any]:
    """Which category an action is of, and what kind of event in it."""
    if kind.category == _IAM:
        category = _CATEGORY[kind.uid]
        steps = {AUTHENTICATION: _SESSIONS, USERS: _USERS}.get(kind.uid, _CHANGES)
    else:
        category, steps = _OF_APPLICATIONS[kind.uid], _CHANGES if kind.uid == FILES else {}
    types = [steps.get(kind.activity, "info")]
    if kind.category == _IAM and kind.uid == USERS:
        types.append("user")
    if outcome is Outcome.DENIED and category == "api":
        types.append("denied")
    # ECS knows no third way to end: what was denied failed.
    ended = Outcome.FAILURE if outcome is Outcome.DENIED else outcome
    return {"category": [category], "type": types, "outcome": ended.value}


def _own(view: View) -> dict[str, Any]:
    """What ECS has no place for."""
    resource = _known("resource", type=view.resource_type, id=view.resource_id, name=view.resource_name)
    partner = _known("partner", id=view.partner_id, slug=view.partner_slug)
    rest = {"outcome": view.outcome, "external_id": view.external_id, "prev_hash": view.prev_hash, "data": view.data}
    gone = {name: list(paths) for name, paths in (("erased", view.erased), ("missing", view.missing)) if paths}
    return {"actor_type": view.actor_type, **rest, **resource, **partner, **gone}


def _known(group: str, **fields: str | None) -> dict[str, dict[str, str]]:
    """A group of fields; nothing where none of them is there."""
    there = {name: value for name, value in fields.items() if value}
    return {group: there} if there else {}


def _some(values: list[str | None]) -> list[str]:
    return [value for value in values if value]
