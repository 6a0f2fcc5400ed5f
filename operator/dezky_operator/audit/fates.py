"""What became of the events that were offered to the log, and how many of each a source had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

import msgspec


class Fate(StrEnum):
    """What became of an event."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    """It is in the log already: the same delivery again."""
    COLLAPSED = "collapsed"
    """An equal event is in the log which the sender delivered under another id: the two count as one."""


def again(evt_id: str, first: str) -> Fate:
    """Fate of one more delivery of an event, by the ids under which its sender delivered it now and first."""
    return Fate.DUPLICATE if evt_id == first else Fate.COLLAPSED


class Placed(msgspec.Struct, frozen=True, gc=False):
    """An event's place in the log, whoever put it there."""

    src: str
    seq: int
    fate: Fate


class Counts(msgspec.Struct, frozen=True, gc=False):
    """Events of one source: ``received`` is the sum of the others."""

    received: int = 0
    stored: int = 0
    duplicate: int = 0
    collapsed: int = 0


class Appended(msgspec.Struct, frozen=True):
    """What became of the events of one call, in the order they were offered."""

    placed: tuple[Placed, ...] = ()

    def counts(self) -> dict[str, Counts]:
        """How many of each fate, by source."""
        fates = Counter((one.src, one.fate) for one in self.placed)
        return {src: _counts(fates, src) for src in dict.fromkeys(src for src, _ in fates)}


def together(parts: Iterable[Appended]) -> Appended:
    """Several calls as one."""
    return Appended(tuple(one for part in parts for one in part.placed))


def _counts(fates: Counter[tuple[str, Fate]], src: str) -> Counts:
    stored, duplicate, collapsed = (fates[src, fate] for fate in (Fate.STORED, Fate.DUPLICATE, Fate.COLLAPSED))
    return Counts(stored + duplicate + collapsed, stored, duplicate, collapsed)
