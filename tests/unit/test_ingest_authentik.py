"""Authentik's events, polled from the stand-in: every one once, whatever its list does (C086-C096)."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dezky_operator.audit.event import Event
from dezky_operator.audit.times import from_unix_ns
from dezky_operator.ingest.authentik import poll as module
from dezky_operator.ingest.authentik.actions import KNOWN, outcome_of, verb_of
from dezky_operator.ingest.authentik.poll import AuthentikPoll
from dezky_operator.ingest.authentik.records import read
from dezky_operator.ingest.source import Look, SourceError
from dezky_operator.ingest.tenants import KnownTenant, Tenants
from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.store.tables import CursorRow
from tests import identity
from tests.drafts import ACME
from tests.sandbox.authentik.server import AuthentikStandIn

NOW = "2026-11-24T04:00:00.000000Z"
TENANTS = Tenants([KnownTenant(tenant_id=ACME, slug="acme", domains=("acme.test",))])


class Dated:
    """The client, with a server whose clock is set by the test."""

    def __init__(self, client: AuthentikClient) -> None:
        self._client = client
        self.seconds = time.time()
        self.asked: list[Mapping[str, str]] = []

    async def page(self, path: str, *, op: str, params: Mapping[str, str]) -> tuple[bytes, str]:
        self.asked.append(params)
        content, _ = await self._client.page(path, op=op, params=params)
        return content, formatdate(self.seconds, usegmt=True)


@dataclass
class Scene:
    """A stand-in, who polls it, and what was kept."""

    server: AuthentikStandIn
    dated: Dated
    poll: AuthentikPoll
    cursor: CursorRow | None = None
    kept: list[str] = field(default_factory=list)
    twice: int = 0

    def happens(self, seconds: float, *, pk: str = "", action: str = "login", **more: Any) -> str:
        """An event of this age (seconds before the server's now)."""
        user = {"pk": 7, "username": "ann@acme.test", "email": "ann@acme.test"}
        self.server.store.event(action, user, more.pop("context", None))
        event = self.server.store.events[-1]
        event["created"] = from_unix_ns(int((self.dated.seconds - seconds) * 1e9))
        event["pk"] = pk or event["pk"]
        event.update(more)
        return str(event["pk"])

    async def look(self, *, crash: bool = False) -> Look:
        look = await self.poll.look(self.cursor)
        for event in look.events:
            self.twice += event.ext in self.kept
            if event.ext not in self.kept:
                self.kept.append(event.ext)
        if not crash:
            self.cursor = look.cursor
        return look

    async def read(self) -> None:
        while (await self.look()).more:
            pass


@asynccontextmanager
async def scene(**options: Any) -> AsyncIterator[Scene]:
    async with AuthentikStandIn() as server:
        token = identity.Given(server.bootstrap_token)
        async with identity.client(server.url, token) as client:
            server.store.events.clear()
            dated = Dated(client)
            yield Scene(server, dated, polled(dated, **options))


def polled(client: Any, **options: Any) -> AuthentikPoll:
    given = {"allow": None, "own": "dezky-operator", "tenants": lambda: TENANTS, "now": lambda: NOW, **options}
    return AuthentikPoll(client, src="authentik-main", **given)


async def test_every_event_comes_once_and_a_restart_adds_none() -> None:
    async with scene() as found:
        wanted = [found.happens(age) for age in (86_400, 3_600, 300, 60, 1)]
        await found.read()
        found.poll = polled(found.dated)
        await found.read()
        assert (found.kept, found.twice) == (wanted, 0)


async def test_without_any_event_it_waits_for_the_first() -> None:
    async with scene() as found:
        look = await found.look()
        assert (look.events, look.more, look.cursor.position) == ((), False, "")
        pk = found.happens(1)
        await found.read()
        assert found.kept == [pk]


async def test_an_event_that_is_committed_late_is_not_missed() -> None:
    """Its time is set before the transaction ends, so younger ones may be listed before it."""
    async with scene() as found:
        first = found.happens(1)
        await found.read()
        late = found.happens(100)
        await found.read()
        found.dated.seconds += 300
        last = found.happens(1)
        await found.read()
        assert sorted(found.kept) == sorted([first, late, last])
        assert found.twice == 0


async def test_equal_times_are_all_read() -> None:
    async with scene() as found:
        wanted = {found.happens(500) for _ in range(250)} | {found.happens(10) for _ in range(250)}
        await found.read()
        assert set(found.kept) == wanted
        assert len(found.kept) == 500


async def test_the_first_walk_goes_through_time_and_reads_no_deep_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 200)
    async with scene() as found:
        wanted = {found.happens(200 + random.Random(n).random() * 30 * 86_400) for n in range(2_000)}  # noqa: S311
        await found.read()
        assert set(found.kept) == wanted
        pages = [int(params.get("page", "1")) for params in found.dated.asked]
        assert max(pages) <= 2
        assert len(found.dated.asked) < 120


async def test_a_server_that_searches_by_words_instead_of_time_is_not_believed() -> None:
    """Before 2026.5 the language needs a licence: the query then is a search for words (0.2)."""
    async with scene() as found:
        found.happens(300)
        await found.read()
        found.happens(5)
        found.server.store.events[-1]["context"] = {"x": "y"}
        found.dated.page = _degraded(found.dated)  # type: ignore[method-assign]
        with pytest.raises(SourceError) as error:
            await found.look()
        assert error.value.reason == "SearchDegraded"


def _degraded(dated: Dated) -> Any:
    real = dated.page

    async def page(path: str, *, op: str, params: Mapping[str, str]) -> tuple[bytes, str]:
        if "search" in params:
            params = {**params, "search": params["search"].replace('"', "")}
        return await real(path, op=op, params=params)

    return page


async def test_a_server_that_ignores_the_search_is_not_believed() -> None:
    async with scene() as found:
        found.happens(3_000)
        await found.read()
        found.happens(5)
        real = found.dated.page

        async def page(path: str, *, op: str, params: Mapping[str, str]) -> tuple[bytes, str]:
            return await real(path, op=op, params={key: text for key, text in params.items() if key != "search"})

        found.dated.page = page  # type: ignore[method-assign]
        with pytest.raises(SourceError) as error:
            await found.look()
        assert error.value.reason == "FilterIgnored"


async def test_events_deleted_between_two_pages_hide_no_other() -> None:
    """Deleting a user deletes his events, and every later page begins further on (0.10)."""
    async with scene() as found:
        wanted = [found.happens(4_000 - n) for n in range(350)]
        real, gone = found.dated.page, list[str]()

        async def page(path: str, *, op: str, params: Mapping[str, str]) -> tuple[bytes, str]:
            if params.get("page") == "2" and not gone:
                gone.extend(wanted[:60])
                events = found.server.store.events
                events[:] = [event for event in events if event["pk"] not in gone]
            return await real(path, op=op, params=params)

        found.dated.page = page  # type: ignore[method-assign]
        await found.read()
        assert set(found.kept) >= set(wanted[60:])


async def test_a_token_without_the_right_is_said_with_what_it_needs() -> None:
    async with AuthentikStandIn() as server:
        made = await identity.bootstrap(server)
        async with identity.client(server.url, identity.Given("wrong")) as client:
            with pytest.raises(SourceError, match="view_event") as error:
                await polled(client).look(None)
            assert error.value.reason == "AuthFailed"
        async with identity.client(server.url, identity.Given(made.token)) as client:
            assert (await polled(client).look(None)).events


async def test_a_silent_server_is_said() -> None:
    async with AuthentikStandIn() as server:
        url = server.url
    async with identity.client(url, identity.Given("any")) as client:
        with pytest.raises(SourceError) as error:
            await polled(client).look(None)
        assert error.value.reason == "Unreachable"


async def test_what_the_allow_list_leaves_out_is_counted() -> None:
    async with scene(allow=frozenset({"login"})) as found:
        found.happens(300)
        found.happens(299, action="model_updated")
        look = await found.look()
        assert (len(look.events), look.filtered) == (1, 1)


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 110), st.integers(0, 200), st.booleans(), st.booleans()), min_size=1, max_size=12)
)
def test_in_whatever_order_they_are_committed_and_wherever_it_ends_each_comes_once(
    steps: list[tuple[float, int, bool, bool]],
) -> None:
    """How late an event is committed, seconds that pass, whether it looks, and ends before its cursor is kept."""
    asyncio.run(_committed(steps))


async def _committed(steps: list[tuple[float, int, bool, bool]]) -> None:
    async with scene() as found:
        wanted = []
        for late, seconds, looks, crash in steps:
            wanted.append(found.happens(late))
            found.dated.seconds += seconds
            if looks:
                await found.look(crash=crash)
                if crash:
                    found.poll = polled(found.dated)
        await found.read()
        await found.read()
        assert sorted(found.kept) == sorted(wanted)


# -- one event ---------------------------------------------------------------------------------


def event_of(**changes: Any) -> Event:
    record = {
        "pk": "3f",
        "action": "login",
        "app": "authentik.events.signals",
        "created": "2026-11-24T03:59:58.123456Z",
        "client_ip": "203.0.113.7",
        "user": {"pk": 42, "username": "ann@acme.test", "email": "ann@acme.test"},
        "context": {"auth_method": "password", "http_request": {"request_id": "r-1", "path": "/x"}},
        "brand": {},
        **changes,
    }
    text = msgspec.json.encode(record)
    return read(text, src="authentik-main", recv=NOW, tenants=TENANTS, own="dezky-operator").event


def test_a_sign_in_says_who_from_where_and_whose() -> None:
    event = event_of()
    assert (event.action, event.outcome, event.tenant, event.ext) == ("authentik.login", "success", ACME, "3f")
    assert event.values == {
        "actor.id": "42",
        "actor.email": "ann@acme.test",
        "actor.ip": "203.0.113.7",
        "tenant.slug": "acme",
    }
    assert event.data == {"method": "password", "request_id": "r-1"}
    assert b'"request_id":"r-1"' in event.raw


@pytest.mark.parametrize("action", sorted(KNOWN))
def test_every_known_action_has_a_verb(action: str) -> None:
    event = event_of(action=action)
    assert event.action == ("authentik.password_changed" if action == "password_set" else f"authentik.{action}")
    assert event.outcome != "unknown"


def test_an_unknown_action_passes_through_and_nothing_is_guessed_of_it() -> None:
    assert verb_of("Something New!") == "authentik.something_new"
    assert outcome_of("something_new") == "unknown"
    assert (verb_of("custom_export"), outcome_of("custom_export")) == ("authentik.custom_export", "success")
    assert verb_of("!!!") == "authentik.unnamed"


@pytest.mark.parametrize(
    "changes",
    [
        {"user": {"pk": 1, "username": "admin", "email": "ann@ACME.test"}},
        {"user": {}, "context": {"authorized_application": {"slug": "dezky-acme", "name": "Acme"}}},
        {"user": {}, "context": {"model": {"model_name": "group", "name": "dezky-acme-users", "pk": "9"}}},
        {"user": {}, "context": {"model": {"model_name": "user", "name": "ben@acme.test", "pk": 9}}},
    ],
    ids=["address", "application", "group", "user"],
)
def test_its_tenant_is_found(changes: dict[str, Any]) -> None:
    """C094."""
    assert event_of(**changes).tenant == ACME


@pytest.mark.parametrize(
    "changes",
    [
        {"user": {"pk": 1, "username": "admin", "email": ""}},
        {"user": {"username": "ann@other.test"}},
        {"user": {}, "context": {"model": {"name": "dezky-unknown-users"}, "authorized_application": "text"}},
    ],
)
def test_an_event_of_nobody_stays_in_the_global_timeline(changes: dict[str, Any]) -> None:
    assert event_of(**changes).tenant == ""


def test_what_the_operator_did_itself_is_marked() -> None:
    assert event_of(user={"pk": 3, "username": "dezky-operator"}).data["own"] is True


@pytest.mark.parametrize("changes", [{"user": 7}, {"created": None}, {"context": []}, {"action": 3}])
def test_an_event_of_an_unknown_form_is_kept_as_it_came(changes: dict[str, Any]) -> None:
    event = event_of(**changes)
    assert (event.action, event.ext) == ("ingest.malformed", "3f")
    assert event.raw


def test_an_event_without_even_an_id_is_known_by_its_text() -> None:
    kept = read(b'{"pk":7}', src="authentik-main", recv=NOW, tenants=TENANTS, own="")
    assert kept.event.ext.startswith("sha256:")
    assert kept.event.action == "ingest.malformed"
