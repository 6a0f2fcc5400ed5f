"""Authentik's list of events as the audit log reads it: what it can be asked, and what it silently does not do
(facts/authentik.md 0, 2, 5; C086-C096).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from dezky_operator.audit.event import Event
from dezky_operator.audit.times import from_source, written
from dezky_operator.ingest.authentik.poll import AuthentikPoll
from dezky_operator.ingest.authentik.position import Position
from dezky_operator.ingest.tenants import KnownTenant, Tenants
from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.store.tables import CursorRow
from tests import identity
from tests.acceptance.rest import Rest
from tests.acceptance.targets import Identity
from tests.drafts import ACME

EVENTS = "events/events/"
ORDER = "created,pk"


@pytest.fixture
async def reader(authentik: Identity) -> AsyncIterator[AuthentikClient]:
    """The operator's own client."""
    token = identity.Given(authentik.web.header.removeprefix("Bearer "))
    async with identity.client(authentik.web.url, token) as found:
        yield found


async def made(rest: Rest, slug: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A group, and the event of its making."""
    group = await rest.make("core/groups/", name=slug)
    rows = await rest.rows(EVENTS, action="model_created", context_model_pk=group["pk"].replace("-", ""))
    return group, rows[0]


def second(event: dict[str, Any], later: int = 0) -> str:
    """The second an event was in, as a query names it."""
    at, _ = from_source(event["created"])
    return f"{datetime.fromisoformat(at) + timedelta(seconds=later):%Y-%m-%d %H:%M:%S}"


async def found(rest: Rest, search: str, pk: str) -> bool:
    """Whether a search finds an event."""
    number = 1
    while number:
        page = await rest.get(EVENTS, search=search, ordering=ORDER, page=number, page_size=100)
        if any(event["pk"] == pk for event in page["results"]):
            return True
        number = page["pagination"]["next"]
    return False


# -- what can be asked ------------------------------------------------------------------------


async def test_the_newest_comes_first_when_asked_so_and_the_answer_tells_the_servers_time(
    rest: Rest, slug: str
) -> None:
    _, event = await made(rest, slug)
    answer = await rest.ask("GET", EVENTS, ordering="-created", page_size=1)
    (newest,) = answer.json()["results"]
    assert from_source(newest["created"]) >= from_source(event["created"])
    assert abs(parsedate_to_datetime(answer.headers["Date"]) - datetime.now(UTC)) < timedelta(days=1)


async def test_oldest_first_is_a_total_order(rest: Rest, slug: str) -> None:
    _, event = await made(rest, slug)
    rows = await rest.rows(EVENTS, search=f'created >= "{second(event, -60)}"', ordering=ORDER, page_size=100)
    keys = [(from_source(row["created"])[0], row["pk"]) for row in rows]
    assert keys == sorted(set(keys))


async def test_a_window_of_whole_seconds_holds_what_happened_in_it_and_nothing_else(rest: Rest, slug: str) -> None:
    _, event = await made(rest, slug)
    begin, end, far = second(event), second(event, 1), second(event, 3_600)
    assert await found(rest, f'created >= "{begin}" and created < "{end}"', event["pk"])
    assert not await found(rest, f'created >= "{end}" and created < "{far}"', event["pk"])
    assert not await found(rest, f'created >= "{second(event, -3_600)}" and created < "{begin}"', event["pk"])
    assert not await found(rest, f'created >= "{far}"', event["pk"])


async def test_a_list_says_how_many_there_are_and_which_page_is_next(rest: Rest, slug: str) -> None:
    for number in range(3):
        _, event = await made(rest, f"{slug}-{number}")
    search = f'created >= "{second(event, -60)}"'
    page = await rest.get(EVENTS, search=search, ordering=ORDER, page=1, page_size=2)
    assert page["pagination"]["count"] >= 3
    assert (len(page["results"]), page["pagination"]["next"]) == (2, 2)
    total = page["pagination"]["total_pages"]
    last = await rest.get(EVENTS, search=search, ordering=ORDER, page=total, page_size=2)
    assert last["pagination"]["next"] in {0, total + 1}
    gone = await rest.ask("GET", EVENTS, search=search, ordering=ORDER, page=total + 50, page_size=2)
    assert gone.status_code == 404


async def test_a_missing_right_is_403(authentik: Identity, rest: Rest, slug: str) -> None:
    user = await rest.make("core/users/", username=slug, name=slug)
    await rest.make("core/tokens/", key="identifier", identifier=slug, intent="api", user=user["pk"], expiring=False)
    key = (await rest.get(f"core/tokens/{slug}/view_key/"))["key"]
    async with authentik.web.client(f"Bearer {key}") as http:
        assert (await Rest(http).ask("GET", EVENTS)).status_code == 403


async def test_an_account_tells_its_path_and_the_names_of_its_groups(rest: Rest, slug: str) -> None:
    group = await rest.make("core/groups/", name=f"dezky-{slug}-users")
    path = f"dezky/tenants/{slug}"
    user = await rest.make("core/users/", username=slug, name=slug, path=path, groups=[group["pk"]])
    shown = await rest.get(f"core/users/{user['pk']}/")
    assert (shown["path"], [one["name"] for one in shown["groups_obj"]]) == (path, [f"dezky-{slug}-users"])


# -- what it silently does not do ------------------------------------------------------------------


async def test_there_is_no_filter_by_time(rest: Rest, slug: str) -> None:
    await made(rest, slug)
    assert await rest.rows(EVENTS, created__gt="2099-01-01T00:00:00Z")


@pytest.mark.parametrize("when", ["{:%Y-%m-%dT%H:%M:%SZ}", "{:%Y-%m-%d %H:%M:%S.000001}"])
async def test_a_time_in_another_form_is_no_error_and_finds_nothing(rest: Rest, slug: str, when: str) -> None:
    await made(rest, slug)
    an_hour_ago = when.format(datetime.now(UTC) - timedelta(hours=1))
    assert await rest.rows(EVENTS, search=f'created >= "{an_hour_ago}"') == []


# -- what an event holds ------------------------------------------------------------------------------


async def test_an_event_tells_who_what_and_by_which_request(rest: Rest, slug: str) -> None:
    answer = await rest.ask("POST", "core/groups/", {"name": slug})
    group = answer.json()
    try:
        rows = await rest.rows(EVENTS, action="model_created", context_model_pk=group["pk"].replace("-", ""))
        event = rows[0]
        model = event["context"]["model"]
        assert (model["model_name"], model["name"], model["app"]) == ("group", slug, "authentik_core")
        assert event["context"]["http_request"]["request_id"] == answer.headers["X-authentik-id"]
        assert {"pk", "username", "email"} <= event["user"].keys()
        assert from_source(event["created"])[0]
    finally:
        await rest.ask("DELETE", f"core/groups/{group['pk']}/")


async def test_a_password_stands_in_no_event(rest: Rest, slug: str) -> None:
    user = await rest.make("core/users/", username=slug, name=slug)
    await rest.ask("POST", f"core/users/{user['pk']}/set_password/", {"password": f"S3cret-{slug}"})
    answer = await rest.ask("GET", EVENTS, ordering="-created", page_size=50)
    assert f"S3cret-{slug}" not in answer.text


# -- the reader itself -----------------------------------------------------------------------------------


async def test_what_happens_is_read_once_with_its_tenant_and_a_restart_adds_nothing(
    reader: AuthentikClient, rest: Rest, slug: str
) -> None:
    """C089, C094, C096."""
    now = datetime.now(UTC)
    begin = Position(written((now - timedelta(minutes=10)).replace(microsecond=0)))
    cursor = CursorRow("authentik-main", begin.text, "", ())
    kept: list[Event] = []

    async def read() -> None:
        nonlocal cursor
        poll = AuthentikPoll(
            reader,
            src="authentik-main",
            allow=None,
            tenants=lambda: Tenants([KnownTenant(tenant_id=ACME, slug=slug)]),
            now=lambda: written(datetime.now(UTC)),
            own="dezky-operator",
        )
        more = True
        while more:
            look = await poll.look(cursor)
            kept.extend(look.events)
            cursor, more = look.cursor, look.more

    group = await rest.make("core/groups/", name=f"dezky-{slug}-users")
    await read()
    await read()
    await rest.make("core/users/", username=slug, name=slug, path=f"dezky/tenants/{slug}")
    await read()
    ours = [event for event in kept if event.tenant == ACME]
    assert len({event.dk for event in ours}) == len(ours)
    made = [(event.resource_type, event.action) for event in ours if event.action == "authentik.model_created"]
    assert sorted(made) == [("group", "authentik.model_created"), ("user", "authentik.model_created")]
    assert group["pk"].replace("-", "") in {event.values["resource.id"] for event in ours}
