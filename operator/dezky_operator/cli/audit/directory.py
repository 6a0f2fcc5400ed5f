"""The files of an export: written once into an empty directory, and read by whoever verifies them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from dezky_operator.audit.errors import AuditError
from dezky_operator.audit.line import LONGEST
from dezky_operator.audit.verify_export import Export

LINES, HEADS, PROOF, NOTE = "lines.jsonl", "heads.line", "proof.txt", "checkpoint.note"
VALUES, TRUST, README = "values.ndjson", "trust.txt", "README.txt"
PIECE = 1 << 20
TEXT = """\
This is a part of the audit log of a Dezky installation, with what proves it.

lines.jsonl      The lines. Each is one event, and evidence byte by byte: do not reformat it.
heads.line       (a tenant's export) The line log.heads: the root over all tenants' newest lines, and their count.
proof.txt        Whose lines these are, and the hashes that lead from them to the checkpoint (not in a whole log).
checkpoint.note  How many lines the log has and the root over all of them, signed by the log.
values.ndjson    (if asked for) Personal values: the lines hold only commitments to them.
trust.txt        (if the log's key was ever replaced) What leads from its first public key to the later ones.

To check it: verify_export.py DIRECTORY --key VKEY (verify_audit.py for a whole log), with a vkey that did not come with
these files.

By hand:
1. Leaf hash of a line = SHA-256 of one byte 00 and the line without its LF. Node = SHA-256 of one byte 01, left, right.
2. checkpoint.note: the first three lines with their LF are signed (Ed25519, C2SP signed-note): origin, size, root.
3. The tree over the lines is that of RFC 6962. Go down from its root: a part with no line of this export is the next
   hash of the last block of proof.txt, a part that is one line is that line's leaf hash. The root must come out.
4. A tenant's lines: t_seq goes up by one, t_prev is the leaf hash of the line before (64 zeros before the first).
5. SHA-256 of one byte 03, the tenant's id, one byte 00, t_seq of the last line as 8 bytes and its leaf hash is a leaf
   of the map of tenants. "heads <seq> <place> <tenants>" says where: as in 3, the first block of hashes leads from
   it to data.root of heads.line. So the last line here was the tenant's newest: nothing was left out before
   <seq>.
6. trust.txt: a later key counts from the checkpoint on that is signed by it and by the key before it. It stands there
   with the line key.rotated under it, which names the new key, and the hashes that lead from that line to its root.
   The checkpoint's size is the last at which the old key signs and the first at which the new one does.
7. A commitment = SHA-256 of one byte 02, the salt (16 bytes), the path, one byte 00, the value.
"""


class FilesError(AuditError):
    """An export is not there, not complete, or not to be read."""


class DamagedFileError(FilesError):
    """A file is not what it was when it was written."""


class Writing:
    """A new export."""

    def __init__(self, directory: Path) -> None:
        """Raises FilesError unless the directory is new or empty."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if any(directory.iterdir()):
                raise FilesError(f"{directory} is not empty: an export is written into a directory of its own")
            self._lines = (directory / LINES).open("wb")
        except OSError as error:
            raise FilesError(f"{directory} can not be written ({error.strerror})") from None
        self.directory = directory

    def line(self, stored: bytes) -> None:
        """Add a line."""
        self._lines.write(stored + b"\n")

    def finish(self, files: dict[str, bytes]) -> None:
        """Write the rest; what is empty is left out."""
        self._lines.close()
        for name, data in (files | {README: TEXT.encode()}).items():
            if data:
                (self.directory / name).write_bytes(data)


def is_part(directory: Path) -> bool:
    """Whether it is a tenant's export or a range; otherwise it is a whole log."""
    return (directory / PROOF).is_file()


def part(directory: Path) -> Export:
    """A tenant's export or a range. Raises FilesError."""
    if not directory.is_dir():
        raise FilesError(f"{directory} is no directory")
    return Export(
        lines_of(directory / LINES),
        _read(directory, HEADS),
        _read(directory, PROOF),
        _read(directory, NOTE),
        lines_of(directory / VALUES) if (directory / VALUES).is_file() else (),
        _read(directory, TRUST),
    )


class Whole(msgspec.Struct, frozen=True):
    """A whole log in files: its lines, its checkpoints, and ``trust.txt``, empty when there is none."""

    lines: Iterator[bytes]
    notes: list[bytes]
    trust: bytes


def whole(directory: Path) -> Whole:
    """All lines of a directory, by the names of its files, and what proves them. Raises FilesError."""
    if not directory.is_dir():
        raise FilesError(f"{directory} is no directory")
    files = sorted(path for pattern in ("*.jsonl", "*.jsonl.gz") for path in directory.glob(pattern))
    notes = [path.read_bytes() for path in sorted(directory.glob("*.note"))]
    return Whole((line for path in files for line in lines_of(path)), notes, _read(directory, TRUST))


def _read(directory: Path, name: str) -> bytes:
    path = directory / name
    return path.read_bytes() if path.is_file() else b""


def lines_of(path: Path) -> Iterator[bytes]:
    """Lines without LF; one that is far too long comes in pieces, each of which is no line. Raises DamagedFileError."""
    if not path.is_file():
        return
    rest = b""
    for piece in _plain(path):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
        if len(rest) > 2 * LONGEST:
            yield rest
            rest = b""
    if rest:
        yield rest


def _plain(path: Path) -> Iterator[bytes]:
    """The bytes of a file; a gzip file has one member and nothing after it. Raises DamagedFileError."""
    packed = zlib.decompressobj(31) if path.suffix == ".gz" else None
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            if packed is None:
                yield piece
                continue
            try:
                while piece:
                    yield packed.decompress(piece, PIECE)
                    piece = packed.unconsumed_tail
            except zlib.error:
                raise DamagedFileError(f"{path.name}: not gzip") from None
            if packed.unused_data:
                raise DamagedFileError(f"{path.name}: trailing data")
    if packed is not None and not packed.eof:
        raise DamagedFileError(f"{path.name}: cut off")
