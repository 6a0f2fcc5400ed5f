"""The tail of OCIS's audit log under whatever is done to the file (case 24, C105-C109)."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from dezky_operator.audit.event import Event
from dezky_operator.ingest.ocis.tail import HEAD, LONGEST, OcisTail
from dezky_operator.ingest.source import Look, SourceError
from dezky_operator.ingest.tenants import Tenants
from dezky_operator.store.tables import CursorRow

NOW = "2026-11-24T04:00:00.000000Z"
FULL = os.environ.get("DEZKY_PROPERTIES") == "full"


def record(number: int, **more: Any) -> bytes:
    line = {
        "RemoteAddr": "",
        "User": "",
        "Time": "2026-11-24T03:59:58Z",
        "App": "admin_audit",
        "Message": f"user 'u-1' created file number {number}",
        "Action": "file_create",
        "FileID": f"s$space!{number}",
        **more,
    }
    return json.dumps(line).encode() + b"\n"


@dataclass
class Scene:
    """A file, whoever tails it, and what was kept of it: events by their ids, and the cursor."""

    directory: Path
    kept: dict[str, Event] = field(default_factory=dict)
    cursor: CursorRow | None = None
    before: CursorRow | None = None
    clock: float = 0.0

    def __post_init__(self) -> None:
        self.path = self.directory / "audit.log"
        self.tail = self.fresh()

    def fresh(self) -> OcisTail:
        return OcisTail(
            self.path,
            src="ocis-main",
            allow=None,
            tenants=Tenants,
            token_key=b"k" * 32,
            now=lambda: NOW,
            clock=lambda: self.clock,
        )

    def write(self, *lines: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(b"".join(lines))

    async def look(self, *, crash: bool = False) -> Look:
        """One look; ``crash``: the process ends after the events were kept and before the cursor was."""
        look = await self.tail.look(self.cursor)
        for event in look.events:
            self.kept.setdefault(event.ext, event)
        if not crash:
            self.before, self.cursor = self.cursor, look.cursor
        return look

    async def read(self) -> None:
        while (await self.look()).more:
            pass
        await self.look()

    async def restart(self) -> None:
        await self.tail.close()
        self.tail = self.fresh()

    @property
    def numbers(self) -> list[int]:
        """The numbers of the records kept, in the order they came."""
        texts = [json.loads(event.raw)["Message"] for event in self.kept.values() if event.action == "ocis.file_create"]
        return [int(text.rpartition(" ")[2]) for text in texts]

    @property
    def actions(self) -> list[str]:
        return [event.action for event in self.kept.values()]


async def test_lines_are_events_once_and_a_restart_adds_none(tmp_path: Path) -> None:
    found = Scene(tmp_path)
    found.write(record(1), record(2))
    await found.read()
    await found.restart()
    await found.read()
    found.write(record(3))
    await found.read()
    assert found.numbers == [1, 2, 3]
    await found.tail.close()


async def test_a_line_is_read_when_it_is_whole(tmp_path: Path) -> None:
    found = Scene(tmp_path)
    line = record(1)
    found.write(line[:20])
    await found.read()
    assert found.numbers == []
    found.write(line[20:], record(2)[:5])
    await found.read()
    assert found.numbers == [1]
    await found.tail.close()


async def test_rotation_by_rename_loses_nothing_also_while_nobody_reads(tmp_path: Path) -> None:
    found = Scene(tmp_path)
    found.write(record(1))
    await found.read()
    await found.restart()
    found.write(record(2))
    found.path.rename(tmp_path / "audit.log.1")
    found.write(record(3))
    (tmp_path / "audit.log.1").rename(tmp_path / "audit.log.2")
    found.path.rename(tmp_path / "audit.log.1")
    found.write(record(4))
    await found.read()
    assert found.numbers == [1, 2, 3, 4]
    assert "ingest.rewound" not in found.actions
    await found.tail.close()


async def test_a_file_that_was_renamed_away_and_removed_is_read_to_its_end(tmp_path: Path) -> None:
    found = Scene(tmp_path)
    found.write(record(1))
    await found.read()
    found.write(record(2))
    found.path.unlink()
    found.write(record(3))
    await found.read()
    assert found.numbers == [1, 2, 3]
    await found.tail.close()


async def test_a_file_that_was_cut_is_begun_again_and_that_is_told(tmp_path: Path) -> None:
    found = Scene(tmp_path)
    found.write(record(1), record(2))
    await found.read()
    os.truncate(found.path, 0)
    await found.read()
    found.write(record(3))
    await found.read()
    assert found.numbers == [1, 2, 3]
    rewound = [event for event in found.kept.values() if event.action == "ingest.rewound"]
    assert [event.data["read"] for event in rewound] == [len(record(1) + record(2))]
    await found.tail.close()


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_file_that_was_cut_and_grew_larger_than_before_is_another_one(tmp_path: Path, restarted: bool) -> None:  # noqa: FBT001
    found = Scene(tmp_path)
    found.write(record(1))
    await found.read()
    if restarted:
        await found.restart()
    os.truncate(found.path, 0)
    found.write(*(record(number) for number in range(2, 9)))
    await found.read()
    assert found.numbers == list(range(1, 9))
    await found.tail.close()


async def test_an_inode_that_is_given_again_is_another_file(tmp_path: Path) -> None:
    found = Scene(tmp_path)
    found.write(record(1))
    await found.read()
    await found.tail.close()
    found.path.unlink()
    found.write(*(record(number) for number in range(2, 6)))
    found.tail = found.fresh()
    await found.read()
    assert found.numbers == [1, 2, 3, 4, 5]
    await found.tail.close()


async def test_copy_and_truncate_keeps_what_was_copied(tmp_path: Path) -> None:
    found = Scene(tmp_path)
    found.write(record(1))
    await found.read()
    found.write(record(2))
    shutil.copy(found.path, tmp_path / "audit.log.1")
    os.truncate(found.path, 0)
    found.write(record(3))
    await found.read()
    assert found.numbers == [1, 2, 3]
    assert "ingest.rewound" not in found.actions
    await found.tail.close()


async def test_a_symlink_that_leads_elsewhere_leads_to_another_file(tmp_path: Path) -> None:
    (tmp_path / "real-1").write_bytes(record(1))
    found = Scene(tmp_path)
    found.path.symlink_to(tmp_path / "real-1")
    await found.read()
    (tmp_path / "real-2").write_bytes(record(2))
    found.path.unlink()
    found.path.symlink_to(tmp_path / "real-2")
    await found.read()
    assert found.numbers == [1, 2]
    await found.tail.close()


async def test_a_packed_sibling_is_no_file_of_lines(tmp_path: Path) -> None:
    found = Scene(tmp_path)
    (tmp_path / "audit.log.1.gz").write_bytes(b"\x1f\x8b\x08rest\n")
    found.write(record(1))
    await found.read()
    assert found.actions == ["ocis.file_create"]
    await found.tail.close()


@pytest.mark.parametrize(
    "garbage",
    [
        b"not json",
        b"\xff\xfe\x00",
        b"\xef\xbb\xbf{}",
        b'{"Action":NaN}',
        b'{"Action":"x","Message":"\\ud800"}',
        b"[" * 100_000,
        b"[]",
        b'{"Action":7}',
        b"{}",
        b"\0\0\0",
    ],
)
async def test_garbage_is_kept_as_it_came_and_the_tail_goes_on(tmp_path: Path, garbage: bytes) -> None:
    found = Scene(tmp_path)
    found.write(record(1), garbage + b"\n", record(2))
    await found.read()
    assert found.actions == ["ocis.file_create", "ingest.malformed", "ocis.file_create"]
    kept = [event for event in found.kept.values() if event.action == "ingest.malformed"]
    assert kept[0].raw == garbage
    assert kept[0].data["bytes"] == len(garbage)
    await found.tail.close()


async def test_a_line_beyond_all_measure_is_kept_as_its_head_and_its_hash(tmp_path: Path) -> None:
    found = Scene(tmp_path)
    found.write(record(1), b"x" * (LONGEST + 5))
    await found.read()
    assert found.actions == ["ocis.file_create"]
    found.write(b"\n", record(2))
    await found.read()
    assert found.actions == ["ocis.file_create", "ingest.oversized", "ocis.file_create"]
    kept = next(event for event in found.kept.values() if event.action == "ingest.oversized")
    assert (kept.data["bytes"], kept.raw) == (LONGEST + 5, b"x" * HEAD)
    await found.tail.close()


async def test_a_first_line_beyond_all_measure_is_read_like_any_other(tmp_path: Path) -> None:
    found = Scene(tmp_path)
    found.write(b"y" * (LONGEST + 5) + b"\n", record(2))
    await found.read()
    assert found.actions == ["ingest.oversized", "ocis.file_create"]
    await found.tail.close()


async def test_a_file_that_is_not_there_or_not_to_be_read_is_said_with_what_to_do(tmp_path: Path) -> None:
    found = Scene(tmp_path)
    with pytest.raises(SourceError, match="AUDIT_FILEPATH") as missing:
        await found.look()
    found.path.mkdir()
    with pytest.raises(SourceError) as directory:
        await found.look()
    assert (missing.value.reason, directory.value.reason) == ("FileMissing", "FileMissing")


async def test_a_file_that_stays_empty_is_told_of_with_the_settings_that_are_missing(tmp_path: Path) -> None:
    found = Scene(tmp_path)
    found.write(b"")
    assert (await found.look()).notice == ""
    found.clock = 5 * 3600
    notice = (await found.look()).notice
    for name in ("OCIS_ADD_RUN_SERVICES=audit", "AUDIT_LOG_TO_FILE=true", "AUDIT_FILEPATH"):
        assert name in notice
    found.write(record(1))
    await found.look()
    assert (await found.look()).notice == ""
    await found.tail.close()


async def test_reads_are_left_out_and_counted(tmp_path: Path) -> None:
    """C110."""
    found = Scene(tmp_path)
    found.write(record(1), record(2, Action="file_read"), record(3, Action="something_new"))
    await found.look()
    look = await found.look()
    assert (look.filtered, [event.action for event in look.events]) == (
        1,
        ["ocis.file_create", "ocis.something_new"],
    )
    await found.tail.close()


async def test_a_large_backlog_is_read_in_pieces(tmp_path: Path) -> None:
    found = Scene(tmp_path)
    found.write(*(record(number) for number in range(2_500)))
    await found.look()
    looks = [await found.look() for _ in range(4)]
    assert [len(look.events) for look in looks] == [1_000, 1_000, 500, 0]
    assert [look.more for look in looks] == [True, True, False, False]
    await found.tail.close()


class Tailing(RuleBasedStateMachine):
    """Whatever is done to the file within the stated limits: every line once, and in order."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()

    @initialize()
    def begin(self) -> None:
        self.directory = Path(os.fspath(TMP.mktemp("tail")))
        self.found = Scene(self.directory)
        self.found.write(b"")
        self.number = self.rotated = 0
        self.half = b""

    def teardown(self) -> None:
        if hasattr(self, "found"):
            self.loop.run_until_complete(self.found.read())
            self.check()
            self.loop.run_until_complete(self.found.tail.close())
        self.loop.close()

    def _line(self) -> bytes:
        self.number += 1
        return record(self.number, Pad="x" * (self.number % 40))

    @rule(count=st.integers(1, 5))
    def write(self, count: int) -> None:
        lines = b"".join(self._line() for _ in range(count))
        self.found.write(self.half + lines)
        self.half = b""

    @rule(cut=st.integers(1, 40))
    def write_half(self, cut: int) -> None:
        if not self.half:
            line = self._line()
            self.found.write(line[:cut])
            self.half = line[cut:]

    @rule()
    def rotate(self) -> None:
        """As logrotate does between two records: the writer opens the file for each of them."""
        self._whole()
        self.rotated += 1
        self.found.path.rename(self.directory / f"audit.log.{self.rotated}")
        self.found.write(b"")

    @rule()
    def copy_and_truncate(self) -> None:
        self._whole()
        self.rotated += 1
        shutil.copy(self.found.path, self.directory / f"audit.log.{self.rotated}")
        os.truncate(self.found.path, 0)

    @rule()
    def truncate_what_was_read(self) -> None:
        self._whole()
        self.loop.run_until_complete(self.found.read())
        os.truncate(self.found.path, 0)

    @rule(crash=st.booleans())
    def look(self, crash: bool) -> None:  # noqa: FBT001
        self.loop.run_until_complete(self.found.look(crash=crash))
        if crash:
            self.loop.run_until_complete(self.found.restart())

    @rule()
    def restart(self) -> None:
        self.loop.run_until_complete(self.found.restart())

    @rule()
    def restart_with_the_cursor_before(self) -> None:
        """A store that was put back by one write: what was read since is read again."""
        if self.found.before is not None and self.found.before.generations:
            self.found.cursor = self.found.before
        self.loop.run_until_complete(self.found.restart())

    def _whole(self) -> None:
        if self.half:
            self.found.write(self.half)
            self.half = b""

    @invariant()
    def no_event_twice_and_in_order(self) -> None:
        if hasattr(self, "found"):
            assert self.found.numbers == sorted(set(self.found.numbers))

    def check(self) -> None:
        written = self.number - (1 if self.half else 0)
        assert self.found.numbers == list(range(1, written + 1))


TMP: pytest.TempPathFactory


def test_whatever_is_done_to_the_file_every_line_is_an_event_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    global TMP  # noqa: PLW0603 - the machine is made by Hypothesis, without arguments
    TMP = tmp_path_factory
    run_state_machine_as_test(
        Tailing, settings=settings(max_examples=400 if FULL else 40, stateful_step_count=25, deadline=None)
    )
