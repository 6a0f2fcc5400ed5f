"""Which file is which generation, whatever it is called by now (facts/audit-log.md 2.7). Reads files, changes none."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dezky_operator.ingest.ocis.files import OpenFile, Place, opened
from dezky_operator.ingest.ocis.reading import Reading
from dezky_operator.ingest.ocis.schema import decode
from dezky_operator.store.tables import Generation

KEPT = 16
"""Generations that a cursor remembers. A file that was rotated more often than that is not looked at again."""
NOTHING = hashlib.sha256().digest()


class Beginning(NamedTuple):
    """The first line of a file: its bytes with the LF, and their keyed hash."""

    length: int
    hmac: bytes
    is_record: bool


def beginning(place: Place, key: bytes) -> Beginning | None:
    """How the file at a place begins; None while it has no line. Raises SourceError."""
    if place.size == 0 or (file := opened(place)) is None:
        return None
    try:
        line = file.first_line()
    finally:
        file.close()
    return Beginning(len(line), _hashed(line, key), _is_record(line)) if line else None


def _hashed(line: bytes, key: bytes) -> bytes:
    return hmac.digest(key, line, hashlib.sha256)


def _is_record(line: bytes) -> bool:
    try:
        decode(line)
    except ValueError:
        return False
    return True


class Identities:
    """Tells which generation each file is. What was found out is kept until a file changes."""

    def __init__(self, key: bytes) -> None:
        """``key`` is of the keyed hashes of first lines."""
        self._key = key
        self._beginnings: dict[Place, Beginning | None] = {}
        self._prefixes: dict[tuple[Place, int], bytes] = {}

    def beginning(self, place: Place) -> Beginning | None:
        """How a file begins; None while it has no line. Raises SourceError."""
        if place not in self._beginnings:
            self._beginnings[place] = beginning(place, self._key)
        return self._beginnings[place]

    def match(self, generations: Sequence[Generation], places: Sequence[Place]) -> dict[str, Place]:
        """The place of each generation whose file is there, by its uuid. ``places`` are the newest last.

        A file is a generation when it begins with all that was read of it. Of several that do, the one with the inode
        is it; else they are taken in their order, the newest for the newest: which is which of two equal files cannot
        be told any more once their inodes are not known.
        """
        self._forget(places)
        found: dict[str, Place] = {}
        left = list(reversed(places))
        for same_inode in (True, False):
            for generation in reversed(generations):
                if generation.uuid in found:
                    continue
                place = next((place for place in left if self._is(generation, place, same_inode=same_inode)), None)
                if place is not None:
                    found[generation.uuid] = place
                    left.remove(place)
        return found

    def reading(self, generation: Generation, file: OpenFile) -> Reading | None:
        """To read on in a generation; None when the file does not hold what was read of it, or another first line."""
        first = file.read(0, generation.first)
        if _hashed(first, self._key) != generation.first_hmac:
            return None
        digest = file.hashed(generation.length)
        if digest is None or digest.digest() != generation.prefix_sha256:
            return None
        return Reading(generation, file, digest, first)

    def is_cut_copy(self, place: Place, generations: Iterable[Generation]) -> bool:
        """Whether a file is the beginning of one that was read further, as a copy from before a truncation is."""
        start = self.beginning(place)
        return start is not None and any(
            place.size <= generation.length and start.hmac == generation.first_hmac for generation in generations
        )

    def refute(self, place: Place, generation: Generation) -> None:
        """A file that looked untouched was opened and is not this generation."""
        self._prefixes[place, generation.length] = b""

    def _is(self, generation: Generation, place: Place, *, same_inode: bool) -> bool:
        if place.size < generation.length or (same_inode and place.inode != generation.inode):
            return False
        start = self.beginning(place)
        if start is None or start.hmac != generation.first_hmac:
            return False
        is_untouched = (place.inode, place.size, place.written) == (
            generation.inode,
            generation.length,
            generation.written,
        )
        if is_untouched and (place, generation.length) not in self._prefixes:
            return True
        return self._prefix(place, generation.length) == generation.prefix_sha256

    def _prefix(self, place: Place, length: int) -> bytes:
        if (place, length) not in self._prefixes:
            file = opened(place)
            digest = file.hashed(length) if file else None
            if file:
                file.close()
            self._prefixes[place, length] = digest.digest() if digest else b""
        return self._prefixes[place, length]

    def _forget(self, places: Sequence[Place]) -> None:
        """Of files that changed or went."""
        there = set(places)
        self._beginnings = {place: start for place, start in self._beginnings.items() if place in there}
        self._prefixes = {key: prefix for key, prefix in self._prefixes.items() if key[0] in there}


def known(generations: Sequence[Generation], changed: Generation) -> tuple[Generation, ...]:
    """The generations with ``changed`` in its place, or as the newest; the oldest beyond KEPT are forgotten."""
    if any(one.uuid == changed.uuid for one in generations):
        return tuple(changed if one.uuid == changed.uuid else one for one in generations)
    return (*generations, changed)[-KEPT:]


def begun(uuid: str, start: Beginning, place: Place) -> Generation:
    """A generation of which nothing was read."""
    return Generation(uuid, 0, NOTHING, start.length, start.hmac, place.inode, place.written, ended=False)
