"""Signed notes (C2SP signed-note v1): a text, an empty line, signature lines. A note has one form only. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from dezky_operator.audit.base64text import from_base64, to_base64
from dezky_operator.audit.errors import NoteError
from dezky_operator.audit.keys import SIGNATURE, HmacKey, Kind, SigningKey, VerifyKey

LONGEST = 65_536
"""Bytes of a note."""
MOST_SIGNATURES = 100
DASH = "\u2014"
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
_SIGNATURE = re.compile(rf"{DASH} ([^\s+]+) ([A-Za-z0-9+/=]+)")
_STAMP = 8

AnyKey = VerifyKey | HmacKey


class Signature(msgspec.Struct, frozen=True):
    """One signature line: who says to have signed, the key's id, and the rest."""

    name: str
    id: bytes
    blob: bytes

    @property
    def line(self) -> str:
        """As it stands in the note, with LF."""
        return f"{DASH} {self.name} {to_base64(self.id + self.blob)}\n"


class Note(msgspec.Struct, frozen=True):
    """A text that ends with LF, and its signatures in order."""

    text: str
    signatures: tuple[Signature, ...]

    def encode(self) -> bytes:
        """The note's bytes."""
        return (self.text + "\n" + "".join(signature.line for signature in self.signatures)).encode()


class Verified(msgspec.Struct, frozen=True):
    """What the signatures of a note are worth.

    Attributes:
        keys: those that signed it.
        time: seconds since 1970 that the time key vouches for, if it is among them.
        hmacs: names of the symmetric keys that signed it.
        unknown: names on the signature lines of keys nobody gave us; they prove nothing.
    """

    keys: tuple[VerifyKey, ...]
    time: int | None
    hmacs: tuple[str, ...]
    unknown: tuple[str, ...]


def parse(data: bytes) -> Note:
    """The note of these bytes. Raises NoteError for anything that is not exactly its own encoding."""
    if len(data) > LONGEST:
        raise NoteError(f"a note has at most {LONGEST} bytes, found {len(data)}")
    try:
        whole = data.decode()
    except UnicodeDecodeError as error:
        raise NoteError(f"byte {error.start} of the note is no UTF-8") from None
    if _CONTROL.search(whole):
        raise NoteError("the note holds a control character")
    text, gap, rest = whole.rpartition("\n\n")
    if not gap or not rest.endswith("\n"):
        raise NoteError("a note is a text, an empty line and signature lines, each with LF")
    lines = rest[:-1].split("\n")
    if len(lines) > MOST_SIGNATURES:
        raise NoteError(f"a note has at most {MOST_SIGNATURES} signatures, found {len(lines)}")
    return Note(text + "\n", tuple(map(_signature, lines)))


def _signature(line: str) -> Signature:
    found = _SIGNATURE.fullmatch(line)
    if found is None:
        raise NoteError(f"a signature line is '{DASH} name base64', found {line[:64]!r}")
    try:
        blob = from_base64(found[2])
    except ValueError as error:
        raise NoteError(f"the signature of {found[1]} is {error}") from None
    if len(blob) <= 4:
        raise NoteError(f"the signature of {found[1]} is too short")
    return Signature(found[1], blob[:4], blob[4:])


def signed(text: str, key: SigningKey) -> Signature:
    """``text`` signed by the log's or the manifests' key."""
    return Signature(key.verify_key.name, key.verify_key.id, key.sign(text.encode()))


def cosigned(text: str, key: SigningKey, seconds: int) -> Signature:
    """``text`` cosigned by the time key, which says that it is ``seconds`` since 1970."""
    blob = seconds.to_bytes(_STAMP, "big") + key.sign(_cosignature_message(text, seconds))
    return Signature(key.verify_key.name, key.verify_key.id, blob)


def hmac_signed(text: str, key: HmacKey) -> Signature:
    """``text`` signed by the symmetric key."""
    return Signature(key.name, key.id, key.sign(text.encode()))


def _cosignature_message(text: str, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def verify(note: Note, keys: Sequence[VerifyKey], hmacs: Sequence[HmacKey] = ()) -> Verified:
    """Check every signature of a key that is given.

    A line of a key that nobody gave is counted and named. A line of a given key that does not verify, or two of one
    key, are errors: nothing honest makes them.

    Raises:
        NoteError: a given key's signature is wrong or there twice.
    """
    known: dict[tuple[str, bytes], AnyKey] = {(key.name, key.id): key for key in keys}
    known |= {(key.name, key.id): key for key in hmacs}
    good: list[VerifyKey] = []
    symmetric: list[str] = []
    time: int | None = None
    for signature, key in _one_each(note, known):
        if isinstance(key, HmacKey):
            _check_hmac(note, key, signature)
            symmetric.append(key.name)
        else:
            time = _check(note, key, signature, time)
            good.append(key)
    unknown = tuple(signature.name for signature in note.signatures if (signature.name, signature.id) not in known)
    return Verified(tuple(good), time, tuple(symmetric), unknown)


def _one_each(note: Note, known: Mapping[tuple[str, bytes], AnyKey]) -> Iterator[tuple[Signature, AnyKey]]:
    """The signatures of known keys. Raises NoteError when a key has two."""
    seen: set[tuple[str, bytes]] = set()
    for signature in note.signatures:
        who = (signature.name, signature.id)
        if who in seen:
            raise NoteError(f"{signature.name} signed twice")
        if who in known:
            seen.add(who)
            yield signature, known[who]


def _check(note: Note, key: VerifyKey, signature: Signature, time: int | None) -> int | None:
    """The time a cosignature vouches for, ``time`` for another signature. Raises NoteError when it is wrong."""
    stamp = _STAMP if key.kind is Kind.COSIGNATURE else 0
    seconds = int.from_bytes(signature.blob[:stamp], "big")
    message = _cosignature_message(note.text, seconds) if stamp else note.text.encode()
    rest = signature.blob[stamp:]
    if len(rest) != SIGNATURE or not key.accepts(rest, message):
        raise NoteError(f"the signature of {key.name} is wrong")
    return seconds if stamp else time


def _check_hmac(note: Note, key: HmacKey, signature: Signature) -> None:
    if not key.accepts(signature.blob, note.text.encode()):
        raise NoteError(f"the signature of {key.name} is wrong")
