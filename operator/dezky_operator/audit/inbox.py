"""Where events wait for their place in the log on MongoDB (facts/audit-log.md §2.3, 7 and 8).

There nothing makes an event, its personal values and its number durable in one step. So an event is accepted once its
draft is here, with all that is random in it, and leaves when everything that belongs to its line is stored: what ends
in between is done again with the same draft. Events with personal values come into the log through here only, and an
erasure drains the inbox before it looks for what it has to erase.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from dezky_operator.audit.draft import Draft
from dezky_operator.audit.errors import EventError
from dezky_operator.audit.fates import Appended, Counts, Placed, again
from dezky_operator.audit.refusals import BrokenLogError
from dezky_operator.audit.sequencer import TOGETHER, Sequencer
from dezky_operator.store.interface import ConflictError, Key, Reader, Rows, Store
from dezky_operator.store.tables import INBOX, InboxRow

LARGEST = 15 << 20
"""Bytes of a draft: MongoDB takes documents of 16 MiB."""
BYTES_TOGETHER = 16 << 20
"""Of the drafts of one insert."""
READ_AT_ONCE = 16
"""Rows of one read, any of which may be of the largest: bounds the memory they take."""
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Draft)


class Inbox:
    """The inbox of one log. Any number of tasks may hand events in; one at a time drains it."""

    def __init__(self, store: Store, clock: Callable[[], int]) -> None:
        """Keep events in ``store``; ``clock`` gives nanoseconds since 1970."""
        self._store = store
        self._clock = clock
        self._newest: int | None = None
        self._done: tuple[list[Key], Appended] | None = None

    async def accept(self, drafts: Sequence[Draft]) -> dict[str, Counts]:
        """Keep events until they are in the log; return once that is durable.

        Of an event that waits already the first delivery stays, the others are counted in the answer, by source. Those
        that are kept are counted when they are drained.

        Raises:
            EventError: an event is larger than the store takes; none of them is kept.
            UnavailableError: it is unknown which are kept; the same drafts may be handed in again.
        """
        packed = [_packed(draft) for draft in drafts]
        first: dict[bytes, tuple[Draft, bytes]] = {}
        for draft, data in zip(drafts, packed, strict=True):
            first.setdefault(draft.dk, (draft, data))
        waiting = await self._store.run(partial(self._insert, packed={dk: data for dk, (_, data) in first.items()}))
        fates = []
        for draft in drafts:
            kept, _ = first[draft.dk]
            if draft.dk in waiting:
                fates.append(Placed(draft.src, 0, again(draft.evt_id, waiting[draft.dk])))
            elif draft is not kept:
                fates.append(Placed(draft.src, 0, again(draft.evt_id, kept.evt_id)))
        return Appended(tuple(fates)).counts()

    async def drain(self, sequencer: Sequencer) -> Appended:
        """Append what waits, oldest first, as much as one insert takes; say what became of each. Empty: nothing waits.

        Raises:
            ClockError, BrokenLogError, FullLogError: everything still waits.
            UnavailableError: call again; nothing is lost, and nothing stored or counted twice.
        """
        if self._done is None:
            rows = await self._store.read(_oldest)
            appended = await sequencer.append([_unpacked(row) for row in rows], kept=True)
            self._done = [row.dk for row in rows], appended
        keys, appended = self._done
        await self._store.run(partial(_remove, keys=keys))
        self._done = None
        return appended

    async def depth(self) -> int:
        """How many events wait. Raises UnavailableError."""
        return await self._store.read(_depth)

    async def _insert(self, rows: Rows, *, packed: dict[bytes, bytes]) -> dict[bytes, str]:
        """Insert the drafts; say of those that waited already by which id they were delivered."""
        arr = await self._arrival(rows, len(packed))
        new = {dk: InboxRow(dk, arr + n, data) for n, (dk, data) in enumerate(packed.items())}
        waiting: dict[bytes, str] = {}
        while new:
            try:
                await rows.insert(INBOX, list(new.values()))
            except ConflictError:
                for there in (await rows.get_many(INBOX, list(new))).values():
                    if there.draft != packed[there.dk]:
                        waiting[there.dk] = _unpacked(there).evt_id
                    del new[there.dk]
            else:
                break
        return waiting

    async def _arrival(self, rows: Reader, count: int) -> int:
        """The first of so many numbers, higher than all before, whatever the clock says."""
        if self._newest is None:
            last = await rows.scan_by(INBOX, "arr", limit=1, newest_first=True)
            self._newest = max(self._newest or 0, last[0].arr if last else 0)
        arr = max(self._newest + 1, self._clock())
        self._newest = arr + count - 1
        return arr


def _packed(draft: Draft) -> bytes:
    data = _ENCODER.encode(draft)
    if len(data) > LARGEST:
        raise EventError(
            f"event {draft.ext[:64]!r} of {draft.src} takes {len(data)} bytes, {LARGEST} may wait in MongoDB: have the "
            "source send less, or keep the log in SQLite"
        )
    return data


def _unpacked(row: InboxRow) -> Draft:
    try:
        return _DECODER.decode(row.draft)
    except msgspec.MsgspecError:
        raise BrokenLogError(
            f"event {row.dk.hex()} in the inbox cannot be read: it was changed, or stored by a later version; restore "
            "it or start that version, nothing is appended"
        ) from None


async def _oldest(rows: Reader) -> list[InboxRow]:
    """What one insert takes of what came first."""
    taken: list[InboxRow] = []
    size, after = 0, None
    while len(taken) < TOGETHER:
        page = await rows.scan_by(INBOX, "arr", after=after, limit=min(READ_AT_ONCE, TOGETHER - len(taken)))
        for row in page:
            size += len(row.draft)
            if size > BYTES_TOGETHER and taken:
                return taken
            taken.append(row)
            after = (row.arr, row.dk)
        if not page:
            break
    return taken


async def _remove(rows: Rows, *, keys: Sequence[Key]) -> None:
    await rows.remove_many(INBOX, keys)


async def _depth(rows: Reader) -> int:
    return await rows.count(INBOX)


class ThroughInbox:
    """The way into a log whose store has no transactions: into the inbox, then to a place."""

    def __init__(self, inbox: Inbox, sequencer: Sequencer) -> None:
        self._inbox, self._sequencer = inbox, sequencer
        self._turn = asyncio.Lock()

    async def append(self, drafts: Sequence[Draft]) -> Appended:
        """Return once every event is in the log with all that belongs to it, and what became of each.

        Raises:
            EventError: an event is larger than the store takes.
            NotAppendedError: the log takes nothing now; the events wait in the inbox.
            UnavailableError: it is unknown how far they came; the same drafts may be handed in again.
        """
        await self._inbox.accept(drafts)
        async with self._turn:
            appended = await self._sequencer.append(drafts, kept=True)
            while (await self._inbox.drain(self._sequencer)).placed:
                continue
        return appended
