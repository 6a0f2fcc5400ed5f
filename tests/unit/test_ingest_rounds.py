"""A source read again and again: each event once, and an account that adds up (C086-C090, facts/audit-log.md 6.4)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dezky_operator.audit.event import Event
from dezky_operator.audit.fates import Appended, Fate, Placed
from dezky_operator.audit.keystore import KeyStore
from dezky_operator.audit.log import AuditLog
from dezky_operator.audit.refusals import ClockError
from dezky_operator.ingest.malformed import malformed
from dezky_operator.ingest.rounds import Pace, Round, paused
from dezky_operator.ingest.source import Look, SourceError
from dezky_operator.ingest.tally import Tally, fates
from dezky_operator.store.interface import Rows, Span, Store, UnavailableError
from dezky_operator.store.sqlite import SqliteStore
from dezky_operator.store.tables import CURSORS, CursorRow
from tests.audit.events import counting, login
from tests.logs import Clock, lines_of, sequencer

NAME = "authentik-main"
HOUR_ONE, HOUR_TWO = "2026-11-24T04:10:00.000000Z", "2026-11-24T05:10:00.000000Z"


def at(number: int) -> str:
    return f"2026-11-24T03:{number // 60:02}:{number % 60:02}.000000Z"


def event(number: int) -> Event:
    return login(f"{number}", at=at(number))


@dataclass
class Listed:
    """A source of so many events, each look a few of them; some are garbage."""

    count: int
    together: int = 3
    garbage: frozenset[int] = frozenset()
    filtered: int = 0
    error: SourceError | None = None
    notice: str = ""
    closed: bool = False

    async def look(self, cursor: CursorRow | None) -> Look:
        if self.error is not None:
            raise self.error
        start = int(cursor.position) if cursor and cursor.position else 0
        numbers = range(start, min(start + self.together, self.count))
        events = tuple(self._event(number) for number in numbers)
        return Look(
            events=events,
            filtered=self.filtered if events else 0,
            cursor=CursorRow(NAME, str(numbers.stop if events else start), "", ()),
            more=numbers.stop < self.count,
            last_event=at(numbers.stop - 1) if events else "",
            notice=self.notice,
        )

    async def close(self) -> None:
        self.closed = True

    def _event(self, number: int) -> Event:
        if number in self.garbage:
            return malformed(
                src=NAME, source="authentik", ext=f"{number}", recv=HOUR_ONE, reason="no JSON", raw=b"\xff"
            )
        return event(number)


@dataclass
class Scene:
    """A source, a log, and what is told about the source."""

    store: SqliteStore
    source: Listed
    told: list[Event] = field(default_factory=list)
    now: str = HOUR_ONE
    fails: list[Exception] = field(default_factory=list)

    async def round(self, **pace: float) -> Round:
        log = AuditLog(sequencer(self.store, Clock()), KeyStore(self.store, bytes(32)), counting())

        async def accept(events: Sequence[Event]) -> Appended:
            if self.fails:
                raise self.fails.pop()
            return await log.accept(events)

        self.tally = Tally(self.store, NAME)
        await self.tally.load()
        return Round(
            self.source,
            self.tally,
            name=NAME,
            accept=accept,
            tell=self.told.append,
            pace=Pace(**{"interval": 60.0, **pace}),
            now=lambda: self.now,
            jitter=lambda: 0.5,
        )

    async def exts(self) -> list[str]:
        return [line.ext for line in await lines_of(self.store)]


async def scene(directory: Path, source: Listed) -> Scene:
    return Scene(await SqliteStore.open(directory / "audit.db"), source)


async def test_it_reads_on_at_once_while_there_is_more_and_then_waits(tmp_path: Path) -> None:
    found = await scene(tmp_path, Listed(5))
    reading = await found.round()
    assert [await reading.once() for _ in range(3)] == [0.0, 60.0, 60.0]
    assert await found.exts() == ["0", "1", "2", "3", "4"]
    assert found.tally.counts == {
        "received": 5,
        "stored": 5,
        "duplicate": 0,
        "collapsed": 0,
        "filtered": 0,
        "quarantined": 0,
    }
    assert reading.lag == 4196.0
    await found.store.close()


async def test_a_restart_and_a_reading_from_the_beginning_add_no_event(tmp_path: Path) -> None:
    """Case 13, C096."""
    found = await scene(tmp_path, Listed(5))
    await _read(await found.round())
    await _read(await found.round())
    assert len(await found.exts()) == 5
    assert found.tally.counts["duplicate"] == 0
    await found.store.run(_forget)
    await _read(await found.round())
    assert len(await found.exts()) == 5
    assert found.tally.counts["received"] == 5
    await found.store.close()


async def _forget(rows: Rows) -> None:
    await rows.delete(CURSORS, Span(), limit=10)


async def _read(reading: Round) -> None:
    while not await reading.once():
        pass


async def test_garbage_and_what_is_left_out_are_counted_apart(tmp_path: Path) -> None:
    found = await scene(tmp_path, Listed(6, garbage=frozenset({1, 4}), filtered=2))
    await _read(await found.round())
    assert found.tally.counts == {
        "received": 10,
        "stored": 4,
        "duplicate": 0,
        "collapsed": 0,
        "filtered": 4,
        "quarantined": 2,
    }
    await found.store.close()


@pytest.mark.parametrize("error", [UnavailableError("the disk is full"), ClockError("the clock is off")])
async def test_while_the_log_takes_nothing_the_source_waits_and_loses_nothing(tmp_path: Path, error: Exception) -> None:
    found = await scene(tmp_path, Listed(2))
    reading = await found.round()
    found.fails = [error, error]
    pauses = [await reading.once(), await reading.once()]
    assert (pauses, reading.standing.state, reading.standing.reason) == ([60.0, 120.0], "Waiting", "LogUnavailable")
    await reading.once()
    assert (await found.exts(), reading.standing.state) == (["0", "1"], "Running")
    await found.store.close()


async def test_a_source_that_can_not_be_read_says_why_and_is_asked_less_and_less_often(tmp_path: Path) -> None:
    found = await scene(tmp_path, Listed(2, error=SourceError("AuthFailed", "The token is refused. Renew it.")))
    reading = await found.round()
    pauses = [await reading.once() for _ in range(4)]
    assert pauses == [60.0, 120.0, 240.0, 300.0]
    assert (reading.standing.reason, reading.standing.message) == ("AuthFailed", "The token is refused. Renew it.")
    found.source.error = None
    assert await reading.once() == 60.0
    assert await found.exts() == ["0", "1"]
    await found.store.close()


async def test_each_hour_has_one_account(tmp_path: Path) -> None:
    found = await scene(tmp_path, Listed(9))
    reading = await found.round()
    await _read(reading)
    found.now = HOUR_TWO
    await reading.once()
    await (await found.round()).once()
    accounts = [told for told in found.told if told.action == "ingest.accounted"]
    assert len({told.dk for told in accounts}) == 2
    assert accounts[1].data == {"source": NAME, **found.tally.counts}
    await found.store.close()


async def test_silence_is_told_once_for_each_silence(tmp_path: Path) -> None:
    found = await scene(tmp_path, Listed(1))
    reading = await found.round(silent_after=6_000.0)
    await reading.once()
    assert reading.standing.state == "Running"
    found.now = HOUR_TWO
    for _ in range(3):
        await reading.once()
    silences = {told.dk for told in found.told if told.action == "source.silent"}
    assert (reading.standing.state, len(silences)) == ("Silent", 1)
    found.source.count = 2
    await reading.once()
    found.now = "2026-11-24T07:10:00.000000Z"
    await reading.once()
    assert len({told.dk for told in found.told if told.action == "source.silent"}) == 2
    await found.store.close()


async def test_a_notice_of_the_source_is_its_message(tmp_path: Path) -> None:
    found = await scene(tmp_path, Listed(0, notice="The file is empty. Set AUDIT_LOG_TO_FILE=true."))
    reading = await found.round()
    await reading.once()
    assert (reading.standing.state, "AUDIT_LOG_TO_FILE" in reading.standing.message) == ("Silent", True)
    await found.store.close()


def test_pausing_is_an_event_of_the_log() -> None:
    assert [paused(NAME, now=HOUR_ONE, going_on=on).action for on in (False, True)] == [
        "source.paused",
        "source.resumed",
    ]


def test_an_event_of_a_look_nobody_saw_the_end_of_counts_as_what_it_was_the_first_time() -> None:
    events = [event(0), event(1), event(2)]
    placed = (Placed(NAME, 3, Fate.DUPLICATE), Placed(NAME, 7, Fate.DUPLICATE), Placed(NAME, 8, Fate.STORED))
    assert fates(events, Appended(placed), since=5) == {"duplicate": 1, "stored": 2}


def test_equal_events_of_one_look_are_stored_once() -> None:
    placed = (Placed(NAME, 7, Fate.STORED), Placed(NAME, 7, Fate.DUPLICATE), Placed(NAME, 7, Fate.COLLAPSED))
    assert fates([event(0)] * 3, Appended(placed), since=5) == {"stored": 1, "duplicate": 1, "collapsed": 1}


class CrashError(Exception):
    """The process is gone."""


CRASHES = st.sampled_from(["before the events", "after the events", "before the cursor", "none", "lost cursor"])


@settings(max_examples=40, deadline=None)
@given(st.lists(CRASHES, max_size=12), st.integers(0, 20), st.integers(1, 7), st.frozensets(st.integers(0, 20)))
def test_whatever_crashes_each_event_is_in_the_log_once_and_the_account_adds_up(
    tmp_path_factory: pytest.TempPathFactory, crashes: list[str], count: int, together: int, garbage: frozenset[int]
) -> None:
    directory = tmp_path_factory.mktemp("rounds")
    asyncio.run(_crashing(directory, crashes, Listed(count, together=together, garbage=garbage)))


async def _crashing(directory: Path, crashes: list[str], source: Listed) -> None:
    found = await scene(directory, source)
    for crash in crashes:
        reading = await found.round()
        if crash == "lost cursor":
            await found.store.run(_forget)
            continue
        _arm(reading, crash)
        try:
            await reading.once()
        except CrashError:
            continue
    reading = await found.round()
    await _read(reading)
    assert await found.exts() == [f"{number}" for number in range(source.count)]
    counts = found.tally.counts
    if "lost cursor" not in crashes:
        bad = len([number for number in source.garbage if number < source.count])
        assert (counts["stored"], counts["quarantined"]) == (source.count - bad, bad)
    assert counts["received"] == sum(counts[kind] for kind in counts if kind != "received")
    await found.store.close()


def _arm(reading: Round, crash: str) -> None:
    accept, tally = reading._accept, reading._tally

    async def accepting(events: Sequence[Event]) -> Appended:
        if crash == "before the events":
            raise CrashError
        appended = await accept(events)
        if crash == "after the events":
            raise CrashError
        return appended

    class Dying:
        """The store ends with the process when the cursor is to be written."""

        def __init__(self, store: Store) -> None:
            self.read = store.read

        async def run(self, _work: object) -> None:
            raise CrashError

    reading._accept = accepting
    if crash == "before the cursor":
        tally._store = Dying(tally._store)  # type: ignore[assignment]
