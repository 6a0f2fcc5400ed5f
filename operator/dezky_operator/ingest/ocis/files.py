"""The audit file and what it was rotated to, as files: found, opened and read without ever waiting or following away.

The directory is shared with OCIS. Whoever can write to it may put a link there to a file that is none of ours, so a
link is followed only to a file of the same directory.
"""

from __future__ import annotations

import os
import stat
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol, Self

from dezky_operator.ingest.source import SourceError

CHUNK = 1 << 20
"""Bytes that are hashed at once."""
LONGEST_FIRST = 1 << 16
"""Bytes from which on the beginning of a file counts as its first line even without an end."""

ENVIRONMENT = "OCIS_ADD_RUN_SERVICES=audit, AUDIT_LOG_TO_FILE=true and AUDIT_FILEPATH=<this file>"
"""What OCIS needs to write the file; none of it is so by default (facts/ocis.md 4.1)."""

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe would be waited for without the last


class Digest(Protocol):
    """A hash that is being made."""

    def update(self, data: bytes, /) -> None:
        """Take more bytes."""

    def copy(self) -> Self:
        """The same, to go on with apart from this one."""

    def digest(self) -> bytes:
        """The hash so far."""

    def hexdigest(self) -> str:
        """The hash so far, in hex."""


class Place(NamedTuple):
    """A file in the directory, as it was when it was looked at."""

    path: str
    device: int
    inode: int
    size: int
    written: int

    @property
    def file(self) -> tuple[int, int]:
        """What tells it from every other file that is there now."""
        return self.device, self.inode


class Files(NamedTuple):
    """What is there.

    Attributes:
        rotated: what the audit file may have been rotated to, in the order it was last written to.
        closed: names of those that may not be read.
        live: the file OCIS writes to; None while there is none.
    """

    rotated: list[Place]
    closed: list[str]
    live: Place | None

    @property
    def is_bare(self) -> bool:
        """Whether nothing says that OCIS ever wrote here; packed files are among the rotated ones."""
        return not (self.live or self.rotated or self.closed)

    @property
    def all(self) -> list[Place]:
        """The newest last."""
        return [*self.rotated, self.live] if self.live else self.rotated


class OpenFile:
    """A file that is open for reading; it can be read to its end also when it is renamed or deleted."""

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor = descriptor
        self._path = path

    def now(self) -> Place:
        """How it is now."""
        return _place(self._path, os.fstat(self._descriptor))

    def read(self, offset: int, count: int) -> bytes:
        """At most so many bytes from ``offset``; fewer only at the end of the file."""
        parts, left = [], count
        while left and (part := os.pread(self._descriptor, left, offset + count - left)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def hashed(self, length: int) -> Digest | None:
        """SHA-256 of the first ``length`` bytes, to go on with; None when there are fewer."""
        digest, offset = sha256(), 0
        while offset < length:
            part = self.read(offset, min(CHUNK, length - offset))
            if not part:
                return None
            digest.update(part)
            offset += len(part)
        return digest

    def first_line(self) -> bytes:
        """The first line with its LF; empty while it has no end."""
        start = self.read(0, LONGEST_FIRST)
        line, end, _ = start.partition(b"\n")
        return line + end if end or len(start) == LONGEST_FIRST else b""

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)


def opened(place: Place) -> OpenFile | None:
    """The file at a place; None when another one is there by now.

    Raises:
        SourceError: it may not be read.
    """
    try:
        file = OpenFile(os.open(place.path, _FLAGS), place.path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(place.path, error) from None
    if file.now().file == place.file:
        return file
    file.close()
    return None


def look_around(path: Path) -> Files:
    """What is at ``path`` and beside it (``name.*``, ``name-*``).

    Raises:
        SourceError: the directory is not there or may not be read; the file is none, or a link out of the directory.
    """
    live = _live(path)
    try:
        with os.scandir(path.parent) as entries:
            places = [place for entry in entries if (place := _rotated(entry, path.name)) is not None]
    except FileNotFoundError:
        raise SourceError(
            "NoDirectory", f"{path.parent} is not there: mount the volume that OCIS writes its audit file to"
        ) from None
    except OSError as error:
        raise unreadable(str(path.parent), error) from None
    places.sort(key=lambda place: (place.written, -_number(place.path)))
    closed = [place for place in places if not os.access(place.path, os.R_OK, effective_ids=True)]
    return Files(
        rotated=[place for place in places if place not in closed and (live is None or place.file != live.file)],
        closed=sorted(Path(place.path).name for place in closed),
        live=live,
    )


def _live(path: Path) -> Place | None:
    target = path
    try:
        if path.is_symlink():
            target = Path(os.path.realpath(path))
            if target.parent != Path(os.path.realpath(path.parent)):
                raise SourceError(
                    "LinkedAway",
                    f"{path} is a link to a file outside of {path.parent}, which is not followed: let OCIS write its "
                    "audit file (AUDIT_FILEPATH) there itself",
                )
        found = target.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(str(path), error) from None
    if not stat.S_ISREG(found.st_mode):
        raise SourceError("NotAFile", f"{path} must be the file that OCIS writes (AUDIT_FILEPATH), and is none")
    return _place(str(target), found)


def _rotated(entry: os.DirEntry[str], name: str) -> Place | None:
    if not entry.name.startswith((f"{name}.", f"{name}-")) or not entry.is_file(follow_symlinks=False):
        return None
    try:
        return _place(entry.path, entry.stat(follow_symlinks=False))
    except FileNotFoundError:  # a rotation is going on
        return None


def _number(path: str) -> int:
    """Of a rotated file: the highest is the oldest, where the clock does not tell."""
    digits = path.rpartition(".")[2]
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def missing(path: Path) -> SourceError:
    """What to say when there is nothing to read."""
    return SourceError(
        "FileMissing",
        f"{path} is not there, nor anything it was rotated to. OCIS makes it with its first record: mount its volume "
        f"here, and set {ENVIRONMENT} in its environment",
    )


def unreadable(what: str, error: OSError) -> SourceError:
    """What to say about something that may not be read."""
    return SourceError(
        "Unreadable",
        f"{what} cannot be read: {error.strerror}; the operator runs as uid {os.geteuid()} and needs the right to read "
        "the audit file and to list its directory",
    )


def _place(path: str, found: os.stat_result) -> Place:
    return Place(path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
