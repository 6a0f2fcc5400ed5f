"""What a source or the operator hands over, before it has a place in the log (facts/audit-log.md 6.0). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256

import msgspec

from dezky_operator.audit.errors import EventError
from dezky_operator.audit.patterns import is_key, is_source, is_src, is_uid
from dezky_operator.audit.times import LAST_OF_MINUTE, TimeSource, are_canonical

LARGEST_INT = 2**53 - 1
"""Beyond it JSON numbers mean different things to different readers (facts/audit-log.md 2.1)."""
LONGEST_EXT = 1_024
"""Characters. A source's id of an event or of a delivery; a longer one is no id."""
PATHS = (
    "actor.email",
    "actor.id",
    "actor.ip",
    "after",
    "before",
    "partner.slug",
    "raw",
    "resource.id",
    "resource.name",
    "tenant.slug",
)
"""Everything personal or naming a line can commit to."""
VALUE_PATHS = frozenset(PATHS) - {"raw"}
SENDER_ID = "evt_id"
"""The key under which a line's data keeps the sender's own id of the delivery."""

Datum = str | int | bool


class Outcome(StrEnum):
    """How what was tried ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    DENIED = "denied"
    UNKNOWN = "unknown"


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that happened.

    Attributes:
        src: name of the AuditSource; ``operator`` for our own events.
        source: type of the source: ``authentik``, ``stalwart``, ``ocis``, ``operator``.
        ext: the id of the event in its source; with ``src`` it makes the event unique for ever.
        at: when it happened (canonical); empty with ``time_source`` REC: `at` is then the time of recording.
        recv: when it arrived here (canonical).
        tenant, partner: uids; empty when there is none.
        data: the fields listed for the action. Never a name, a slug, an address: those are ``values``.
        values: personal or naming values by commitment path, of VALUE_PATHS. Empty ones are left out of the line.
        raw: the source's text, byte by byte.
        people: subject ids of everybody in ``raw`` beside actor and resource; erasing one of them erases ``raw``.
        evt_id: the sender's id of this delivery, if it has one. Not part of the event's identity.
    """

    src: str
    source: str
    ext: str
    action: str
    outcome: Outcome
    recv: str
    at: str = ""
    time_source: TimeSource = TimeSource.REC
    actor_type: str = ""
    resource_type: str = ""
    tenant: str = ""
    partner: str = ""
    data: dict[str, Datum] = {}
    values: dict[str, str] = {}
    raw: bytes = b""
    people: tuple[str, ...] = ()
    evt_id: str = ""

    @property
    def dk(self) -> bytes:
        """The 32 bytes that tell this event from every other one, never deleted."""
        return dedupe_key(self.src, self.ext)


def dedupe_key(src: str, ext: str) -> bytes:
    """SHA-256(src, 0x00, ext): unambiguous because a source's name holds no NUL."""
    return sha256(f"{src}\0{ext}".encode()).digest()


def check(event: Event) -> None:
    """Refuse what no line may hold. Raises EventError, which names the field and never its value."""
    _check_identity(event)
    _check_times(event)
    if event.data:
        _check_data(event.data)
    if not event.values.keys() <= VALUE_PATHS:
        strange = min(event.values.keys() - VALUE_PATHS)
        raise EventError(f"values: {strange[:64]!r} is no commitment path; they are {', '.join(sorted(VALUE_PATHS))}")
    for path, value in event.values.items():
        if type(value) is not str:
            raise EventError(f"values: {path} must be text, found {type(value).__name__}")


@lru_cache(maxsize=16_384)
def _check_names(src: str, source: str, tenant: str, partner: str) -> None:
    """All four at once: they come together again and again. What is refused is not kept."""
    if not is_src(src):
        raise EventError(f"src must be the name of an AuditSource, found {src[:64]!r}")
    if not is_source(source):
        raise EventError(f"source must be a type in lower-case letters, found {source[:64]!r}")
    if not is_uid(tenant) or not is_uid(partner):
        raise EventError("tenant and partner must be uids in lower case, or empty")


def _check_identity(event: Event) -> None:
    _check_names(event.src, event.source, event.tenant, event.partner)
    if not event.ext or len(event.ext) > LONGEST_EXT:
        raise EventError(f"ext must be the source's id of the event, 1 to {LONGEST_EXT} long, found {len(event.ext)}")
    if len(event.evt_id) > LONGEST_EXT:
        raise EventError(f"evt_id must be at most {LONGEST_EXT} long, found {len(event.evt_id)}")
    if not event.action:
        raise EventError("action must not be empty")


def _check_times(event: Event) -> None:
    if (event.time_source is TimeSource.REC) != (not event.at):
        raise EventError("at is empty exactly when time_source is rec: the sequencer sets it then")
    if not are_canonical(event.recv, event.at or event.recv):
        raise EventError("at and recv must be times like 2026-11-24T03:59:58.123456Z")
    if event.time_source is TimeSource.CLAMPED and not event.at.endswith(LAST_OF_MINUTE):
        raise EventError("at must end with 59.999999Z when time_source is clamped")


def _check_data(data: Mapping[str, Datum]) -> None:
    for key, value in data.items():
        if not is_key(key):
            raise EventError(f"data: {key[:64]!r} must be made of a-z, 0-9, '_' and '.', at most 128")
        kind = type(value)
        if kind is int:
            if not -LARGEST_INT <= value <= LARGEST_INT:  # type: ignore[operator]  # it is an int
                raise EventError(f"data: {key} is beyond 2^53-1; hand it over as text")
        elif kind is not str and kind is not bool:
            raise EventError(f"data: {key} must be text, a whole number or a truth value, found {kind.__name__}")
    if SENDER_ID in data:
        raise EventError(f"data: {SENDER_ID} is set from the event's own evt_id")
