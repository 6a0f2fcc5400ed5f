"""Bodies on disk: on their way in, and those that were acknowledged and wait to be parsed.

A body is written under ``incoming`` and moved to ``pending`` once it is whole, verified and on the disk; only then is
it acknowledged. What a crash leaves in ``incoming`` was acknowledged to nobody.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

_SUFFIX = ".body"


class Pending(NamedTuple):
    """A body that waits: when it arrived (ns since 1970), and where it is."""

    arrived: int
    path: Path


def free_bytes(directory: Path) -> int:
    """What is left on the disk of ``directory``."""
    return shutil.disk_usage(directory).free


class Spool:
    """The bodies of one source. Every method may wait for the disk and raise OSError."""

    def __init__(self, directory: Path) -> None:
        self._incoming, self._pending = directory / "incoming", directory / "pending"

    def open(self) -> None:
        """Make the directories, and remove what was acknowledged to nobody."""
        for place in (self._incoming, self._pending):
            place.mkdir(parents=True, exist_ok=True)
            _sync(place.parent)
        for left in self._incoming.iterdir():
            left.unlink()

    def begin(self, arrived: int, name: str) -> Upload:
        """A new body that arrives at ``arrived`` (ns since 1970). ``name`` is like no other's."""
        file = f"{arrived:020d}-{name}{_SUFFIX}"
        return Upload(self._incoming / file, self._pending / file)

    def pending(self) -> Iterator[Pending]:
        """Those that wait, in the order they came."""
        for path in sorted(self._pending.glob(f"*{_SUFFIX}")):
            yield Pending(int(path.name.partition("-")[0]), path)

    def waiting_bytes(self) -> int:
        """How much waits."""
        return sum(path.stat().st_size for _, path in self.pending())

    def done(self, body: Pending) -> None:
        """Every event of it is in the log."""
        body.path.unlink()
        _sync(self._pending)


class Upload:
    """One body on its way in."""

    def __init__(self, path: Path, kept_as: Path) -> None:
        self._path, self._kept_as = path, kept_as
        self._file: BinaryIO = path.open("xb", buffering=0)

    def write(self, chunk: bytes) -> None:
        """Add bytes."""
        left = memoryview(chunk)
        while left:
            left = left[self._file.write(left) :]

    def keep(self) -> None:
        """Make it survive a power cut; after this it may be acknowledged."""
        os.fsync(self._file.fileno())
        self._file.close()
        self._path.rename(self._kept_as)
        _sync(self._kept_as.parent)

    def drop(self) -> None:
        """Leave nothing of it, wherever it had come to."""
        self._file.close()
        self._path.unlink(missing_ok=True)
        self._kept_as.unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
