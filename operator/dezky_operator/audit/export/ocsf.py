"""Events as OCSF 1.9.0-dev with the record_integrity profile (facts/audit-log.md 0.7, 2.9, 6.1). Pure.

OCSF's fingerprint is over a canonical serialization of the event. Ours is over the log's own line, which therefore
travels as ``raw_data``: SHA-256 of one byte 00 and ``raw_data`` gives ``attestation.fingerprint.value``, and the same
of the line before gives ``prev_event.fingerprint.value``. The signature is that of the checkpoint the line is under.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, NamedTuple

from dezky_operator.audit.checkpoint import parse_text
from dezky_operator.audit.event import Outcome
from dezky_operator.audit.line import GENESIS
from dezky_operator.audit.note import parse
from dezky_operator.audit.view import View

VERSION = "1.9.0-dev"
OTHER = 99
INFORMATIONAL, LOW = 1, 2
STATUS = {Outcome.SUCCESS: 1, Outcome.FAILURE: 2, Outcome.DENIED: 2, Outcome.UNKNOWN: 0}
LEAF_HASH = "SHA-256 of one byte 00 and raw_data"


class Kind(NamedTuple):
    """Which event class: its category, its uid in it, and the activity."""

    category: int
    uid: int
    activity: int

    @property
    def class_uid(self) -> int:
        """The uid among all classes."""
        return self.category * 1000 + self.uid


IAM, APPLICATION = 3, 6
AUTHENTICATION, ENTITIES, USERS = 2, 4, 7
API, FILES = 3, 6
# The first pattern that fits an action decides; what an action name does not tell is activity 99, "other".
_RULES: tuple[tuple[re.Pattern[str], Kind], ...] = tuple(
    (re.compile(pattern), Kind(*kind))
    for pattern, kind in (
        (r".*[._]logout", (IAM, AUTHENTICATION, 2)),
        (r".*[._](login|login_failed|auth_success|auth_failed|sign_in)", (IAM, AUTHENTICATION, 1)),
        (r".*\.(auth_banned|impersonation_started|impersonation_ended)", (IAM, AUTHENTICATION, OTHER)),
        (r".*\.(password_changed|password_set)", (IAM, USERS, 8)),
        (r".*\.(user|account)_created", (IAM, USERS, 1)),
        (r".*\.(user|account)_deleted", (IAM, USERS, 3)),
        (r".*\.(user|account)_(updated|write|feature_changed)", (IAM, USERS, 2)),
        (r"ocis\.(file_create|file_uploaded|file_touched)", (APPLICATION, FILES, 1)),
        (r"ocis\.file_downloaded", (APPLICATION, FILES, 2)),
        (r"ocis\.(file_updated|file_version_restored)", (APPLICATION, FILES, 3)),
        (r"ocis\.(file_delete|file_purged|trash_delete)", (APPLICATION, FILES, 4)),
        (r"ocis\.file_rename.*", (APPLICATION, FILES, 5)),
        (r"ocis\.file_copy.*", (APPLICATION, FILES, 6)),
        (r"ocis\.file_move.*", (APPLICATION, FILES, 7)),
        (r"ocis\.file_trash_restore.*", (APPLICATION, FILES, 8)),
        (r"ocis\.(file_shared|link_created)", (APPLICATION, FILES, 12)),
        (r"ocis\.(file_unshared|link_removed)", (APPLICATION, FILES, 13)),
        (r"ocis\.(file|share|link|trash)_.*", (APPLICATION, FILES, OTHER)),
        (r".*[._](create|created)", (IAM, ENTITIES, 1)),
        (r".*[._](read|viewed|view)", (IAM, ENTITIES, 2)),
        (r".*[._](update|updated|enabled|disabled|suspended|resumed|renamed)", (IAM, ENTITIES, 3)),
        (r".*[._](delete|deleted|removed|purged)", (IAM, ENTITIES, 4)),
    )
)
_REST = Kind(APPLICATION, API, OTHER)


def kind_of(action: str) -> Kind:
    """The class and activity of an action."""
    return next((kind for pattern, kind in _RULES if pattern.fullmatch(action)), _REST)


def ocsf(view: View, *, line: bytes, origin: str, note: bytes = b"") -> dict[str, Any]:
    """One event.

    Args:
        view: what people read.
        line: its canonical bytes.
        origin: name of the log; the uid of the chain.
        note: a checkpoint that the line is under; without it the event carries no signature.
    """
    kind = kind_of(view.action)
    outcome = Outcome(view.outcome)
    return {
        "activity_id": kind.activity,
        "category_uid": kind.category,
        "class_uid": kind.class_uid,
        "type_uid": kind.class_uid * 100 + kind.activity,
        "severity_id": INFORMATIONAL if outcome is Outcome.SUCCESS else LOW,
        "status_id": STATUS[outcome],
        "time": _milliseconds(view.at),
        "metadata": _metadata(view, origin),
        "actor": {"user": _user(view.actor_type, view.actor_id, view.actor_email)},
        "src_endpoint": {"ip": view.actor_ip} if view.actor_ip else {"type_id": 0},
        **_subject(view, kind),
        "unmapped": _unmapped(view, note),
        "raw_data": line.decode(),
        "attestation": _attestation(view, origin, note),
    }


def _metadata(view: View, origin: str) -> dict[str, Any]:
    about: dict[str, Any] = {
        "version": VERSION,
        "profiles": ["record_integrity"],
        "product": {"name": "Dezky", "vendor_name": "Dezky"},
        "log_name": origin,
        "log_provider": view.src,
        "uid": f"{origin}/{view.seq}",
        "original_event_uid": view.external_id,
        "event_code": view.action,
        "sequence": view.seq,
        "logged_time": _milliseconds(view.recorded),
    }
    return about | {"tenant_uid": view.tenant_id} if view.tenant_id else about


def _subject(view: View, kind: Kind) -> dict[str, Any]:
    """The objects that the class asks for."""
    resource = _known({"uid": view.resource_id, "name": view.resource_name, "type": view.resource_type})
    if (kind.category, kind.uid) == (IAM, AUTHENTICATION):
        user = _user(view.actor_type, view.actor_id, view.actor_email)
        return {"user": user, "service": {"name": view.source}}
    if (kind.category, kind.uid) == (IAM, USERS):
        return {"user": _user(view.resource_type, view.resource_id, None, view.resource_name)}
    if (kind.category, kind.uid) == (IAM, ENTITIES):
        return {"entity": resource}
    if (kind.category, kind.uid) == (APPLICATION, FILES):
        return {"file": {"name": view.resource_name or "", "type_id": 0} | _known({"uid": view.resource_id})}
    return {"api": {"operation": view.action, "service": {"name": view.source}}, "resources": [resource]}


def _user(kind: str, uid: str | None, email: str | None, name: str | None = None) -> dict[str, Any]:
    return {"type": kind, "type_id": OTHER if kind else 0} | _known({"uid": uid, "email_addr": email, "name": name})


def _unmapped(view: View, note: bytes) -> dict[str, Any]:
    """What OCSF has no place for; the checkpoint is here whole, since a digital_signature holds no signature."""
    rest = {"data": view.data, "erased": list(view.erased), "missing": list(view.missing)}
    return rest | {"checkpoint": note.decode()} if note else rest


def _known(fields: dict[str, str | None]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


def _attestation(view: View, origin: str, note: bytes) -> dict[str, Any]:
    made: dict[str, Any] = {
        "uid": str(view.seq),
        "authority_uid": origin,
        "chain_uid": origin,
        "fingerprint": _fingerprint(view.hash),
    }
    if view.prev_hash != GENESIS.hex():
        made["prev_event"] = {"uid": f"{origin}/{view.seq - 1}", "fingerprint": _fingerprint(view.prev_hash)}
    return made | {"signatures": _signatures(note, origin)} if note else made


def _fingerprint(value: str) -> dict[str, Any]:
    return {"algorithm_id": OTHER, "algorithm": LEAF_HASH, "value": value}


def _signatures(note: bytes, origin: str) -> list[dict[str, Any]]:
    """The log's own signatures of a checkpoint; the digest is the root that they sign."""
    opened = parse(note)
    root = parse_text(opened.text).root.hex()
    return [
        {
            "algorithm_id": OTHER,
            "algorithm": "Ed25519 over a C2SP checkpoint",
            "serialization_id": OTHER,
            "serialization": "C2SP tlog-checkpoint v1",
            "digest": {"algorithm_id": OTHER, "algorithm": "RFC 6962 root", "value": root},
        }
        for signature in opened.signatures
        if signature.name == origin
    ]


def _milliseconds(at: str) -> int:
    return round(datetime.fromisoformat(at).timestamp() * 1000)
