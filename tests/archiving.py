"""The last steps of an archiving, as far as the log's own store is concerned (facts/audit-log.md §2.5, S8 and S9)."""

from __future__ import annotations

from dezky_operator.audit.floor import raise_floor
from dezky_operator.store.interface import Rows, Span, Store
from dezky_operator.store.tables import LOG, PII


async def delete_below(store: Store, end: int) -> None:
    """S9: everything below ``end`` goes, the batch's last row stays."""

    async def gone(rows: Rows) -> None:
        await rows.delete(LOG, Span(high=end), limit=100_000)
        await rows.delete(PII, Span(high=end), limit=100_000)

    await store.run(gone)


async def prune(store: Store, *, end: int) -> None:
    """Both."""
    await raise_floor(store, end)
    await delete_below(store, end)
