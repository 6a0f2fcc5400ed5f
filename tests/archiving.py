"""The last steps of an archiving, as far as the log's own store is concerned (facts/audit-log.md §2.5, S8 and S9)."""

from __future__ import annotations

from dezky_operator.audit import hot
from dezky_operator.store.interface import Rows, Span, Store
from dezky_operator.store.tables import HEAD, LOG, PII, SEEN, HeadRow, SeenRow


async def move_floor(store: Store, *, end: int) -> None:
    """S8: what is archived up to and with ``end`` is noted as seen, then the floor moves behind it."""

    async def seen(rows: Rows) -> None:
        floor = (await hot.head_row(rows)).hot_floor
        there = await rows.scan(LOG, Span(floor, end + 1), limit=100_000)
        await rows.put(SEEN, [SeenRow(row.dk, row.seq, hot.delivered_as(row.body)) for row in there])

    async def moved(rows: Rows) -> None:
        head = await hot.head_row(rows)
        assert await rows.swap(HEAD, head, HeadRow(head.id, end + 1, head.size, head.h))

    await store.run(seen)
    await store.run(moved)


async def delete_below(store: Store, end: int) -> None:
    """S9: everything below ``end`` goes, the batch's last row stays."""

    async def gone(rows: Rows) -> None:
        await rows.delete(LOG, Span(high=end), limit=100_000)
        await rows.delete(PII, Span(high=end), limit=100_000)

    await store.run(gone)


async def prune(store: Store, *, end: int) -> None:
    """Both."""
    await move_floor(store, end=end)
    await delete_below(store, end)
