"""Where the operator's own events go when the log, and then the disk, takes none (design §2, C076, X08)."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dezky_operator.audit.event import Event
from dezky_operator.audit.fates import Appended
from dezky_operator.audit.refusals import ClockError
from dezky_operator.ingest.own import keeping as module
from dezky_operator.ingest.own.keeping import Keeping, NotKeptError
from dezky_operator.ingest.own.spool import Spool
from dezky_operator.store.interface import UnavailableError
from tests.unit.test_own_spool import event


class Log:
    """A log that takes events, or says why not."""

    def __init__(self) -> None:
        self.exts: list[str] = []
        self.calls: list[int] = []
        self.error: Exception | None = None
        self.go = asyncio.Event()
        self.go.set()
        self.asked = 0

    async def accept(self, events: Sequence[Event]) -> Appended:
        self.asked += 1
        await self.go.wait()
        if self.error is not None:
            raise self.error
        self.calls.append(len(events))
        self.exts += [one.ext for one in events if one.ext not in self.exts]
        return Appended()


class Disk(Spool):
    """A spool whose disk is full while it says so."""

    full = False

    def append(self, events: Sequence[Event]) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().append(events)


@asynccontextmanager
async def kept(directory: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Keeping, Disk]]:
    monkeypatch.setattr(module, "PAUSE", 0.01)
    disk = Disk(directory)
    keeping = Keeping(log.accept, disk)
    task = asyncio.create_task(keeping.run())
    try:
        yield keeping, disk
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - what is waited for is in several objects
            await asyncio.sleep(0)


def names(*numbers: int) -> list[str]:
    return [f"s-{number}:intent" for number in numbers]


async def test_what_keep_returned_for_is_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    async with kept(tmp_path, log, monkeypatch) as (keeping, _):
        await keeping.keep(event(1), event(2))
        assert log.exts == names(1, 2)


async def test_events_of_one_moment_are_one_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    async with kept(tmp_path, log, monkeypatch) as (keeping, _):
        log.go.clear()
        first = asyncio.create_task(keeping.keep(event(0)))
        await until(lambda: log.asked == 1)
        others = [asyncio.create_task(keeping.keep(event(number))) for number in range(1, 17)]
        await until(lambda: len(keeping._gathered) == 16)
        log.go.set()
        await asyncio.gather(first, *others)
        assert log.calls == [1, 16]


@pytest.mark.parametrize("error", [UnavailableError("the disk fails"), ClockError("the clock is off")])
async def test_while_the_log_takes_none_they_wait_on_disk_and_go_in_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    log = Log()
    async with kept(tmp_path, log, monkeypatch) as (keeping, _):
        log.error = error
        await keeping.keep(event(1))
        await keeping.keep(event(2))
        assert (keeping.spooled, log.exts, keeping.refused) == (2, [], str(error))
        log.error = None
        await until(lambda: keeping.spooled == 0)
        await keeping.keep(event(3))
        assert log.exts == names(1, 2, 3)
        assert keeping.refused == ""


async def test_what_came_while_others_waited_is_never_before_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log()
    log.error = UnavailableError("down")
    async with kept(tmp_path, log, monkeypatch) as (keeping, _):
        for number in range(5):
            await keeping.keep(event(number))
        log.error = None
        for number in range(5, 20):
            await keeping.keep(event(number))
        await until(lambda: keeping.spooled == 0)
        assert log.exts == names(*range(20))


async def test_a_spool_left_by_an_earlier_process_is_drained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Spool(tmp_path).append([event(1)])
    log = Log()
    async with kept(tmp_path, log, monkeypatch) as (keeping, _):
        await until(lambda: keeping.spooled == 0)
        assert log.exts == names(1)


async def test_when_log_and_disk_take_nothing_whoever_waits_is_told_and_the_event_is_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log()
    async with kept(tmp_path, log, monkeypatch) as (keeping, disk):
        log.error, disk.full = UnavailableError("down"), True
        with pytest.raises(NotKeptError):
            await keeping.keep(event(1))
        assert keeping.unwritten == []


async def test_what_was_offered_stays_in_memory_until_it_is_written_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log()
    async with kept(tmp_path, log, monkeypatch) as (keeping, disk):
        log.error, disk.full = UnavailableError("down"), True
        keeping.offer(event(1))
        await until(lambda: len(keeping.unwritten) == 1)
        keeping.offer(event(2))
        await until(lambda: len(keeping.unwritten) == 2)
        disk.full = False
        await until(lambda: keeping.unwritten == [])
        log.error = None
        await until(lambda: keeping.spooled == 0)
        assert log.exts == names(1, 2)


async def test_a_stop_writes_what_was_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    async with kept(tmp_path, log, monkeypatch) as (keeping, _):
        await asyncio.sleep(0)
        keeping.offer(event(1))
    assert log.exts == names(1)


async def test_settled_waits_for_everything_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    async with kept(tmp_path, log, monkeypatch) as (keeping, _):
        keeping.offer(event(1), event(2))
        await keeping.settled()
        assert log.exts == names(1, 2)
