"""Authentik's list of events, asked so that no answer is believed that can not be (facts/authentik.md 0, 2, 5).

The list has no filter by time; its query language has, in whole seconds of UTC. A query that is not understood is no
error but a search for words, and one that is ignored lists everything: both are told from a list that is really empty,
or really so. Page numbers shift when events are deleted, so they are good for the pages of one reading only.
"""

from __future__ import annotations

from datetime import datetime
from email.utils import parsedate_to_datetime

import msgspec

from dezky_operator.ingest.authentik.rows import Found, parse
from dezky_operator.ingest.source import SourceError
from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.integrations.errors import NotFound

PATH = "/events/events/"
PAGE = 100
"""Entries of a page; Authentik gives no more (facts/authentik.md 2)."""
OLDEST_FIRST = "created,pk"
"""By time alone entries of the same microsecond have no order, and a page may show one twice and another never."""


class Page(msgspec.Struct, frozen=True):
    """One page: its entries, how many there are in all, and the number of the next page, 0 after the last."""

    entries: list[Found]
    count: int
    next: int


class _Pagination(msgspec.Struct):
    count: int
    next: int


class _Answer(msgspec.Struct):
    results: list[msgspec.Raw]
    pagination: _Pagination


_ANSWER = msgspec.json.Decoder(_Answer)


class Listing:
    """Reads the list. Raises IntegrationError, and SourceError where an answer can not be right."""

    def __init__(self, client: AuthentikClient) -> None:
        self._client = client

    async def newest(self) -> tuple[Found | None, datetime | None]:
        """The newest entry, asked without any query, and what time it is for the server."""
        page, date = await self._ask({"ordering": "-created", "page_size": "1"})
        return next(iter(page.entries), None), date

    async def oldest(self) -> Found | None:
        """The oldest entry, asked without any query."""
        page, _ = await self._ask({"ordering": OLDEST_FIRST, "page_size": "1"})
        return next(iter(page.entries), None)

    async def first(self, start: datetime) -> Found | None:
        """The first entry from ``start`` on."""
        page, _ = await self._ask(_query(start, None) | {"page_size": "1"})
        _check(page, start, None)
        return next(iter(page.entries), None)

    async def page(self, start: datetime, end: datetime | None, number: int) -> Page:
        """Page ``number``, from 1, of what is from ``start`` up to before ``end``, both whole seconds; oldest first."""
        try:
            page, _ = await self._ask(_query(start, end) | {"page_size": str(PAGE), "page": str(number)})
        except NotFound:
            if number == 1:
                raise
            # So much was deleted meanwhile that this page is past the end.
            return Page(entries=[], count=0, next=0)
        _check(page, start, end)
        return page

    async def _ask(self, params: dict[str, str]) -> tuple[Page, datetime | None]:
        content, date = await self._client.page(PATH, op="event.list", params=params)
        return read_page(content), _time(date)


def read_page(content: bytes) -> Page:
    """A page from its bytes; each entry keeps its own, as they came. Raises SourceError."""
    try:
        answer = _ANSWER.decode(content)
    except msgspec.MsgspecError as error:
        raise SourceError("UnknownAnswer", "Authentik's list of events has an unknown form.") from error
    entries = [parse(bytes(text)) for text in answer.results]
    return Page(entries=entries, count=answer.pagination.count, next=answer.pagination.next)


def _query(start: datetime, end: datetime | None) -> dict[str, str]:
    until = f' and created < "{end:%Y-%m-%d %H:%M:%S}"' if end is not None else ""
    return {"search": f'created >= "{start:%Y-%m-%d %H:%M:%S}"{until}', "ordering": OLDEST_FIRST}


def _check(page: Page, start: datetime, end: datetime | None) -> None:
    """A query that is ignored lists everything: then the cursor would jump over what was never read."""
    for entry in page.entries:
        if not entry.at:
            continue
        at = datetime.fromisoformat(entry.at)
        if at < start or (end is not None and at >= end):
            raise SourceError(
                "FilterIgnored",
                "Authentik lists events of other times than it was asked for: its search by time does not work. "
                "Nothing is read until it does; look for what changed in Authentik or in the proxy before it.",
            )


def _time(date: str) -> datetime | None:
    try:
        return parsedate_to_datetime(date)
    except ValueError:
        return None
