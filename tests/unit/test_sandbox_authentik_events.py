"""The Authentik stand-in's events: every write makes some, and finding them has its traps (facts/authentik.md 5)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.sandbox.authentik.server import AuthentikStandIn
from tests.sandbox.authentik.visitor import Visitor, make_application
from tests.sandbox.standin import Fault

NOON = 1_794_916_800.0
"""2026-11-17 12:00:00 UTC."""


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def server(clock: Clock) -> AsyncIterator[AuthentikStandIn]:
    async with AuthentikStandIn(clock=clock) as found:
        yield found


@pytest.fixture
async def admin(server: AuthentikStandIn) -> AsyncIterator[Visitor]:
    async with Visitor(server.url, server.bootstrap_token) as found:
        yield found


async def _found(admin: Visitor, search: str) -> int:
    return int((await admin.get("events/events/", search=search))["pagination"]["count"])


async def test_each_step_of_a_suspension_makes_the_events_that_were_measured(
    server: AuthentikStandIn, admin: Visitor
) -> None:
    parent = await admin.make("core/groups/", name="parent")
    group = await admin.make("core/groups/", name="acme", parents=[parent["pk"]])
    user = await admin.make("core/users/", username="anna", name="Anna")
    provider, application = await make_application(admin, "acme")
    body = {"target": application["pk"], "group": group["pk"], "order": 0}
    binding = await admin.make("policies/bindings/", **body)

    async def made(method: str, path: str, **fields: object) -> int:
        before = len(server.store.events)
        assert (await admin.ask(method, path, fields)).status_code == 200
        return len(server.store.events) - before

    assert await made("PUT", f"policies/bindings/{binding['pk']}/", **body, enabled=False) == 1
    assert await made("PATCH", f"providers/oauth2/{provider['pk']}/", grant_types=["authorization_code"]) == 1
    assert await made("PATCH", f"core/groups/{group['pk']}/", parents=[]) == 3
    assert await made("DELETE", f"core/authenticated_sessions/bulk_delete/?user_pks={user['pk']}") == 0
    assert await made("PATCH", f"core/users/{user['pk']}/", is_active=False) == 1


async def test_a_write_that_changes_nothing_makes_an_event_all_the_same(admin: Visitor, clock: Clock) -> None:
    group = await admin.make("core/groups/", name="acme")
    clock.now += 1
    await admin.change(f"core/groups/{group['pk']}/", name="acme")
    assert [event["action"] for event in await admin.rows("events/events/")] == ["model_updated", "model_created"]


async def test_an_event_carries_the_id_of_the_answer_and_the_model(admin: Visitor) -> None:
    answer = await admin.ask("POST", "core/groups/", {"name": "acme"})
    event = (await admin.rows("events/events/"))[0]
    assert event["context"]["http_request"]["request_id"] == answer.headers["X-authentik-id"]
    assert event["context"]["model"]["pk"] == answer.json()["pk"].replace("-", "")
    assert event["user"]["username"] == "akadmin"
    assert event["created"] == "2026-11-17T12:00:00Z"


async def test_only_a_time_with_microseconds_has_a_fraction(admin: Visitor, clock: Clock) -> None:
    clock.now += 0.25
    await admin.make("core/groups/", name="acme")
    event = (await admin.rows("events/events/"))[0]
    assert event["created"] == "2026-11-17T12:00:00.250000Z"
    assert (await admin.get(f"events/events/{event['pk']}/"))["created"] == event["created"]


async def test_the_answer_tells_the_servers_own_time(admin: Visitor) -> None:
    answer = await admin.ask("GET", "events/events/")
    assert answer.headers["Date"] == "Tue, 17 Nov 2026 12:00:00 GMT"


async def test_there_is_no_filter_by_time(admin: Visitor) -> None:
    await admin.make("core/groups/", name="acme")
    assert len(await admin.rows("events/events/", created__gt="2099-01-01T00:00:00Z")) == 1


async def test_akql_finds_events_by_time_in_three_forms(admin: Visitor, clock: Clock) -> None:
    await admin.make("core/groups/", name="early")
    clock.now += 90.5
    await admin.make("core/groups/", name="late")
    counts = {
        'created >= "2026-11-17"': 2,
        'created >= "2026-11-17 12:01"': 1,
        'created >= "2026-11-17 12:01:30"': 1,
        'created > "2026-11-17 12:01:31"': 0,
        'created >= "2026-11-17 12:00:00" and created < "2026-11-17 12:01:00"': 1,
        'created < "2026-11-17 12:01" or user.username = "nobody"': 1,
        'action in ("model_created", "login") and context.model.model_name = "group"': 2,
        'action not in ("model_created")': 0,
        '(context.model.name = "late")': 1,
    }
    assert {search: await _found(admin, search) for search in counts} == counts


@pytest.mark.parametrize(
    "search",
    [
        'created >= "2026-11-17T00:00:00Z"',
        'created >= "2026-11-17 00:00:00.000001"',
        'created__gte = "2026-11-17"',
        'created >= "2026-11-17" and',
        "created >= 2026-11-17",
    ],
)
async def test_wrong_akql_is_no_error_but_a_search_that_finds_nothing(admin: Visitor, search: str) -> None:
    await admin.make("core/groups/", name="acme")
    assert await _found(admin, search) == 0


async def test_plain_words_are_a_text_search(admin: Visitor) -> None:
    await admin.make("core/groups/", name="acme")
    assert await _found(admin, "ACME model_created") == 1


async def test_events_of_one_instant_are_ordered_by_pk_as_well(admin: Visitor) -> None:
    for number in range(9):
        await admin.make("core/groups/", name=f"g{number}")
    pks = [event["pk"] for event in await admin.rows("events/events/", ordering="created,pk")]
    assert pks == sorted(pks)


async def test_deleting_a_user_deletes_his_events_unless_the_settings_say_no(
    server: AuthentikStandIn, admin: Visitor
) -> None:
    for name in ("anna", "bob"):
        user = await admin.make("core/users/", username=name, name=name)
        await admin.ask("POST", f"core/users/{user['pk']}/set_password/", {"password": "secret"})
        async with Visitor(server.url) as person:
            await person.sign_in(name, "secret")
    assert await _found(admin, 'user.username = "anna"') == 1
    await admin.ask("DELETE", "core/users/2/")
    assert await _found(admin, 'user.username = "anna"') == 0
    await admin.change("admin/settings/", gdpr_compliance=False, flags={})
    await admin.ask("DELETE", "core/users/3/")
    assert await _found(admin, 'user.username = "bob"') == 1


async def test_a_superuser_can_rewrite_history(admin: Visitor) -> None:
    await admin.make("core/groups/", name="acme")
    path = f"events/events/{(await admin.rows('events/events/'))[0]['pk']}/"
    assert (await admin.change(path, action="login"))["action"] == "login"
    assert (await admin.ask("DELETE", path)).status_code == 204
    assert await admin.rows("events/events/") == []


async def test_signing_in_and_opening_an_application_are_two_events(server: AuthentikStandIn, admin: Visitor) -> None:
    provider, _ = await make_application(admin, "acme")
    await admin.ask("POST", "core/users/1/set_password/", {"password": "secret"})
    before = len(server.store.events)
    async with Visitor(server.url) as akadmin:
        await akadmin.sign_in("akadmin", "secret")
        tokens = await akadmin.tokens(provider, "openid offline_access")
        await akadmin.refresh(provider, tokens)
    assert [event["action"] for event in server.store.events[before:]] == ["login", "authorize_application"]


async def test_writes_are_counted_and_signing_in_is_none(server: AuthentikStandIn, admin: Visitor) -> None:
    await admin.make("core/groups/", name="acme")
    await admin.rows("core/groups/")
    async with Visitor(server.url) as stranger:
        await stranger.sign_in("akadmin", "wrong")
    assert [(call.method, call.path) for call in server.writes] == [("POST", "/api/v3/core/groups/")]


async def test_a_lost_create_race_looks_like_405_without_a_body(server: AuthentikStandIn, admin: Visitor) -> None:
    server.faults.append(Fault(match="POST /api/v3/core/groups/", status=405, times=1))
    answer = await admin.ask("POST", "core/groups/", {"name": "acme"})
    assert (answer.status_code, answer.content) == (405, b"")
    assert (await admin.ask("POST", "core/groups/", {"name": "acme"})).status_code == 201


async def test_without_a_licence_an_old_server_searches_for_words_only(clock: Clock) -> None:
    async with (
        AuthentikStandIn(clock=clock, akql=False) as server,
        Visitor(server.url, server.bootstrap_token) as admin,
    ):
        await admin.make("core/groups/", name="acme")
        assert await _found(admin, 'created >= "2026-11-17"') == 0
        assert await _found(admin, "acme") == 1


async def test_by_time_alone_events_of_one_instant_have_no_order(admin: Visitor) -> None:
    for number in range(9):
        await admin.make("core/groups/", name=f"g{number}")
    orders = {tuple(event["pk"] for event in await admin.rows("events/events/", ordering="created")) for _ in range(5)}
    assert len(orders) > 1


async def test_what_looks_like_a_secret_is_masked(server: AuthentikStandIn, admin: Visitor) -> None:
    await admin.ask("POST", "core/users/1/set_password/", {"password": "s3cret"})
    async with Visitor(server.url) as person:
        await person.sign_in("akadmin", "wr0ng")
        await person.sign_in("nobody", "wr0ng")
    answer = await admin.ask("GET", "events/events/", action="login_failed", ordering="created,pk")
    assert "wr0ng" not in answer.text
    events = answer.json()["results"]
    assert {event["context"]["password"] for event in events} == {"*" * 20}
    assert {event["context"]["stage"]["model_name"] for event in events} == {"passwordstage"}
    assert sorted((event["user"]["username"], event["context"]["username"]) for event in events) == [
        ("AnonymousUser", "nobody"),
        ("akadmin", "akadmin"),
        ("akadmin", "akadmin"),
    ]


async def test_an_authorised_application_is_named_by_its_title_and_not_by_its_slug(
    server: AuthentikStandIn, admin: Visitor
) -> None:
    provider, application = await make_application(admin, "acme")
    await admin.change("core/applications/acme/", name="Acme Ltd")
    await admin.ask("POST", "core/users/1/set_password/", {"password": "secret"})
    async with Visitor(server.url) as akadmin:
        await akadmin.sign_in("akadmin", "secret")
        await akadmin.code(provider["client_id"], "openid offline_access")
    (event,) = await admin.rows("events/events/", action="authorize_application")
    assert event["context"]["authorized_application"] == {
        "pk": application["pk"].replace("-", ""),
        "app": "authentik_core",
        "name": "Acme Ltd",
        "model_name": "application",
    }
    assert event["context"]["http_request"]["args"]["client_id"] == provider["client_id"]
    assert event["context"]["scopes"] == "openid offline_access"


async def test_pages_shift_when_events_are_deleted(admin: Visitor) -> None:
    for number in range(4):
        await admin.make("core/groups/", name=f"g{number}")
    query = {"ordering": "created,pk", "page_size": 2}
    wanted = [event["pk"] for event in await admin.rows("events/events/", ordering="created,pk")]
    first = await admin.rows("events/events/", page=1, **query)
    await admin.ask("DELETE", f"events/events/{first[0]['pk']}/")
    second = await admin.rows("events/events/", page=2, **query)
    assert [event["pk"] for event in (*first, *second)] == [*wanted[:2], wanted[3]]
    assert (await admin.ask("GET", "events/events/", page=3, **query)).status_code == 404


async def test_the_events_are_for_whoever_may_view_them(server: AuthentikStandIn, admin: Visitor) -> None:
    user = await admin.make("core/users/", username="reader", name="Reader")
    body = {"identifier": "reader", "intent": "api", "user": user["pk"], "expiring": False}
    await admin.ask("POST", "core/tokens/", body)
    key = (await admin.get("core/tokens/reader/view_key/"))["key"]
    async with Visitor(server.url, key) as reader:
        assert (await reader.ask("GET", "events/events/")).status_code == 403
        role = await admin.make("rbac/roles/", name="reader")
        rights = {"permissions": ["authentik_events.view_event"]}
        await admin.ask("POST", f"rbac/permissions/assigned_by_roles/{role['pk']}/assign/", rights)
        await admin.change(f"core/users/{user['pk']}/", roles=[role["pk"]])
        assert (await reader.ask("GET", "events/events/")).status_code == 200
        assert (await reader.ask("DELETE", f"events/events/{server.store.events[0]['pk']}/")).status_code == 403
