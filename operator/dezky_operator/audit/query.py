"""Searching the log: filters, newest first, page by page (C079, C080; facts/audit-log.md §6.1). Reads only.

The order is that of (at, seq), both falling, and a cursor is the place of the last row that was looked at: pages
neither skip nor repeat, whatever is appended meanwhile. A filter that matches few rows is answered from its index;
otherwise the log is gone through by time, a bounded number of rows for each page, and the page says where to go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from dezky_operator.audit import hot
from dezky_operator.audit.times import is_canonical
from dezky_operator.store.interface import Reader, Span
from dezky_operator.store.tables import LOG, PII, TENANTS, LogRow, PiiRow

DEFAULT_LIMIT = 100
MOST = 500
"""Events of one page."""
EMAIL = "actor.email"
TEXT_PATHS = ("resource.name", EMAIL, "tenant.slug")
"""What free text is looked for in, beside the action."""


class QueryError(Exception):
    """A filter or a cursor can not be used. The text says which, and what was expected."""


class Indexing(Protocol):
    """What finds an address without having it stored to search by (:class:`dezky_operator.audit.keyring.KeyRing`)."""

    def index(self, tenant: str, value: str) -> bytes:
        """The blind index of a value of a tenant."""


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for; an empty field asks for nothing. Times are canonical.

    Attributes:
        since, until: bounds of `at`, both included; ``before`` is one that is not.
        action: exact, or a beginning when it ends with ``.`` or ``*``.
        tenant, partner: ids, or None for all; ``""`` are the events of no tenant.
        source: a type (``authentik``) or the name of an AuditSource.
        text: looked for in action, resource name, actor e-mail and tenant slug; case does not matter.
        limit: events of the page.
        cursor: ``next`` of the page before.
    """

    since: str = ""
    until: str = ""
    before: str = ""
    action: str = ""
    tenant: str | None = None
    partner: str | None = None
    email: str = ""
    outcome: str = ""
    source: str = ""
    text: str = ""
    limit: int = DEFAULT_LIMIT
    cursor: str = ""

    @property
    def prefix(self) -> str:
        """The beginning that actions must have; empty when the action is exact or any."""
        return self.action.removesuffix("*") if self.action.endswith((".", "*")) else ""

    @property
    def any_action(self) -> bool:
        """Whether the action is left open."""
        return self.action in {"", "*"}

    @property
    def private(self) -> bool:
        """Whether it asks for values that stand beside the log."""
        return bool(self.email or self.text)


class Found(msgspec.Struct, frozen=True):
    """A row and what may be erased of it."""

    row: LogRow
    private: PiiRow | None


class Page(msgspec.Struct, frozen=True):
    """Some of what was asked for.

    Attributes:
        found: newest first.
        next: cursor of the next page; empty when there is nothing more.
        looked_at: rows gone through. A page with ``next`` may hold fewer events than asked for, even none: then this
            bound ended it.
    """

    found: tuple[Found, ...]
    next: str
    looked_at: int


class Bounds(msgspec.Struct, frozen=True):
    """What one page may cost.

    Attributes:
        few: rows up to which all matches of an index are read and sorted.
        looked_at: rows gone through by time.
        at_once: rows of one look of these.
    """

    few: int = 2_000
    looked_at: int = 20_000
    at_once: int = 500


BOUNDS = Bounds()
Place = tuple[str, int]
"""`at` and seq of a row."""


def written_cursor(place: Place) -> str:
    """A cursor as text."""
    return f"{place[0]}.{place[1]}"


def parse_cursor(text: str) -> Place:
    """The place of a cursor. Raises QueryError."""
    at, _, seq = text.rpartition(".")
    if not is_canonical(at) or not (seq.isascii() and seq.isdigit() and len(seq) <= 16):
        raise QueryError(f"a cursor is the 'next' of a page, found {text[:64]!r}")
    return at, int(seq)


async def search(rows: Reader, query: Query, keys: Indexing | None = None, bounds: Bounds = BOUNDS) -> Page:
    """One page.

    Args:
        rows: the store.
        query: what is asked for.
        keys: finds an e-mail by its index; without them rows are gone through for it.
        bounds: what the page may cost.

    Raises:
        QueryError: the query contradicts itself.
    """
    checked(query)
    asked = Asked(query, parse_cursor(query.cursor) if query.cursor else None, (await hot.head_row(rows)).hot_floor)
    few = await _few(rows, query, keys, bounds.few)
    if few is None:
        return await _by_time(rows, asked, bounds)
    matches = sorted(filter(asked.fits, few), key=_place, reverse=True)
    found = [one for one in await _with_private(rows, matches, asked) if asked.fits_private(one)]
    more = len(found) > query.limit
    shown = tuple(found[: query.limit])
    return Page(shown, written_cursor(_place(shown[-1].row)) if more else "", len(few))


def checked(query: Query) -> None:
    """Refuse what can not be answered. Raises QueryError."""
    if not 1 <= query.limit <= MOST:
        raise QueryError(f"limit: 1 to {MOST} was expected, found {query.limit}")
    for name in ("since", "until", "before"):
        value = getattr(query, name)
        if value and not is_canonical(value):
            raise QueryError(f"{name}: a time like 2026-11-24T03:59:58.123456Z was expected, found {value[:64]!r}")
    if not query.action.isascii():
        raise QueryError(f"action: names of actions are ASCII, found {query.action[:64]!r}")


class Asked:
    """A query with its bounds worked out."""

    def __init__(self, query: Query, after: Place | None, floor: int) -> None:
        self.query = query
        self.after = after
        self._lowest = max(floor - 1, 0)
        self._text = query.text.lower()
        self._email = query.email.lower()

    @property
    def span(self) -> Span:
        """The times asked for."""
        query = self.query
        ends = [bound for bound in (query.before, query.until and query.until + "\0") if bound]
        return Span(query.since or None, min(ends, default=None))

    def fits(self, row: LogRow) -> bool:
        """Whether a row is one of those asked for, as far as the row itself says."""
        query, span = self.query, self.span
        return (
            row.seq >= self._lowest
            and (self.after is None or _place(row) < self.after)
            and (span.low is None or row.at >= str(span.low))
            and (span.high is None or row.at < str(span.high))
            and (query.any_action or row.action == query.action or self._begins(row))
            and (query.tenant is None or row.tenant == query.tenant)
            and (query.partner is None or row.partner == query.partner)
            and (not query.outcome or row.outcome == query.outcome)
            and (not query.source or query.source in {row.source, row.src})
        )

    def _begins(self, row: LogRow) -> bool:
        return bool(self.query.prefix) and row.action.startswith(self.query.prefix)

    def fits_private(self, one: Found) -> bool:
        """Whether its values are those asked for."""
        held = {path: value.lower() for path, (_, value) in one.private.f.items()} if one.private else {}
        if self._email and held.get(EMAIL) != self._email:
            return False
        texts = [one.row.action.lower(), *(held.get(path, "") for path in TEXT_PATHS)]
        return not self._text or any(self._text in text for text in texts)


async def _by_time(rows: Reader, asked: Asked, bounds: Bounds) -> Page:
    """Go through the log from the cursor on until the page is full or enough was looked at."""
    found: list[Found] = []
    after, looked_at = asked.after, 0
    while looked_at < bounds.looked_at:
        some = await rows.scan_by(LOG, "at", asked.span, after=after, limit=bounds.at_once, newest_first=True)
        fitting = await _with_private(rows, [row for row in some if asked.fits(row)], asked)
        found += [one for one in fitting if asked.fits_private(one)]
        looked_at += len(some)
        if len(found) > asked.query.limit:
            shown = tuple(found[: asked.query.limit])
            return Page(shown, written_cursor(_place(shown[-1].row)), looked_at)
        if len(some) < bounds.at_once:
            return Page(tuple(found), "", looked_at)
        after = _place(some[-1])
    return Page(tuple(found), written_cursor(after) if after else "", looked_at)


async def _with_private(rows: Reader, matches: Sequence[LogRow], asked: Asked) -> list[Found]:
    """Rows with their values; of a query that asks for no values no more than the page can show."""
    wanted = matches if asked.query.private else matches[: asked.query.limit + 1]
    private = await rows.get_many(PII, [row.seq for row in wanted])
    return [Found(row, private.get(row.seq)) for row in wanted]


async def _few(rows: Reader, query: Query, keys: Indexing | None, most: int) -> list[LogRow] | None:
    """All rows that match the most telling filter; None when there is none or it matches many."""
    if query.email and keys is not None:
        found = await _of_address(rows, query, keys, most)
        if found is not None:
            return found
    for field, value in (("tenant", query.tenant), ("partner", query.partner)):
        if value is not None and len(few := await rows.find(LOG, field, value, limit=most + 1)) <= most:
            return few
    if not query.any_action:
        few = await rows.scan_by(LOG, "action", _actions(query), limit=most + 1)
        if len(few) <= most:
            return few
    return None


def _actions(query: Query) -> Span:
    """The actions asked for; after a beginning comes whatever sorts below its last character's successor."""
    if prefix := query.prefix:
        return Span(prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1))
    return Span(query.action, query.action + "\0")


async def _of_address(rows: Reader, query: Query, keys: Indexing, most: int) -> list[LogRow] | None:
    """The rows of an e-mail address; each tenant has it under another index."""
    tenants = [query.tenant] if query.tenant is not None else await tenants_of(rows)
    places: set[int] = set()
    for tenant in tenants:
        held = await rows.find(PII, "bi", keys.index(tenant, query.email), limit=most + 1)
        places.update(row.seq for row in held)
        if len(places) > most:
            return None
    return list((await rows.get_many(LOG, sorted(places))).values())


async def tenants_of(rows: Reader) -> list[str]:
    """Ids of all tenants that ever had a line."""
    return [row.tenant for row in await rows.scan(TENANTS, limit=await rows.count(TENANTS))]


def _place(row: LogRow) -> Place:
    return row.at, row.seq
