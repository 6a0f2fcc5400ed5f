"""The hot floor: below it the log is in the archive only (facts/audit-log.md §2.5, step S8).

Rows below ``floor - 1`` are read by nobody from the moment the floor is raised, not only from their deletion on. So
what is learnt from them is kept elsewhere before: their dedupe keys, and which line of a tenant was the newest.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from dezky_operator.audit import hot
from dezky_operator.audit.refusals import BrokenLogError
from dezky_operator.store.interface import ConflictError, Rows, Span, Store
from dezky_operator.store.tables import HEAD, LOG, SEEN, TENANTS, HeadRow, LogRow, SeenRow, TenantRow

AT_ONCE = 2_000
"""Rows of one step, so that writers come between."""


async def raise_floor(store: Store, end: int) -> None:
    """Take all lines up to and with ``end``, which are archived and confirmed, out of the hot log. May be repeated.

    Raises:
        BrokenLogError: a line of them is missing; the floor stays.
        UnavailableError: call again.
    """
    floor = (await store.read(hot.head_row)).hot_floor
    for start in range(floor, end + 1, AT_ONCE):
        await store.run(partial(_remember, start=start, stop=min(start + AT_ONCE, end + 1)))
    await store.run(partial(_raise, floor=end + 1))


async def _remember(rows: Rows, *, start: int, stop: int) -> None:
    """Keep what is learnt from the lines elsewhere."""
    lines = await rows.scan(LOG, Span(start, stop), limit=stop - start)
    if [row.seq for row in lines] != list(range(start, stop)):
        raise BrokenLogError(f"lines {start} to {stop - 1} are not all there: the floor stays at {start} or below")
    await rows.put(SEEN, [SeenRow(row.dk, row.seq, hot.delivered_as(row.body)) for row in lines])
    for newest in newest_of(lines).values():
        await advance(rows, newest)


async def _raise(rows: Rows, *, floor: int) -> None:
    """Raise the floor; one that is higher already stays."""
    while (head := await rows.get(HEAD, hot.NO_HEAD.id)) is None or head.hot_floor < floor:
        if head is not None:
            await rows.swap(HEAD, head, HeadRow(head.id, floor, head.size, head.h))
            continue
        try:
            await rows.insert(HEAD, [hot.NO_HEAD])
        except ConflictError:
            continue


def newest_of(rows: Iterable[LogRow]) -> dict[str, TenantRow]:
    """The newest line of each tenant among ``rows``, which are in order."""
    return {row.tenant: TenantRow(row.tenant, row.t_seq, row.h, row.seq) for row in rows}


async def advance(rows: Rows, newest: TenantRow, stored: TenantRow | None = None) -> None:
    """Bring a tenant's stored head up to ``newest``, unless another writer has brought it further.

    ``stored`` is what it is thought to be, which spares a look.
    """
    if stored is not None and await rows.swap(TENANTS, stored, newest):
        return
    while (there := await rows.get(TENANTS, newest.tenant)) is None or there.seq < newest.seq:
        if there is not None:
            await rows.swap(TENANTS, there, newest)
            continue
        try:
            await rows.insert(TENANTS, [newest])
        except ConflictError:
            continue
