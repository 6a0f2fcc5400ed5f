"""A store with a log in it: events of three tenants, signed heads and checkpoints, as the operator leaves them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from dezky_operator.audit import rotation
from dezky_operator.audit.checkpoint import Checkpoint
from dezky_operator.audit.draft import Draft, prepare
from dezky_operator.audit.event import Event
from dezky_operator.audit.heads import TenantMap
from dezky_operator.audit.keyring import KeyRing
from dezky_operator.audit.keys import VerifyKey
from dezky_operator.audit.sequencer import Sequencer
from dezky_operator.audit.stored_tiles import grow
from dezky_operator.store.interface import Reader, Rows, Store
from dezky_operator.store.sqlite import SqliteStore
from dezky_operator.store.tables import CHECKPOINTS, LOG, CheckpointRow, LogRow
from tests.audit.events import own, ring, signers
from tests.audit.golden import ORIGIN
from tests.logs import START

KEYS: KeyRing = ring()


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    """The store in a file, closed again at the end."""
    store = await SqliteStore.open(path)
    try:
        yield store
    finally:
        await store.close()


def appender(store: Store) -> Sequencer:
    """A sequencer whose clock goes one second with every look."""
    ticks = iter(range(START, START + 10**18, 10**9))
    return Sequencer(store, origin=ORIGIN, clock=lambda: next(ticks), clock_difference=lambda: 0.0)


async def append(log: Sequencer, events: Sequence[Event]) -> None:
    """Append prepared events."""
    await log.append([prepare(event, keys=KEYS, random=os.urandom) for event in events])


def heads_event(size: int, heads: TenantMap) -> Draft:
    """`log.heads` over so many lines."""
    event = own(f"log.heads:{size}", "log.heads", data={"count": len(heads), "root": heads.root.hex()})
    return prepare(event, keys=KEYS, random=os.urandom)


def rotated_event(key: VerifyKey) -> Draft:
    """`key.rotated`, which names a new key."""
    event = own(f"{rotation.ACTION}:{key.id.hex()}", rotation.ACTION, data=rotation.naming(key))
    return prepare(event, keys=KEYS, random=os.urandom)


async def checkpoint(
    store: Store, log: Sequencer, encode: Callable[[TenantMap], bytes], *, counter: int, heads: bool = True
) -> bytes:
    """Commit to the tenants' heads, sign the log as it is, keep the note; return it."""
    known = b""
    if heads:
        known = encode((await log.append_about(heads_event)).heads)
    grown = await grow(store)
    note = signers().sign(Checkpoint(ORIGIN, grown.size, grown.root), START // 10**9 + counter)

    async def keep(rows: Rows) -> None:
        await rows.insert(CHECKPOINTS, [CheckpointRow(counter, grown.size, note.decode(), known, ())])

    await store.run(keep)
    return note


async def rows_of(store: Store) -> list[LogRow]:
    """All rows of the log."""

    async def look(rows: Reader) -> list[LogRow]:
        return await rows.scan(LOG, limit=100_000)

    return await store.read(look)
