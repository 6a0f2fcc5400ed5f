"""How much of a bare insert's speed is left when the same rows are looked up, numbered and linked first.

    python -m tests.perf.audit_insert [ROWS]

The bare side gets the sequencer's own rows as ready values and hands them to SQLite, in the same tables with the same
indexes, 500 a commit, the same settings, on the same disk, batch by batch in turns. Wall time.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import apsw
import msgspec

from dezky_operator.audit.draft import Draft, Private
from dezky_operator.audit.sequencer import TOGETHER, Sequencer
from dezky_operator.audit.stored_tiles import grow
from dezky_operator.store.interface import Reader, Store
from dezky_operator.store.sqlite import Options, SqliteStore
from dezky_operator.store.sqlite.file import opened
from dezky_operator.store.sqlite.schema import Value, shape_of
from dezky_operator.store.tables import LOG, PII, LogRow, PiiRow
from tests.drafts import ORIGIN, draft
from tests.perf.figure import Figure

ROWS = 50_000
TENANTS = 200
PARTNERS = 20
PEOPLE = 2_000
BUDGET = 0.60
SOURCES = {"authentik": "authentik-main", "stalwart": "stalwart-main", "ocis": "ocis-main"}
COMMITTED = ("actor.email", "actor.id", "actor.ip", "raw", "tenant.slug")


@dataclass(frozen=True)
class Stored:
    """The values of the statements of a bare insert."""

    log: list[tuple[Value, ...]]
    pii: list[tuple[Value, ...]]
    values: list[tuple[Value, Value]]

    @property
    def line(self) -> float:
        """Bytes of a line, on average."""
        return sum(len(values[-1]) for values in self.log if isinstance(values[-1], bytes)) / len(self.log)


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Seconds each side took for the same rows, and the bytes of a line."""

    bare: float
    sequenced: float
    tiles: float
    line: float


def event(number: int, *, private: bool) -> Draft:
    """One of three sources and 200 tenants: its line has about 950 bytes, its sealed text 700."""
    source = list(SOURCES)[number % 3]
    c = dict.fromkeys(COMMITTED[: 5 if private else 3], f"{number:064x}")
    values = {path: (number.to_bytes(16, "big"), f"value {number} of {path}") for path in COMMITTED if path != "raw"}
    tenant = str(UUID(int=(number * 7_919) % TENANTS + 1))
    one = draft(str(number), tenant=tenant, src=SOURCES[source])
    kept = (
        Private(values, bytes(700), bytes(16), (sha256(b"%d" % (number % PEOPLE)).digest(),)) if private else Private()
    )
    return msgspec.structs.replace(one, c=c, source=source, partner=str(UUID(int=number % PARTNERS)), private=kept)


async def stored_in(path: Path, offered: Sequence[Draft]) -> Stored:
    """What the sequencer makes of the events, as values of statements."""
    store = await SqliteStore.open(path)
    await sequencer(store).append(offered)

    async def look(rows: Reader) -> tuple[list[LogRow], list[PiiRow]]:
        return await rows.scan(LOG, limit=10**9), await rows.scan(PII, limit=10**9)

    log, pii = await store.read(look)
    await store.close()
    return Stored(
        log=[shape_of(LOG).values(row) for row in log],
        pii=[shape_of(PII).values(row) for row in pii],
        values=[(value, row.seq) for row in pii for value in row.bi],
    )


def sequencer(store: Store) -> Sequencer:
    """One with the real clock."""
    return Sequencer(store, origin=ORIGIN, clock=time.time_ns, clock_difference=lambda: 0.0)


def bare(connection: apsw.Connection, stored: Stored, number: int) -> None:
    """Insert one batch and nothing else."""
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(shape_of(LOG).insert, stored.log[number : number + TOGETHER])
    connection.executemany(shape_of(PII).insert, stored.pii[number : number + TOGETHER])
    connection.executemany("INSERT INTO audit_pii_bi VALUES (?, ?)", stored.values[number : number + TOGETHER])
    connection.execute("COMMIT")


async def compare(offered: Sequence[Draft], directory: Path) -> Taken:
    """Time both sides batch by batch, so that whatever else the machine does falls on both."""
    stored = await stored_in(directory / "first.db", offered)
    # The events wait here all at once, as they never would: the collector need not look through them every time.
    gc.collect()
    gc.freeze()
    store, connection = await SqliteStore.open(directory / "log.db"), opened(directory / "bare.db", Options())
    log = sequencer(store)
    marks = [time.perf_counter()]
    for number in range(0, len(offered), TOGETHER):
        bare(connection, stored, number)
        marks.append(time.perf_counter())
        await log.append(offered[number : number + TOGETHER])
        marks.append(time.perf_counter())
    spans = [after - before for before, after in pairwise(marks)]
    await grow(store)
    tiles = time.perf_counter() - marks[-1]
    connection.close()
    await store.close()
    return Taken(bare=sum(spans[::2]), sequenced=sum(spans[1::2]), tiles=tiles, line=stored.line)


async def main(count: int) -> None:
    """Compare events with personal values and without."""
    for name, private in (("with personal values", True), ("log rows alone", False)):
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
            taken = await compare([event(number, private=private) for number in range(count)], Path(directory))
        Figure(
            name=f"audit: sequenced insert, {name}, lines of {taken.line:.0f} B",
            value=taken.bare / taken.sequenced,
            unit="of a bare insert",
            budget=BUDGET,
            beside=f"bare insert, rows/s ({count / taken.sequenced:.0f} sequenced, {count / taken.tiles:.0f} tiled)",
            peer=count / taken.bare,
            better="higher",
        ).show()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS))
