"""One generation of the audit file while it is read: its lines, how far it was read, and whether it is still it."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from dezky_operator.ingest.ocis.files import Digest, OpenFile, Place
from dezky_operator.store.tables import Generation

LINES, BYTES = 1_000, 4 << 20
"""What is read at most at once."""
LONGEST_LINE = 1 << 20
"""Bytes of a line that is read whole; of a longer one only the beginning is kept."""
HEAD = 1 << 16
"""Bytes kept of a line that is too long."""
WINDOW = 1_024
"""Bytes before the offset that must stay what they were, as the first line must."""


class RewoundError(Exception):
    """The file no longer holds what was read of it."""


class Piece(NamedTuple):
    """A line without its LF, or the beginning of one that is too long, with the length and hash of all of it."""

    offset: int
    text: bytes
    length: int
    sha256: str = ""

    @property
    def is_cut(self) -> bool:
        """Whether ``text`` is the beginning only."""
        return self.length > len(self.text)


@dataclass
class _LongLine:
    """A line without an end as yet: its beginning, its hash, and the file's with it."""

    head: bytes
    line: Digest
    file: Digest
    length: int = 0


class Reading:
    """Reads on in a file that was verified to be ``generation`` up to where that was read."""

    def __init__(self, generation: Generation, file: OpenFile, digest: Digest, first: bytes) -> None:
        """``digest`` is of the bytes read so far, ``first`` the first line, which may be among them or not."""
        self.file = file
        self._generation = generation
        self._offset = generation.length
        self._digest = digest
        self._first = first
        self._tail = file.read(max(0, self._offset - WINDOW), min(WINDOW, self._offset))
        self._long: _LongLine | None = None
        self._seen = file.now()

    @property
    def generation(self) -> Generation:
        """The generation as it was read by now."""
        return Generation(
            self._generation.uuid,
            self._offset,
            self._digest.copy().digest(),
            self._generation.first,
            self._generation.first_hmac,
            self._seen.inode,
            self._seen.written,
            ended=False,
        )

    @property
    def is_at_end(self) -> bool:
        """Whether nothing stands after the last line that was read."""
        return self._offset == self._seen.size

    def lines(self) -> tuple[list[Piece], bool]:
        """The next lines, and whether there is more to read at once.

        Raises:
            RewoundError: what was read so far is no longer there; nothing of what is there now was taken.
        """
        start = self._offset + (self._long.length if self._long else 0)
        chunk = self.file.read(start, BYTES)
        # After the read: what came before it can not have been exchanged in between.
        self._seen = self._checked()
        if self._long is not None:
            return self._lengthened(self._long, chunk)
        texts = chunk.split(b"\n", LINES)
        rest = texts.pop()
        if not texts and len(rest) > LONGEST_LINE:
            return self._lengthened(_LongLine(rest[:HEAD], sha256(), self._digest.copy()), chunk)
        pieces = []
        offset = self._offset
        for text in texts:
            pieces.append(_piece(offset, text))
            offset += len(text) + 1
        self._advance(chunk[: len(chunk) - len(rest)])
        return pieces, b"\n" in rest or len(chunk) == BYTES

    def rest(self) -> Piece | None:
        """What stands after the last line of a file that gets no more, taken as it is."""
        head, line, file, length = b"", sha256(), self._digest.copy(), 0
        while part := self.file.read(self._offset + length, HEAD):
            head = head or part
            line.update(part)
            file.update(part)
            length += len(part)
        if not length:
            return None
        piece = Piece(self._offset, head, length, line.hexdigest())
        self._offset, self._digest, self._long = self._offset + length, file, None
        return piece

    def _checked(self) -> Place:
        """The file as it is, if it still holds what was read: it is shorter, or its bytes differ, if it does not."""
        now = self.file.now()
        before = self._offset - len(self._tail)
        if (
            self.file.read(0, len(self._first)) != self._first
            or self.file.read(before, len(self._tail)) != self._tail
            or (self._long is not None and now.size < self._offset + self._long.length)
        ):
            raise RewoundError
        return now

    def _advance(self, taken: bytes) -> None:
        self._digest.update(taken)
        self._offset += len(taken)
        self._tail = (self._tail + taken[-WINDOW:])[-WINDOW:]

    def _lengthened(self, long: _LongLine, chunk: bytes) -> tuple[list[Piece], bool]:
        """Go on in a line that is not kept whole; no more of it than a chunk is ever in memory."""
        text, end, _ = chunk.partition(b"\n")
        long.line.update(text)
        long.file.update(text + end)
        long.length += len(text)
        self._long = long
        if not end:
            return [], len(chunk) == BYTES
        self._long = None
        piece = Piece(self._offset, long.head, long.length, long.line.hexdigest())
        self._offset, self._digest = self._offset + long.length + 1, long.file
        self._tail = self.file.read(self._offset - WINDOW, WINDOW)
        return [piece], True


def _piece(offset: int, text: bytes) -> Piece:
    if len(text) <= LONGEST_LINE:
        return Piece(offset, text, len(text))
    return Piece(offset, text[:HEAD], len(text), sha256(text).hexdigest())
