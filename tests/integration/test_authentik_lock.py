"""Suspending a tenant in Authentik and undoing exactly that, over HTTP with the daily token (facts/authentik.md 11)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from dezky_operator.integrations.authentik.purge import left
from dezky_operator.integrations.intent import Phase, TenantIntent
from tests.identity import Given, Identity, bootstrap, identity, intent
from tests.sandbox.authentik.kinds import Record
from tests.sandbox.authentik.server import AuthentikStandIn
from tests.sandbox.authentik.store import Store
from tests.sandbox.standin import Fault

ACME, BETA = intent(), intent("beta")
PASSING = {"last_updated", "last_login"}
"""What may differ before and after a suspension."""


@pytest.fixture
async def server() -> AsyncIterator[AuthentikStandIn]:
    async with AuthentikStandIn() as found:
        yield found


@pytest.fixture
async def daily(server: AuthentikStandIn) -> AsyncIterator[Identity]:
    given = Given((await bootstrap(server)).token)
    async with identity(server.url, given) as found:
        await found.settle(ACME)
        yield found


def suspended(wanted: TenantIntent = ACME, **changes: Any) -> TenantIntent:
    return replace(wanted, phase=Phase.SUSPENDED, established=True, **changes)


def resumed(wanted: TenantIntent = ACME, **changes: Any) -> TenantIntent:
    return replace(wanted, unlocking=True, established=True, **changes)


def one(store: Store, kind: str, field: str, value: object) -> Record:
    found = [record for record in store.objects[kind].values() if record[field] == value]
    assert len(found) == 1, f"{len(found)} objects of kind {kind} with {field} {value}"
    return found[0]


def user(server: AuthentikStandIn, name: str) -> Record:
    return one(server.store, "user", "username", name)


def person(server: AuthentikStandIn, name: str, *groups: str, **fields: Any) -> Record:
    """A user made by another hand, with a session, in groups by name."""
    pks = [one(server.store, "group", "name", group)["pk"] for group in groups]
    made = server.store.insert("user", {"username": name, "name": name, "groups": pks, **fields})
    signed_in(server, made)
    return made


def signed_in(server: AuthentikStandIn, who: Record) -> None:
    cookie = f"cookie-{who['pk']}"
    server.store.sessions[cookie] = {
        "cookie": cookie, "uuid": cookie, "user": who["pk"], "created": "2026-11-24T00:00:00Z", "at": 0.0,
    }  # fmt: skip


def has_session(server: AuthentikStandIn, who: Record) -> bool:
    return any(session["user"] == who["pk"] for session in server.store.sessions.values())


def objects(store: Store) -> dict[str, Any]:
    """Everything there is, but what changes by being looked at or written."""
    return {
        kind: {key: {name: deepcopy(value) for name, value in record.items() if name not in PASSING}
               for key, record in records.items()}
        for kind, records in store.objects.items()
    }  # fmt: skip


def written(server: AuthentikStandIn) -> list[str]:
    """What was written, by the first two parts of the path."""
    return ["/".join(call.path.removeprefix("/api/v3/").split("/")[:2]) for call in server.writes]


def application(server: AuthentikStandIn, slug: str = "acme") -> Record:
    return one(server.store, "application", "slug", f"dezky-{slug}")


# -- the order ---------------------------------------------------------------------------------


async def test_doors_close_before_sessions_end_and_sessions_before_people_are_stopped(
    server: AuthentikStandIn, daily: Identity
) -> None:
    """Design 12: deny, grants, parents, sessions, users. Anything else leaves a way back in."""
    signed_in(server, user(server, "anna@acme.test"))
    server.calls.clear()
    await daily.round(suspended())
    assert written(server)[:4] == [
        "policies/bindings", "providers/oauth2", "core/groups", "core/authenticated_sessions",
    ]  # fmt: skip
    assert sorted(written(server)[4:]) == ["core/groups", "core/users"]


async def test_nobody_is_stopped_while_sessions_can_not_be_ended(server: AuthentikStandIn, daily: Identity) -> None:
    """Only who ends them first has the other applications told (facts 3.10); the doors are closed by then."""
    server.faults.append(Fault(match="bulk_delete", status=500))
    await daily.round(suspended())
    assert user(server, "anna@acme.test")["is_active"] is True
    assert not server.store.may_use(user(server, "anna@acme.test"), application(server))
    server.faults.clear()
    await daily.settle(suspended())
    assert user(server, "anna@acme.test")["is_active"] is False


async def test_the_deny_binding_is_lifted_last(server: AuthentikStandIn, daily: Identity) -> None:
    await daily.settle(suspended())
    server.calls.clear()
    await daily.round(resumed())
    assert written(server)[-1] == "policies/bindings"
    assert sorted(written(server)[:-1]) == ["core/groups", "core/users", "providers/oauth2"]


async def test_a_locked_tenant_is_locked_everywhere(server: AuthentikStandIn, daily: Identity) -> None:
    await daily.settle(suspended())
    anna, group = user(server, "anna@acme.test"), one(server.store, "group", "name", "dezky-acme-users")
    assert not server.store.may_use(anna, application(server))
    assert one(server.store, "oauth2provider", "name", "dezky-acme")["grant_types"] == ["authorization_code"]
    assert group["parents"] == []
    assert anna["is_active"] is False
    assert anna["attributes"]["dezky"]["suspendedBy"] == str(ACME.tenant_id)


async def test_a_second_round_of_a_lock_writes_nothing(server: AuthentikStandIn, daily: Identity) -> None:
    await daily.settle(suspended())
    server.calls.clear()
    await daily.round(suspended())
    assert server.writes == []


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("how", [{"lost": True}, {"refused": True}])
async def test_a_lock_broken_off_at_any_write_ends_the_same(
    server: AuthentikStandIn, daily: Identity, how: dict[str, Any], number: int
) -> None:
    """Also for people of two tenants: that they were signed out is remembered, not guessed from the doors."""
    await daily.settle(BETA)
    both = person(server, "both@x.test", "dezky-acme-users", "dezky-beta-users")
    locked = suspended(active_marks=frozenset({BETA.mark}))
    server.faults.append(Fault(match="^(PUT|PATCH|DELETE)", times=1, after=number, **how))
    await daily.round(locked)
    server.faults.clear()
    await daily.settle(locked)
    assert not user(server, "anna@acme.test")["is_active"]
    assert both["is_active"]
    assert not has_session(server, both)


# -- undone exactly ----------------------------------------------------------------------------------


async def test_a_resume_leaves_every_object_as_it_was(server: AuthentikStandIn, daily: Identity) -> None:
    await daily.settle(BETA)
    person(server, "bob@acme.test", "dezky-acme-users", attributes={"theirs": 1, "dezky": {"seat": "gold"}})
    person(server, "off@acme.test", "dezky-acme-users", is_active=False)
    person(server, "both@x.test", "dezky-acme-users", "dezky-beta-users")
    before = objects(server.store)
    await daily.settle(suspended(active_marks=frozenset({BETA.mark})))
    assert objects(server.store) != before
    await daily.settle(resumed())
    assert objects(server.store) == before


async def test_who_somebody_else_had_deactivated_stays_so(server: AuthentikStandIn, daily: Identity) -> None:
    off = person(server, "off@acme.test", "dezky-acme-users", is_active=False)
    await daily.settle(suspended())
    assert "dezky" not in off["attributes"]
    await daily.settle(resumed())
    assert off["is_active"] is False


async def test_who_is_deactivated_by_another_hand_in_between_gets_no_mark_of_ours(
    server: AuthentikStandIn, daily: Identity
) -> None:
    """Between looking and writing: with our mark a resume would let him in again."""
    bob = person(server, "bob@acme.test", "dezky-acme-users")
    plan = await daily.planned(suspended())
    server.store.update("user", bob, {"is_active": False})
    (step,) = [step for step in plan.steps if step.name == "bob@acme.test"]
    await daily.integration.perform(step)
    assert "dezky" not in bob["attributes"]


async def test_who_is_no_member_is_never_touched(server: AuthentikStandIn, daily: Identity) -> None:
    stranger = person(server, "stranger@x.test")
    before = deepcopy(stranger)
    await daily.settle(suspended())
    await daily.settle(resumed())
    assert stranger == before
    assert has_session(server, stranger)


async def test_who_left_while_it_was_locked_is_active_again_afterwards(
    server: AuthentikStandIn, daily: Identity
) -> None:
    bob = person(server, "bob@acme.test", "dezky-acme-users")
    await daily.settle(suspended())
    server.store.leave(bob, one(server.store, "group", "name", "dezky-acme-users")["pk"])
    await daily.settle(resumed())
    assert bob["is_active"] is True
    assert bob["attributes"] == {}


# -- people of two tenants ---------------------------------------------------------------------------


async def test_people_of_two_tenants_keep_the_account_and_are_signed_out_once(
    server: AuthentikStandIn, daily: Identity
) -> None:
    await daily.settle(BETA)
    both = person(server, "both@x.test", "dezky-acme-users", "dezky-beta-users")
    locked = suspended(active_marks=frozenset({BETA.mark}))
    await daily.settle(locked)
    assert both["is_active"] is True
    assert not has_session(server, both)
    signed_in(server, both)
    await daily.settle(locked)
    assert has_session(server, both), "the session is for the other tenant"


async def test_with_both_tenants_locked_the_account_is_too_until_one_is_opened(
    server: AuthentikStandIn, daily: Identity
) -> None:
    await daily.settle(BETA)
    both = person(server, "both@x.test", "dezky-acme-users", "dezky-beta-users")
    await daily.settle(suspended(active_marks=frozenset({BETA.mark})))
    await daily.settle(suspended(BETA))
    assert both["is_active"] is False
    await daily.settle(resumed())
    assert both["is_active"] is False, "it was the other suspension that stopped her"
    await daily.settle(suspended(BETA, active_marks=frozenset({ACME.mark})))
    assert both["is_active"] is True


# -- the platform's own ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "fields"),
    [
        (("authentik Admins",), {}),
        (("dezky-platform-admins",), {}),
        ((), {"type": "internal_service_account"}),
    ],
)
async def test_the_platforms_own_people_are_never_touched(
    server: AuthentikStandIn, daily: Identity, groups: tuple[str, ...], fields: dict[str, str]
) -> None:
    root = person(server, "root", "dezky-acme-users", *groups, **fields)
    before = deepcopy(root)
    await daily.settle(suspended())
    assert root == before
    assert has_session(server, root)
    await daily.settle(resumed())
    assert root == before


async def test_who_became_the_platforms_own_while_locked_is_told_and_holds_nothing_up(
    server: AuthentikStandIn, daily: Identity
) -> None:
    bob = person(server, "bob@acme.test", "dezky-acme-users")
    await daily.settle(suspended())
    server.store.join(bob, one(server.store, "group", "name", "authentik Admins")["pk"])
    await daily.settle(resumed())
    found = await daily.planned(resumed())
    assert found.in_sync
    assert "bob@acme.test" in found.obstacles[0].message
    assert bob["is_active"] is False


# -- while it is locked ------------------------------------------------------------------------------


async def test_who_joins_a_locked_tenant_is_locked_in_the_next_round(server: AuthentikStandIn, daily: Identity) -> None:
    await daily.settle(suspended())
    late = person(server, "late@acme.test", "dezky-acme-users")
    await daily.settle(suspended())
    assert late["is_active"] is False
    assert not has_session(server, late)


@pytest.mark.parametrize(
    ("kind", "field", "value", "change"),
    [
        ("application", "slug", "dezky-acme", {"policy_engine_mode": "any"}),
        ("oauth2provider", "name", "dezky-acme", {"grant_types": ["authorization_code", "refresh_token"]}),
        ("oauth2provider", "name", "dezky-acme", {"client_type": "public"}),
        ("group", "name", "dezky-acme-users", {"parents": "tenants"}),
        ("group", "name", "dezky-acme-admins", {"parents": "tenants"}),
    ],
)
async def test_what_would_open_a_lock_is_put_back(
    server: AuthentikStandIn, daily: Identity, *, kind: str, field: str, value: str, change: dict[str, Any]
) -> None:
    await daily.settle(suspended())
    record = one(server.store, kind, field, value)
    before = deepcopy(record)
    tenants = one(server.store, "group", "name", "dezky-tenants")["pk"]
    changed = {name: [*before[name], tenants] if new == "tenants" else new for name, new in change.items()}
    server.store.update(kind, record, changed)
    server.calls.clear()
    await daily.settle(suspended())
    assert {name: record[name] for name in change} == {name: before[name] for name in change}
    assert len(server.writes) == 1


async def test_a_deny_binding_switched_off_is_switched_on_again(server: AuthentikStandIn, daily: Identity) -> None:
    await daily.settle(suspended())
    (deny,) = [found for found in server.store.bindings_of(application(server)) if found["policy"]]
    server.store.update("policybinding", deny, {"enabled": False})
    await daily.settle(suspended())
    assert deny["enabled"] is True


async def test_other_edits_wait_for_the_resume(server: AuthentikStandIn, daily: Identity) -> None:
    """Not even what stands in the way of such an edit stands in the way of a lock."""
    edited = replace(ACME, display_name="Acme & Sons", admin=replace(ACME.admin, username="new@acme.test"))  # type: ignore[type-var]
    server.store.update("brand", one(server.store, "brand", "domain", "acme.dezky.test"), {"attributes": {}})
    await daily.settle(suspended(edited))
    assert (await daily.planned(suspended(edited))).in_sync
    assert application(server)["name"] == "Acme"
    assert server.store.find("user", "username", "new@acme.test") is None
    await daily.round(resumed(edited))
    assert application(server)["name"] == "Acme & Sons"
    assert user(server, "new@acme.test")["is_active"]


async def test_a_locked_tenant_that_lost_its_application_gets_nothing_new(
    server: AuthentikStandIn, daily: Identity
) -> None:
    await daily.settle(suspended())
    server.store.remove("application", application(server))
    await daily.settle(suspended())
    assert server.store.find("application", "slug", "dezky-acme") is None
    await daily.settle(resumed())
    assert server.store.may_use(user(server, "anna@acme.test"), application(server))


async def test_a_tenant_that_begins_suspended_is_made_locked(server: AuthentikStandIn, daily: Identity) -> None:
    born = replace(BETA, phase=Phase.SUSPENDED, recovery_link_due=False)
    await daily.settle(born)
    anna = user(server, "anna@beta.test")
    assert anna["is_active"] is False
    assert not server.store.may_use(anna, application(server, "beta"))
    await daily.settle(resumed(BETA))
    assert server.store.may_use(anna, application(server, "beta"))


# -- a purge -------------------------------------------------------------------------------------------


async def test_a_purge_destroys_by_path_and_attribute_and_lets_everybody_else_go(
    server: AuthentikStandIn, daily: Identity
) -> None:
    others = [
        person(server, "guest@x.test", "dezky-acme-users"),
        person(server, "path@x.test", "dezky-acme-users", path="dezky/tenants/acme"),
        person(server, "mark@x.test", "dezky-acme-users", attributes={"dezky.tenantId": str(ACME.tenant_id)}),
    ]
    before = [deepcopy({key: value for key, value in found.items() if key != "_groups"}) for found in others]
    deleted = replace(ACME, phase=Phase.DELETED, established=True)
    await daily.settle(deleted)
    assert not any(found["is_active"] for found in others)
    purged = replace(ACME, phase=Phase.PURGED, established=True)
    names = left(purged, await daily.integration.observe(purged))
    assert names == ("guest@x.test", "mark@x.test", "path@x.test")
    await daily.settle(purged)
    assert [{key: value for key, value in found.items() if key != "_groups"} for found in others] == before
    assert [server.store.groups_of(found) for found in others] == [[], [], []]
    assert server.store.find("user", "username", "anna@acme.test") is None


async def test_a_purge_of_one_tenant_leaves_the_other_ones_lock_alone(
    server: AuthentikStandIn, daily: Identity
) -> None:
    await daily.settle(BETA)
    both = person(server, "both@x.test", "dezky-acme-users", "dezky-beta-users")
    await daily.settle(replace(ACME, phase=Phase.DELETED, established=True))
    await daily.settle(suspended(BETA))
    await daily.settle(replace(ACME, phase=Phase.PURGED))
    await daily.settle(suspended(BETA))
    assert both["is_active"] is False
    await daily.settle(resumed(BETA))
    assert both["is_active"] is True
