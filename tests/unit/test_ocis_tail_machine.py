"""Whatever is done to the audit file and to the process: no record lost, none twice, in their order.

What may be lost is what was never looked at when a file was truncated, replaced or removed; the machine knows which.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dezky_operator.audit.event import Event
from dezky_operator.ingest.ocis.recovery import rebuilt
from dezky_operator.ingest.ocis.tail import OcisTail
from dezky_operator.ingest.ocis.told import OPENED
from dezky_operator.ingest.source import Look, SourceError
from dezky_operator.ingest.tenants import Tenants
from dezky_operator.store.tables import CursorRow
from tests.ocis_lines import numbered

NOW = "2026-11-24T04:00:00.000000Z"
SRC = "ocis-main"
FEW = st.integers(1, 3)


class Tail(RuleBasedStateMachine):
    """A directory as OCIS and a rotation leave it, the log as a dictionary by id, and what was written."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._directory = Path(tempfile.mkdtemp())
        self.path = self._directory / "audit.log"
        self.log: dict[str, Event] = {}
        self.cursor: CursorRow | None = None
        self.tail = self.opened()
        self.written = 0
        self.may_be_lost: set[int] = set()
        self.fragments: set[bytes] = set()
        self.may_be_fragments: set[bytes] = set()
        self.open_line = b""
        self.open_number = 0

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(asyncio.wait_for(work, 20))

    def opened(self) -> OcisTail:
        return OcisTail(self.path, src=SRC, allow=None, tenants=Tenants, token_key=bytes(32), now=lambda: NOW)

    def teardown(self) -> None:
        try:
            self.everything_is_there()
        finally:
            self.do(self.tail.close())
            self._runner.close()
            shutil.rmtree(self._directory)

    # -- what OCIS does ----------------------------------------------------------------------

    def append(self, text: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(text)

    def next_line(self) -> tuple[int, bytes]:
        self.written += 1
        return self.written, self.line(self.written)

    def line(self, number: int) -> bytes:
        return numbered(number)

    @rule(count=FEW)
    def write(self, count: int) -> None:
        self.end_the_line()
        for _ in range(count):
            self.append(self.next_line()[1])

    @precondition(lambda self: not self.open_line)
    @rule(share=st.floats(0.1, 0.9))
    def write_a_part_of_a_line(self, share: float) -> None:
        """A look may come between two parts of one write."""
        self.open_number, line = self.next_line()
        cut = round(share * len(line))
        self.append(line[:cut])
        self.open_line = line[cut:]

    @precondition(lambda self: self.open_line)
    @rule()
    def end_the_line(self) -> None:
        if self.open_line:
            self.append(self.open_line)
        self.open_line = b""

    # -- what rotations do ---------------------------------------------------------------------

    def shift(self) -> Path:
        """`audit.log.1` becomes free."""
        for number in range(len(list(self._directory.iterdir())), 0, -1):
            if (old := self._directory / f"audit.log.{number}").exists():
                old.rename(self._directory / f"audit.log.{number + 1}")
        return self._directory / "audit.log.1"

    def rotate(self) -> None:
        """An open line is never ended: what is there of it is taken as it is, unless it is the file's only one."""
        has_lines = b"\n" in self.path.read_bytes()
        self.path.rename(self.shift())
        if self.open_line:
            (self.fragments if has_lines else self.may_be_fragments).add(self.broken())

    def broken(self) -> bytes:
        line = self.line(self.open_number)
        fragment = line[: len(line) - len(self.open_line)]
        self.may_be_lost.add(self.open_number)
        self.open_line = b""
        return fragment

    # -- what happens to the process ---------------------------------------------------------------

    def store(self, events: tuple[Event, ...]) -> None:
        for event in events:
            self.log.setdefault(event.ext, event)

    @rule()
    def look_once(self) -> None:
        self.look()

    def look(self) -> Look:
        found = self.offered()
        self.store(found.events)
        self.cursor = found.cursor if found.cursor.generations else self.cursor
        return found

    def offered(self) -> Look:
        """What a look finds. Before there ever was a file it says that there is none."""
        if self.cursor is None and not any(self._directory.iterdir()):
            with pytest.raises(SourceError, match="is not there"):
                self.do(self.tail.look(None))
            return Look(cursor=CursorRow(SRC, "", NOW, ()))
        found: Look = self.do(self.tail.look(self.cursor))
        return found

    @rule()
    def look_and_end_before_the_events_are_stored(self) -> None:
        self.offered()
        self.restart()

    @rule()
    def look_and_end_before_the_cursor_is_stored(self) -> None:
        self.store(self.offered().events)
        self.restart()

    @rule()
    def look_and_the_store_does_not_take_it(self) -> None:
        """No restart: the same look is asked for again."""
        self.offered()

    @rule()
    def restart(self) -> None:
        self.do(self.tail.close())
        self.tail = self.opened()

    # -- what must be true ----------------------------------------------------------------------------

    def numbers(self) -> list[int]:
        return [int(event.values["resource.id"].rpartition("-")[2]) for event in self.log.values() if event.values]

    def everything_is_there(self) -> None:
        raise NotImplementedError

    def read_everything(self) -> None:
        quiet = 0
        while quiet < 4:
            found = self.look()
            quiet = 0 if found.events or found.more else quiet + 1


class Anything(Tail):
    """All records differ, so each can be asked for."""

    @precondition(lambda self: self.path.exists())
    @rule()
    def rotate_by_rename(self) -> None:
        self.rotate()

    @precondition(lambda self: self.path.exists() and not self.open_line)
    @rule(between=st.integers(0, 2), looks=st.booleans())
    def copy_and_truncate(self, between: int, *, looks: bool) -> None:
        shutil.copyfile(self.path, self.shift())
        late = [self.next_line() for _ in range(between)]
        for number, line in late:
            self.append(line)
            self.may_be_lost.add(number)
        if looks:
            self.look()
        os.truncate(self.path, 0)

    @precondition(lambda self: self.path.exists())
    @rule(count=st.integers(0, 6))
    def truncate_and_write(self, count: int) -> None:
        self.all_may_be_lost()
        os.truncate(self.path, 0)
        for _ in range(count):
            self.append(self.next_line()[1])

    @rule(count=st.integers(0, 3))
    def replace(self, count: int) -> None:
        """Another file under the same name."""
        self.all_may_be_lost()
        other = self._directory / "other"
        other.write_bytes(b"".join(self.next_line()[1] for _ in range(count)))
        other.rename(self.path)

    def all_may_be_lost(self) -> None:
        """Of what stands in the live file, and was not read, nothing is left; older files are still there."""
        if self.path.exists():
            held = self.path.read_bytes()
            self.may_be_lost |= {n for n in range(1, self.written + 1) if numbered(n)[:-1] in held}
        if self.open_line:
            self.may_be_fragments.add(self.broken())

    @rule()
    def restart_without_the_cursor(self) -> None:
        openings = [(event.ext, event.data) for event in self.log.values() if event.action == OPENED]
        self.cursor = rebuilt(SRC, openings, heartbeat=NOW)
        self.restart()

    @invariant()
    def nothing_is_twice_and_all_in_order(self) -> None:
        numbers = self.numbers()
        assert numbers == sorted(set(numbers))

    def everything_is_there(self) -> None:
        self.end_the_line()
        self.read_everything()
        self.nothing_is_twice_and_all_in_order()
        assert set(range(1, self.written + 1)) - set(self.numbers()) <= self.may_be_lost
        malformed = {event.raw for event in self.log.values() if event.action == "ingest.malformed"}
        assert self.fragments <= malformed <= self.fragments | self.may_be_fragments


class EqualLines(Tail):
    """Two records only, again and again, so whole files are equal. Each is counted as often as it was written.

    Without what nobody can know: files written anew with what they held, files that were never looked at, and which is
    which when the cursor is lost.
    """

    def line(self, number: int) -> bytes:
        return numbered(number % 2)

    @precondition(lambda self: self.path.exists())
    @rule()
    def rotate_what_was_read(self) -> None:
        self.read_everything()
        self.rotate()

    def everything_is_there(self) -> None:
        self.end_the_line()
        self.read_everything()
        whole = [number for number in range(1, self.written + 1) if number not in self.may_be_lost]
        assert sorted(self.numbers()) == sorted(number % 2 for number in whole)


FULL = os.environ.get("DEZKY_PROPERTIES") == "full"
Anything.TestCase.settings = EqualLines.TestCase.settings = settings(
    max_examples=3_000 if FULL else 100, stateful_step_count=30, deadline=None, derandomize=not FULL, database=None
)
TestAnything = Anything.TestCase
TestEqualLines = EqualLines.TestCase
