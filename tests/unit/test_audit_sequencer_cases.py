"""The cases of facts/audit-log.md §4 that are the sequencer's own, by their numbers, over SQLite and MongoDB."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec
import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from dezky_operator.audit import hot
from dezky_operator.audit.fates import Fate
from dezky_operator.audit.floor import raise_floor
from dezky_operator.audit.merkle import root_of
from dezky_operator.audit.refusals import ClockError
from dezky_operator.audit.sequencer import Sequencer
from dezky_operator.audit.stored_tiles import grow
from dezky_operator.audit.times import from_unix_ns
from dezky_operator.store.interface import Reader, Rows, Span, Store, UnavailableError
from dezky_operator.store.sqlite import Options, SqliteStore
from dezky_operator.store.tables import LOG, TENANTS, TILES, TenantRow, TileRow
from tests.archiving import delete_below, prune
from tests.backends import BACKENDS
from tests.drafts import ACME, NORD, draft, drafts
from tests.ferretdb import server
from tests.logs import START, Clock, exts_of, lines_of, rows_of, sequencer
from tests.mongowire import Document, Wire, wire
from tests.stores import Asleep, Doubtful, Faulty, LostError, Stepping

HOUR = 3_600 * 10**9
ON_SQLITE = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
"""A promise of transactions. What MongoDB promises instead is in test_audit_inbox."""


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


async def test_case_11_two_sequencers_on_one_file_make_one_log(tmp_path: Path, clock: Clock) -> None:
    stores = [await SqliteStore.open(tmp_path / "audit.db") for _ in range(2)]
    await both_append(stores, clock)


async def test_case_11_two_sequencers_on_one_database_make_one_log(clock: Clock) -> None:
    async with server.database() as name:
        await both_append([await server.opened(name) for _ in range(2)], clock)


async def both_append(stores: Sequence[Store], clock: Clock) -> None:
    """Two connections, both with events of their own and some of the other's; an archiving comes between."""
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


@ON_SQLITE
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


@pytest.mark.parametrize("others", [[], ["theirs"]], ids=["alone", "another writer is first"])
async def test_case_28_a_row_that_went_with_its_primary_is_built_on_by_nobody(clock: Clock, others: list[str]) -> None:
    """The failover is played: the row is inserted, gone again, and the answer is that no majority has it.

    That a read at majority does not see such a row before is the server's own promise, and that every read asks for it
    is tested with the store. With ``DEZKY_TEST_MONGODB_URI`` the server is real, and the failover is still played.
    """
    async with server.database() as name, wire(server.uri()) as between:
        stepping, direct = await server.opened(name, between.uri), await server.opened(name)
        ours, theirs = sequencer(stepping, clock), sequencer(direct, clock)
        await ours.append(drafts("before"))
        with MongoClient[Document](server.uri()) as behind:
            between.told = rolled_back(between, behind[name]["e1_audit_log"])
            appending = asyncio.create_task(ours.append(drafts("lost")))
            await between.held.wait()
            await theirs.append(drafts(*others))
            assert between.hold is not None
            between.hold.set()
            done = await appending
        assert [one.fate for one in done.placed] == [Fate.STORED]
        again = await theirs.append(drafts("lost"))
        assert [one.fate for one in again.placed] == [Fate.DUPLICATE]
        await ours.append(drafts("after"))
        lines = await lines_of(direct)
        await stepping.close()
        await direct.close()
    assert [line.ext for line in lines] == ["before", *others, "lost", "after"]


def rolled_back(between: Wire, rows: Collection[Document]) -> Callable[[str, Document], Document]:
    """What becomes of the next insert into the log: its row goes, and no majority has it. Then the wire is held."""

    def told(name: str, answer: Document) -> Document:
        if name != "insert" or between.hold is not None or rows.find_one({"_id": 1}) is None:
            return answer
        rows.delete_one({"_id": 1})
        between.hold = asyncio.Event()
        between.held.clear()
        return {**answer, "writeConcernError": {"code": 91, "codeName": "ShutdownInProgress", "errmsg": "stepped down"}}

    return told


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
