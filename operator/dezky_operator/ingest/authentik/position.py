"""How far Authentik's events were read, as the cursor keeps it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from dezky_operator.audit.times import written
from dezky_operator.ingest.authentik.rows import Found
from dezky_operator.ingest.source import SourceError
from dezky_operator.store.tables import CursorRow

REMEMBERED = 5_000
"""Ids kept in the cursor. Of what was seen beyond them the log itself knows that it has it."""


class Position(msgspec.Struct, frozen=True):
    """Everything before ``settled`` (canonical, a whole second) was read; of what is younger, ``seen`` was (ids)."""

    settled: str
    seen: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """As the cursor keeps it."""
        return msgspec.json.encode(self).decode()

    def before(self, left: Found, taken: Sequence[Found], known: Sequence[str]) -> Position:
        """How far it was read when a look ends before ``left``: what was taken and will be listed again is remembered.

        Args:
            left: the first entry that is still to come.
            taken: those before it.
            known: the ids that were remembered before the look.
        """
        settled = min(self.settled, written(floored(datetime.fromisoformat(left.at)))) if left.at else self.settled
        again = (entry.ext for entry in taken if not entry.at or entry.at >= settled)
        return Position(settled, (*known, *again)[-REMEMBERED:])


_DECODER = msgspec.json.Decoder(Position)


def position_of(cursor: CursorRow | None) -> Position | None:
    """The position in a cursor; None when nothing was read yet. Raises SourceError."""
    if cursor is None or not cursor.position:
        return None
    try:
        return _DECODER.decode(cursor.position)
    except msgspec.MsgspecError as error:
        raise SourceError(
            "CursorUnreadable",
            f"The cursor of {cursor.source} in audit_cursors has an unknown form. Remove the row: everything is read "
            "again, and the log knows what it has.",
        ) from error


def floored(moment: datetime) -> datetime:
    """The whole second, in UTC: a query knows no finer ones (facts/authentik.md 5)."""
    return moment.astimezone(UTC).replace(microsecond=0)
