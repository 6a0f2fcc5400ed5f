"""Checkpoints of a growing log, and what tells a store that was set back (facts/audit-log.md 2.4, 4; C114, C115)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dezky_operator.audit.anchors import DirectoryAnchor
from dezky_operator.audit.checkpoint import Checkpoint, KeyChain, KeyRange, open_checkpoint, parse_text
from dezky_operator.audit.guard import Guard, GuardError
from dezky_operator.audit.keys import log_key, parse_vkey
from dezky_operator.audit.merkle import consistency_proof, leaf_hash, nodes_of, root_of, verify_consistency
from dezky_operator.audit.notary import Notary
from dezky_operator.audit.note import Note, parse, signed
from dezky_operator.audit.pace import Due, Pace, due
from dezky_operator.audit.refusals import RollbackError
from dezky_operator.store.interface import Reader, Rows, Span, Store, UnavailableError
from dezky_operator.store.tables import CHECKPOINTS, HEAD, LOG, TILES, CheckpointRow
from tests.audit.events import login, own, signers
from tests.audit.filled import append, appender, heads_event, opened, rotated_event, rows_of
from tests.audit.golden import ORIGIN, VKEY
from tests.audit.guards import Hands, KilledError, Memory
from tests.stores import Stepping

PACE = Pace(at_most_every=5.0, at_least=60.0, idle=3600.0, events=1_000)
CHAIN = KeyChain([KeyRange(parse_vkey(VKEY))])


def notary(store: Store, guard: Guard, clock: Hands | None = None, *anchors: Guard) -> Notary:
    return Notary(
        store,
        appender(store),
        signers=signers(),
        chain=CHAIN,
        guard=guard,
        anchors=anchors,
        pace=PACE,
        heads=heads_event,
        rotated=rotated_event,
        clock=clock or Hands(),
        now=lambda: 1_795_492_900.0,
    )


async def checkpoints(store: Store) -> list[CheckpointRow]:
    async def look(rows: Reader) -> list[CheckpointRow]:
        return await rows.scan(CHECKPOINTS, limit=1_000)

    return await store.read(look)


async def logins(store: Store, *numbers: int) -> None:
    await append(appender(store), [login(f"{number}") for number in numbers])


def sizes(notes: list[bytes]) -> list[int]:
    return [parse_text(parse(note).text).size for note in notes]


# -- when ---------------------------------------------------------------------------------


def test_an_event_waits_no_longer_than_a_minute_and_two_checkpoints_are_five_seconds_apart() -> None:
    assert due(PACE, now=56, signed_at=0, news=1, news_since=0) is Due.NEW
    assert due(PACE, now=54, signed_at=0, news=1, news_since=0) is Due.NOTHING
    assert due(PACE, now=5, signed_at=0, news=1_000, news_since=4.9) is Due.NEW
    assert due(PACE, now=4.9, signed_at=0, news=10_000, news_since=0) is Due.NOTHING


async def test_case_31_an_idle_day_has_hourly_checkpoints_without_heads_and_a_burst_is_signed_in_time(
    tmp_path: Path,
) -> None:
    clock, guard = Hands(), Memory()
    async with opened(tmp_path / "audit.db") as store:
        await logins(store, 0)
        found = notary(store, guard, clock)
        await found.start()
        await found.sign(news=True)
        before = len(await rows_of(store))
        for _ in range(24 * 360):
            clock.seconds += 10
            await found.look()
        assert len(guard.notes) == 1 + 24
        assert len(await rows_of(store)) == before
        await append(appender(store), [login(f"burst-{number}") for number in range(2_000)])
        burst, signed_at = clock.seconds, list[float]()
        for _ in range(80):
            clock.seconds += 1
            if await found.look() is Due.NEW:
                signed_at.append(clock.seconds - burst)
        assert signed_at
        assert signed_at[-1] <= 60
        assert sizes(guard.notes)[-1] == len(await rows_of(store))


async def test_where_events_never_cease_each_checkpoint_starts_the_wait_anew(tmp_path: Path) -> None:
    clock, guard = Hands(), Memory()
    async with opened(tmp_path / "audit.db") as store:
        found = notary(store, guard, clock)
        await found.start()
        lags = []
        for second in range(300):
            clock.seconds += 1
            await logins(store, second)
            await found.look()
            lags.append(found.lag)
    assert max(lags) <= PACE.at_least
    assert 300 // PACE.at_least <= len(guard.notes) <= 300 // (PACE.at_least - PACE.at_most_every)


# -- what -----------------------------------------------------------------------------------


async def test_a_checkpoint_has_the_heads_before_it_and_is_in_guard_store_and_anchors(tmp_path: Path) -> None:
    (tmp_path / "anchor").mkdir()
    anchor = DirectoryAnchor(tmp_path / "anchor")
    guard = Memory()
    async with opened(tmp_path / "audit.db") as store:
        await logins(store, 1, 2)
        found = notary(store, guard, None, anchor)
        await found.start()
        await found.sign(news=True)
        lines = await rows_of(store)
        (row,) = await checkpoints(store)
        assert [line.action for line in lines] == ["authentik.login", "authentik.login", "log.heads"]
        assert row.anchors == (anchor.name,)
        assert await anchor.newest() == guard.notes[-1] == row.note.encode()
    checkpoint = open_checkpoint(guard.notes[-1], chain=CHAIN).checkpoint
    assert (checkpoint.size, checkpoint.root) == (3, root_of([leaf_hash(line.body) for line in lines]))
    names = sorted(path.name for path in (tmp_path / "anchor").iterdir())
    assert names == [f"{3:016}-1795492900.heads", f"{3:016}-1795492900.note"]


async def test_bookkeeping_alone_starts_no_checkpoint(tmp_path: Path) -> None:
    clock, guard = Hands(), Memory()
    async with opened(tmp_path / "audit.db") as store:
        await logins(store, 1)
        found = notary(store, guard, clock)
        await found.start()
        await found.sign(news=True)
        await append(appender(store), [own("acc", "ingest.accounted")])
        clock.seconds += 600
        assert await found.look() is Due.NOTHING


async def test_while_the_guard_is_silent_nothing_is_published(tmp_path: Path) -> None:
    guard = Memory()
    async with opened(tmp_path / "audit.db") as store:
        await logins(store, 1)
        found = notary(store, guard)
        await found.start()
        guard.silent = True
        with pytest.raises(GuardError):
            await found.sign(news=True)
        assert await checkpoints(store) == []
        with pytest.raises(GuardError):
            await notary(store, guard).start()


async def test_a_guard_that_is_silent_for_long_does_not_fill_the_log(tmp_path: Path) -> None:
    clock, guard = Hands(), Memory()
    async with opened(tmp_path / "audit.db") as store:
        await logins(store, 1)
        found = notary(store, guard, clock)
        await found.start()
        guard.silent = True
        for _ in range(600):
            clock.seconds += 1
            with contextlib.suppress(GuardError):
                await found.look()
        assert [line.action for line in await rows_of(store)] == ["authentik.login", "log.heads"]
        guard.silent = False
        clock.seconds += 5
        assert await found.look() is Due.NEW
        assert sizes(guard.notes) == [2]
        (row,) = await checkpoints(store)
        assert row.heads


async def test_a_checkpoint_in_the_store_that_was_changed_is_no_crash_and_no_beginning(tmp_path: Path) -> None:
    guard = Memory()
    async with opened(tmp_path / "audit.db") as store:
        await logins(store, 1)
        found = notary(store, guard)
        await found.start()
        await found.sign(news=True)
        (row,) = await checkpoints(store)
        changed = CheckpointRow(row.counter, row.size, row.note.replace("/hmac-1 ", "/hmac-2 ")[:-9], row.heads, ())
        await store.run(lambda rows: rows.put(CHECKPOINTS, [changed]))
        with pytest.raises(RollbackError, match="checkpoint 0 of the store"):
            await notary(store, guard).start()


async def test_an_anchor_that_can_not_be_written_is_said_and_stops_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path / "audit.db") as store:
        await logins(store, 1)
        found = notary(store, Memory(), None, DirectoryAnchor(tmp_path / "nowhere"))
        await found.start()
        await found.sign(news=True)
        assert not found.anchored
        assert [row.anchors for row in await checkpoints(store)] == [()]


@pytest.mark.parametrize("dies", ["before", "after"])
async def test_a_process_that_ends_around_the_guard_leaves_no_second_root(tmp_path: Path, dies: str) -> None:
    guard = Memory()
    async with opened(tmp_path / "audit.db") as store:
        await logins(store, 1)
        found = notary(store, guard)
        await found.start()
        guard.dies = dies
        with pytest.raises(KilledError):
            await found.sign(news=True)
        guard.dies = ""
        again = notary(store, guard)
        await again.start()
        assert sizes([row.note.encode() for row in await checkpoints(store)]) == sizes(guard.notes)
        await logins(store, 2)
        await again.sign(news=True)
        assert len({parse_text(parse(note).text).root for note in guard.notes}) == len(set(sizes(guard.notes)))


async def test_a_store_that_fails_after_the_guard_is_taken_up_at_the_next_start(tmp_path: Path) -> None:
    class Deaf(Stepping):
        """One that fails when a checkpoint is inserted."""

        async def insert(self, table: object, rows: list[object]) -> None:
            if table is CHECKPOINTS:
                raise UnavailableError("the disk is full")
            await self._store.run(lambda real: real.insert(table, rows))  # type: ignore[arg-type, type-var]

    guard = Memory()
    async with opened(tmp_path / "audit.db") as store:
        await logins(store, 1)
        found = notary(Deaf(store), guard)
        await found.start()
        with pytest.raises(UnavailableError):
            await found.sign(news=True)
        assert (len(guard.notes), len(await checkpoints(store))) == (1, 0)
        await notary(store, guard).start()
        assert [row.note.encode() for row in await checkpoints(store)] == guard.notes


async def test_two_notaries_of_one_log_sign_one_history(tmp_path: Path) -> None:
    guard = Memory()
    async with opened(tmp_path / "audit.db") as store:
        await logins(store, 1)
        first, second = notary(store, guard), notary(store, guard)
        await first.start()
        await second.start()
        await first.sign(news=True)
        await logins(store, 2)
        await second.sign(news=True)
        await first.sign(news=False)
        rows = await checkpoints(store)
        leaves = [leaf_hash(row.body) for row in await rows_of(store)]
    assert [row.counter for row in rows] == [0, 1, 2]
    for row in rows:
        assert parse_text(parse(row.note.encode()).text).root == root_of(leaves[: row.size])


# -- what is not the log that was signed ------------------------------------------------------


async def signed_log(path: Path, guard: Memory, *numbers: int) -> None:
    async with opened(path) as store:
        await logins(store, *numbers)
        found = notary(store, guard)
        await found.start()
        await found.sign(news=True)


async def refusal(path: Path, guard: Guard, *anchors: Guard) -> str:
    async with opened(path) as store:
        with pytest.raises(RollbackError) as refused:
            await notary(store, guard, None, *anchors).start()
    return str(refused.value)


async def test_case_07_a_log_whose_end_was_cut_off_is_not_appended_to(tmp_path: Path) -> None:
    guard, path = Memory(), tmp_path / "audit.db"
    await signed_log(path, guard, 1, 2, 3)
    async with opened(path) as store:
        await store.run(lambda rows: _cut(rows, 2))
    assert "truncated: the log has 2 lines, the guard holds a checkpoint of 4" in await refusal(path, guard)


async def _cut(rows: Rows, size: int) -> None:
    """Take away all lines from ``size`` on and everything that tells of them."""
    await rows.delete(HEAD, Span(), limit=100)
    await rows.delete(TILES, Span(), limit=100)
    await rows.delete(LOG, Span(low=size), limit=100)


async def test_case_10_last_weeks_copy_of_the_file_is_not_appended_to(tmp_path: Path) -> None:
    guard, path = Memory(), tmp_path / "audit.db"
    await signed_log(path, guard, 1)
    shutil.copy(path, tmp_path / "backup.db")
    await signed_log(path, guard, 2, 3)
    _put_back(tmp_path)
    assert "set back" in await refusal(path, guard)


def _put_back(directory: Path) -> None:
    for leftover in directory.glob("audit.db*"):
        leftover.unlink()
    shutil.copy(directory / "backup.db", directory / "audit.db")


async def test_case_06_a_history_written_anew_with_correct_hashes_is_found_by_what_was_signed(tmp_path: Path) -> None:
    guard = Memory()
    await signed_log(tmp_path / "audit.db", guard, 1, 2, 3)
    async with opened(tmp_path / "forged.db") as store:
        await logins(store, 1, 99, 3, 4, 5)
    assert "not those that were signed" in await refusal(tmp_path / "forged.db", guard)


async def test_an_anchor_that_holds_more_than_the_guard_is_believed(tmp_path: Path) -> None:
    (tmp_path / "anchor").mkdir()
    anchor, guard, path = DirectoryAnchor(tmp_path / "anchor"), Memory(), tmp_path / "audit.db"
    async with opened(path) as store:
        await logins(store, 1, 2)
        found = notary(store, guard, None, anchor)
        await found.start()
        await found.sign(news=True)
    async with opened(tmp_path / "short.db") as store:
        await logins(store, 1)
    assert "truncated" in await refusal(tmp_path / "short.db", Memory(), anchor)


async def test_case_20_and_21_a_checkpoint_of_another_key_or_log_is_no_guard(tmp_path: Path) -> None:
    path, text = tmp_path / "audit.db", Checkpoint(ORIGIN, 1, bytes(32)).text
    await signed_log(path, Memory(), 1)
    stranger = Note(text, (signed(text, log_key(ORIGIN, bytes(32))),)).encode()
    assert "this log's key did not sign" in await refusal(path, Memory(notes=[stranger]))
    staging = signers().sign(Checkpoint(ORIGIN.replace("6f", "7f"), 1, bytes(32)), 1)
    assert "did not sign" in await refusal(path, Memory(notes=[staging]))


async def test_a_store_that_changes_under_the_running_process_is_signed_no_more(tmp_path: Path) -> None:
    guard = Memory()
    async with opened(tmp_path / "audit.db") as store:
        await logins(store, 1, 2, 3)
        found = notary(store, guard)
        await found.start()
        await found.sign(news=True)
        await store.run(lambda rows: _cut(rows, 1))
        await logins(store, 7, 8, 9, 10)
        with pytest.raises(RollbackError):
            await found.sign(news=True)
        assert len(guard.notes) == 1


@settings(max_examples=15, deadline=None)
@given(st.lists(st.one_of(st.integers(1, 300), st.just(0), st.sampled_from(["before", "after"])), max_size=8))
def test_all_checkpoints_of_any_history_are_of_one_log(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int | str]
) -> None:
    asyncio.run(_history(tmp_path_factory.mktemp("log") / "audit.db", steps))


async def _history(path: Path, steps: list[int | str]) -> None:
    """Append so many events, sign (0), or end in the middle of signing."""
    guard, number = Memory(), 0
    async with opened(path) as store:
        found = notary(store, guard)
        await found.start()
        for step in steps:
            if isinstance(step, int) and step:
                await logins(store, *range(number, number + step))
                number += step
                continue
            guard.dies = step if isinstance(step, str) else ""
            try:
                await found.sign(news=True)
            except KilledError:
                guard.dies = ""
                found = notary(store, guard)
                await found.start()
        leaves = [leaf_hash(row.body) for row in await rows_of(store)]
        stored = [open_checkpoint(row.note.encode(), chain=CHAIN).checkpoint for row in await checkpoints(store)]
    kept = [open_checkpoint(note, chain=CHAIN).checkpoint for note in guard.notes]
    assert {one.size for one in kept} == {one.size for one in stored}
    for one in kept:
        proof = consistency_proof(one.size, len(leaves), nodes_of(leaves)) if one.size < len(leaves) else ()
        verify_consistency(
            first=one.size, second=len(leaves), proof=proof, first_root=one.root, second_root=root_of(leaves)
        )


def test_the_notes_of_an_anchor_are_whole_or_not_there(tmp_path: Path) -> None:
    """A part that a crash left is no note."""
    (tmp_path / ".0000000000000003-1.note.part").write_bytes(b"half")
    (tmp_path / "README").write_bytes(os.urandom(3))
    assert DirectoryAnchor(tmp_path)._newest() is None
