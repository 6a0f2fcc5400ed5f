"""Line v1: the bytes that are the evidence (facts/audit-log.md 6.0). Pure.

A line is one JSON object with every field always present, keys sorted, no spaces and no LF. It is stored as it is and
never made anew from its parts; a reader takes it only if it is equal to its own re-encoding.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

import msgspec

from dezky_operator.audit.defects import defect
from dezky_operator.audit.errors import LineError
from dezky_operator.audit.event import LARGEST_INT, LONGEST_EXT, PATHS, Outcome
from dezky_operator.audit.patterns import is_key, is_origin, is_source, is_src, is_uid
from dezky_operator.audit.times import LAST_OF_MINUTE, TimeSource, are_canonical, is_canonical

VERSION = 1
LONGEST = 65_535
"""Bytes of a line."""
HEX = 64
"""Digits of a hash."""
GENESIS = bytes(32)
"""The hash before the first line, of the log and of each tenant."""

Count = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_INT)]
Whole = Annotated[int, msgspec.Meta(ge=-LARGEST_INT, le=LARGEST_INT)]


class Party(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Who acted, or what was acted upon: a pseudonym (16 hex digits, empty without an id) and a type."""

    ref: str
    type: str


class Line(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One line. Fields as facts/audit-log.md 6.0 names them; hashes are 64 lower-case hex digits."""

    action: str
    actor: Party
    at: str
    c: dict[str, str]
    data: dict[str, str | Whole | bool]
    ext: str
    origin: str
    outcome: Outcome
    partner: str
    prev: str
    raw_len: Count
    rec: str
    recv: str
    resource: Party
    seq: Count
    source: str
    src: str
    t_prev: str
    t_seq: Count
    tenant: str
    time_source: TimeSource
    v: int = VERSION


# Not 'deterministic': that one sorts dicts and leaves the fields of structs in their order of declaration.
_ENCODER = msgspec.json.Encoder(order="sorted")
_DECODER = msgspec.json.Decoder(Line)
_REF = re.compile(r"[0-9a-f]{16}")
_ALL_PATHS = frozenset(PATHS)


def encode(line: Line) -> bytes:
    """The canonical bytes, without LF. Raises LineError when they are too long."""
    stored = _ENCODER.encode(line)
    if len(stored) > LONGEST:
        raise LineError(f"a line has at most {LONGEST} bytes, this one would have {len(stored)}")
    return stored


def decode(stored: bytes) -> Line:
    """The line of canonical bytes. Raises LineError, which names what is wrong, for anything else.

    Equal to its own re-encoding: so duplicate keys, a BOM, escapes that need not be, other orders and spaces fail.
    """
    if len(stored) > LONGEST:
        raise LineError(f"not canonical: {len(stored)} bytes, at most {LONGEST} may be")
    try:
        line = _DECODER.decode(stored)
        again = _ENCODER.encode(line)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise LineError(f"not canonical: {defect(stored) or error}") from None
    if again != stored:
        raise LineError(f"not canonical: {defect(stored) or _difference(stored, again)}")
    check(line)
    return line


def parse(stored: bytes) -> Line:
    """The fields of a line without a look at its form: twice as quick, and not enough to trust it. Raises LineError."""
    try:
        return _DECODER.decode(stored)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise LineError(f"not canonical: {error}") from None


def _difference(stored: bytes, again: bytes) -> str:
    same = next(
        (n for n, (a, b) in enumerate(zip(stored, again, strict=False)) if a != b), min(len(stored), len(again))
    )
    return f"differs from its own re-encoding from byte {same}"


def check(line: Line) -> None:
    """Refuse a line whose fields break a rule of line v1. Raises LineError, which names the field."""
    if wrong := _wrong_name(line) or _wrong_time(line) or _wrong_commitment(line):
        raise LineError(f"not canonical: {wrong}")
    for key in line.data:
        if not is_key(key):
            raise LineError(f"not canonical: data holds the key {key[:64]!r}")


# Chains of ifs where a table of rules would read better: this runs for every line of every verification.
def _wrong_name(line: Line) -> str:  # noqa: PLR0911 - one return for each rule
    if line.v != VERSION:
        return f"v is {line.v}"
    if not is_origin(line.origin):
        return "origin"
    if not is_uid(line.tenant):
        return "tenant"
    if not is_uid(line.partner):
        return "partner"
    if not is_source(line.source):
        return "source"
    if not is_src(line.src):
        return "src"
    if not 0 < len(line.ext) <= LONGEST_EXT:
        return "ext"
    return "" if line.action else "action"


def _wrong_time(line: Line) -> str:
    if not are_canonical(line.at, line.rec, line.recv):
        return next(name for name in ("at", "rec", "recv") if not is_canonical(getattr(line, name)))
    if line.time_source is TimeSource.REC and line.at != line.rec:
        return "at is not rec"
    if line.time_source is TimeSource.CLAMPED and not line.at.endswith(LAST_OF_MINUTE):
        return "at is not clamped"
    return ""


def _wrong_commitment(line: Line) -> str:
    made = line.c
    if not made.keys() <= _ALL_PATHS:
        return "c holds an unknown path"
    if not _are_hashes([line.prev, line.t_prev, *made.values()]):
        return "prev, t_prev or c holds what is no hash"
    if not _party_fits(line.actor, "actor.id" in made) or not _party_fits(line.resource, "resource.id" in made):
        return "a ref does not belong to the commitment of its id"
    return "" if bool(line.raw_len) == ("raw" in made) else "raw_len does not belong to the commitment raw"


def _party_fits(party: Party, committed: bool) -> bool:  # noqa: FBT001 - private
    return _REF.fullmatch(party.ref) is not None if committed else not party.ref


def _are_hashes(texts: Sequence[str]) -> bool:
    """Whether all are hashes in hex. All at once: a pattern for each costs thrice as much."""
    joined = " ".join(texts)
    try:
        # Groups are counted from the end, so only the length tells that the first one is whole.
        return bytes.fromhex(joined).hex(" ", len(GENESIS)) == joined and len(joined) == (HEX + 1) * len(texts) - 1
    except ValueError:
        return False
