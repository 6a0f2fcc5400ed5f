"""A cursor that was lost, made of what the log holds (facts/audit-log.md 2.7).

Only lines that are still in the store are looked at. Files whose beginning was told in a line that has gone to the
archive are new files then: what they hold is read once more.
"""

from __future__ import annotations

from dezky_operator.audit.line import decode
from dezky_operator.ingest.ocis.generations import KEPT, rebuilt
from dezky_operator.ingest.ocis.told import OPENED
from dezky_operator.store.interface import EVERYTHING, Reader, Span, Store
from dezky_operator.store.tables import LOG, CursorRow, LogRow

AT_ONCE = 500
"""Rows of one read."""


async def recovered(store: Store, src: str, *, now: str) -> CursorRow | None:
    """The cursor of a source by its newest files; None when the log knows none.

    Args:
        store: of the log.
        src: name of the AuditSource.
        now: canonical time.

    Raises:
        StoreError: the log can not be read now.
    """

    async def look(rows: Reader) -> CursorRow | None:
        lines = [decode(row.body) for row in reversed(await _openings(rows, src))]
        openings = [(line.ext, line.data) for line in lines]
        return rebuilt(src, openings, heartbeat=now)

    return await store.read(look)


async def _openings(rows: Reader, src: str) -> list[LogRow]:
    """The lines about files of this source, newest first, as many as a cursor remembers."""
    found: list[LogRow] = []
    span = EVERYTHING
    while len(found) < KEPT:
        page = await rows.find(LOG, "action", OPENED, span, limit=AT_ONCE, newest_first=True)
        found += [row for row in page if row.src == src]
        if len(page) < AT_ONCE:
            break
        span = Span(high=page[-1].seq)
    return found[:KEPT]
