"""Polling Authentik's events: all of them, each once, though its list knows no time filter (facts/authentik.md 5).

What is older than two minutes is settled: whatever was written then is committed, and it is read once, in windows of
time. What is younger is read again at every look, and what was seen of it is remembered, so an event that is committed
late is not missed. The time is the earlier of the server's and ours: a clock that was ahead and is set right again
must not leave a gap behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta

from dezky_operator.audit.times import written
from dezky_operator.ingest.authentik.listing import PAGE, Listing, Page
from dezky_operator.ingest.authentik.people import People
from dezky_operator.ingest.authentik.position import REMEMBERED, Position, floored, position_of
from dezky_operator.ingest.authentik.records import event_of
from dezky_operator.ingest.authentik.rows import Found
from dezky_operator.ingest.authentik.whose import asked, whose
from dezky_operator.ingest.source import Look, SourceError
from dezky_operator.ingest.tenants import Tenants
from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.integrations.errors import AuthFailed, IntegrationError, NoPermission, RateLimited
from dezky_operator.store.tables import CursorRow

SETTLED_AFTER = timedelta(seconds=120)
"""An event's time is set before it is committed: a long transaction shows it late (facts/authentik.md 5)."""
MOST = 1_000
"""Events of one look, ten pages: a settled window with more is read in parts."""
MOST_PAGES = REMEMBERED // PAGE
"""Pages read of what is not settled. What lies beyond is read when it is."""
NARROWEST, FIRST, WIDEST = timedelta(seconds=1), timedelta(hours=6), timedelta(days=30)
"""Widths of a settled window: it is halved while it holds too many, and doubled when it held few."""
TRIES = 3
"""How often a window is read again because events were deleted while its pages were."""
LOOKUPS = 200
"""Accounts looked up in one look; then it ends, and the next one goes on."""
NEEDED = "The token of this source needs view_event, view_user and view_group, each on everything."


class AuthentikPoll:
    """Reads the events of one Authentik."""

    def __init__(
        self,
        client: AuthentikClient,
        *,
        src: str,
        allow: Collection[str] | None,
        tenants: Callable[[], Tenants],
        now: Callable[[], str],
        own: str,
    ) -> None:
        """Read through ``client``.

        Args:
            client: with a token that may view events, users and groups.
            src: name of the AuditSource.
            allow: Authentik's own names of the actions that are let into the log; None: all.
            tenants: all tenants at this moment.
            now: canonical time.
            own: user name of the operator's service account.
        """
        self._listing, self._people = Listing(client), People(client)
        self._src, self._allow = src, None if allow is None else frozenset(allow)
        self._tenants, self._now, self._own = tenants, now, own
        self._width = FIRST

    async def look(self, cursor: CursorRow | None) -> Look:
        """Read on. Raises SourceError."""
        try:
            return await self._look(cursor)
        except (AuthFailed, NoPermission) as error:
            raise SourceError("AuthFailed", f"{error} {NEEDED}") from error
        except RateLimited as error:
            raise SourceError("RateLimited", str(error)) from error
        except IntegrationError as error:
            raise SourceError("Unreachable", str(error)) from error

    async def close(self) -> None:
        """The connection is its owner's."""

    async def _look(self, cursor: CursorRow | None) -> Look:
        newest, theirs = await self._listing.newest()
        ours = datetime.fromisoformat(self._now())
        target = floored(min(ours, theirs or ours) - SETTLED_AFTER)
        state = position_of(cursor) or await self._beginning(target)
        if newest is None or state is None:
            return Look(cursor=self._cursor(state))
        # Never ahead of the clocks: what they were ahead is read once more after they were set right.
        start = min(datetime.fromisoformat(state.settled), target)
        if start < target:
            return await self._walk(state, start, target, newest)
        return await self._live(state, start, newest)

    async def _beginning(self, target: datetime) -> Position | None:
        """Where the oldest event is, or may still come to be; None while there is none."""
        oldest = await self._listing.oldest()
        if oldest is None:
            return None
        at = datetime.fromisoformat(oldest.at) if oldest.at else datetime.min.replace(tzinfo=UTC)
        return Position(written(floored(min(at, target))))

    # -- what is settled ----------------------------------------------------------------------

    async def _walk(self, state: Position, start: datetime, target: datetime, newest: Found) -> Look:
        """One window of it."""
        end, entries = await self._window(start, target)
        if not entries:
            end = await self._after_gap(start, target, newest)
        return await self._found(entries, state, Position(written(end), state.seen), more=True)

    async def _window(self, start: datetime, target: datetime) -> tuple[datetime, list[Found]]:
        """Where it ends, and all that it holds, none of it missing."""
        for _ in range(TRIES):
            end, first = await self._narrowed(start, target)
            entries = await self._whole(start, end, first)
            if entries is not None:
                if first.count < MOST // 4:
                    self._width = min(self._width * 2, WIDEST)
                return end, entries
        raise SourceError(
            "Unstable",
            "Authentik's events are being deleted while they are read. Nothing is skipped: the same is read again.",
        )

    async def _narrowed(self, start: datetime, target: datetime) -> tuple[datetime, Page]:
        """The end of a window that holds no more than one look may read, and its first page."""
        while True:
            end = min(start + self._width, target)
            first = await self._listing.page(start, end, 1)
            if first.count <= MOST or end - start <= NARROWEST:
                return end, first
            self._width = max((end - start) // (2 * NARROWEST) * NARROWEST, NARROWEST)

    async def _whole(self, start: datetime, end: datetime, first: Page) -> list[Found] | None:
        """All pages; None when some of it was deleted between two of them, since the later ones then begin too late."""
        entries, page, number = [*first.entries], first, 1
        while page.next:
            number += 1
            page = await self._listing.page(start, end, number)
            if page.count < first.count:
                return None
            entries += page.entries
        return entries

    async def _after_gap(self, start: datetime, target: datetime, newest: Found) -> datetime:
        """Where there is something again after a window without anything."""
        if not _is_from(newest, start):
            return target
        first = await self._listing.first(start)
        if first is None:
            await self._doubt(start)
            return target
        return min(floored(datetime.fromisoformat(first.at)), target) if first.at else start

    async def _doubt(self, start: datetime) -> None:
        """The search finds nothing, yet there was something: deleted since, or one more question tells otherwise."""
        newest, _ = await self._listing.newest()
        if newest is not None and _is_from(newest, start) and await self._listing.first(start) is None:
            raise SourceError(
                "SearchDegraded",
                "Authentik finds no events where there are some: its query language is off (before 2026.5 it needs a "
                "licence). Nothing is read until it answers by time; update Authentik to 2026.5 or later.",
            )

    # -- what is not yet ------------------------------------------------------------------------

    async def _live(self, state: Position, start: datetime, newest: Found) -> Look:
        """All that is younger, as far as it fits. Deletions in between do no harm: it is read again once settled."""
        known, entries, fresh, number = set(state.seen), list[Found](), 0, 1
        while number and number <= MOST_PAGES and fresh < MOST:
            page = await self._listing.page(start, None, number)
            entries += page.entries
            fresh += sum(entry.ext not in known for entry in page.entries)
            number = page.next
        if not entries and _is_from(newest, start):
            await self._doubt(start)
        after = Position(written(start), tuple(entry.ext for entry in entries))
        return await self._found(entries, state, after, more=0 < number <= MOST_PAGES)

    # -- what a look found ------------------------------------------------------------------------

    async def _found(self, entries: list[Found], before: Position, after: Position, *, more: bool) -> Look:
        known = set(before.seen)
        unknown = [entry for entry in {entry.ext: entry for entry in entries}.values() if entry.ext not in known]
        taken = await self._attributable(unknown)
        if len(taken) < len(unknown):
            after, more = after.before(unknown[len(taken)], taken, before.seen), True
        tenants, recv = self._tenants(), self._now()
        allowed = [entry for entry in taken if self._allows(entry)]
        events = (
            event_of(
                entry,
                src=self._src,
                recv=recv,
                own=self._own,
                tenant=whose(entry.row, self._people.place, tenants) if entry.row else None,
            )
            for entry in allowed
        )
        return Look(
            events=tuple(events),
            filtered=len(taken) - len(allowed),
            cursor=self._cursor(after),
            more=more,
            last_event=max((entry.at for entry in taken), default=""),
        )

    def _allows(self, entry: Found) -> bool:
        """What can not be read is let in always: nobody knows what it is."""
        return self._allow is None or entry.row is None or entry.row.action in self._allow

    async def _attributable(self, entries: list[Found]) -> list[Found]:
        """Those from the first on of whom it is known whose they are, once the accounts were looked up."""
        time = datetime.fromisoformat(self._now()).timestamp()
        wanted: dict[int, None] = {}
        taken = 0
        for entry in entries:
            if entry.row is not None and self._allows(entry):
                more = [number for number in self._people.missing(asked(entry.row), time=time) if number not in wanted]
                if len(wanted) + len(more) > LOOKUPS:
                    break
                wanted |= dict.fromkeys(more)
            taken += 1
        await self._people.learn(wanted, time=time)
        return entries[:taken]

    def _cursor(self, state: Position | None) -> CursorRow:
        return CursorRow(self._src, state.text if state is not None else "", self._now(), ())


def _is_from(entry: Found, start: datetime) -> bool:
    """Whether it is of a time from ``start`` on; what has no time may be."""
    return not entry.at or datetime.fromisoformat(entry.at) >= start
