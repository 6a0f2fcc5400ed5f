"""A cursor that was lost, made again of what the log holds (facts/audit-log.md 2.7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dezky_operator.audit.event import Datum
from dezky_operator.audit.line import decode
from dezky_operator.ingest.ocis.generations import NOTHING
from dezky_operator.ingest.ocis.told import OPENED
from dezky_operator.store.interface import Reader, Store
from dezky_operator.store.tables import LOG, CursorRow, Generation, LogRow

MOST = 10_000
"""Files that are looked for: a rotation a day for 27 years."""


async def recovered(store: Store, src: str, *, heartbeat: str) -> CursorRow | None:
    """The cursor of an AuditSource from the store's own lines; None when the source never had a file.

    Files whose opening was archived already are not found: they are read under new ids, so their events come twice.

    Raises:
        UnavailableError: the store cannot be read now.
    """

    async def openings(rows: Reader) -> list[LogRow]:
        return await rows.find(LOG, "action", OPENED, limit=MOST, newest_first=True)

    lines = [decode(row.body) for row in reversed(await store.read(openings)) if row.src == src]
    return rebuilt(src, [(line.ext, line.data) for line in lines], heartbeat=heartbeat)


def rebuilt(src: str, openings: Iterable[tuple[str, Mapping[str, Datum]]], *, heartbeat: str) -> CursorRow | None:
    """The cursor of ``ext`` and ``data`` of all events ``ingest.opened`` of a source, oldest first. Pure.

    Every file that is known again is read once more from its beginning, under the same ids, so nothing is stored twice
    and nothing is left out. What remains: of files that begin with the same line it is only their order that tells them
    apart, and one that was never looked at is then taken for another.
    """
    generations = tuple(
        Generation(
            uuid=ext.partition(":")[0],
            length=0,
            prefix_sha256=NOTHING,
            first=int(data["first_bytes"]),
            first_hmac=bytes.fromhex(str(data["first_hmac"])),
            inode=0,
            written=0,
            ended=False,
        )
        for ext, data in openings
    )
    return CursorRow(src, "", heartbeat, generations) if generations else None
