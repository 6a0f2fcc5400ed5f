"""The one place where events get their numbers (facts/audit-log.md §2.3).

The same steps on both stores, each safe on its own: look for the events, link those that are new to the end of the log,
insert them, read back. That nothing is numbered twice rests on the primary key, not on a lock: whoever comes second has
a conflict, looks, and finds his events or starts over. On SQLite all of it is one transaction, and nobody comes second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import msgspec

from dezky_operator.audit import hot, personal
from dezky_operator.audit.chain import Links, Tip, linked, says
from dezky_operator.audit.draft import Draft
from dezky_operator.audit.fates import Appended, Fate, Placed, again, together
from dezky_operator.audit.floor import advance, newest_of
from dezky_operator.audit.heads import Head, TenantMap
from dezky_operator.audit.refusals import BrokenLogError, ClockError
from dezky_operator.audit.times import from_unix_ns
from dezky_operator.store.interface import ConflictError, Key, Rows, Store, UnavailableError
from dezky_operator.store.tables import HEAD, HEAD_ID, LOG, HeadRow, LogRow, TenantRow

TOGETHER = 500
"""Events of one insert."""
TRIES = 20
"""How often other writers may come first."""
CLOCK_MAY_DIFFER = 600.0
"""Seconds."""
HEADS_KEPT = 20_000
"""Tenants' newest lines kept in memory."""


class About(msgspec.Struct, frozen=True):
    """An event about the ``size`` lines before it, among them the tenants' newest, and its own place."""

    size: int
    heads: TenantMap
    placed: Placed


class Memory:
    """What the last append left: the tenants' newest lines at one end of the log.

    The leaf hash of the last line stands for everything before it. So while the log still ends with the same hash, what
    is remembered is true, whoever else writes and whatever became of the transaction it was learnt in.
    """

    def __init__(self) -> None:
        self._h = b""
        self._heads: dict[str, TenantRow] = {}

    def at(self, tip: Tip) -> dict[str, TenantRow]:
        """The newest lines known at ``tip``; nothing if the log ends elsewhere."""
        if self._h != tip.h or len(self._heads) > HEADS_KEPT:
            self._heads = {}
        self._h = tip.h
        return self._heads

    def learn(self, links: Links, heads: dict[str, TenantRow]) -> None:
        """Keep the newest lines after ``links`` were appended where ``heads`` was known."""
        self._h = links.tip.h
        self._heads = heads
        heads.update(links.heads)


class Sequencer:
    """Appends to one log. Any number of them may append to the same one, in one process or several."""

    def __init__(
        self,
        store: Store,
        *,
        origin: str,
        clock: Callable[[], int],
        clock_difference: Callable[[], float],
    ) -> None:
        """Append to the log in ``store``.

        Args:
            store: where the log is.
            origin: its name, in every line.
            clock: nanoseconds since 1970.
            clock_difference: seconds between that clock and the API server's.
        """
        self._store = store
        self._origin = origin
        self._clock = clock
        self._clock_difference = clock_difference
        self._memory = Memory()

    async def append(self, drafts: Sequence[Draft], *, kept: bool = False) -> Appended:
        """Give each event that is new its place; return, once that is durable, what became of each.

        Args:
            drafts: the events.
            kept: they come from where they are kept until this returns (the inbox), each with the salts it had before.
                Then a line that is exactly the draft's was inserted by an earlier call that ended before it answered:
                what belongs to the line and is missing is stored, and the event counts as stored.

        Raises:
            ClockError, BrokenLogError, FullLogError: nothing of the rest is appended.
            UnavailableError: it is unknown what was; the same events may be offered again, none is stored twice.
        """
        self._check_clock()
        parts = [drafts[n : n + TOGETHER] for n in range(0, len(drafts), TOGETHER)]
        return together([await self._store.run(partial(self._append, drafts=part, kept=kept)) for part in parts])

    async def append_about(self, make: Callable[[int, TenantMap], Draft]) -> About:
        """Append one event that speaks of all lines before it (``log.heads``).

        Args:
            make: the event for so many lines with these newest lines of tenants. It is called again when another writer
                came first, and its id should name the number: then it is another event.

        Raises:
            as :meth:`append`.
        """
        self._check_clock()
        return await self._store.run(partial(self._append_about, make=make))

    async def _append_about(self, rows: Rows, *, make: Callable[[int, TenantMap], Draft]) -> About:
        for _ in range(TRIES):
            head = await hot.head_row(rows)
            tip = await hot.tip(rows, head)
            newest = await hot.all_tenant_heads(rows, head.hot_floor)
            heads = TenantMap(Head(row.tenant, row.t_seq, row.h) for row in newest.values())
            offer = Offer([make(tip.size, heads)])
            if await self._try(rows, offer, at=tip):
                return About(tip.size, heads, offer.appended().placed[0])
        raise self._overtaken()

    def _overtaken(self) -> UnavailableError:
        return UnavailableError(f"{self._origin}: {TRIES} times another writer came first; nothing is lost, try again")

    def _check_clock(self) -> None:
        difference = self._clock_difference()
        if abs(difference) > CLOCK_MAY_DIFFER:
            raise ClockError(
                f"the clock of this host is {difference:+.0f} s off the API server's, {CLOCK_MAY_DIFFER:.0f} s may be: "
                "set the clock; events are kept and appended afterwards"
            )

    async def _append(self, rows: Rows, drafts: Sequence[Draft], *, kept: bool) -> Appended:
        offer = Offer(drafts, kept=kept)
        for _ in range(TRIES):
            if await self._try(rows, offer):
                return offer.appended()
        raise self._overtaken()

    async def _try(self, rows: Rows, offer: Offer, *, at: Tip | None = None) -> bool:
        """One round; say whether every event has its place now. ``at`` is where the log must end before it."""
        head = await hot.head_row(rows)
        offer.found(await hot.known(rows, head.hot_floor, offer.open))
        if offer.open:
            try:
                links = await self._insert(rows, offer, head, at or await hot.tip(rows, head))
            except (ConflictError, UnavailableError):  # doubt, whatever it was about: look again
                return False
            if not await self._counts(rows, offer, links):
                return False
        await self._settle(rows, offer, head)
        return True

    async def _insert(self, rows: Rows, offer: Offer, head: HeadRow, tip: Tip) -> Links:
        """Link the open events to the end of the log and insert them."""
        heads = self._memory.at(tip)
        unknown = {draft.tenant for draft in offer.open.values()} - heads.keys()
        heads.update(await hot.tenant_heads(rows, head.hot_floor, unknown))
        now = from_unix_ns(self._clock())
        links = linked(offer.open.values(), tip=tip, heads=heads, origin=self._origin, now=now)
        offer.tried(links, heads)
        await rows.insert(LOG, links.rows)
        offer.inserted(links)
        self._memory.learn(links, heads)
        return links

    async def _counts(self, rows: Rows, offer: Offer, links: Links) -> bool:
        """Read back: rows count only where they follow one that is there, above a floor read after the insert.

        A writer that slept through an archiving inserts at numbers that are free again: what it put there goes again.
        """
        floor = (await hot.head_row(rows)).hot_floor
        first = links.rows[0].seq
        if first < floor:
            for row in links.rows:
                if row.seq < floor - 1:
                    await rows.remove(LOG, row)
            offer.reopen(links)
            return False
        before = await rows.get(LOG, first - 1) if first else None
        if first and (before is None or before.h != links.prev):
            raise BrokenLogError(
                f"{self._origin}: the line before {first} is {'missing' if before is None else 'another one'} after an "
                "insert: the store lost what it had acknowledged; restore it, nothing is appended"
            )
        return True

    async def _settle(self, rows: Rows, offer: Offer, head: HeadRow) -> None:
        """Write what belongs to our rows: personal values, the tenants' newest lines, the cached end of the log."""
        for links in offer.links():
            await personal.keep(rows, {row.seq: offer.drafts[row.dk].private for row in links.rows})
            for newest in links.heads.values():
                await advance(rows, newest, offer.heads.get(newest.tenant))
            await _cache(rows, head, links.tip)
        await personal.complete(rows, {seq: offer.drafts[dk].private for dk, seq in offer.earlier.items()})


class Offer:
    """The events of one call, and what is known of them so far."""

    def __init__(self, drafts: Sequence[Draft], *, kept: bool = False) -> None:
        self._order = drafts
        self._kept = kept
        self.drafts: dict[bytes, Draft] = {}
        for draft in drafts:
            self.drafts.setdefault(draft.dk, draft)
        self.open: dict[bytes, Draft] = dict(self.drafts)
        """Those that have no place yet, in the order they were offered."""
        self.heads: dict[str, TenantRow] = {}
        """The tenants' newest lines as they were before the last try."""
        self.earlier: dict[bytes, int] = {}
        """Numbers of the hot lines that earlier calls inserted for the same drafts, by dedupe key."""
        self._ours: dict[bytes, LogRow] = {}
        self._others: dict[bytes, hot.Known] = {}
        self._archived: set[bytes] = set()
        self._tries: list[Links] = []

    def tried(self, links: Links, heads: dict[str, TenantRow]) -> None:
        """These rows are about to be inserted; from now on any of them may be in the log."""
        self._tries.append(links)
        self.heads = {tenant: heads[tenant] for tenant in links.heads if tenant in heads}

    def inserted(self, links: Links) -> None:
        """The store says that all of them are in."""
        self._ours.update((row.dk, row) for row in links.rows)
        self.open.clear()

    def reopen(self, links: Links) -> None:
        """These rows do not count; those that were archived meanwhile are found again by the next look."""
        for row in links.rows:
            del self._ours[row.dk]
            self.open[row.dk] = self.drafts[row.dk]

    def found(self, known: dict[Key, hot.Known]) -> None:
        """These events are in the log: put there by one of our tries, of which we then heard no more, or by others."""
        for dk in [dk for dk in self.open if dk in known]:
            del self.open[dk]
            ours = self._tried_as(dk, known[dk])
            if ours is not None:
                self._ours[dk] = ours
                if not known[dk].h:
                    self._archived.add(dk)
            elif self._kept and says(known[dk].body, self.drafts[dk]):
                self.earlier[dk] = known[dk].seq
            else:
                self._others[dk] = known[dk]

    def _tried_as(self, dk: bytes, known: hot.Known) -> LogRow | None:
        """The row we tried that is the one found. Of an archived one only the number is left to compare."""
        rows = (row for links in self._tries for row in links.rows if row.dk == dk)
        return next((row for row in rows if row.seq == known.seq and known.h in {row.h, b""}), None)

    def links(self) -> Iterator[Links]:
        """Our rows that are in the store, by the try that put them there."""
        for links in self._tries:
            rows = tuple(row for row in links.rows if self._ours.get(row.dk) is row and row.dk not in self._archived)
            if len(rows) == len(links.rows):
                yield links
            elif rows:
                yield Links(links.prev, rows, newest_of(rows))

    def appended(self) -> Appended:
        """What became of each event. Of equal ones in one call the first is stored."""
        return Appended(tuple(map(self._placed, self._order)))

    def _placed(self, draft: Draft) -> Placed:
        if draft.dk in self._others:
            known = self._others[draft.dk]
            return Placed(draft.src, known.seq, again(draft.evt_id, known.evt_id))
        seq = self._ours[draft.dk].seq if draft.dk in self._ours else self.earlier[draft.dk]
        first = self.drafts[draft.dk]
        return Placed(draft.src, seq, Fate.STORED if first is draft else again(draft.evt_id, first.evt_id))


async def _cache(rows: Rows, head: HeadRow, tip: Tip) -> None:
    """Note the end of the log. If the row has changed meanwhile it stays: it is a cache, and the floor in it is not."""
    new = HeadRow(HEAD_ID, head.hot_floor, tip.size, tip.h)
    if await rows.swap(HEAD, head, new) or await rows.get(HEAD, HEAD_ID) is not None:
        return
    try:
        await rows.insert(HEAD, [new])
    except ConflictError:
        return
