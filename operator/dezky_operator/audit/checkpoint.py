"""Checkpoints: the size and root of the log, signed (C2SP tlog-checkpoint; facts/audit-log.md 2.4, 6.0). Pure.

Which key may sign is a matter of tree size, not of time: ranges hold both their ends, and the checkpoint on the border
of two ranges carries both signatures.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from dezky_operator.audit.base64text import from_base64, to_base64
from dezky_operator.audit.errors import KeyFormatError, NoteError
from dezky_operator.audit.event import LARGEST_INT
from dezky_operator.audit.keys import HmacKey, Kind, SigningKey, VerifyKey
from dezky_operator.audit.merkle import HASH
from dezky_operator.audit.note import Note, Verified, cosigned, hmac_signed, parse, signed, verify

MANIFEST_CONTEXT = "dezky.eu/audit-manifest/v1"


class Checkpoint(msgspec.Struct, frozen=True):
    """How long the log is, and the root over all its leaves."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """What is signed: three lines with LF."""
        return f"{self.origin}\n{self.size}\n{to_base64(self.root)}\n"


class KeyRange(msgspec.Struct, frozen=True):
    """The tree sizes at which a log key may and must sign, both ends included. ``last`` None: it is the newest key."""

    key: VerifyKey
    first: int = 0
    last: int | None = None

    def holds(self, size: int) -> bool:
        """Whether it may sign at this size."""
        return self.first <= size and (self.last is None or size <= self.last)


class KeyChain:
    """All keys of a log from size 0 on: each range begins with the size the one before it ends with."""

    def __init__(self, ranges: Sequence[KeyRange]) -> None:
        """Raises KeyFormatError when ranges leave a gap, overlap, or are not of this log's kind of key."""
        self.ranges = tuple(ranges)
        if not ranges or ranges[0].first != 0 or ranges[-1].last is not None:
            raise KeyFormatError("the first key of a log begins at size 0 and its newest one has no end")
        for old, new in pairwise(ranges):
            if old.last != new.first or old.first > new.first:
                raise KeyFormatError(f"a key ends at size {old.last}, the next one begins at {new.first}")
        if len({entry.key.name for entry in ranges}) != 1 or any(e.key.kind is not Kind.ED25519 for e in ranges):
            raise KeyFormatError("the keys of a log are Ed25519 keys of one name, its origin")
        if len({entry.key.id for entry in ranges}) != len(ranges):
            raise KeyFormatError("a key that was replaced does not come back")

    @property
    def origin(self) -> str:
        """The name of the log."""
        return self.ranges[0].key.name

    @property
    def keys(self) -> tuple[VerifyKey, ...]:
        """All of them, so that one that signs outside its range is known and refused."""
        return tuple(entry.key for entry in self.ranges)

    def with_next(self, key: VerifyKey, size: int) -> KeyChain:
        """This chain, in which ``key`` follows the newest one: both sign the checkpoint of ``size``.

        Raises KeyFormatError when it can not follow.
        """
        *earlier, newest = self.ranges
        return KeyChain((*earlier, msgspec.structs.replace(newest, last=size), KeyRange(key, size)))

    def check(self, size: int, found: Sequence[VerifyKey]) -> None:
        """Refuse a checkpoint of ``size`` unless exactly the keys of its range signed it. Raises NoteError."""
        for entry in self.ranges:
            if entry.key in found and not entry.holds(size):
                raise NoteError(f"key out of range: {entry.key.id.hex()} signs sizes {_span(entry)}, found {size}")
        missing = [e.key.id.hex() for e in self.ranges if e.holds(size) and e.key not in found]
        if missing:
            raise NoteError(f"no signature of the log's key {', '.join(missing)} at size {size}")


class Signers(msgspec.Struct, frozen=True):
    """Who signs checkpoints. ``log`` has all keys of the log that are at hand, oldest first."""

    log: tuple[SigningKey, ...]
    time: SigningKey
    hmac: HmacKey | None = None

    def after(self, key: VerifyKey) -> SigningKey | None:
        """The key that is to follow ``key``; None when that is the newest one, or not at hand."""
        known = [one.verify_key for one in self.log]
        place = known.index(key) + 1 if key in known else len(known)
        return self.log[place] if place < len(known) else None

    def at(self, size: int, chain: KeyChain) -> Signers:
        """Those that ``chain`` asks for at this size: two on the border of two ranges, the older one first.

        Raises:
            KeyFormatError: one of them is not at hand.
        """
        at_hand = {key.verify_key: key for key in self.log}
        wanted = [entry.key for entry in chain.ranges if entry.holds(size)]
        if missing := [key.id.hex() for key in wanted if key not in at_hand]:
            raise KeyFormatError(f"the log's key {', '.join(missing)} signs at size {size}, and is not here")
        return msgspec.structs.replace(self, log=tuple(at_hand[key] for key in wanted))

    def sign(self, checkpoint: Checkpoint, seconds: int) -> bytes:
        """The note of ``checkpoint`` at ``seconds`` since 1970, signed by all of them."""
        text = checkpoint.text
        symmetric = (hmac_signed(text, self.hmac),) if self.hmac else ()
        own = tuple(signed(text, key) for key in self.log)
        return Note(text, (*own, *symmetric, cosigned(text, self.time, seconds))).encode()


def _span(entry: KeyRange) -> str:
    return f"{entry.first}..{'' if entry.last is None else entry.last}"


class Opened(msgspec.Struct, frozen=True):
    """A checkpoint whose signatures hold, and what they say beside it."""

    checkpoint: Checkpoint
    verified: Verified


def parse_text(text: str) -> Checkpoint:
    """The checkpoint of a note's text. Raises NoteError; extension lines are refused, since this log writes none."""
    lines = text.split("\n")
    if len(lines) != 4 or lines[3]:
        raise NoteError(f"a checkpoint is three lines, found {len(lines) - 1}")
    origin, size, root = lines[:3]
    if not (size.isascii() and size.isdigit() and str(int(size[:20])) == size and int(size) <= LARGEST_INT + 1):
        raise NoteError(f"the size of a checkpoint is a decimal number, found {size[:32]!r}")
    try:
        decoded = from_base64(root)
    except ValueError as error:
        raise NoteError(f"the root of the checkpoint is {error}") from None
    if len(decoded) != HASH or not origin:
        raise NoteError(f"a checkpoint has an origin and a root of {HASH} bytes")
    return Checkpoint(origin, int(size), decoded)


def open_checkpoint(
    data: bytes, *, chain: KeyChain, cosigners: Sequence[VerifyKey] = (), hmacs: Sequence[HmacKey] = ()
) -> Opened:
    """A checkpoint of this log, signed by the key that its size asks for.

    Args:
        data: the note.
        chain: the log's keys; the first one came from outside.
        cosigners: time keys and witnesses.
        hmacs: symmetric keys. Their lines are checked, and never count for the log's own.

    Raises:
        NoteError: malformed, of another log, or not signed as it must be.
    """
    note = parse(data)
    checkpoint = parse_text(note.text)
    if checkpoint.origin != chain.origin:
        raise NoteError(f"origin: a checkpoint of {chain.origin} was expected, found {checkpoint.origin[:128]}")
    verified = verify(note, (*chain.keys, *cosigners), hmacs)
    chain.check(checkpoint.size, verified.keys)
    return Opened(checkpoint, verified)


def manifest_text(origin: str, digest: str) -> str:
    """What the manifests' key signs: the SHA-256 of a manifest's bytes in hex, under a context of its own."""
    return f"{MANIFEST_CONTEXT}\n{origin}\n{digest}\n"
