"""One body while it comes in: in memory as long as it is small, on disk from there on.

::

    BodyError
    ├── TooLargeError   longer than any body may be
    ├── NoRoomError     the disk has not the room, or would have too little left
    └── DiskError       the disk failed
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable

from dezky_operator.http.spool import Upload

AT_ONCE = 256 << 10
"""Bytes of one write; the disk is asked for its room as often."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class BodyError(Exception):
    """The body can not be kept; nothing of it is left."""


class TooLargeError(BodyError):
    """It is longer than any body may be."""


class NoRoomError(BodyError):
    """The disk has not the room."""


class DiskError(BodyError):
    """The disk failed."""


class Body:
    """A body that grows. Close it whatever happens: what was not kept is removed."""

    def __init__(self, begin: Callable[[], Upload], *, in_memory: int, most: int, room: Callable[[], int]) -> None:
        """Begin with nothing.

        Args:
            begin: opens a file for it.
            in_memory: bytes up to which it needs none.
            most: bytes it may have.
            room: bytes the disk may still take.
        """
        self._begin, self._in_memory, self._most, self._room = begin, in_memory, most, room
        self._held = bytearray()
        self._upload: Upload | None = None
        self._length = 0
        self._kept = False

    @property
    def on_disk(self) -> bool:
        """Whether it was too large for memory."""
        return self._upload is not None

    @property
    def text(self) -> bytes:
        """All of it, while it is in memory."""
        return bytes(self._held)

    async def add(self, chunk: bytes) -> None:
        """Take more bytes. Raises BodyError."""
        self._length += len(chunk)
        if self._length > self._most:
            raise TooLargeError
        self._held += chunk
        if self._upload is None and self._length <= self._in_memory:
            return
        if len(self._held) >= AT_ONCE or self._upload is None:
            await self._disk(self._write)

    async def keep(self) -> None:
        """Make what is on disk survive a power cut. Raises BodyError."""
        await self._disk(self._finish)
        self._kept = True

    async def close(self) -> None:
        """Remove what was not kept."""
        if self._upload is not None and not self._kept:
            await asyncio.to_thread(self._upload.drop)

    async def _disk(self, work: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(work)
        except OSError as error:
            raise (NoRoomError if error.errno in _FULL else DiskError) from error

    def _write(self) -> None:
        if self._room() < len(self._held):
            raise OSError(errno.ENOSPC, "below the reserve")
        self._upload = self._upload or self._begin()
        self._upload.write(bytes(self._held))
        self._held.clear()

    def _finish(self) -> None:
        self._write()
        if self._upload is not None:
            self._upload.keep()
