"""An event made ready for its place: committed, sealed, measured. Everything random is in it already. Pure.

What a sequencer adds is only the place, so the same draft offered twice differs in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from dezky_operator.audit.commitments import SALT, commitment, commitments
from dezky_operator.audit.errors import EventError
from dezky_operator.audit.event import LARGEST_INT, SENDER_ID, Datum, Event, Outcome, check
from dezky_operator.audit.keyring import KeyRing
from dezky_operator.audit.line import LONGEST, Line, Party
from dezky_operator.audit.sealing import NONCE, seal
from dezky_operator.audit.times import TimeSource

INDEXED = "actor.email"
"""The value that is looked for by value."""
OVERSIZED = "ingest.oversized"
SURELY_FITS = 60_000
"""Bytes of an event's own texts below which no line can be too long: the rest of a line has less than 4 KiB."""
KEPT = 256
"""Characters kept of the action of an event that is too long."""


class Private(msgspec.Struct, frozen=True, gc=False):
    """What may be erased (table `audit_pii`).

    Attributes:
        f: salt and value by commitment path.
        raw: the sealed text; empty when there was none.
        raw_salt: of the commitment to the text.
        bi: blind index of the values that are searched.
        people: subject ids, beside actor and resource, whose keys seal the text.
    """

    f: dict[str, tuple[bytes, str]] = {}
    raw: bytes = b""
    raw_salt: bytes = b""
    bi: tuple[bytes, ...] = ()
    people: tuple[str, ...] = ()


class Draft(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A line without its place. ``at`` is empty where it will be the time of recording."""

    dk: bytes
    action: str
    actor: Party
    at: str
    c: dict[str, str]
    data: dict[str, Datum]
    ext: str
    outcome: Outcome
    partner: str
    raw_len: int
    recv: str
    resource: Party
    source: str
    src: str
    tenant: str
    time_source: TimeSource
    private: Private
    evt_id: str = ""


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a line stands: in the log, and among its tenant's lines. The hashes are leaf hashes, 32 bytes."""

    origin: str
    seq: int
    prev: bytes
    t_seq: int
    t_prev: bytes
    rec: str


def sequenced(draft: Draft, place: Place) -> Line:
    """The draft as a line at its place."""
    rec = place.rec
    # In the order of the fields: by name it costs three times as much, and every event comes through here.
    return Line(
        draft.action,
        draft.actor,
        draft.at or rec,
        draft.c,
        draft.data,
        draft.ext,
        place.origin,
        draft.outcome,
        draft.partner,
        place.prev.hex(),
        draft.raw_len,
        rec,
        draft.recv,
        draft.resource,
        place.seq,
        draft.source,
        draft.src,
        place.t_prev.hex(),
        place.t_seq,
        draft.tenant,
        draft.time_source,
    )


def prepare(event: Event, *, keys: KeyRing, random: Callable[[int], bytes]) -> Draft:
    """Commit to the personal values and seal the text.

    An event whose line would be too long becomes ``ingest.oversized`` with its text sealed as ever.

    Args:
        event: what happened.
        keys: of the people and the tenant.
        random: so many bytes from the system's generator: salts and a nonce.

    Raises:
        EventError: a field holds what no line may hold.
    """
    check(event)
    try:
        draft = _draft(event, keys, random)
        if _own_length(event) > SURELY_FITS and (length := longest(draft)) > LONGEST:
            draft = _draft(_oversized(event, length), keys, random)
    except UnicodeEncodeError:
        raise EventError("a text holds half of a surrogate pair; it is no UTF-8") from None
    return draft


def longest(draft: Draft) -> int:
    """Bytes of the draft's line at the largest numbers a place can have."""
    return len(_ENCODER.encode(sequenced(draft, _LAST_PLACE)))


_ENCODER = msgspec.json.Encoder(order="sorted")
_LAST_PLACE = Place("0" * 36 + "/audit/" + "9" * 16, LARGEST_INT, bytes(32), LARGEST_INT, bytes(32), "0" * 27)


def _own_length(event: Event) -> int:
    """Bytes, in a line, of the texts whose length nothing else bounds."""
    own = (event.action, event.actor_type, event.ext, event.resource_type, event.evt_id, event.data)
    return len(_ENCODER.encode(own))


def _oversized(event: Event, length: int) -> Event:
    """What is left of an event that is too long. Its text is kept whole; one without a text keeps its data as text."""
    lost = {"action": event.action, "actor": event.actor_type, "resource": event.resource_type, "data": event.data}
    return msgspec.structs.replace(
        event,
        action=OVERSIZED,
        actor_type=event.actor_type[:KEPT],
        resource_type=event.resource_type[:KEPT],
        data={"action": event.action[:KEPT], "bytes": length},
        raw=event.raw or _ENCODER.encode(lost),
    )


def _draft(event: Event, keys: KeyRing, random: Callable[[int], bytes]) -> Draft:
    values = event.values if all(event.values.values()) else {path: text for path, text in event.values.items() if text}
    # All that is random in one request: each is a system call.
    fresh = random(SALT * (len(values) + 1) + NONCE)
    c, f = commitments(values, fresh)
    dk = event.dk
    email = values.get(INDEXED)
    bi = (keys.index(event.tenant, email),) if email else ()
    if event.raw:
        raw_salt, nonce = fresh[-SALT - NONCE : -NONCE], fresh[-NONCE:]
        c["raw"] = commitment(raw_salt, "raw", event.raw)
        named = (values.get("actor.id", ""), values.get("resource.id", ""), *event.people)
        sealed = seal(event.raw, key=keys.text_key(dk, event.tenant, named), nonce=nonce)
        private = Private(f, sealed, raw_salt, bi, event.people)
    else:
        private = Private(f, bi=bi)
    # In the order of the fields, as in `sequenced`.
    return Draft(
        dk,
        event.action,
        _party(event.actor_type, values.get("actor.id"), event.tenant, keys),
        event.at,
        c,
        {**event.data, SENDER_ID: event.evt_id} if event.evt_id else event.data,
        event.ext,
        event.outcome,
        event.partner,
        len(event.raw),
        event.recv,
        _party(event.resource_type, values.get("resource.id"), event.tenant, keys),
        event.source,
        event.src,
        event.tenant,
        event.time_source,
        private,
        event.evt_id,
    )


def _party(kind: str, subject: str | None, tenant: str, keys: KeyRing) -> Party:
    return Party(keys.subject(tenant, subject).ref if subject else "", kind)
