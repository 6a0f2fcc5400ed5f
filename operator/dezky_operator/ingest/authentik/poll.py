"""Polling Authentik's events: all of them, each once, though its list knows no time filter (facts/authentik.md 5).

Everything before a point of the server's own clock that is two minutes old is settled: what was written then is
committed, and read once, in windows. What is younger is read again at every look, and what was seen of it is
remembered. Page numbers are never carried over: deletions shift them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from dezky_operator.audit.times import written
from dezky_operator.ingest.authentik.records import Read, read
from dezky_operator.ingest.source import Look, SourceError
from dezky_operator.ingest.tenants import Tenants
from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.integrations.errors import AuthFailed, IntegrationError, NoPermission
from dezky_operator.store.tables import CursorRow

SETTLED_AFTER = timedelta(seconds=120)
"""An event's time is set before it is committed: a long transaction shows it late (facts/authentik.md 5)."""
PAGE = 100
MOST = 1_000
"""Events of a settled window: a wider one is read in parts."""
NARROWEST, WIDEST = timedelta(seconds=1), timedelta(days=30)
FIRST = timedelta(hours=6)
"""How wide the first window is tried."""
TRIES = 3
"""How often a window is read again because events were deleted while its pages were."""


class _Page(msgspec.Struct, frozen=True):
    results: list[msgspec.Raw]
    pagination: dict[str, Any]


class _Created(msgspec.Struct, frozen=True):
    created: str


class _State(msgspec.Struct, frozen=True):
    """How far it was read: everything before ``settled``, and the ids of what is younger."""

    settled: str
    seen: tuple[str, ...] = ()


_PAGE, _STATE = msgspec.json.Decoder(_Page), msgspec.json.Decoder(_State)


class AuthentikPoll:
    """Reads the events of one Authentik."""

    def __init__(
        self,
        client: AuthentikClient,
        *,
        src: str,
        allow: frozenset[str] | None,
        tenants: Callable[[], Tenants],
        now: Callable[[], str],
        own: str,
    ) -> None:
        """Read through ``client``.

        Args:
            client: with a token that may view events.
            src: name of the AuditSource.
            allow: raw actions let into the log; None: all.
            tenants: all tenants at this moment.
            now: canonical time.
            own: user name of the operator's service account.
        """
        self._client, self._src, self._allow = client, src, allow
        self._tenants, self._now, self._own = tenants, now, own
        self._width = FIRST

    async def look(self, cursor: CursorRow | None) -> Look:
        """Read on. Raises SourceError."""
        try:
            return await self._look(cursor)
        except (AuthFailed, NoPermission) as error:
            raise SourceError("AuthFailed", f"{error} It needs authentik_events.view_event.") from error
        except IntegrationError as error:
            raise SourceError("Unreachable", str(error)) from error

    async def close(self) -> None:
        """The connection is its owner's."""

    async def _look(self, cursor: CursorRow | None) -> Look:
        state = _STATE.decode(cursor.position) if cursor and cursor.position else await self._beginning()
        if state is None:
            return Look(cursor=CursorRow(self._src, "", self._now(), ()))
        start, target = datetime.fromisoformat(state.settled), _floored(await self._clock() - SETTLED_AFTER)
        if start < target:
            return await self._walk(state, start, target)
        texts = await self._window(start, None)
        if not texts:
            await self._check_search(start)
        found = self._read(texts)
        seen = tuple(one.pk for one in found)
        return self._found(found, state, _State(state.settled, seen), more=False)

    async def _walk(self, state: _State, start: datetime, target: datetime) -> Look:
        """One settled window; it is narrowed until it holds what one look may read."""
        while True:
            end = min(start + self._width, target)
            count = await self._count(start, end)
            if count <= MOST or end - start <= NARROWEST:
                break
            self._width = max(self._width / 2, NARROWEST)
        found = self._read(await self._window(start, end))
        if count < MOST // 4:
            self._width = min(self._width * 2, WIDEST)
        return self._found(found, state, _State(_text(end), state.seen), more=True)

    def _found(self, found: list[Read], before: _State, after: _State, *, more: bool) -> Look:
        known = set(before.seen)
        fresh = [one for one in found if one.pk not in known]
        allowed = [one.event for one in fresh if self._allow is None or not one.action or one.action in self._allow]
        return Look(
            events=tuple(allowed),
            filtered=len(fresh) - len(allowed),
            cursor=CursorRow(self._src, msgspec.json.encode(after).decode(), self._now(), ()),
            more=more,
            last_event=max((one.created for one in fresh), default=""),
        )

    def _read(self, texts: list[bytes]) -> list[Read]:
        tenants, recv = self._tenants(), self._now()
        return [read(text, src=self._src, recv=recv, tenants=tenants, own=self._own) for text in texts]

    # -- requests -------------------------------------------------------------------------

    async def _beginning(self) -> _State | None:
        """Where the oldest event is, or may still come to be; None while there is none."""
        page, now = await self._page({"ordering": "created,pk", "page_size": "1"})
        if not page.results:
            return None
        oldest = msgspec.json.decode(page.results[0], type=_Created).created
        return _State(_text(_floored(min(datetime.fromisoformat(oldest), now - SETTLED_AFTER))))

    async def _clock(self) -> datetime:
        """What time it is for the server: its clock stamps the events, ours may be another."""
        _, date = await self._page({"ordering": "-created", "page_size": "1"})
        return date

    async def _count(self, start: datetime, end: datetime) -> int:
        page, _ = await self._page({"search": _between(start, end), "page_size": "1", "ordering": "created,pk"})
        self._check_filter(page, start)
        return int(page.pagination["count"])

    async def _window(self, start: datetime, end: datetime | None) -> list[bytes]:
        """The texts of all events from ``start`` on, read again when some were deleted meanwhile."""
        for _ in range(TRIES):
            texts, whole = await self._pages(start, end)
            if whole:
                return texts
        raise SourceError("Unstable", "Authentik's events are being deleted while they are read; it is tried again.")

    async def _pages(self, start: datetime, end: datetime | None) -> tuple[list[bytes], bool]:
        texts, number, count = list[bytes](), 1, 0
        while number:
            query = {"search": _between(start, end), "ordering": "created,pk"}
            page, _ = await self._page({**query, "page_size": str(PAGE), "page": str(number)})
            self._check_filter(page, start)
            if int(page.pagination["count"]) < count:
                return [], False
            count, number = int(page.pagination["count"]), int(page.pagination["next"])
            texts += [bytes(text) for text in page.results]
        return texts, True

    async def _page(self, params: dict[str, str]) -> tuple[_Page, datetime]:
        content, date = await self._client.page("/events/events/", op="event.list", params=params)
        try:
            return _PAGE.decode(content), parsedate_to_datetime(date)
        except (msgspec.MsgspecError, ValueError, TypeError) as error:
            raise SourceError("Unreachable", "Authentik's list of events has an unknown form.") from error

    # -- guards ---------------------------------------------------------------------------

    def _check_filter(self, page: _Page, start: datetime) -> None:
        """A search that is ignored lists everything: then the cursor would jump over what was never read."""
        for text in page.results[:1]:
            created = msgspec.json.decode(text, type=_Created).created
            if datetime.fromisoformat(created) < start:
                raise SourceError(
                    "FilterIgnored",
                    "Authentik lists events from before the time it was asked for: it does not search by time. "
                    "Nothing is read until it does.",
                )

    async def _check_search(self, start: datetime) -> None:
        """A search that became one for words finds nothing, while there is something."""
        page, _ = await self._page({"ordering": "-created", "page_size": "1"})
        for text in page.results:
            created = datetime.fromisoformat(msgspec.json.decode(text, type=_Created).created)
            if created >= start + timedelta(seconds=1):
                raise SourceError(
                    "SearchDegraded",
                    "Authentik finds no events where there are some: its query language is off (before 2026.5 it needs "
                    "a licence). Nothing is read until it answers by time.",
                )


def _between(start: datetime, end: datetime | None) -> str:
    """The query: its language knows whole seconds of UTC only."""
    until = f' and created < "{end:%Y-%m-%d %H:%M:%S}"' if end is not None else ""
    return f'created >= "{start:%Y-%m-%d %H:%M:%S}"{until}'


def _floored(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)


def _text(moment: datetime) -> str:
    return written(moment)
