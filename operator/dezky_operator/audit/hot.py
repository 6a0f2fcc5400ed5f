"""What of the log is in the store: from one row below the hot floor on, up to its end (facts/audit-log.md §2.3, §2.5).

Rows further below wait for their deletion or were put there by a writer that slept through an archiving: they are never
read as part of the log.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from dezky_operator.audit.chain import EMPTY, Tip
from dezky_operator.audit.refusals import BrokenLogError
from dezky_operator.store.interface import Key, Reader, Rows, Span
from dezky_operator.store.tables import HEAD, HEAD_ID, LOG, SEEN, TENANTS, HeadRow, LogRow, TenantRow

NO_HEAD = HeadRow(HEAD_ID, 0, 0, bytes(32))


class Known(msgspec.Struct, frozen=True, gc=False):
    """An event that is in the log: its place, its sender's id, and while it is hot (else empty) leaf hash and line."""

    seq: int
    evt_id: str
    h: bytes = b""
    body: bytes = b""


class _Data(msgspec.Struct, frozen=True, gc=False):
    evt_id: str = ""


class _Delivery(msgspec.Struct, frozen=True, gc=False):
    """What of a line says under which id its sender delivered it."""

    data: _Data


_DELIVERY = msgspec.json.Decoder(_Delivery)


async def head_row(rows: Reader) -> HeadRow:
    """The row about the log as a whole, as it is before the first event if there is none yet."""
    return await rows.get(HEAD, HEAD_ID) or NO_HEAD


def hot(floor: int) -> Span:
    """The rows that count: archiving leaves the last row of what it took, so the end of the log is always here."""
    return Span(low=max(floor - 1, 0))


async def tip(rows: Reader, head: HeadRow) -> Tip:
    """Where the log ends.

    Raises:
        BrokenLogError: there were lines and the store has none: a second beginning would hide that they are gone.
    """
    newest = await rows.scan(LOG, hot(head.hot_floor), limit=1, newest_first=True)
    if newest:
        return Tip(newest[0].seq + 1, newest[0].h, newest[0].rec)
    if head.hot_floor or head.size:
        raise BrokenLogError(
            f"the log has no line from {max(head.hot_floor - 1, 0)} on, and its head says it had {head.size}, of them "
            f"{head.hot_floor} archived: restore the store, nothing is appended"
        )
    return EMPTY


async def known(rows: Rows, floor: int, dks: Collection[bytes]) -> dict[Key, Known]:
    """Those of ``dks`` that are in the log, hot or archived; ``floor`` was read before.

    The order matters: an event is in ``audit_seen`` before the floor passes it, so one of the two look-ups finds it. A
    row below the floor that only the first finds is no part of the log: it is deleted, it would block the event.
    """
    places = await rows.keys_by(LOG, "dk", dks)
    lowest = max(floor - 1, 0)
    found = await _hot(rows, [seq for seq in places.values() if _number(seq) >= lowest])
    seen = await rows.get_many(SEEN, [dk for dk in dks if dk not in found])
    found.update((dk, Known(row.seq, row.evt_id)) for dk, row in seen.items())
    await _drop(rows, [seq for dk, seq in places.items() if dk not in found])
    return found


async def _hot(rows: Reader, places: list[Key]) -> dict[Key, Known]:
    there = await rows.get_many(LOG, places) if places else {}
    return {row.dk: Known(row.seq, delivered_as(row.body), row.h, row.body) for row in there.values()}


def delivered_as(body: bytes) -> str:
    """The sender's id in a line. A line that was tampered with is the verifier's to find, it stops no other."""
    try:
        return _DELIVERY.decode(body).data.evt_id
    except msgspec.MsgspecError:
        return ""


async def _drop(rows: Rows, places: list[Key]) -> None:
    """Delete rows of a late writer; one that changed in between is looked at again with the next try."""
    strays = await rows.get_many(LOG, places) if places else {}
    for row in strays.values():
        await rows.remove(LOG, row)


async def tenant_heads(rows: Reader, floor: int, tenants: Iterable[str]) -> dict[str, TenantRow]:
    """The newest line of each of ``tenants``: the stored head or the newest hot row, whichever is higher.

    The stored head may be behind (a crash before it was advanced) or gone; the hot row may be pruned.
    """
    wanted = list(tenants)
    heads: dict[str, TenantRow] = {row.tenant: row for row in (await rows.get_many(TENANTS, wanted)).values()}
    for tenant in wanted:
        newest = await rows.find(LOG, "tenant", tenant, hot(floor), limit=1, newest_first=True)
        if newest and (tenant not in heads or heads[tenant].seq < newest[0].seq):
            heads[tenant] = _head_of(newest[0])
    return heads


async def all_tenant_heads(rows: Reader, floor: int) -> dict[str, TenantRow]:
    """The newest line of every tenant that ever had one, by tenant."""
    tenants = {row.tenant: None for row in await rows.scan(TENANTS, limit=await rows.count(TENANTS))}
    after = Span()
    while found := await rows.scan_by(LOG, "tenant", after, limit=1):
        tenants[found[0].tenant] = None
        after = Span(low=found[0].tenant + "\0")
    return await tenant_heads(rows, floor, tenants)


def _head_of(row: LogRow) -> TenantRow:
    return TenantRow(row.tenant, row.t_seq, row.h, row.seq)


def _number(key: Key) -> int:
    if not isinstance(key, int):
        raise BrokenLogError(f"a line's number is {key!r}")
    return key
