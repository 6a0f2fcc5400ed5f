"""What a look tells: the events of lines, and those about the file itself. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dezky_operator.audit.event import Datum, Event, Outcome
from dezky_operator.ingest.ocis.reading import Piece
from dezky_operator.ingest.ocis.records import SOURCE, Records
from dezky_operator.ingest.tenants import Tenants
from dezky_operator.store.tables import Generation

OPENED = "ingest.opened"
"""A file is read for the first time. Its data tells the file again when the cursor is lost; it names nothing."""
REWOUND = "ingest.rewound"
"""A file no longer holds what was read of it. What it held beyond that and was not read is lost."""


class Turn(NamedTuple):
    """What one look did: events, how many the allow list left out, and whether to look again at once."""

    events: tuple[Event, ...] = ()
    filtered: int = 0
    more: bool = False


class Teller:
    """Makes events; their ids are made of a generation's uuid and an offset."""

    def __init__(self, src: str, records: Records) -> None:
        """``src`` is the name of the AuditSource."""
        self.src = src
        self._records = records

    def lines(
        self, generation: Generation, pieces: Sequence[Piece], recv: str, tenants: Tenants, *, more: bool
    ) -> Turn:
        """The lines of a generation, after an event about the file if they are its first."""
        if not pieces:
            return Turn(more=more)
        found = [self._line(generation.uuid, piece, recv, tenants) for piece in pieces]
        events = [event for event in found if event is not None]
        filtered = len(found) - len(events)
        if generation.length == 0:
            data: dict[str, Datum] = {"first_bytes": generation.first, "first_hmac": generation.first_hmac.hex()}
            events.insert(0, self._about_file(f"{generation.uuid}:opened", OPENED, recv, data))
        return Turn(tuple(events), filtered, more)

    def rest(self, generation: Generation, rest: Piece | None, recv: str) -> Turn:
        """What stood after the last line of a file that is done. Its id is no line's: the line may still be ended."""
        if rest is None:
            return Turn(more=True)
        ext = f"{generation.uuid}:{rest.offset}:rest"
        if rest.is_cut:
            return Turn((self._oversized(rest, ext, recv),), more=True)
        return Turn((self._records.malformed(rest.text, ext=ext, recv=recv, reason="the line has no end"),), more=True)

    def rewound(self, generation: Generation, size: int, recv: str) -> Turn:
        """``size`` is the length in bytes of what is there now."""
        ext = f"{generation.uuid}:{generation.length}:rewound"
        data: dict[str, Datum] = {"old_length": generation.length, "new_length": size}
        return Turn((self._about_file(ext, REWOUND, recv, data),), more=True)

    def _line(self, uuid: str, piece: Piece, recv: str, tenants: Tenants) -> Event | None:
        ext = f"{uuid}:{piece.offset}"
        if piece.is_cut:
            return self._oversized(piece, ext, recv)
        return self._records.event(piece.text, ext=ext, recv=recv, tenants=tenants)

    def _oversized(self, piece: Piece, ext: str, recv: str) -> Event:
        return self._records.oversized(piece.text, ext=ext, recv=recv, length=piece.length, sha256=piece.sha256)

    def _about_file(self, ext: str, action: str, recv: str, data: dict[str, Datum]) -> Event:
        outcome = Outcome.SUCCESS if action == OPENED else Outcome.UNKNOWN
        return Event(src=self.src, source=SOURCE, ext=ext, action=action, outcome=outcome, recv=recv, data=data)
