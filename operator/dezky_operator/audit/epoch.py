"""A new epoch: how a log goes on after its store was lost, set back or changed (facts/audit-log.md 2.4).

The old log stays as it is, as evidence. The new one begins by saying what the old one was, knows every event that was
in it, and goes on reading its sources where they were read to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import sha256

import msgspec

from dezky_operator.audit import hot
from dezky_operator.audit.chain import Tip
from dezky_operator.audit.event import Datum
from dezky_operator.store.interface import Reader, Row, Rows, Span, Store, Table
from dezky_operator.store.tables import CHECKPOINTS, CURSORS, KEYS, LOG, SEEN, CursorRow, KeyRow, LogRow, SeenRow

AT_ONCE = 1_000
EARLIER = 0
"""The place of an event of an earlier epoch: it has none in this one."""


async def carry_over(old: Store, new: Store) -> dict[str, Datum]:
    """Take into ``new``, which is empty, what it must know of ``old``; what its first event says. May be repeated.

    Raises:
        UnavailableError: one of them; call again.
    """
    tip = await old.read(_tip)
    for start in range(0, tip.size, AT_ONCE):
        rows = await old.read(partial(_lines, span=Span(start, start + AT_ONCE)))
        seen = [SeenRow(row.dk, EARLIER, hot.delivered_as(row.body)) for row in rows]
        await new.run(partial(_put, table=SEEN, rows=seen))
    after: bytes | None = None
    while seen := await old.read(partial(_seen, after=after)):
        await new.run(partial(_put, table=SEEN, rows=[SeenRow(row.dk, EARLIER, row.evt_id) for row in seen]))
        after = seen[-1].dk
    keys = await old.read(_keys)
    await new.run(partial(_put, table=KEYS, rows=keys))
    cursors = await old.read(_cursors)
    await new.run(partial(_put, table=CURSORS, rows=list(_begun_again(cursors))))
    return {"size": tip.size, "head": tip.h.hex(), **await old.read(_signed)}


def _begun_again(cursors: list[CursorRow]) -> Iterator[CursorRow]:
    """Cursors whose lines are counted from the beginning of this log: its first one is never a source's."""
    return (msgspec.structs.replace(row, size=1) for row in cursors)


async def _put(into: Rows, *, table: Table[Row], rows: Sequence[Row]) -> None:
    await into.put(table, rows)


async def _tip(rows: Reader) -> Tip:
    return await hot.tip(rows, await hot.head_row(rows))


async def _lines(rows: Reader, *, span: Span) -> list[LogRow]:
    return await rows.scan(LOG, span, limit=AT_ONCE)


async def _seen(rows: Reader, *, after: bytes | None) -> list[SeenRow]:
    span = Span(low=after + b"\0" if after is not None else None)
    return await rows.scan(SEEN, span, limit=AT_ONCE)


async def _keys(rows: Reader) -> list[KeyRow]:
    return await rows.scan(KEYS, limit=await rows.count(KEYS) or 1)


async def _cursors(rows: Reader) -> list[CursorRow]:
    return await rows.scan(CURSORS, limit=await rows.count(CURSORS) or 1)


async def _signed(rows: Reader) -> dict[str, Datum]:
    """The newest checkpoint that was in the old store, by its hash."""
    found = await rows.scan(CHECKPOINTS, limit=1, newest_first=True)
    if not found:
        return {}
    return {"checkpoint_size": found[0].size, "checkpoint_sha256": sha256(found[0].note.encode()).hexdigest()}
