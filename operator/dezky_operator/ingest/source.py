"""What every source of events has in common: it is looked at, and says what it found and how far it has read.

A look reads only. Whoever asked for it stores the events first and the cursor after them, so a crash in between reads
the same events again; their ids keep them from being stored twice.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from dezky_operator.audit.event import Event
from dezky_operator.store.tables import CursorRow


class SourceError(Exception):
    """A source could not be read. Nothing is skipped: the same look is made again.

    Attributes:
        reason: one CamelCase word for the status, such as ``Unreachable``, ``AuthFailed``, ``FilterIgnored``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What one look at a source found.

    Attributes:
        events: what happened, oldest first, as far as the source has an order. Those that could not be read are among
            them, as :func:`dezky_operator.ingest.malformed.malformed` makes them.
        filtered: how many events the allow list left out.
        cursor: how far the source was read; stored once every event is.
        more: there is more to read at once; False: wait for the interval.
        last_event: time of the newest event read (canonical), empty when there was none.
        verified: of a source whose events are sent: whether they were seen to come; None of one that is read.
        notice: a sentence for a person about something that is no failure (a file that stays empty); empty is none.
    """

    events: tuple[Event, ...] = ()
    filtered: int = 0
    cursor: CursorRow
    more: bool = False
    last_event: str = ""
    notice: str = ""
    verified: bool | None = None


class Source(Protocol):
    """One source, read by one task at a time."""

    async def look(self, cursor: CursorRow | None) -> Look:
        """Read on from ``cursor``; None: nothing was ever read. Raises SourceError."""

    async def close(self) -> None:
        """Let go of files and connections."""
