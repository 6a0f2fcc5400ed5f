"""What is asked of the log is answered once each, newest first, with the original names (C073, C079, C080)."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dezky_operator.audit.erasures import ledger
from dezky_operator.audit.event import Event
from dezky_operator.audit.floor import raise_floor
from dezky_operator.audit.query import (
    Bounds,
    Found,
    Indexing,
    Page,
    Query,
    QueryError,
    parse_cursor,
    search,
    written_cursor,
)
from dezky_operator.audit.reading import slugs, views
from dezky_operator.audit.times import TimeSource
from dezky_operator.audit.view import View
from dezky_operator.store.interface import Reader, Rows, Store
from dezky_operator.store.sqlite import SqliteStore
from dezky_operator.store.tables import ERASURES, LOG, PII, ErasureRow
from tests.audit.corpus import OTHER_TENANT
from tests.audit.events import login, own
from tests.audit.filled import KEYS, append, appender, rows_of
from tests.audit.golden import PARTNER, RAW, TENANT

MOST_PAGES = 100


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await SqliteStore.open(tmp_path / "audit.db")
    yield opened
    await opened.close()


async def asked(store: Store, query: Query, keys: Indexing | None = None, bounds: Bounds | None = None) -> Page:
    return await store.read(partial(search, query=query, keys=keys, bounds=bounds or Bounds()))


async def everything(
    store: Store, query: Query, keys: Indexing | None = None, bounds: Bounds | None = None
) -> list[int]:
    """The seqs of all pages."""
    seqs: list[int] = []
    for _ in range(MOST_PAGES):
        page = await asked(store, query, keys, bounds)
        assert len(page.found) <= query.limit
        seqs += [one.row.seq for one in page.found]
        if not page.next:
            return seqs
        query = msgspec.structs.replace(query, cursor=page.next)
    pytest.fail("the pages never end")


async def read(store: Store, query: Query | None = None, *, opened: bool = False) -> list[View]:
    page = await asked(store, query or Query())
    return await store.read(partial(views, found=page.found, keys=KEYS if opened else None))


async def test_an_event_has_the_original_names(store: Store) -> None:
    await append(appender(store), [login("3f", values=VALUES)])
    (view,) = await read(store, opened=True)
    assert msgspec.json.decode(msgspec.json.encode(view)) == {
        "seq": 0,
        "at": "2026-11-24T03:59:58.123456Z",
        "actorType": "user",
        "actorId": "42",
        "actorEmail": "ann@acme.test",
        "actorIp": "10.0.0.9",
        "action": "authentik.login",
        "outcome": "success",
        "resourceType": "application",
        "resourceId": "7",
        "resourceName": "Files",
        "tenantId": TENANT,
        "tenantSlug": "acme",
        "partnerId": PARTNER,
        "partnerSlug": "nord",
        "source": "authentik",
        "src": "authentik-main",
        "externalId": "3f",
        "metadata": RAW.decode(),
        "data": {"method": "password"},
        "before": "",
        "after": "",
        "received": "2026-11-24T04:00:01.000000Z",
        "recorded": "2026-11-24T04:00:00.000000Z",
        "prevHash": "0" * 64,
        "hash": (await rows_of(store))[0].h.hex(),
        "erased": [],
        "missing": [],
        "sealed": False,
        "problem": "",
    }


VALUES = {
    "actor.id": "42",
    "actor.email": "ann@acme.test",
    "actor.ip": "10.0.0.9",
    "resource.id": "7",
    "resource.name": "Files",
    "tenant.slug": "acme",
    "partner.slug": "nord",
}


async def test_the_source_text_is_sealed_unless_its_keys_are_given(store: Store) -> None:
    await append(appender(store), [login(), own("o", "step.done")])
    step, closed = await read(store)
    assert (closed.metadata, closed.sealed) == (None, True)
    assert (step.metadata, step.sealed) == ("", False)
    _, seen = await read(store, opened=True)
    assert (seen.metadata, seen.sealed) == (RAW.decode(), False)


async def changed(store: Store, seq: int, *, without: str, erasure: bool) -> None:
    async def work(rows: Rows) -> None:
        row = await rows.get(PII, seq)
        assert row is not None
        left = {path: opening for path, opening in row.f.items() if path != without}
        await rows.put(PII, [msgspec.structs.replace(row, f=left, raw=b"" if without == "raw" else row.raw)])
        if erasure:
            await rows.insert(ERASURES, [ErasureRow(9, ledger([(seq, without), (77, "raw")]).decode())])

    await store.run(work)


async def test_what_was_erased_is_shown_as_erased_and_what_is_gone_without_it_as_missing(store: Store) -> None:
    await append(appender(store), [login("a"), login("b")])
    await changed(store, 0, without="actor.email", erasure=True)
    await changed(store, 1, without="raw", erasure=False)
    missing, erased = await read(store)
    assert (erased.actor_email, erased.erased, erased.missing) == (None, ("actorEmail",), ())
    assert (missing.actor_email, missing.erased, missing.missing) == ("ann@acme.test", (), ("metadata",))


async def test_an_index_that_says_something_else_than_the_line_is_told(store: Store) -> None:
    await append(appender(store), [login("a"), login("b")])

    async def spoil(rows: Rows) -> None:
        first, second = await rows.scan(LOG, limit=2)
        await rows.put(LOG, [msgspec.structs.replace(first, tenant=OTHER_TENANT)])
        await rows.put(LOG, [msgspec.structs.replace(second, body=second.body[:-1])])

    await store.run(spoil)
    second, first = await read(store)
    assert first.problem == "index differs from the line: tenant"
    assert second.problem.startswith("not canonical")
    assert (second.action, second.external_id) == ("authentik.login", "")


async def test_below_the_hot_floor_nothing_is_read(store: Store) -> None:
    await append(appender(store), [login(str(n)) for n in range(6)])
    await raise_floor(store, 2)  # the rows below are still there, or were put there by a writer that slept
    assert await everything(store, Query(limit=2)) == [5, 4, 3, 2]
    assert await everything(store, Query(limit=2, tenant=TENANT)) == [5, 4, 3, 2]


EVENTS = [
    login("a", at="2026-11-24T03:00:00.000000Z"),
    login("b", at="2026-11-24T03:00:00.000000Z", tenant=OTHER_TENANT, values={"actor.email": "Bob@acme.test"}),
    own("c", "step.done", at="2026-11-24T01:00:00.000000Z"),
    own("d", "step.intent", at="2099-11-24T01:00:00.000000Z", tenant=TENANT),
    own("e", "step.done", at="", time_source=TimeSource.REC, values={"resource.name": "Nordic files"}),
]
"""Equal times, a late one, one in the future and one without."""


@pytest.mark.parametrize("keys", [None, KEYS])
@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query(), [3, 4, 1, 0, 2]),
        (Query(tenant=TENANT), [3, 0]),
        (Query(tenant=""), [4, 2]),
        (Query(partner=PARTNER), [1, 0]),
        (Query(action="step.done"), [4, 2]),
        (Query(action="step."), [3, 4, 2]),
        (Query(action="step.*"), [3, 4, 2]),
        (Query(action="step.d*"), [4, 2]),
        (Query(action="*"), [3, 4, 1, 0, 2]),
        (Query(action="step"), []),
        (Query(action="%"), []),
        (Query(email="ANN@acme.test"), [0]),
        (Query(email="bob@acme.test"), [1]),
        (Query(email="bob@acme.test", tenant=TENANT), []),
        (Query(text="NORDIC"), [4]),
        (Query(text="acme"), [1, 0]),
        (Query(text="intent"), [3]),
        (Query(source="operator"), [3, 4, 2]),
        (Query(source="authentik-main"), [1, 0]),
        (Query(outcome="failure"), []),
        (Query(since="2026-11-24T03:00:00.000000Z"), [3, 4, 1, 0]),
        (Query(until="2026-11-24T03:00:00.000000Z"), [1, 0, 2]),
        (Query(before="2026-11-24T03:00:00.000000Z"), [2]),
        (Query(until="2026-11-24T03:00:00.000000Z", before="2026-11-24T02:00:00.000000Z"), [2]),
    ],
)
@pytest.mark.parametrize("limit", [1, 2, 500])
async def test_each_filter_finds_what_it_says(
    store: Store, query: Query, found: list[int], limit: int, keys: Indexing | None
) -> None:
    await append(appender(store), EVENTS)
    assert await everything(store, msgspec.structs.replace(query, limit=limit), keys) == found


@pytest.mark.parametrize(
    "query",
    [
        Query(limit=0),
        Query(limit=501),
        Query(since="yesterday"),
        Query(cursor="2026-11-24T03:59:58.123456Z"),
        Query(cursor="x.1"),
        Query(cursor="2026-11-24T03:59:58.123456Z.-1"),
        Query(action="caf\u00e9*"),
    ],
)
async def test_a_query_that_can_not_be_answered_is_refused(store: Store, query: Query) -> None:
    with pytest.raises(QueryError):
        await asked(store, query)


def test_a_cursor_is_read_as_it_was_written() -> None:
    place = ("2026-11-24T03:59:58.123456Z", 7)
    assert parse_cursor(written_cursor(place)) == place


async def test_a_page_that_was_bounded_says_where_to_go_on(store: Store) -> None:
    bounds = Bounds(looked_at=3, at_once=2)
    log = appender(store)
    await append(log, [login(str(n), data={"n": n}) for n in range(10)])
    await append(log, [own("late", "a.needle", at="2020-01-01T00:00:00.000000Z")])
    first = await asked(store, Query(text="needle"), bounds=bounds)
    assert (first.found, first.looked_at) == ((), 4)
    assert first.next
    assert await everything(store, Query(text="needle"), bounds=bounds) == [10]


async def test_names_of_tenants_are_learnt_from_what_stands_beside_their_lines(store: Store) -> None:
    events = [
        login("a"),
        own("b", "step.done", tenant=TENANT),
        own("c", "step.done"),
        login("d", tenant=OTHER_TENANT),
        login("e", tenant=""),
    ]
    await append(appender(store), events)
    assert await store.read(slugs) == {"acme": (OTHER_TENANT, TENANT)}


TIMES = [f"2026-11-24T0{n}:00:00.000000Z" for n in range(4)]
SOME = st.fixed_dictionaries(
    {
        "at": st.sampled_from(TIMES),
        "tenant": st.sampled_from(["", TENANT, OTHER_TENANT]),
        "action": st.sampled_from(["a.b", "a.c", "ab", "b.c"]),
        "email": st.sampled_from(["", "ann@acme.test", "bob@acme.test"]),
    }
)
QUERIES = st.builds(
    Query,
    since=st.sampled_from(["", TIMES[1]]),
    until=st.sampled_from(["", TIMES[2]]),
    before=st.sampled_from(["", TIMES[3]]),
    action=st.sampled_from(["", "a.", "a*", "a.b"]),
    tenant=st.sampled_from([None, "", TENANT]),
    email=st.sampled_from(["", "ann@acme.test"]),
    text=st.sampled_from(["", "bob", "A.C"]),
    limit=st.integers(1, 7),
)


def wanted(events: list[dict[str, str]], query: Query) -> list[int]:
    """What the query means, said once more."""
    found = [
        (event["at"], seq)
        for seq, event in enumerate(events)
        if (not query.since or event["at"] >= query.since)
        and (not query.until or event["at"] <= query.until)
        and (not query.before or event["at"] < query.before)
        and (not query.action or _fits(event["action"], query.action))
        and (query.tenant is None or event["tenant"] == query.tenant)
        and (not query.email or event["email"] == query.email)
        and (not query.text or query.text.lower() in event["action"] or query.text in event["email"])
    ]
    return [seq for _, seq in sorted(found, reverse=True)]


def _fits(action: str, pattern: str) -> bool:
    return action == pattern if pattern == "a.b" else action.startswith(pattern.rstrip("*"))


@settings(max_examples=60, deadline=None)
@given(
    events=st.lists(SOME, max_size=25),
    queries=st.lists(QUERIES, min_size=1, max_size=6),
    few=st.sampled_from([0, 3, 99]),
)
def test_all_pages_together_are_the_filtered_list_once_each(
    events: list[dict[str, str]], queries: list[Query], few: int
) -> None:
    """Whatever filters and page sizes, from an index or by time."""

    async def scenario(directory: Path) -> None:
        store = await SqliteStore.open(directory / "audit.db")
        log = appender(store)
        try:
            await append(log, [_event(n, event) for n, event in enumerate(events)])
            for query in queries:
                for keys in (None, KEYS):
                    found = await everything(store, query, keys, Bounds(few=few, looked_at=8, at_once=4))
                    assert found == wanted(events, query)
        finally:
            await store.close()

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(scenario(Path(directory)))


def _event(n: int, event: dict[str, str]) -> Event:
    values = {"actor.email": event["email"]} if event["email"] else {}
    return own(f"{n}", event["action"], at=event["at"], tenant=event["tenant"], values=values)


async def test_events_that_come_while_somebody_reads_change_no_later_page(store: Store) -> None:
    log = appender(store)
    await append(log, [own(str(n), "a.b", at=TIMES[n % 2]) for n in range(6)])
    page = await asked(store, Query(limit=3))
    await append(log, [own("new", "a.b", at=TIMES[3])])
    rest = await everything(store, Query(limit=2, cursor=page.next))
    assert [one.row.seq for one in page.found] + rest == [5, 3, 1, 4, 2, 0]


async def test_the_reads_write_nothing(store: Store) -> None:
    """C080: no way to change the log leads through a query."""
    await append(appender(store), EVENTS)

    async def look(rows: Reader) -> Page:
        return await search(_OnlyReads(rows), Query(email="ann@acme.test"), KEYS)

    found = (await store.read(look)).found
    assert [one.row.seq for one in found] == [0]
    assert isinstance(found[0], Found)


class _OnlyReads:
    """Rows without a way to write."""

    def __init__(self, rows: Reader) -> None:
        self.get, self.get_many, self.scan = rows.get, rows.get_many, rows.scan
        self.find, self.scan_by, self.count, self.keys_by = rows.find, rows.scan_by, rows.count, rows.keys_by
