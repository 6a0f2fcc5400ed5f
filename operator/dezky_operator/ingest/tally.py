"""What became of everything a source told, kept beside its cursor: received = stored + duplicate + collapsed +
filtered + quarantined (facts/audit-log.md 6.4).

An event that a crash let in before its cursor was stored comes again as a duplicate. It is counted as what it was the
first time: it stands behind the end that the log had when the cursor was stored last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from dezky_operator.audit import hot
from dezky_operator.audit.event import Event
from dezky_operator.audit.fates import Appended, Fate
from dezky_operator.audit.log import INVALID
from dezky_operator.ingest.malformed import MALFORMED
from dezky_operator.store.interface import Reader, Rows, Store
from dezky_operator.store.tables import CURSORS, CursorRow

KINDS = ("stored", "duplicate", "collapsed", "filtered", "quarantined")
QUARANTINED = frozenset({MALFORMED, INVALID})


class Tally:
    """The row of one source."""

    def __init__(self, store: Store, source: str) -> None:
        self._store, self._source = store, source
        self.row: CursorRow | None = None

    async def load(self) -> CursorRow | None:
        """What is stored; None: nothing was ever read, or it was lost."""

        async def look(rows: Reader) -> CursorRow | None:
            return await rows.get(CURSORS, self._source)

        self.row = await self._store.read(look)
        return self.row

    @property
    def counts(self) -> dict[str, int]:
        """How many of each kind, and ``received``."""
        held = self.row.counts if self.row else {}
        counts = {kind: held.get(kind, 0) for kind in KINDS}
        return {"received": sum(counts.values()), **counts}

    async def save(
        self, events: Sequence[Event], appended: Appended, *, cursor: CursorRow, filtered: int = 0, last_event: str = ""
    ) -> None:
        """Store how far the source was read, with what became of ``events``. Raises UnavailableError."""
        before = self.row
        found = fates(events, appended, since=before.size if before else 0)
        counts = Counter(before.counts if before else {})
        counts.update(found)
        counts["filtered"] += filtered

        async def keep(rows: Rows) -> CursorRow:
            size = (await hot.tip(rows, await hot.head_row(rows))).size
            row = msgspec.structs.replace(
                cursor,
                counts={kind: count for kind, count in counts.items() if count},
                size=size,
                last_event=max(last_event, before.last_event if before else ""),
            )
            await rows.put(CURSORS, [row])
            return row

        self.row = await self._store.run(keep)


def fates(events: Sequence[Event], appended: Appended, *, since: int) -> Mapping[str, int]:
    """How many of each kind; ``since`` is how many lines the log had when the source was counted last. Pure."""
    found: Counter[str] = Counter()
    placed_first: set[int] = set()
    for event, one in zip(events, appended.placed, strict=True):
        fresh = one.seq >= since and one.seq not in placed_first
        if not fresh:
            found[one.fate.value if one.fate is not Fate.STORED else Fate.DUPLICATE.value] += 1
            continue
        placed_first.add(one.seq)
        found["quarantined" if event.action in QUARANTINED else Fate.STORED.value] += 1
    return found
