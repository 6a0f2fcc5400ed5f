"""The sequencer over SQLite and MongoDB: what becomes of events, tiles, floor and tenants' heads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from dezky_operator.audit import hot
from dezky_operator.audit.draft import Draft
from dezky_operator.audit.errors import TileError
from dezky_operator.audit.event import Datum
from dezky_operator.audit.fates import Counts, Fate
from dezky_operator.audit.floor import raise_floor
from dezky_operator.audit.heads import TenantMap
from dezky_operator.audit.line import GENESIS
from dezky_operator.audit.merkle import root_of
from dezky_operator.audit.refusals import BrokenLogError
from dezky_operator.audit.sequencer import Sequencer
from dezky_operator.audit.stored_tiles import grow
from dezky_operator.audit.times import from_unix_ns
from dezky_operator.store.interface import Reader, Rows, Span, Store
from dezky_operator.store.tables import HEAD, LOG, PII, SEEN, TENANTS, TILES, PiiRow, TenantRow
from tests.archiving import prune
from tests.backends import BACKENDS
from tests.drafts import ACME, NORD, draft, drafts
from tests.logs import START, Clock, exts_of, lines_of, rows_of, sequencer
from tests.stores import Asleep, Doubtful, Stepping

ON_SQLITE = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
"""More events than FerretDB, which sorts all it has for every look, gives in a test's time."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=sorted(BACKENDS))
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with BACKENDS[request.param](tmp_path) as opened:
        yield opened


@pytest.fixture
def log(store: Store, clock: Clock) -> Sequencer:
    return sequencer(store, clock)


async def test_the_first_line_follows_nothing_and_the_next_one_follows_it(log: Sequencer, store: Store) -> None:
    await log.append([draft("a"), draft("b", tenant=ACME), draft("c")])
    first, second, third = await lines_of(store)
    assert (first.seq, first.prev, first.t_seq) == (0, GENESIS.hex(), 0)
    assert (second.t_seq, second.t_prev) == (0, GENESIS.hex())
    assert (third.t_seq, third.t_prev) == (1, second.prev)
    assert first.rec == from_unix_ns(START)


async def test_an_event_without_a_time_has_the_time_of_recording(log: Sequencer, store: Store) -> None:
    await log.append([draft("a", at="")])
    (line,) = await lines_of(store)
    assert line.at == line.rec == from_unix_ns(START)


async def test_personal_values_are_stored_with_their_line(log: Sequencer, store: Store) -> None:
    await log.append(drafts("a", "b"))

    async def look(rows: Reader) -> list[PiiRow]:
        return await rows.scan(PII, limit=9)

    assert [(row.seq, row.f["actor.email"][1]) for row in await store.read(look)] == [
        (0, "a@acme.test"),
        (1, "b@acme.test"),
    ]


async def test_more_events_than_one_insert_takes_keep_their_order(log: Sequencer, store: Store) -> None:
    exts = [str(n) for n in range(1_203)]
    appended = await log.append(drafts(*exts))
    assert await exts_of(store) == exts
    assert [one.seq for one in appended.placed] == list(range(1_203))
    assert appended.counts() == {"authentik-main": Counts(received=1_203, stored=1_203)}


async def test_each_source_is_counted_by_itself_and_every_event_received_has_one_fate(log: Sequencer) -> None:
    await log.append([draft("a", evt_id="1"), draft("b", src="stalwart-main")])
    again = [draft("a", evt_id="1"), draft("a", evt_id="2"), draft("b", src="stalwart-main"), draft("c"), draft("c")]
    counts = (await log.append(again)).counts()
    assert counts == {
        "authentik-main": Counts(received=4, stored=1, duplicate=2, collapsed=1),
        "stalwart-main": Counts(received=1, duplicate=1),
    }


async def test_equal_events_of_one_call_are_one_and_the_second_delivery_is_counted(
    log: Sequencer, store: Store
) -> None:
    appended = await log.append([draft("a", evt_id="1"), draft("a", evt_id="1"), draft("a", evt_id="2")])
    assert [one.fate for one in appended.placed] == [Fate.STORED, Fate.DUPLICATE, Fate.COLLAPSED]
    assert await exts_of(store) == ["a"]


async def test_two_writers_without_transactions_make_one_log(store: Store, clock: Clock) -> None:
    logs = [sequencer(Stepping(store), clock) for _ in range(3)]
    for turn in range(8):
        offered = [drafts(*(f"{turn}-{n}" for n in range(3 * who, 3 * who + 5)), tenant=NORD) for who in range(3)]
        done = await asyncio.gather(*(log.append(batch) for log, batch in zip(logs, offered, strict=True)))
        assert sum(counts.stored for one in done for counts in one.counts().values()) == 11
    exts = await exts_of(store)
    assert len(exts) == len(set(exts)) == 88

    async def look(rows: Reader) -> tuple[TenantRow | None, int]:
        return await rows.get(TENANTS, NORD), await rows.count(PII)

    head, values = await store.read(look)
    assert head is not None
    assert (head.seq, head.t_seq, values) == (87, 87, 88)


async def test_an_insert_in_doubt_that_went_in_is_ours_with_all_that_belongs_to_it(store: Store, clock: Clock) -> None:
    done = await sequencer(Doubtful(Stepping(store)), clock).append([*drafts("a", tenant=ACME), *drafts("b", "a")])
    assert [(one.seq, one.fate) for one in done.placed] == [(0, Fate.STORED), (1, Fate.STORED), (0, Fate.DUPLICATE)]

    async def look(rows: Reader) -> tuple[int, TenantRow | None, int]:
        return await rows.count(PII), await rows.get(TENANTS, ACME), (await hot.head_row(rows)).size

    values, head, size = await store.read(look)
    assert (values, head is not None and head.seq, size) == (2, 0, 2)


async def test_a_log_whose_lines_are_gone_is_not_begun_anew(log: Sequencer, store: Store, clock: Clock) -> None:
    await log.append(drafts("a", "b"))

    async def emptied(rows: Rows) -> None:
        await rows.delete(LOG, Span(), limit=9)

    await store.run(emptied)
    for writer in (log, sequencer(store, clock)):
        with pytest.raises(BrokenLogError, match="it had 2"):
            await writer.append(drafts("c"))
    assert await rows_of(store) == []


async def test_an_archived_log_without_its_last_row_is_not_begun_anew(log: Sequencer, store: Store) -> None:
    await log.append(drafts("a", "b"))
    await prune(store, end=1)

    async def emptied(rows: Rows) -> None:
        await rows.delete(LOG, Span(), limit=9)

    await store.run(emptied)
    with pytest.raises(BrokenLogError):
        await log.append(drafts("c"))


@ON_SQLITE
async def test_the_tiles_are_those_of_the_lines_however_they_were_added(log: Sequencer, store: Store) -> None:
    leaves: list[bytes] = []
    for size in (1, 254, 1, 1, 300, 2_300):
        start = len(leaves)
        await log.append(drafts(*(str(n) for n in range(start, start + size))))
        grown = await grow(store)
        leaves = [row.h for row in await rows_of(store)]
        assert (grown.size, grown.root) == (len(leaves), root_of(leaves))

    async def look(rows: Reader) -> dict[str, bytes]:
        return {tile.place: tile.hashes for tile in await rows.scan(TILES, limit=99)}

    tiles = await store.read(look)
    assert b"".join(tiles[f"0/{n}"] for n in range(len(leaves) // 256 + 1)) == b"".join(leaves)
    assert len(tiles["1/0"]) == len(leaves) // 256 * 32


async def test_no_tiles_are_made_of_a_log_with_a_missing_or_a_changed_line(log: Sequencer, store: Store) -> None:
    await log.append(drafts("a", "b", "c", "d"))
    there = await rows_of(store)

    async def changed(rows: Rows) -> None:
        await rows.swap(LOG, there[2], msgspec.structs.replace(there[2], body=there[1].body))

    await store.run(changed)
    with pytest.raises(TileError, match="line 2 does not give its hash"):
        await grow(store)

    async def missing(rows: Rows) -> None:
        await rows.delete(LOG, Span(1, 2), limit=1)

    await store.run(missing)
    with pytest.raises(TileError, match="line 1 is missing"):
        await grow(store)

    async def look(rows: Reader) -> int:
        return await rows.count(TILES)

    assert await store.read(look) == 0


async def test_the_floor_is_not_moved_over_a_missing_line(log: Sequencer, store: Store) -> None:
    await log.append(drafts("a", "b", "c"))

    async def missing(rows: Rows) -> None:
        await rows.delete(LOG, Span(1, 2), limit=1)

    await store.run(missing)
    with pytest.raises(BrokenLogError, match="not all there"):
        await raise_floor(store, 2)
    await raise_floor(store, 0)
    await raise_floor(store, -1)  # it never goes back

    async def look(rows: Reader) -> int:
        return (await hot.head_row(rows)).hot_floor

    assert await store.read(look) == 1


async def test_the_floor_is_moved_by_archiving_only(log: Sequencer, store: Store) -> None:
    await log.append(drafts("a", "b", "c"))
    await prune(store, end=1)
    await log.append(drafts("d"))

    async def look(rows: Reader) -> tuple[int, int]:
        (head,) = await rows.scan(HEAD, limit=2)
        return head.hot_floor, head.size

    assert await store.read(look) == (2, 4)


async def test_seen_keeps_what_was_archived(log: Sequencer, store: Store) -> None:
    await log.append(drafts("a", "b", "c"))
    await prune(store, end=1)

    async def look(rows: Reader) -> list[int]:
        return sorted(row.seq for row in await rows.scan(SEEN, limit=9))

    assert await store.read(look) == [0, 1]


def heads_event(size: int, heads: TenantMap) -> Draft:
    data: dict[str, Datum] = {"count": len(heads), "root": heads.root.hex()}
    return msgspec.structs.replace(draft(f"log.heads:{size}"), action="log.heads", data=data)


async def test_an_event_about_the_tenants_speaks_of_exactly_the_lines_before_it(log: Sequencer, store: Store) -> None:
    await log.append([draft("a", tenant=ACME), draft("b", tenant=NORD), draft("c", tenant=ACME)])
    about = await log.append_about(heads_event)
    rows = await rows_of(store)
    assert (about.size, about.placed.seq) == (3, 3)
    assert [(head.tenant, head.t_seq, head.h) for head in about.heads.heads] == [
        (ACME, 1, rows[2].h),
        (NORD, 0, rows[1].h),
    ]
    assert (await lines_of(store))[3].data == {"count": 2, "root": about.heads.root.hex()}


async def test_an_event_about_the_tenants_is_made_anew_when_another_writer_comes_first(
    store: Store, clock: Clock
) -> None:
    """Whatever it was just doing."""
    for at in range(1, 30):
        asleep = Asleep(Stepping(store), before=at)
        late = asyncio.create_task(sequencer(asleep, clock).append_about(heads_event))
        await asleep.asleep_or_done(late)
        await sequencer(store, clock).append([draft(str(at), tenant=ACME if at % 2 else NORD)])
        asleep.go.set()
        about = await late
        assert about.size == about.placed.seq
        rows = (await rows_of(store))[: about.size]
        assert {head.tenant: head.h for head in about.heads.heads} == {row.tenant: row.h for row in rows}
