"""An event made ready for its place: committed, sealed, measured. Everything random is in it already. Pure.

What a sequencer adds is only the place, so the same draft offered twice differs in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from dezky_operator.audit.commitments import SALT, blind_index, commitment, pseudonym
from dezky_operator.audit.errors import EventError
from dezky_operator.audit.event import LARGEST_INT, SENDER_ID, Datum, Event, Outcome, check
from dezky_operator.audit.line import LONGEST, Line, Party
from dezky_operator.audit.sealing import NONCE, seal, text_key
from dezky_operator.audit.times import TimeSource

INDEXED = frozenset({"actor.email"})
"""Values that are looked for by value."""
OVERSIZED = "ingest.oversized"
SURELY_FITS = 60_000
"""Bytes of an event's own texts below which no line can be too long: the rest of a line has less than 4 KiB."""
KEPT = 256
"""Characters kept of the action of an event that is too long."""


class SubjectKeys(Protocol):
    """Where the keys of people come from. They are made on first use and deleted to erase a person."""

    def subject(self, tenant: str, subject: str) -> bytes:
        """The 32 bytes of one person or object of a tenant."""

    def tenant(self, tenant: str) -> bytes:
        """The 32 bytes of a tenant; ``""`` is one like any other."""


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


class Draft(msgspec.Struct, frozen=True, kw_only=True, gc=False):
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
    return Line(
        action=draft.action,
        actor=draft.actor,
        at=draft.at or place.rec,
        c=draft.c,
        data=draft.data,
        ext=draft.ext,
        origin=place.origin,
        outcome=draft.outcome,
        partner=draft.partner,
        prev=place.prev.hex(),
        raw_len=draft.raw_len,
        rec=place.rec,
        recv=draft.recv,
        resource=draft.resource,
        seq=place.seq,
        source=draft.source,
        src=draft.src,
        t_prev=place.t_prev.hex(),
        t_seq=place.t_seq,
        tenant=draft.tenant,
        time_source=draft.time_source,
    )


def prepare(event: Event, *, keys: SubjectKeys, random: Callable[[int], bytes]) -> Draft:
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


def _draft(event: Event, keys: SubjectKeys, random: Callable[[int], bytes]) -> Draft:
    c, f = _committed(event.values, random)
    subjects = _subjects(event, keys)
    private = _private(event, f, subjects, keys, random)
    if event.raw:
        c["raw"] = commitment(private.raw_salt, "raw", event.raw)
    return Draft(
        dk=event.dk,
        action=event.action,
        actor=_party("actor.id", event.actor_type, event.values, subjects),
        at=event.at,
        c=c,
        data={**event.data, SENDER_ID: event.evt_id} if event.evt_id else event.data,
        ext=event.ext,
        outcome=event.outcome,
        partner=event.partner,
        raw_len=len(event.raw),
        recv=event.recv,
        resource=_party("resource.id", event.resource_type, event.values, subjects),
        source=event.source,
        src=event.src,
        tenant=event.tenant,
        time_source=event.time_source,
        private=private,
        evt_id=event.evt_id,
    )


def _committed(
    values: Mapping[str, str], random: Callable[[int], bytes]
) -> tuple[dict[str, str], dict[str, tuple[bytes, str]]]:
    """The commitments, and what opens them. Empty values have neither."""
    c: dict[str, str] = {}
    f: dict[str, tuple[bytes, str]] = {}
    for path, value in values.items():
        if value:
            salt = random(SALT)
            f[path] = (salt, value)
            c[path] = commitment(salt, path, value.encode())
    return c, f


def _subjects(event: Event, keys: SubjectKeys) -> dict[str, bytes]:
    """The key of everybody and everything with an id in this event, by id."""
    named = (event.values.get("actor.id", ""), event.values.get("resource.id", ""), *event.people)
    return {name: keys.subject(event.tenant, name) for name in named if name}


def _party(path: str, kind: str, values: Mapping[str, str], subjects: Mapping[str, bytes]) -> Party:
    name = values.get(path, "")
    return Party(pseudonym(subjects[name], name) if name else "", kind)


def _private(
    event: Event,
    f: dict[str, tuple[bytes, str]],
    subjects: Mapping[str, bytes],
    keys: SubjectKeys,
    random: Callable[[int], bytes],
) -> Private:
    tenant = keys.tenant(event.tenant)
    bi = tuple(blind_index(tenant, f[path][1]) for path in INDEXED if path in f)
    if not event.raw:
        return Private(f=f, bi=bi)
    sealed = seal(event.raw, key=text_key(event.dk, subjects=subjects, tenant=tenant), nonce=random(NONCE))
    return Private(f=f, raw=sealed, raw_salt=random(SALT), bi=bi, people=event.people)
