"""A log over a store, with a clock that is set, and its lines with everything about them checked."""

from __future__ import annotations

from dezky_operator.audit import hot
from dezky_operator.audit.line import GENESIS, Line, decode
from dezky_operator.audit.merkle import leaf_hash
from dezky_operator.audit.sequencer import Sequencer
from dezky_operator.store.interface import Reader, Span, Store
from dezky_operator.store.tables import LOG, LogRow
from tests.drafts import ORIGIN

START = 1_795_492_800_000_000_000


class Clock:
    """A clock that is set, and how far the API server's is from it."""

    def __init__(self) -> None:
        self.ns = START
        self.difference = 0.0


def sequencer(store: Store, clock: Clock) -> Sequencer:
    return Sequencer(store, origin=ORIGIN, clock=lambda: clock.ns, clock_difference=lambda: clock.difference)


async def rows_of(store: Store) -> list[LogRow]:
    async def look(rows: Reader) -> list[LogRow]:
        floor = (await hot.head_row(rows)).hot_floor
        return await rows.scan(LOG, Span(low=max(floor - 1, 0)), limit=100_000)

    return await store.read(look)


async def lines_of(store: Store) -> list[Line]:
    """The lines, after every link, number, hash and index field of them was checked."""
    rows = await rows_of(store)
    lines = [decode(row.body) for row in rows]
    tenants: dict[str, Line] = {}
    hashes: dict[str, str] = {}
    for n, (row, line) in enumerate(zip(rows, lines, strict=True)):
        assert leaf_hash(row.body) == row.h
        assert row.seq == line.seq == rows[0].seq + n
        if n:
            assert line.prev == rows[n - 1].h.hex()
        elif row.seq == 0:
            assert line.prev == GENESIS.hex()
        if line.tenant in tenants:
            assert (line.t_seq, line.t_prev) == (tenants[line.tenant].t_seq + 1, hashes[line.tenant])
        elif rows[0].seq == 0:
            assert (line.t_seq, line.t_prev) == (0, GENESIS.hex())
        tenants[line.tenant], hashes[line.tenant] = line, row.h.hex()
        indexed = (row.rec, row.at, row.tenant, row.partner, row.t_seq, row.action, row.outcome, row.source, row.src)
        said = (
            line.rec,
            line.at,
            line.tenant,
            line.partner,
            line.t_seq,
            line.action,
            line.outcome,
            line.source,
            line.src,
        )
        assert indexed == said
    return lines


async def exts_of(store: Store) -> list[str]:
    return [line.ext for line in await lines_of(store)]
