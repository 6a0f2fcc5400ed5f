"""The inbox on MongoDB: what is accepted gets one place in the log with all that belongs to it, whatever ends when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial

import msgspec
import pytest

from dezky_operator.audit import inbox as inbox_module
from dezky_operator.audit.draft import Draft, Private
from dezky_operator.audit.erasures import ledger
from dezky_operator.audit.errors import EventError
from dezky_operator.audit.fates import Counts, Fate
from dezky_operator.audit.inbox import Inbox
from dezky_operator.audit.refusals import BrokenLogError, ClockError
from dezky_operator.store.interface import Reader, Result, Rows, Span, Store, UnavailableError
from dezky_operator.store.mongodb import MongoStore
from dezky_operator.store.tables import ERASURES, INBOX, LOG, PII, TENANTS, ErasureRow, InboxRow, PiiRow, TenantRow
from tests.archiving import prune
from tests.drafts import ACME, NORD, draft, drafts
from tests.ferretdb import server
from tests.logs import Clock, exts_of, lines_of, rows_of, sequencer
from tests.stores import Breaking, Doubtful, EndsAt, LostError, Stepping
from tests.unit.test_audit_sequencer import heads_event

ANN, BOB = (bytes(16), "ann@acme.test"), (b"b" * 16, "bob@acme.test")
TWO_VALUES = Private(
    f={"actor.email": ANN, "resource.name": BOB}, raw=b"sealed", raw_salt=b"s" * 16, bi=(b"ann",), people=("42",)
)


@pytest.fixture
async def database() -> AsyncIterator[str]:
    async with server.database() as name:
        yield name


@pytest.fixture
async def store(database: str) -> AsyncIterator[MongoStore]:
    opened = await server.opened(database)
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inbox(store: MongoStore, clock: Clock) -> Inbox:
    return Inbox(store, lambda: clock.ns)


async def waiting(store: Store) -> list[InboxRow]:
    async def look(rows: Reader) -> list[InboxRow]:
        return await rows.scan_by(INBOX, "arr", limit=1_000)

    return await store.read(look)


async def personal(store: Store) -> list[PiiRow]:
    async def look(rows: Reader) -> list[PiiRow]:
        return await rows.scan(PII, limit=1_000)

    return await store.read(look)


async def insisted(call: Callable[[], Awaitable[Result]]) -> Result:
    """What a task does that is in doubt: the same again, until it has an answer."""
    while True:
        with suppress(UnavailableError):
            return await call()


async def drained(inbox: Inbox, store: Store, clock: Clock) -> list[Fate]:
    return [one.fate for one in (await inbox.drain(sequencer(store, clock))).placed]


async def half_appended(store: Store, clock: Clock, *events: Draft) -> None:
    """What a process leaves that ends after the lines and before what belongs to them."""
    with pytest.raises(LostError):
        await sequencer(EndsAt(store, PII), clock).append(events)
    assert len(await rows_of(store)) == len(events)
    assert await personal(store) == []


async def test_events_are_appended_in_the_order_they_were_accepted_whatever_the_clock_says(
    inbox: Inbox, store: MongoStore, clock: Clock
) -> None:
    await inbox.accept(drafts("z", "y"))
    clock.ns -= 3_600 * 10**9
    await inbox.accept(drafts("x"))
    await Inbox(store, lambda: clock.ns).accept(drafts("w"))  # another process, its clock behind what waits
    assert await inbox.depth() == 4
    assert await drained(inbox, store, clock) == [Fate.STORED] * 4
    assert await exts_of(store) == ["z", "y", "x", "w"]
    assert await inbox.depth() == 0
    assert await drained(inbox, store, clock) == []


async def test_a_draft_comes_out_of_the_inbox_as_it_went_in(inbox: Inbox, store: MongoStore, clock: Clock) -> None:
    whole = draft("a", tenant=ACME, evt_id="17", private=TWO_VALUES)
    await inbox.accept([whole])
    (row,) = await waiting(store)
    assert msgspec.msgpack.decode(row.draft, type=Draft) == whole
    await inbox.drain(sequencer(store, clock))
    assert await personal(store) == [PiiRow(0, *msgspec.structs.astuple(TWO_VALUES))]


async def test_of_an_event_that_waits_already_the_first_delivery_stays_and_the_others_are_counted(
    inbox: Inbox, store: MongoStore, clock: Clock
) -> None:
    first = draft("a", evt_id="1")
    again = draft("a", evt_id="1", private=TWO_VALUES)
    assert await inbox.accept([draft("b"), first]) == {}
    counts = await inbox.accept([draft("c"), again, draft("a", evt_id="2"), draft("d"), draft("d")])
    assert counts == {"authentik-main": Counts(received=3, duplicate=2, collapsed=1)}
    assert await drained(inbox, store, clock) == [Fate.STORED] * 4
    assert await exts_of(store) == ["b", "a", "c", "d"]
    assert (await personal(store))[1].f == first.private.f


async def test_the_same_drafts_handed_in_again_after_a_doubt_are_not_counted_as_deliveries(
    store: MongoStore, clock: Clock
) -> None:
    """C076: the caller never heard that they were kept."""
    events = drafts("a", "b")
    with pytest.raises(UnavailableError):
        await Inbox(Doubtful(Stepping(store)), lambda: clock.ns).accept(events)
    assert await Inbox(store, lambda: clock.ns).accept(events) == {}
    assert len(await waiting(store)) == 2


async def test_an_event_already_in_the_log_is_a_duplicate_when_it_is_drained(
    inbox: Inbox, store: MongoStore, clock: Clock
) -> None:
    await inbox.accept([draft("a", evt_id="1")])
    await inbox.drain(sequencer(store, clock))
    await inbox.accept([draft("a", evt_id="2", private=TWO_VALUES), draft("b")])
    assert await drained(inbox, store, clock) == [Fate.COLLAPSED, Fate.STORED]
    assert [row.f["actor.email"][1] for row in await personal(store)] == ["a@acme.test", "b@acme.test"]


async def test_a_clock_that_is_off_leaves_everything_waiting(inbox: Inbox, store: MongoStore, clock: Clock) -> None:
    await inbox.accept(drafts("a"))
    before = await waiting(store)
    clock.difference = 601.0
    with pytest.raises(ClockError):
        await inbox.drain(sequencer(store, clock))
    assert await waiting(store) == before
    clock.difference = 0.0
    assert await drained(inbox, store, clock) == [Fate.STORED]


async def test_a_broken_log_leaves_everything_waiting(inbox: Inbox, store: MongoStore, clock: Clock) -> None:
    await inbox.accept(drafts("a"))
    await inbox.drain(sequencer(store, clock))

    async def emptied(rows: Rows) -> None:
        await rows.delete(LOG, Span(), limit=9)

    await store.run(emptied)
    await inbox.accept(drafts("b"))
    with pytest.raises(BrokenLogError):
        await inbox.drain(sequencer(store, clock))
    assert len(await waiting(store)) == 1


async def test_a_draft_that_cannot_be_read_stops_the_log_and_is_named(
    inbox: Inbox, store: MongoStore, clock: Clock
) -> None:
    await inbox.accept(drafts("a"))
    (row,) = await waiting(store)

    async def spoilt(rows: Rows) -> None:
        await rows.swap(INBOX, row, InboxRow(row.dk, row.arr, b"not a draft"))

    await store.run(spoilt)
    with pytest.raises(BrokenLogError, match=row.dk.hex()):
        await inbox.drain(sequencer(store, clock))
    assert await inbox.depth() == 1


async def test_an_event_too_large_for_mongodb_is_refused_by_its_name_and_nothing_of_the_call_is_kept(
    inbox: Inbox,
) -> None:
    private = Private(raw=bytes(inbox_module.LARGEST))
    with pytest.raises(EventError, match="'b' of authentik-main"):
        await inbox.accept([draft("a"), draft("b", private=private)])
    assert await inbox.depth() == 0


async def test_large_events_are_appended_a_few_at_a_time(inbox: Inbox, store: MongoStore, clock: Clock) -> None:
    for ext in "ab":
        await inbox.accept([draft(ext, private=Private(raw=bytes(9 << 20)))])
    assert [len(await drained(inbox, store, clock)) for _ in range(3)] == [1, 1, 0]


async def test_no_more_events_are_appended_at_once_than_one_insert_takes(
    inbox: Inbox, store: MongoStore, clock: Clock
) -> None:
    exts = [str(n) for n in range(501)]
    await inbox.accept(drafts(*exts))
    assert [len(await drained(inbox, store, clock)) for _ in range(2)] == [500, 1]
    assert await exts_of(store) == exts


async def test_a_line_left_without_its_personal_values_gets_them_when_the_event_is_offered_again(
    inbox: Inbox, store: MongoStore, clock: Clock
) -> None:
    events = [draft("a", tenant=ACME, private=TWO_VALUES), draft("b", tenant=NORD)]
    await inbox.accept(events)
    await half_appended(store, clock, *events)
    assert await drained(inbox, store, clock) == [Fate.STORED, Fate.STORED]
    assert [(row.seq, row.f) for row in await personal(store)] == [(0, TWO_VALUES.f), (1, events[1].private.f)]
    await sequencer(store, clock).append([draft("c", tenant=ACME)])
    assert (await lines_of(store))[2].t_seq == 1


async def test_another_delivery_of_a_line_left_without_its_values_does_not_put_its_own_there(
    store: MongoStore, clock: Clock
) -> None:
    """Its salts are others: they would not open what the line committed to."""
    await half_appended(store, clock, draft("a"))
    other = msgspec.structs.replace(draft("a", private=TWO_VALUES), c={"actor.email": "0" * 64})
    assert [one.fate for one in (await sequencer(store, clock).append([other], kept=True)).placed] == [Fate.DUPLICATE]
    assert await personal(store) == []


async def test_what_was_erased_does_not_come_back_with_the_event(inbox: Inbox, store: MongoStore, clock: Clock) -> None:
    """One line lost a value and its text, one all it had, one is still as it was left; the ledgers lie on two pages."""
    events = [draft(ext, private=TWO_VALUES) for ext in "abc"]
    await inbox.accept(events)
    await half_appended(store, clock, *events)
    erased = [(0, "actor.email"), (0, "raw"), (1, "actor.email"), (1, "raw"), (1, "resource.name")]

    async def erase(rows: Rows) -> None:
        await rows.insert(ERASURES, [ErasureRow(10 + n, "") for n in range(100)])
        await rows.insert(ERASURES, [ErasureRow(200 + n, ledger([one]).decode()) for n, one in enumerate(erased)])

    await store.run(erase)
    await inbox.drain(sequencer(store, clock))
    assert await personal(store) == [
        PiiRow(0, {"resource.name": BOB}, b"", b"", (), ()),
        PiiRow(2, *msgspec.structs.astuple(TWO_VALUES)),
    ]


async def test_a_row_of_personal_values_that_is_there_stays_as_it_is(
    inbox: Inbox, store: MongoStore, clock: Clock
) -> None:
    """A value is erased before its ledger is written; the event is offered again in between."""
    event = draft("a", private=TWO_VALUES)
    await inbox.accept([event])
    await sequencer(store, clock).append([event])
    left = PiiRow(0, {"resource.name": BOB}, b"", b"", (), ())

    async def erase(rows: Rows) -> None:
        await rows.put(PII, [left])

    await store.run(erase)
    assert await drained(inbox, store, clock) == [Fate.STORED]
    assert await personal(store) == [left]


async def test_values_are_not_brought_back_while_a_ledger_cannot_be_read(
    inbox: Inbox, store: MongoStore, clock: Clock
) -> None:
    await inbox.accept(drafts("a"))
    await half_appended(store, clock, draft("a"))

    async def damage(rows: Rows) -> None:
        await rows.insert(ERASURES, [ErasureRow(9, "0 actor.email")])

    await store.run(damage)
    with pytest.raises(BrokenLogError, match="ledger of the erasure at 9"):
        await inbox.drain(sequencer(store, clock))
    assert (await personal(store), await inbox.depth()) == ([], 1)


async def test_an_event_whose_line_was_archived_before_it_left_the_inbox_is_a_duplicate(
    inbox: Inbox, store: MongoStore, clock: Clock
) -> None:
    events = drafts("a", "b", "c")
    await inbox.accept(events)
    await sequencer(store, clock).append(events)
    await prune(store, end=1)
    assert await drained(inbox, store, clock) == [Fate.DUPLICATE, Fate.STORED, Fate.STORED]
    assert [row.seq for row in await personal(store)] == [1, 2]


async def test_case_12_a_process_that_ends_at_any_call_loses_nothing_and_leaves_nothing_half(
    store: MongoStore, clock: Clock
) -> None:
    ended = 0
    for at in range(40):
        events = [draft(f"{at}-{ext}", tenant=ACME if at % 2 else NORD, private=TWO_VALUES) for ext in "ab"]
        await Inbox(store, lambda: clock.ns).accept(events)
        lost = Breaking(Stepping(store), at=at)
        try:
            await Inbox(lost, lambda: clock.ns).drain(sequencer(lost, clock))
        except LostError:
            ended += 1
        inbox = Inbox(store, lambda: clock.ns)
        await inbox.drain(sequencer(store, clock))
        assert (await exts_of(store))[-2:] == [f"{at}-a", f"{at}-b"]
        assert await inbox.depth() == 0
    assert 10 < ended < 40
    assert len(await lines_of(store)) == 80
    assert [(row.seq, row.f) for row in await personal(store)] == [(seq, TWO_VALUES.f) for seq in range(80)]

    async def heads(rows: Reader) -> list[TenantRow]:
        return await rows.scan(TENANTS, limit=9)

    assert sorted(head.t_seq for head in await store.read(heads)) == [39, 39]


async def test_an_answer_that_is_lost_at_any_write_counts_no_event_twice(store: MongoStore, clock: Clock) -> None:
    """The same process tries again until it has an answer."""
    counted = 0
    for about in range(1, 25):
        inbox = Inbox(Doubtful(Stepping(store), about=about), lambda: clock.ns)
        doubtful = sequencer(Doubtful(Stepping(store), about=about), clock)
        await insisted(partial(inbox.accept, drafts(f"{about}-a", f"{about}-b")))
        appended = await insisted(partial(inbox.drain, doubtful))
        counted += appended.counts()["authentik-main"].stored
        assert await inbox.depth() == 0
    assert counted == len(await exts_of(store)) == 48


async def test_two_processes_that_drain_one_inbox_make_one_log(database: str, store: MongoStore, clock: Clock) -> None:
    """Case 11, on two connections: both also append what the other one does not have."""
    other = await server.opened(database)
    boxes = [(Inbox(one, lambda: clock.ns), sequencer(one, clock)) for one in (store, other)]
    for turn in range(4):
        await asyncio.gather(
            *(
                box.accept(drafts(*(f"{turn}-{n}" for n in range(3 * who, 3 * who + 5))))
                for who, (box, _) in enumerate(boxes)
            )
        )
        await asyncio.gather(*(box.drain(log) for box, log in boxes), boxes[turn % 2][1].append_about(heads_event))
        if turn == 2:
            await prune(store, end=20)
    for box, log in boxes:
        while (await box.drain(log)).placed:
            pass
    lines = await lines_of(store)
    assert (lines[0].seq, lines[-1].seq) == (20, 35)
    assert len({line.ext for line in lines}) == 16
    assert [row.seq for row in await personal(store)] == list(range(20, 36))
    await other.close()
