"""A disk that fails on command, between SQLite and the real one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import apsw


class Disk:
    """What the disk was asked for, and what it fails at. ``name`` is the layer's name for SQLite."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.failing: set[str] = set()
        self.done: Counter[str] = Counter()

    def asked(self, what: str) -> None:
        """Count a call, or fail at it."""
        if what in self.failing:
            raise apsw.IOError(f"the disk fails at {what}")
        self.done[what] += 1


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, filename: apsw.URIFilename | str | None, flags: list[int]) -> None:
        self._disk = disk
        self._wal = bool(flags[0] & apsw.SQLITE_OPEN_WAL)
        super().__init__("", filename, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.asked("wal sync" if self._wal else "sync")
        super().xSync(flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.asked("wal write" if self._wal else "write")
        super().xWrite(data, offset)


class _Layer(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        super().__init__(disk.name, "")

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> _File:  # noqa: N802 - SQLite's name
        if flags[0] & apsw.SQLITE_OPEN_MAIN_DB:
            self._disk.asked("open")
        return _File(self._disk, name, flags)


@contextmanager
def disk(name: str) -> Iterator[Disk]:
    """A disk that does as it is told until the end of the block."""
    made = Disk(name)
    layer = _Layer(made)
    try:
        yield made
    finally:
        layer.unregister()
