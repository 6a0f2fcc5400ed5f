"""Random bytes for salts and nonces, asked for a page at a time. No I/O: the system's generator is a parameter."""

from __future__ import annotations

from collections.abc import Callable

PAGE = 4_096
"""Bytes asked for at once."""


class Randomness:
    """Gives each byte of the generator once.

    A system call for each event costs as much as two of its hashes. It belongs to one thread, and to one process: two
    would get the same salts.
    """

    def __init__(self, source: Callable[[int], bytes]) -> None:
        """``source`` is ``os.urandom``."""
        self._source = source
        self._page = b""
        self._next = 0

    def __call__(self, count: int) -> bytes:
        """``count`` bytes that were not given before."""
        end = self._next + count
        if end > len(self._page):
            self._page, self._next, end = self._source(max(PAGE, count)), 0, count
        given = self._page[self._next : end]
        self._next = end
        return given
