"""Events on disk while the log takes none: written in order, synced before they count, drained in the same order.

Files of frames: length, CRC-32, events as MessagePack. A frame that a crash cut short was acknowledged to nobody and
ends its file. A file goes once the log has everything in it; after a crash in between it is offered again, and the log
knows its events by their ids.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from struct import Struct

import msgspec

from dezky_operator.audit.event import Event

FRAME = Struct(">II")
"""Bytes of the frame, and their CRC-32."""
FULL = 1 << 20
"""Bytes after which another file is begun: what is drained at once is in memory at once."""
SUFFIX = ".spool"
_ENCODE = msgspec.msgpack.Encoder()
_DECODE = msgspec.msgpack.Decoder(tuple[Event, ...])


class Spool:
    """Events that wait for the log. One process has it open. Its calls block: they belong into a thread."""

    def __init__(self, directory: Path) -> None:
        """``directory`` is made, for this user only: personal values lie here as they came. Raises OSError."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._files = {int(path.stem): _count(path) for path in sorted(directory.glob(f"*{SUFFIX}"))}
        self._last = max(self._files, default=0)
        self._end: int | None = None
        """Where the file that is written to ends; None: the next event begins another one."""

    @property
    def waiting(self) -> int:
        """How many events wait."""
        return sum(self._files.values())

    def append(self, events: Sequence[Event]) -> None:
        """Put ``events`` behind what waits; they are on the disk when it returns. Raises OSError; none of them is."""
        body = _ENCODE.encode(tuple(events))
        if self._end is None or self._end > FULL:
            self._last, self._end = self._last + 1, 0
        end, new = self._end, not self._end
        handle = os.open(self._path(self._last), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.lseek(handle, end, os.SEEK_SET)
            _write_all(handle, FRAME.pack(len(body), zlib.crc32(body)) + body)
            os.fsync(handle)
            if new:
                _sync(self._directory)
        except OSError:
            # After a failed sync nobody knows what of the file is on the disk: nothing more is put behind it.
            with suppress(OSError):
                os.ftruncate(handle, end)
            self._end = None
            raise
        finally:
            os.close(handle)
        self._end = end + FRAME.size + len(body)
        self._files[self._last] = self._files.get(self._last, 0) + len(events)

    def first(self) -> tuple[Event, ...]:
        """The events that have waited longest; none when nothing waits. What comes from now on waits behind them."""
        if not self._files:
            return ()
        oldest = min(self._files)
        if oldest == self._last:
            self._end = None
        return tuple(event for events in _frames(self._path(oldest)) for event in events)

    def drop_first(self) -> None:
        """Forget what :meth:`first` gave: the log has it. Raises OSError; it is then offered again."""
        oldest = min(self._files)
        self._path(oldest).unlink(missing_ok=True)
        _sync(self._directory)
        del self._files[oldest]

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:016}{SUFFIX}"


def _count(path: Path) -> int:
    return sum(len(events) for events in _frames(path))


def _frames(path: Path) -> Iterator[tuple[Event, ...]]:
    """Every whole frame, up to the first that is not."""
    with path.open("rb") as file:
        while len(head := file.read(FRAME.size)) == FRAME.size:
            length, crc = FRAME.unpack(head)
            body = file.read(length)
            if len(body) < length or zlib.crc32(body) != crc:
                return
            yield _DECODE.decode(body)


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
