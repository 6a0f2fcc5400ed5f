"""The tables of the audit log, row by row (facts/audit-log.md §6.1).

Fields that repeat what the evidence line holds (``LogRow.body``) are there to search by; a verifier compares both.
Times are the line's own texts: they sort as they read. Hashes are 32 raw bytes.
"""

from __future__ import annotations

import msgspec

from dezky_operator.store.interface import Table


class LogRow(msgspec.Struct, frozen=True, gc=False):
    """One event: ``body`` is the canonical line, ``h`` its leaf hash, the rest is taken from it to search by."""

    seq: int
    h: bytes
    dk: bytes
    rec: str
    at: str
    tenant: str
    partner: str
    t_seq: int
    action: str
    outcome: str
    actor_ref: str
    source: str
    src: str
    body: bytes


class PiiRow(msgspec.Struct, frozen=True):
    """What the line only commits to: path → (salt, value), the sealed source text and whose keys seal it, and by what
    values are found.
    """

    seq: int
    f: dict[str, tuple[bytes, str]]
    raw: bytes
    raw_salt: bytes
    bi: tuple[bytes, ...]
    people: tuple[str, ...]


class InboxRow(msgspec.Struct, frozen=True):
    """An event on its way (MongoDB only): a draft as MessagePack, in which all that is random was drawn already."""

    dk: bytes
    arr: int
    draft: bytes


class SeenRow(msgspec.Struct, frozen=True, gc=False):
    """An event that is in the log though its row was archived. Never deleted: it keeps a second delivery out."""

    dk: bytes
    seq: int
    evt_id: str


class TenantRow(msgspec.Struct, frozen=True, gc=False):
    """The newest line of one tenant: its number among the tenant's lines, its leaf hash and its place in the log."""

    tenant: str
    t_seq: int
    h: bytes
    seq: int


class TileRow(msgspec.Struct, frozen=True, gc=False):
    """Hashes of one tile, 32 bytes each, 256 when it is full. The place is ``level/number``."""

    place: str
    hashes: bytes


class HeadRow(msgspec.Struct, frozen=True, gc=False):
    """The one row about the log as a whole: ``hot_floor`` is truth, moved by archiving only; the rest is a cache."""

    id: int
    hot_floor: int
    size: int
    h: bytes


class CheckpointRow(msgspec.Struct, frozen=True):
    """A signed note over ``size`` lines, the tenant-map leaves under it, and where it was anchored."""

    counter: int
    size: int
    note: str
    heads: bytes
    anchors: tuple[str, ...]


class RotationRow(msgspec.Struct, frozen=True, gc=False):
    """The ``number``-th key rotation, from 1: what proves that a later key of the log counts, as in ``trust.txt``."""

    number: int
    proof: bytes


class BatchRow(msgspec.Struct, frozen=True):
    """One archived range, both ends inclusive, and how far the move has come (facts/audit-log.md §2.5)."""

    start: int
    end: int
    state: str
    root_start: bytes
    root_end: bytes
    versions: dict[str, str]


class KeyRow(msgspec.Struct, frozen=True, gc=False):
    """A key under which one subject's values are sealed, itself wrapped by the tenant's."""

    id: str
    tenant: str
    wrapped: bytes


class ErasureRow(msgspec.Struct, frozen=True, gc=False):
    """What the ``privacy.erased`` event at ``seq`` covers: sorted lines of seq and path. It names nobody."""

    seq: int
    paths: str


class Generation(msgspec.Struct, frozen=True, gc=False):
    """One file that was tailed, known again by the hash of what was read of it.

    Attributes:
        uuid: its name in the ids of its events.
        length: bytes that were read; always the end of a line.
        prefix_sha256: of these bytes.
        first: bytes of its first line with the LF.
        first_hmac: keyed hash of that line. The log holds both, so a lost cursor is made from it again.
        inode: of the file when it was last read: says which of two equal files it is, and nothing else.
        written: when the file was last written to, in nanoseconds since 1970, as it said when it was last read.
        ended: nothing more is expected: it is no longer the live file and was read to its end, or it is gone and the
            log says so.
    """

    uuid: str
    length: int
    prefix_sha256: bytes
    first: int
    first_hmac: bytes
    inode: int
    written: int
    ended: bool


class CursorRow(msgspec.Struct, frozen=True):
    """How far a source was read, and what became of everything it told.

    ``heartbeat`` is when it was last read, ``last_event`` the time of its newest event, ``size`` how many lines the log
    had then: an event that is a duplicate of a later line was stored by a look that nobody saw the end of.
    """

    source: str
    position: str
    heartbeat: str
    generations: tuple[Generation, ...]
    counts: dict[str, int] = {}
    size: int = 0
    last_event: str = ""


class RestoredRow(msgspec.Struct, frozen=True, gc=False):
    """A line brought back from the archive to be read until ``expires``; never part of the log again."""

    seq: int
    h: bytes
    expires: str
    body: bytes


LOG = Table("audit_log", LogRow, unique=("dk",), indexes=("at", "tenant", "partner", "action"))
PII = Table("audit_pii", PiiRow, many=("bi",))
INBOX = Table("audit_inbox", InboxRow, indexes=("arr",))
SEEN = Table("audit_seen", SeenRow)
TENANTS = Table("audit_tenants", TenantRow)
TILES = Table("audit_tiles", TileRow)
HEAD = Table("audit_head", HeadRow)
CHECKPOINTS = Table("audit_checkpoints", CheckpointRow)
ROTATIONS = Table("audit_rotations", RotationRow)
BATCHES = Table("audit_batches", BatchRow)
KEYS = Table("audit_keys", KeyRow, indexes=("tenant",))
ERASURES = Table("audit_erasures", ErasureRow)
CURSORS = Table("audit_cursors", CursorRow)
RESTORED = Table("audit_restored", RestoredRow, indexes=("expires",))

HEAD_ID = 0
