"""The files a tail reads, told apart by their content (facts/audit-log.md 2.7).

A generation is one file's life. It is known again by the hash of its beginning, under whatever name: a rename, a copy
and a restart keep it. An inode's number tells nothing, as it is given again; a file held open can not be another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from stat import S_ISREG

from dezky_operator.store.tables import Generation

CHUNK = 1 << 20
MARK = 256
"""Bytes before the place read up to that are compared with what they were: a file cut and filled again under us."""
GZIP = b"\x1f\x8b"


@dataclass
class Held:
    """A file held open while it is read."""

    handle: int
    inode: tuple[int, int]
    uuid: str = ""
    read: int = 0
    mark: bytes = b""

    @property
    def size(self) -> int:
        """Bytes in it now."""
        return os.fstat(self.handle).st_size

    def bytes_at(self, offset: int, count: int) -> bytes:
        """So many bytes from ``offset``, fewer at its end."""
        return os.pread(self.handle, count, offset)

    def is_what_it_was(self) -> bool:
        """Whether what was read of it still stands there."""
        return self.size >= self.read and self.bytes_at(self.read - len(self.mark), len(self.mark)) == self.mark

    def note(self, read: int) -> None:
        """Remember the bytes before the place read up to."""
        self.read, self.mark = read, self.bytes_at(max(read - MARK, 0), min(read, MARK))

    def digest(self, length: int) -> bytes:
        """SHA-256 of the first ``length`` bytes."""
        digest, offset = sha256(), 0
        while offset < length and (piece := self.bytes_at(offset, min(CHUNK, length - offset))):
            digest.update(piece)
            offset += len(piece)
        return digest.digest()

    def begins_as(self, generation: Generation) -> bool:
        """Whether it is this generation, by its content."""
        enough = 0 < generation.length <= self.size and generation.read <= self.size
        return enough and self.digest(generation.length) == generation.prefix_sha256

    def close(self) -> None:
        """Let go of it."""
        with suppress(OSError):
            os.close(self.handle)


def opened(path: Path) -> Held | None:
    """The file at ``path``; None where there is none, or no plain file, or a packed one. Raises OSError otherwise."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    found = os.fstat(handle)
    if not S_ISREG(found.st_mode) or os.pread(handle, 2, 0) == GZIP:
        os.close(handle)
        return None
    return Held(handle, (found.st_dev, found.st_ino))


def rotated(path: Path) -> Iterator[Path]:
    """What the file may have been renamed to, oldest first: ``name.*`` and ``name-*`` beside it."""
    siblings = [found for mark in (".", "-") for found in path.parent.glob(f"{_plain(path.name)}{mark}*")]
    yield from sorted(siblings, key=_age)


def _plain(name: str) -> str:
    """A name in which nothing is a pattern."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _age(path: Path) -> tuple[int, str]:
    try:
        return path.stat().st_mtime_ns, path.name
    except OSError:
        return 0, path.name
