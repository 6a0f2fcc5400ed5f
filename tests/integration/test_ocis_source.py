"""OCIS's audit file read round by round into the log, which may be away (C105 to C109)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dezky_operator.audit.event import Event, Outcome
from dezky_operator.audit.fates import Appended
from dezky_operator.audit.keystore import KeyStore
from dezky_operator.audit.line import Line
from dezky_operator.audit.log import AuditLog
from dezky_operator.ingest.ocis.recovery import recovered
from dezky_operator.ingest.ocis.tail import OcisTail
from dezky_operator.ingest.ocis.told import OPENED, REWOUND
from dezky_operator.ingest.rounds import Pace, Round
from dezky_operator.ingest.tally import Tally
from dezky_operator.ingest.tenants import Tenants
from dezky_operator.store.interface import Reader, Rows, Span, UnavailableError
from dezky_operator.store.sqlite import SqliteStore
from dezky_operator.store.tables import CURSORS, CursorRow
from tests.audit.events import counting
from tests.drafts import RECEIVED
from tests.logs import Clock, lines_of, sequencer
from tests.ocis_lines import numbered

SRC = "ocis-main"
ONE, TWO, THREE, FOUR = map(numbered, range(1, 5))


@dataclass
class Scene:
    """A file, its source and its log, which may be away."""

    path: Path
    store: SqliteStore
    is_away: bool = False
    opened: list[OcisTail] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.log = AuditLog(sequencer(self.store, Clock()), KeyStore(self.store, bytes(32)), counting())

    async def accept(self, events: Sequence[Event]) -> Appended:
        if self.is_away:
            raise UnavailableError("the store is away")
        return await self.log.accept(events)

    async def started(self) -> Round:
        """A process that begins."""
        tail = OcisTail(
            self.path,
            src=SRC,
            allow=None,
            tenants=Tenants,
            token_key=b"k" * 32,
            now=lambda: RECEIVED,
            lost=lambda: recovered(self.store, SRC, heartbeat=RECEIVED),
        )
        self.opened.append(tail)
        tally = Tally(self.store, SRC)
        await tally.load()
        return Round(
            tail,
            tally,
            name=SRC,
            accept=self.accept,
            tell=lambda _: None,
            pace=Pace(interval=5.0),
            now=lambda: RECEIVED,
            jitter=lambda: 0.5,
        )

    async def cursor(self) -> CursorRow:
        async def work(rows: Reader) -> CursorRow | None:
            return await rows.get(CURSORS, SRC)

        found = await self.store.read(work)
        assert found is not None
        return found

    async def lose_the_cursor(self) -> None:
        async def work(rows: Rows) -> None:
            await rows.delete(CURSORS, Span(), limit=10)

        await self.store.run(work)

    async def lines(self) -> list[Line]:
        return await lines_of(self.store)

    async def records(self) -> list[int]:
        """Offsets of the records in the log, in its order."""
        return [int(line.ext.rpartition(":")[2]) for line in await self.lines() if line.action == "ocis.file_create"]


async def drain(reading: Round) -> None:
    quiet = 0
    while quiet < 4:
        quiet = 0 if await reading.once() == 0.0 else quiet + 1


def append(path: Path, *texts: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(texts))


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    path = tmp_path / "shared" / "audit.log"
    path.parent.mkdir()
    store = await SqliteStore.open(tmp_path / "audit.db")
    found = Scene(path, store)
    yield found
    for tail in found.opened:
        await tail.close()
    await store.close()


async def test_a_cursor_that_is_lost_is_made_of_the_log_by_the_next_process(scene: Scene) -> None:
    append(scene.path, ONE, TWO)
    await drain(await scene.started())
    scene.path.rename(scene.path.with_name("audit.log.1"))
    append(scene.path, THREE)
    await drain(await scene.started())
    kept = await scene.lines()
    stored = await scene.cursor()
    await scene.lose_the_cursor()
    made = await recovered(scene.store, SRC, heartbeat=RECEIVED)
    assert made is not None
    assert [one.uuid for one in made.generations] == [one.uuid for one in stored.generations]
    append(scene.path, FOUR)
    await drain(await scene.started())
    lines = await scene.lines()
    assert lines[:-1] == kept
    assert lines[-1].ext == kept[-1].ext.replace(":0", f":{len(THREE)}")


async def test_files_of_other_sources_are_not_taken_for_its_own(scene: Scene) -> None:
    append(scene.path, ONE)
    await drain(await scene.started())
    kept = await scene.lines()
    await scene.lose_the_cursor()
    await scene.log.accept(
        [
            Event(
                src="ocis-other",
                source="ocis",
                ext=f"{number}:opened",
                action=OPENED,
                outcome=Outcome.SUCCESS,
                recv=RECEIVED,
                data={"first_bytes": 1, "first_hmac": "00"},
            )
            for number in range(3)
        ]
    )
    await drain(await scene.started())
    assert [line for line in await scene.lines() if line.src == SRC] == kept


async def test_a_file_that_is_deleted_while_the_log_takes_nothing_is_read_when_it_does(scene: Scene) -> None:
    append(scene.path, ONE)
    reading = await scene.started()
    await drain(reading)
    append(scene.path, TWO)
    scene.is_away = True
    await reading.once()
    append(scene.path, THREE)
    scene.path.unlink()
    append(scene.path, FOUR)
    await reading.once()
    await reading.once()
    scene.is_away = False
    await drain(reading)
    assert await scene.records() == [0, len(ONE), len(ONE + TWO), 0]


async def test_a_file_written_anew_while_the_log_takes_nothing_is_another_one(scene: Scene) -> None:
    append(scene.path, ONE)
    reading = await scene.started()
    await drain(reading)
    append(scene.path, TWO)
    scene.is_away = True
    await reading.once()
    with scene.path.open("r+b") as file:
        file.write(THREE + FOUR + THREE)
    await reading.once()
    scene.is_away = False
    await drain(reading)
    assert [line.action for line in await scene.lines() if line.action.startswith("ingest.")] == [
        OPENED,
        REWOUND,
        OPENED,
    ]
    assert await scene.records() == [0, 0, len(THREE), len(THREE + FOUR)]


async def test_a_file_that_was_only_begun_and_is_written_anew_is_another_one(scene: Scene) -> None:
    """What was read of it and not stored must not give its id to what stands there now."""
    append(scene.path, ONE)
    reading = await scene.started()
    await reading.once()
    scene.is_away = True
    await reading.once()
    scene.path.write_bytes(TWO)
    scene.is_away = False
    await reading.once()
    await drain(await scene.started())
    assert await scene.records() == [0]
