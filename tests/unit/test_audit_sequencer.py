"""The sequencer over a real SQLite file; the numbers are the cases of facts/audit-log.md §4 that are its own."""

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
from dezky_operator.audit.line import GENESIS, Line, decode
from dezky_operator.audit.merkle import leaf_hash, root_of
from dezky_operator.audit.refusals import BrokenLogError, ClockError
from dezky_operator.audit.sequencer import Sequencer
from dezky_operator.audit.stored_tiles import grow
from dezky_operator.audit.times import from_unix_ns
from dezky_operator.store.interface import Reader, Rows, Span, Store, UnavailableError
from dezky_operator.store.sqlite import Options, SqliteStore
from dezky_operator.store.tables import HEAD, LOG, PII, SEEN, TENANTS, TILES, LogRow, PiiRow, TenantRow, TileRow
from tests.archiving import delete_below, prune
from tests.drafts import ACME, NORD, ORIGIN, draft, drafts
from tests.stores import Asleep, Doubtful, Faulty, LostError, Stepping

START = 1_795_492_800_000_000_000
HOUR = 3_600 * 10**9


class Clock:
    """A clock that is set, and how far the API server's is from it."""

    def __init__(self) -> None:
        self.ns = START
        self.difference = 0.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await SqliteStore.open(tmp_path / "audit.db")
    yield opened
    await opened.close()


@pytest.fixture
def log(store: Store, clock: Clock) -> Sequencer:
    return sequencer(store, clock)


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


async def test_case_11_two_sequencers_from_the_same_head_make_one_log(tmp_path: Path, clock: Clock) -> None:
    """Two connections, both with events of their own and some of the other's; an archiving comes between."""
    stores = [await SqliteStore.open(tmp_path / "audit.db") for _ in range(2)]
    logs = [sequencer(store, clock) for store in stores]
    for turn in range(10):
        offered = [drafts(*(f"{turn}-{n}" for n in range(5 * who, 5 * who + 8))) for who in range(2)]
        done = await asyncio.gather(*(log.append(batch) for log, batch in zip(logs, offered, strict=True)))
        assert sum(counts.stored for one in done for counts in one.counts().values()) == 13
        if turn == 5:
            await prune(stores[0], end=40)
    lines = await lines_of(stores[1])
    assert lines[0].seq == 40
    assert lines[-1].seq == 129
    assert len({line.ext for line in lines}) == len(lines)
    for store in stores:
        await store.close()


async def test_case_12_a_sequencer_that_ends_at_any_call_leaves_no_half_and_the_next_one_goes_on(
    store: Store, clock: Clock
) -> None:
    whole = 0
    for at in range(60):
        batch = drafts(f"{at}-a", f"{at}-b", tenant=ACME if at % 2 else NORD)
        try:
            await sequencer(Faulty(store, at=at), clock).append(batch)
        except LostError:
            assert f"{at}-a" not in await exts_of(store)
        else:
            whole += 1
        assert (await sequencer(store, clock).append(batch)).counts()["authentik-main"].received == 2
        assert (await exts_of(store))[-2:] == [f"{at}-a", f"{at}-b"]
    assert 0 < whole < 60
    assert len(await lines_of(store)) == 120


async def test_case_12_an_acknowledgement_that_is_lost_adds_nothing_when_the_events_come_again(
    store: Store, clock: Clock
) -> None:
    with pytest.raises(UnavailableError):
        await sequencer(Faulty(store, at=0, done=True), clock).append(drafts("a", "b"))
    again = await sequencer(store, clock).append(drafts("a", "b", "c"))
    assert [one.fate for one in again.placed] == [Fate.DUPLICATE, Fate.DUPLICATE, Fate.STORED]
    assert await exts_of(store) == ["a", "b", "c"]


async def test_case_12_memory_of_a_transaction_that_was_lost_is_not_believed(tmp_path: Path, clock: Clock) -> None:
    """The work of an append ends, then the disk is full at the commit: the next line follows what is really there."""
    store = await SqliteStore.open(tmp_path / "audit.db", Options(max_pages=160))
    log = sequencer(store, clock)
    await log.append(drafts("a", tenant=ACME))

    async def filling(rows: Rows) -> None:
        await rows.put(TILES, [TileRow(f"9/{n}", bytes(8_000)) for n in range(200)])

    together = await asyncio.gather(log.append(drafts("b", tenant=ACME)), store.run(filling), return_exceptions=True)
    assert all(isinstance(one, UnavailableError) for one in together)
    await log.append(drafts("c", tenant=ACME))
    assert await exts_of(store) == ["a", "c"]
    await store.close()


async def test_case_13_a_page_that_is_pulled_again_adds_nothing_also_after_its_events_were_archived(
    log: Sequencer, store: Store
) -> None:
    page = [draft("a", evt_id="1"), draft("b"), draft("c")]
    await log.append(page)
    assert (await log.append(page)).counts()["authentik-main"].duplicate == 3
    await log.append(drafts("d"))
    await prune(store, end=2)
    again = await log.append([draft("a", evt_id="2"), *page[1:]])
    assert [(one.seq, one.fate) for one in again.placed] == [
        (0, Fate.COLLAPSED),
        (1, Fate.DUPLICATE),
        (2, Fate.DUPLICATE),
    ]
    assert await exts_of(store) == ["c", "d"]


async def test_case_13_events_between_the_floor_and_their_deletion_are_known(log: Sequencer, store: Store) -> None:
    await log.append(drafts("a", "b", "c"))
    await raise_floor(store, 1)
    assert (await log.append(drafts("a", "b"))).counts()["authentik-main"].duplicate == 2
    await delete_below(store, 1)
    assert await exts_of(store) == ["b", "c"]


async def test_case_14_after_everything_was_archived_the_chains_and_tiles_go_on(log: Sequencer, store: Store) -> None:
    before = await log.append([draft(str(n), tenant=ACME if n % 2 else NORD) for n in range(600)])
    leaves = [row.h for row in await rows_of(store)]
    await grow(store)
    await prune(store, end=599)
    assert [line.seq for line in await lines_of(store)] == [599]
    await log.append([draft("next", tenant=ACME), draft("other", tenant=NORD)])
    last, first_new, other = await lines_of(store)
    assert last.seq == before.placed[-1].seq
    assert (first_new.seq, first_new.t_seq) == (600, 300)
    assert (other.t_seq, other.t_prev) == (300, leaves[598].hex())
    leaves += [row.h for row in (await rows_of(store))[1:]]
    grown = await grow(store)
    assert (grown.size, grown.root) == (602, root_of(leaves))


async def test_case_22_a_clock_set_back_does_not_reorder_and_a_source_in_the_future_is_kept_as_it_says(
    log: Sequencer, store: Store, clock: Clock
) -> None:
    await log.append(drafts("a"))
    clock.ns -= HOUR
    await log.append([draft("b", at="2099-01-01T00:00:00.000000Z")])
    clock.ns += 2 * HOUR
    await log.append(drafts("c"))
    lines = await lines_of(store)
    assert [line.rec for line in lines] == [from_unix_ns(START), from_unix_ns(START), from_unix_ns(START + HOUR)]
    assert lines[1].at == "2099-01-01T00:00:00.000000Z"


async def test_case_29_a_writer_that_slept_through_an_archiving_does_not_count_and_its_event_gets_one_number(
    log: Sequencer, store: Store
) -> None:
    """Its rows are put where it would have put them: the end of the log it saw was archived while it slept."""
    await log.append(drafts("a", "b", "c", "d"))
    old = [row for row in await rows_of(store) if row.seq == 1]
    await prune(store, end=3)
    stray = msgspec.structs.replace(old[0], dk=draft("late").dk, seq=2)

    async def late(rows: Rows) -> None:
        await rows.insert(LOG, [stray])

    await store.run(late)
    assert await exts_of(store) == ["d"]
    (placed,) = (await log.append(drafts("late"))).placed
    assert (placed.seq, placed.fate) == (4, Fate.STORED)
    assert await exts_of(store) == ["d", "late"]

    async def below(rows: Reader) -> int:
        return await rows.count(LOG, Span(high=3))

    assert await store.read(below) == 0


async def test_case_29_rows_that_were_inserted_below_a_floor_that_moved_are_taken_back(
    store: Store, clock: Clock
) -> None:
    """The archiving happens between the look at the end of the log and the insert, as it can on MongoDB."""
    await sequencer(store, clock).append(drafts("a", "b", "c"))
    asleep = Asleep(Stepping(store))
    late = asyncio.create_task(sequencer(asleep, clock).append(drafts("late", "later")))
    await asleep.looked.wait()
    await sequencer(store, clock).append(drafts("d", "e", "f", "g", tenant=ACME))
    await prune(store, end=6)
    asleep.go.set()
    assert [(one.seq, one.fate) for one in (await late).placed] == [(7, Fate.STORED), (8, Fate.STORED)]
    assert await exts_of(store) == ["g", "late", "later"]

    async def below(rows: Reader) -> int:
        return await rows.count(LOG, Span(high=6))

    assert await store.read(below) == 0


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


@pytest.mark.parametrize("set_back", [False, True])
async def test_case_30_a_tenant_head_that_is_gone_or_set_back_is_rebuilt_from_the_newest_hot_row(
    store: Store, clock: Clock, *, set_back: bool
) -> None:
    await sequencer(store, clock).append([draft("a", tenant=ACME), draft("b", tenant=ACME), draft("c", tenant=NORD)])

    async def spoilt(rows: Rows) -> None:
        there = await rows.get(TENANTS, ACME)
        assert there is not None
        await rows.remove(TENANTS, there)
        if set_back:
            await rows.insert(TENANTS, [TenantRow(ACME, 0, (await rows.scan(LOG, limit=1))[0].h, 0)])

    await store.run(spoilt)
    await sequencer(store, clock).append([draft("d", tenant=ACME)])
    lines = await lines_of(store)
    assert (lines[3].t_seq, lines[3].t_prev) == (2, lines[2].prev)

    async def look(rows: Reader) -> dict[str, TenantRow]:
        return await hot.all_tenant_heads(rows, 0)

    heads = await store.read(look)
    assert {tenant: head.seq for tenant, head in heads.items()} == {ACME: 3, NORD: 2}


async def test_case_30_a_quiet_tenant_goes_on_after_its_last_row_was_pruned(store: Store, clock: Clock) -> None:
    await sequencer(store, clock).append([draft("a", tenant=ACME), draft("b"), draft("c")])
    (quiet, *_) = await rows_of(store)
    await prune(store, end=2)
    await sequencer(store, clock).append([draft("d", tenant=ACME)])
    line = (await lines_of(store))[-1]
    assert (line.t_seq, line.t_prev) == (1, quiet.h.hex())


async def test_case_30_a_tenant_whose_head_was_never_stored_is_covered_before_its_row_is_out_of_reach(
    store: Store, clock: Clock
) -> None:
    """A writer without transactions ends between the lines and the tenants' heads; the floor passes the line."""
    await sequencer(Doubtful(Stepping(store)), clock).append([draft("a", tenant=NORD)])

    async def forgotten(rows: Rows) -> None:
        await rows.delete(TENANTS, Span(), limit=9)

    await store.run(forgotten)
    (first,) = await rows_of(store)
    await sequencer(store, clock).append([draft("b", tenant=ACME), draft("c", tenant=ACME)])
    await raise_floor(store, 2)
    await sequencer(store, clock).append([draft("d", tenant=NORD)])
    line = (await lines_of(store))[-1]
    assert (line.t_seq, line.t_prev) == (1, first.h.hex())


async def test_an_insert_in_doubt_that_went_in_is_ours_with_all_that_belongs_to_it(store: Store, clock: Clock) -> None:
    done = await sequencer(Doubtful(Stepping(store)), clock).append([*drafts("a", tenant=ACME), *drafts("b", "a")])
    assert [(one.seq, one.fate) for one in done.placed] == [(0, Fate.STORED), (1, Fate.STORED), (0, Fate.DUPLICATE)]

    async def look(rows: Reader) -> tuple[int, TenantRow | None, int]:
        return await rows.count(PII), await rows.get(TENANTS, ACME), (await hot.head_row(rows)).size

    values, head, size = await store.read(look)
    assert (values, head is not None and head.seq, size) == (2, 0, 2)


async def test_case_34_a_clock_that_is_off_stops_numbering_and_nothing_is_lost(
    log: Sequencer, store: Store, clock: Clock
) -> None:
    for difference in (600.1, -600.1):
        clock.difference = difference
        with pytest.raises(ClockError, match="set the clock"):
            await log.append(drafts("a"))
    assert await exts_of(store) == []
    clock.difference = -599.0
    await log.append(drafts("a", "b"))
    assert await exts_of(store) == ["a", "b"]


async def test_case_36_a_taken_event_is_a_duplicate_and_a_taken_number_gets_another(store: Store, clock: Clock) -> None:
    """Both are the same conflict to the sequencer; the other writer comes between its look and its insert."""
    await sequencer(store, clock).append(drafts("a"))
    asleep = Asleep(Stepping(store))
    late = asyncio.create_task(sequencer(asleep, clock).append(drafts("mine", "shared", "mine too")))
    await asleep.looked.wait()
    await sequencer(store, clock).append(drafts("theirs", "shared"))
    asleep.go.set()
    fates = [(one.seq, one.fate) for one in (await late).placed]
    assert fates == [(3, Fate.STORED), (2, Fate.DUPLICATE), (4, Fate.STORED)]
    assert await exts_of(store) == ["a", "theirs", "shared", "mine", "mine too"]


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
