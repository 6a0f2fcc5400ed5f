"""Whatever happens to two writers of one log: no number missing, none twice, no event lost, none twice, no fork."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dezky_operator.audit import hot
from dezky_operator.audit.draft import Draft
from dezky_operator.audit.fates import Appended, Fate
from dezky_operator.audit.floor import raise_floor
from dezky_operator.audit.line import GENESIS, Line, decode
from dezky_operator.audit.merkle import leaf_hash, root_of
from dezky_operator.audit.sequencer import Sequencer
from dezky_operator.audit.stored_tiles import grow
from dezky_operator.store.interface import Reader, Span, Store, UnavailableError
from dezky_operator.store.sqlite import SqliteStore
from dezky_operator.store.tables import LOG, LogRow
from tests.archiving import delete_below
from tests.drafts import ACME, NORD, ORIGIN, draft
from tests.ferretdb import server
from tests.stores import Asleep, Breaking, Doubtful, Faulty, LostError, Stepping

WRITERS = st.integers(0, 1)
CALLS = st.integers(0, 30)
TENANTS = ("", ACME, NORD)
# Few events, so that they are offered again and again; the tenant is the event's own.
BATCHES = st.lists(st.integers(0, 40), min_size=1, max_size=6)


def offered(numbers: list[int]) -> list[Draft]:
    return [draft(str(number), tenant=TENANTS[number % 3]) for number in numbers]


class TwoWriters(RuleBasedStateMachine):
    """Two connections to one store; the events they were told are stored, and every line ever seen."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self.stores: list[Store] = []
        self.logs: list[Sequencer] = []
        self.clock = 1_795_492_800_000_000_000
        self.acknowledged: set[str] = set()
        self.offered: set[str] = set()
        self.lines: list[LogRow] = []
        self.floor = 0
        self.left = 0
        self.tiled = 0

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(asyncio.wait_for(work, 20))

    def log(self, store: Store) -> Sequencer:
        return Sequencer(store, origin=ORIGIN, clock=lambda: self.clock, clock_difference=lambda: 0.0)

    def teardown(self) -> None:
        for store in self.stores:
            self.do(store.close())
        self.clear()
        self._runner.close()

    def opened(self) -> Store:
        """One more connection to the store."""
        raise NotImplementedError

    def clear(self) -> None:
        """Remove the store."""
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        self.stores = [self.opened() for _ in range(2)]
        self.logs = [self.log(store) for store in self.stores]

    def take(self, numbers: list[int], appended: Appended) -> None:
        """What an answer says is remembered: it is held against the log."""
        assert len(appended.placed) == len(numbers)
        self.acknowledged |= {str(number) for number in numbers}

    @rule(who=WRITERS, numbers=BATCHES)
    def offer(self, who: int, numbers: list[int]) -> None:
        before = {line.dk for line in self.lines}
        self.offered |= set(map(str, numbers))
        drafts = offered(numbers)
        appended = self.do(self.logs[who].append(drafts))
        self.take(numbers, appended)
        stored = sum(one.fate is Fate.STORED for one in appended.placed)
        assert stored == len({one.dk for one in drafts} - before)

    @rule(who=WRITERS, numbers=BATCHES, at=CALLS, whole=st.booleans())
    def offer_and_end_at_a_call(self, who: int, numbers: list[int], at: int, *, whole: bool) -> None:
        """With a transaction around the work (SQLite) or without one (MongoDB)."""
        self.offered |= set(map(str, numbers))
        store = Faulty(self.stores[who], at=at) if whole else Breaking(Stepping(self.stores[who]), at=at)
        try:
            self.take(numbers, self.do(self.log(store).append(offered(numbers))))
        except LostError:
            return

    @rule(who=WRITERS, numbers=BATCHES)
    def offer_and_lose_the_answer(self, who: int, numbers: list[int]) -> None:
        self.offered |= set(map(str, numbers))
        try:
            self.do(self.log(Faulty(self.stores[who], at=0, done=True)).append(offered(numbers)))
        except UnavailableError:
            self.acknowledged |= set(map(str, numbers))  # it was durable, only nobody heard

    @rule(who=WRITERS, numbers=BATCHES, about=CALLS)
    def offer_and_be_left_in_doubt_about_a_call_that_was_done(self, who: int, numbers: list[int], about: int) -> None:
        """The write reached the store and its acknowledgement did not come; without transactions."""
        self.offered |= set(map(str, numbers))
        store = Doubtful(Stepping(self.stores[who]), about=about)
        try:
            self.take(numbers, self.do(self.log(store).append(offered(numbers))))
        except UnavailableError:
            return

    @rule(late=BATCHES, others=BATCHES, at=CALLS, archive=st.booleans())
    def one_sleeps_while_the_other_goes_on(self, late: list[int], others: list[int], at: int, *, archive: bool) -> None:
        """Without transactions; the other one appends and perhaps archives everything there is."""
        self.offered |= set(map(str, late + others))
        self.do(self._overtaken(late, others, at, archive=archive))

    async def _overtaken(self, late: list[int], others: list[int], at: int, *, archive: bool) -> None:
        asleep = Asleep(Stepping(self.stores[0]), before=at)
        sleeper = asyncio.create_task(self.log(asleep).append(offered(late)))
        await asleep.asleep_or_done(sleeper)
        self.take(others, await self.logs[1].append(offered(others)))
        if archive:
            self.note(await self.hot_rows())
            await self._archived(len(self.lines) - 1)
        asleep.go.set()
        self.take(late, await sleeper)

    @precondition(lambda self: len(self.lines) > self.floor)
    @rule(share=st.floats(0.0, 1.0))
    def archive(self, share: float) -> None:
        end = self.floor + round(share * (len(self.lines) - 1 - self.floor))
        self.do(self._archived(end))

    async def _archived(self, end: int) -> None:
        """All but the deletion of the rows: that is a step of its own, others may come before it."""
        if end < self.floor:
            return
        await self._grown()
        await raise_floor(self.stores[0], end)
        self.floor = end + 1

    @precondition(lambda self: self.floor > 0)
    @rule()
    def delete_what_is_archived(self) -> None:
        self.do(delete_below(self.stores[1], self.floor - 1))

    @rule(who=WRITERS)
    def open_again(self, who: int) -> None:
        self.do(self.stores[who].close())
        self.stores[who] = self.opened()
        self.logs[who] = self.log(self.stores[who])

    @rule(seconds=st.integers(-3_600, 3_600))
    def set_the_clock(self, seconds: int) -> None:
        self.clock += seconds * 10**9

    @rule()
    def store_tiles(self) -> None:
        self.do(self._grown())

    async def _grown(self) -> None:
        self.note(await self.hot_rows())
        grown = await grow(self.stores[0])
        assert (grown.size, grown.root) == (len(self.lines), root_of([line.h for line in self.lines]))

    async def hot_rows(self) -> list[LogRow]:
        async def look(rows: Reader) -> list[LogRow]:
            floor = (await hot.head_row(rows)).hot_floor
            return await rows.scan(LOG, Span(low=max(floor - 1, 0)), limit=10_000)

        return await self.stores[1].read(look)

    def note(self, rows: list[LogRow]) -> None:
        """Lines seen before are as they were, and new ones follow them without a gap."""
        for row in rows:
            if row.seq < len(self.lines):
                assert row == self.lines[row.seq]
            else:
                assert row.seq == len(self.lines)
                self.lines.append(row)

    @invariant()
    def the_log_is_whole(self) -> None:
        if not self.stores:
            return
        rows = self.do(self.hot_rows())
        self.note(rows)
        assert [row.seq for row in rows] == list(range(max(self.floor - 1, 0), len(self.lines)))
        lines = [decode(row.body) for row in self.lines]
        exts = [line.ext for line in lines]
        assert len(exts) == len(set(exts))
        assert self.acknowledged <= set(exts) <= self.offered
        self._linked(lines)

    def _linked(self, lines: list[Line]) -> None:
        newest: dict[str, tuple[int, str]] = {}
        prev, rec = GENESIS.hex(), ""
        for row, line in zip(self.lines, lines, strict=True):
            assert leaf_hash(row.body) == row.h
            assert line.prev == prev
            assert line.rec >= rec
            assert (line.t_seq, line.t_prev) == newest.get(line.tenant, (0, GENESIS.hex()))
            prev, rec = row.h.hex(), line.rec
            newest[line.tenant] = (line.t_seq + 1, prev)


class OnSqlite(TwoWriters):
    """One file."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()

    def opened(self) -> Store:
        store: Store = self.do(SqliteStore.open(Path(self._directory.name) / "audit.db"))
        return store

    def clear(self) -> None:
        self._directory.cleanup()


class OnMongoDB(TwoWriters):
    """One database; without transactions in whatever step."""

    def __init__(self) -> None:
        super().__init__()
        self._database = server.fresh()

    def opened(self) -> Store:
        store: Store = self.do(server.opened(self._database))
        return store

    def clear(self) -> None:
        self.do(server.drop(self._database))


# The same steps in every run, unless thousands of other ones are wanted, as by `make test-properties-full`.
FULL = os.environ.get("DEZKY_PROPERTIES") == "full"


def steps(examples: int, full: int) -> settings:
    return settings(
        max_examples=full if FULL else examples,
        stateful_step_count=25,
        deadline=None,
        derandomize=not FULL,
        database=None,
    )


OnSqlite.TestCase.settings = steps(40, 2_000)
OnMongoDB.TestCase.settings = steps(10, 200)
TestTwoWritersOnSqlite = OnSqlite.TestCase
TestTwoWritersOnMongoDB = OnMongoDB.TestCase
