"""The Authentik integration over real HTTP, with nothing but the daily token that bootstrap made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from dezky_operator.audit.recorder import NoRecorder
from dezky_operator.integrations.apply import apply
from dezky_operator.integrations.errors import AuthFailed, NoPermission, Rejected
from dezky_operator.integrations.intent import Adoption, Phase, TenantIntent
from dezky_operator.integrations.steps import System
from tests.identity import Given, Identity, bootstrap, identity, intent
from tests.sandbox.authentik.kinds import Record
from tests.sandbox.authentik.server import AuthentikStandIn
from tests.sandbox.authentik.store import Store
from tests.sandbox.authentik.visitor import Visitor
from tests.sandbox.standin import Fault

ACME = intent()
KINDS = ("group", "user", "oauth2provider", "application", "policybinding", "brand")
THEIRS = f"dezky:{ACME.installation_id}:11111111-1111-1111-1111-111111111111"


@pytest.fixture
async def server() -> AsyncIterator[AuthentikStandIn]:
    async with AuthentikStandIn() as found:
        yield found


@pytest.fixture
async def given(server: AuthentikStandIn) -> Given:
    return Given((await bootstrap(server)).token)


@pytest.fixture
async def daily(server: AuthentikStandIn, given: Given) -> AsyncIterator[Identity]:
    async with identity(server.url, given) as found:
        yield found


def one(store: Store, kind: str, field: str, value: object) -> Record:
    found = [record for record in store.objects[kind].values() if record[field] == value]
    assert len(found) == 1, f"{len(found)} objects of kind {kind} with {field} {value}"
    return found[0]


def counts(store: Store) -> dict[str, int]:
    return {kind: len(store.objects[kind]) for kind in KINDS}


def let_change(store: Store, record: Record, *rights: str) -> None:
    """What an administrator of Authentik does before the operator may take something over."""
    operator = one(store, "user", "username", "dezky-operator")
    for right in rights:
        store.object_permissions[right, str(record["pk"])].add(operator["roles"][0])


# -- from nothing ------------------------------------------------------------------------------


async def test_a_new_tenant_gets_groups_client_application_brand_and_administrator(
    server: AuthentikStandIn, daily: Identity
) -> None:
    """C002, C016, C033: everything of facts 10, tied together."""
    await daily.settle(ACME)
    store = server.store
    users, admins = (one(store, "group", "name", f"dezky-acme-{role}") for role in ("users", "admins"))
    provider = one(store, "oauth2provider", "name", "dezky-acme")
    application = one(store, "application", "slug", "dezky-acme")
    assert users["parents"] == [one(store, "group", "name", "dezky-tenants")["pk"]]
    assert admins["parents"] == [users["pk"]]
    assert users["attributes"]["dezky.eu/tenant"] == "acme"
    assert set(provider["grant_types"]) == {"authorization_code", "refresh_token"}
    assert provider["sub_mode"] == "user_uuid"
    assert provider["signing_key"] == one(store, "certificatekeypair", "name", "dezky-signing")["pk"]
    assert application["provider"] == provider["pk"]
    assert application["policy_engine_mode"] == "all"
    anna = one(store, "user", "username", "anna@acme.test")
    assert set(store.groups_of(anna)) == {users["pk"], admins["pk"]}
    assert store.may_use(anna, application)
    assert one(store, "brand", "domain", "acme.dezky.test")["default_application"] == application["pk"]


async def test_a_stranger_is_not_let_in(server: AuthentikStandIn, daily: Identity) -> None:
    await asyncio.gather(daily.settle(ACME), daily.settle(intent("beta")))
    application = one(server.store, "application", "slug", "dezky-acme")
    assert not server.store.may_use(one(server.store, "user", "username", "anna@beta.test"), application)


async def test_the_second_round_has_no_step_and_writes_nothing(server: AuthentikStandIn, daily: Identity) -> None:
    """C014: reconcile twice, the second is a no-op, also in Authentik's own event log."""
    await daily.round(ACME)
    server.calls.clear()
    events = len(server.store.events)
    assert (await daily.round(ACME)).done == []
    assert server.writes == []
    assert len(server.store.events) == events


async def test_the_link_for_the_administrator_is_made_once_per_due(daily: Identity) -> None:
    applied = await daily.round(replace(ACME, recovery_link_due=True))
    links = [outputs["link"] for outputs in applied.outputs.values() if "link" in outputs]
    assert len(links) == 1
    assert (await daily.planned(ACME)).steps == ()


async def test_members_are_those_of_the_marked_group(server: AuthentikStandIn, daily: Identity) -> None:
    """C033: nobody is a member while the group is missing or somebody else's."""
    assert await daily.integration.members(ACME) is None
    await daily.settle(ACME)
    members = await daily.integration.members(ACME)
    assert members is not None
    assert [member.username for member in members] == ["anna@acme.test"]
    one(server.store, "group", "name", "dezky-acme-users")["attributes"] = {}
    assert await daily.integration.members(ACME) is None


# -- drift ----------------------------------------------------------------------------------------


DRIFT: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("group", "name", "dezky-acme-users", {"parents": []}),
    ("group", "name", "dezky-acme-admins", {"parents": []}),
    ("oauth2provider", "name", "dezky-acme", {"grant_types": ["client_credentials"]}),
    ("oauth2provider", "name", "dezky-acme", {"redirect_uris": []}),
    ("oauth2provider", "name", "dezky-acme", {"property_mappings": []}),
    ("oauth2provider", "name", "dezky-acme", {"signing_key": None}),
    ("oauth2provider", "name", "dezky-acme", {"sub_mode": "hashed_user_id"}),
    ("oauth2provider", "name", "dezky-acme", {"issuer_mode": "global"}),
    ("oauth2provider", "name", "dezky-acme", {"client_type": "public"}),
    ("oauth2provider", "name", "dezky-acme", {"access_token_validity": "hours=24"}),
    ("oauth2provider", "name", "dezky-acme", {"refresh_token_validity": "days=365"}),
    ("application", "slug", "dezky-acme", {"name": "Mine"}),
    ("application", "slug", "dezky-acme", {"policy_engine_mode": "any"}),
    ("application", "slug", "dezky-acme", {"meta_launch_url": "https://evil.test/"}),
    ("application", "slug", "dezky-acme", {"group": "Elsewhere"}),
    ("application", "slug", "dezky-acme", {"provider": None}),
    ("brand", "domain", "acme.dezky.test", {"branding_title": "Mine"}),
    ("brand", "domain", "acme.dezky.test", {"branding_logo": "https://evil.test/"}),
    ("brand", "domain", "acme.dezky.test", {"branding_custom_css": "body {}"}),
    ("brand", "domain", "acme.dezky.test", {"default_application": None}),
    ("brand", "domain", "acme.dezky.test", {"flow_recovery": None}),
)


@pytest.mark.parametrize(("kind", "field", "value", "change"), DRIFT)
async def test_a_changed_field_is_put_back_and_nothing_else_is_written(
    server: AuthentikStandIn, daily: Identity, *, kind: str, field: str, value: str, change: dict[str, Any]
) -> None:
    await daily.settle(ACME)
    record = one(server.store, kind, field, value)
    before = deepcopy({key: record[key] for key in change})
    server.store.update(kind, record, change)
    server.calls.clear()
    applied = await daily.round(ACME)
    assert [step.fields for step in applied.done] == [tuple(change)]
    assert len(server.writes) == 1
    after = {key: record[key] for key in change}
    assert {key: _sorted(found) for key, found in after.items()} == {key: _sorted(old) for key, old in before.items()}


def _sorted(value: object) -> object:
    return sorted(map(str, value)) if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("end", "change"), [("group", {"enabled": False}), ("group", {"negate": True}), ("policy", {"enabled": True})]
)
async def test_a_changed_binding_is_put_back(
    server: AuthentikStandIn, daily: Identity, end: str, change: dict[str, Any]
) -> None:
    """A disabled group binding opens the application to everybody, an enabled deny binding closes it."""
    await daily.settle(ACME)
    application = one(server.store, "application", "slug", "dezky-acme")
    binding = next(found for found in server.store.having("policybinding", "target", application["pk"]) if found[end])
    before = {key: binding[key] for key in change}
    server.store.update("policybinding", binding, change)
    await daily.settle(ACME)
    assert {key: binding[key] for key in change} == before


async def test_a_doubled_binding_is_made_single_again(server: AuthentikStandIn, daily: Identity, given: Given) -> None:
    """Our own doing: a create whose answer was lost, repeated before the first became visible (facts 3)."""
    await daily.settle(ACME)
    application = one(server.store, "application", "slug", "dezky-acme")
    first = next(found for found in server.store.having("policybinding", "target", application["pk"]) if found["group"])
    copied = {key: first[key] for key in ("target", "group", "order", "enabled", "negate")}
    async with Visitor(server.url, given.token) as operator:
        assert (await operator.ask("POST", "policies/bindings/", copied)).status_code == 201
    await daily.settle(ACME)
    assert len(server.store.having("policybinding", "target", application["pk"])) == 2


async def test_what_others_keep_in_a_group_of_ours_stays(server: AuthentikStandIn, daily: Identity) -> None:
    """A PATCH of attributes replaces them all, and one of parents too (facts 0.6)."""
    await daily.settle(ACME)
    group = one(server.store, "group", "name", "dezky-acme-users")
    other = server.store.insert("group", {"name": "newsletter"})
    bob = server.store.insert("user", {"username": "bob@acme.test", "name": "Bob", "groups": [group["pk"]]})
    attributes = {**group["attributes"], "theirs": 1, "dezky.eu/tenant": "wrong"}
    server.store.update("group", group, {"parents": [other["pk"]], "attributes": attributes})
    await daily.settle(ACME)
    assert group["attributes"]["theirs"] == 1
    assert group["attributes"]["dezky.eu/tenant"] == "acme"
    assert other["pk"] in group["parents"]
    assert group["pk"] in server.store.groups_of(bob)


@pytest.mark.parametrize(("kind", "field", "value"), [row[:3] for row in DRIFT[:3]] + [DRIFT[11][:3], DRIFT[16][:3]])
async def test_a_removed_object_is_made_again(
    server: AuthentikStandIn, daily: Identity, kind: str, field: str, value: str
) -> None:
    await daily.settle(ACME)
    before = counts(server.store)
    server.store.remove(kind, one(server.store, kind, field, value))
    await daily.settle(ACME)
    assert counts(server.store) == before


# -- what is not ours -----------------------------------------------------------------------------


def _group(store: Store, mark: str | None) -> Record:
    attributes = {"dezky.eu/mark": f"{mark}:users"} if mark else {"theirs": True}
    return store.insert("group", {"name": "dezky-acme-users", "attributes": attributes})


def _application(store: Store, mark: str | None) -> Record:
    return store.insert("application", {"name": "Theirs", "slug": "dezky-acme", "meta_publisher": mark or "them"})


def _provider(store: Store, _: str | None) -> Record:
    flow = one(store, "flow", "slug", "default-provider-authorization-implicit-consent")["pk"]
    body = {"name": "dezky-acme", "client_id": "theirs", "authorization_flow": flow, "invalidation_flow": flow}
    return store.insert("oauth2provider", {**body, "redirect_uris": []})


@pytest.mark.parametrize("make", [_group, _application, _provider])
async def test_nothing_is_tied_to_an_object_that_is_not_ours(
    server: AuthentikStandIn, daily: Identity, make: Callable[[Store, str | None], Record]
) -> None:
    """A group of strangers is not let in, nobody joins it, and a foreign application gets no binding."""
    foreign = make(server.store, None)
    before, world = deepcopy(foreign), counts(server.store)
    server.calls.clear()
    plan = await daily.planned(ACME)
    assert {found.reason for found in plan.obstacles} == {"ForeignObject"}
    await daily.round(ACME)
    assert server.writes == []
    assert foreign == before
    assert counts(server.store) == world


async def test_a_foreign_brand_holds_up_nothing_but_itself(server: AuthentikStandIn, daily: Identity) -> None:
    brand = server.store.insert("brand", {"domain": "acme.dezky.test", "branding_title": "Theirs"})
    await daily.settle(ACME)
    assert [found.reason for found in (await daily.planned(ACME)).obstacles] == ["ForeignObject"]
    assert brand["branding_title"] == "Theirs"
    assert one(server.store, "application", "slug", "dezky-acme")


async def test_an_unmarked_group_is_taken_only_when_adoption_says_so(server: AuthentikStandIn, daily: Identity) -> None:
    group = _group(server.store, None)
    taking = replace(ACME, adoption=Adoption.IF_UNOWNED)
    await daily.round(taking)
    assert group["attributes"] == {"theirs": True}  # the daily token may change only what it made
    rights = ("change_group", "add_user_to_group", "delete_group")
    let_change(server.store, group, *(f"authentik_core.{right}" for right in rights))
    await daily.settle(taking)
    assert group["attributes"]["theirs"] is True
    assert group["attributes"]["dezky.eu/mark"] == f"{ACME.mark}:users"


async def test_not_even_force_takes_from_a_living_tenant(server: AuthentikStandIn, daily: Identity) -> None:
    group = _group(server.store, THEIRS)
    let_change(server.store, group, "authentik_core.change_group", "authentik_core.add_user_to_group")
    held = replace(ACME, adoption=Adoption.FORCE, living_marks=frozenset({THEIRS}))
    assert (await daily.planned(held)).steps == ()
    await daily.settle(replace(held, living_marks=frozenset()))
    assert group["attributes"]["dezky.eu/mark"] == f"{ACME.mark}:users"


async def test_a_user_who_was_there_before_joins_but_is_not_changed(server: AuthentikStandIn, daily: Identity) -> None:
    anna = server.store.insert("user", {"username": "anna@acme.test", "name": "Anna B.", "path": "users"})
    before = deepcopy({key: value for key, value in anna.items() if key != "_groups"})
    await daily.settle(replace(ACME, recovery_link_due=False))
    assert {key: value for key, value in anna.items() if key != "_groups"} == before
    assert len(server.store.groups_of(anna)) == 2
    due = await daily.planned(replace(ACME, recovery_link_due=True))
    assert due.steps == (), "a link would be a way into somebody's account"


@pytest.mark.parametrize("power", ["authentik Admins", "dezky-platform-admins"])
async def test_no_administrator_of_the_platform_becomes_a_tenants(
    server: AuthentikStandIn, daily: Identity, power: str
) -> None:
    group = one(server.store, "group", "name", power)
    anna = server.store.insert("user", {"username": "anna@acme.test", "name": "Anna", "groups": [group["pk"]]})
    await daily.round(ACME)
    assert [found.reason for found in (await daily.planned(ACME)).obstacles] == ["ForeignObject"]
    assert server.store.groups_of(anna) == [group["pk"]]


# -- answers that never came ----------------------------------------------------------------------


@pytest.mark.parametrize("number", range(12))
@pytest.mark.parametrize("how", ["lost", "refused", "405"])
async def test_a_fault_at_any_write_leaves_nothing_double(
    server: AuthentikStandIn, daily: Identity, how: str, number: int
) -> None:
    """Done but unanswered, never arrived, and a crash of the server that looks like 405 (facts 0.11)."""
    kinds = {"lost": {"lost": True}, "refused": {"refused": True}, "405": {"status": 405}}
    server.faults.append(Fault(match="^(POST|PUT|PATCH)", times=1, after=number, **kinds[how]))  # type: ignore[arg-type]
    before = counts(server.store)
    await daily.round(ACME)
    server.faults.clear()
    await daily.settle(ACME)
    grown = {kind: number - before[kind] for kind, number in counts(server.store).items()}
    assert grown == {
        "group": 2, "user": 1, "oauth2provider": 1, "application": 1, "policybinding": 2, "brand": 1,
    }  # fmt: skip


async def test_a_plan_that_is_applied_twice_makes_everything_once(server: AuthentikStandIn, daily: Identity) -> None:
    """A group binding has no unique key in Authentik, so a second POST would make a second one (facts 0.7)."""
    plan = await daily.planned(ACME)
    for _ in range(2):
        applied = await apply(plan, {System.AUTHENTIK: daily.integration}, NoRecorder())
        assert applied.failed == {}
    assert (await daily.planned(ACME)).in_sync
    application = one(server.store, "application", "slug", "dezky-acme")
    assert len(server.store.having("policybinding", "target", application["pk"])) == 2


# -- the credential --------------------------------------------------------------------------------


async def test_a_refused_token_is_not_tried_again_until_the_secret_changes(
    server: AuthentikStandIn, daily: Identity, given: Given
) -> None:
    good, given.token = given.token, "wrong"
    with pytest.raises(AuthFailed, match="Secret authentik, key token"):
        await daily.integration.probe()
    server.calls.clear()
    for _ in range(3):
        with pytest.raises(AuthFailed):
            await daily.planned(ACME)
    assert server.calls == []
    given.token, given.version = good, "2"
    await daily.settle(ACME)


async def test_a_token_revoked_later_is_told_from_a_missing_right(
    server: AuthentikStandIn, daily: Identity, given: Given
) -> None:
    """Both are 403: the question which of them it is has to be asked anew each time."""
    group = _group(server.store, None)
    taking = replace(ACME, adoption=Adoption.IF_UNOWNED)
    applied = await daily.round(taking)
    assert any(isinstance(error, NoPermission) for error in applied.failed.values())
    server.store.set_key("dezky-operator", "another")
    with pytest.raises(AuthFailed):
        await daily.planned(ACME)
    assert group["attributes"] == {"theirs": True}
    given.token, given.version = "another", "2"
    await daily.planned(ACME)


async def test_a_server_that_was_never_bootstrapped_is_named(server: AuthentikStandIn) -> None:
    async with identity(server.url, Given(server.bootstrap_token)) as fresh:
        with pytest.raises(Rejected, match="dezky-operator bootstrap"):
            await fresh.integration.probe()


async def test_a_shared_object_made_anew_is_found_without_a_restart(server: AuthentikStandIn, daily: Identity) -> None:
    await daily.settle(ACME)
    store = server.store
    store.remove("expressionpolicy", one(store, "expressionpolicy", "name", "dezky: deny suspended"))
    await bootstrap(server)
    await daily.round(ACME)
    await daily.settle(ACME)
    policy = one(store, "expressionpolicy", "name", "dezky: deny suspended")
    assert any(found["policy"] == policy["pk"] for found in store.objects["policybinding"].values())


# -- deletion -----------------------------------------------------------------------------------------


def _purged(wanted: TenantIntent) -> TenantIntent:
    return replace(wanted, phase=Phase.PURGED, admin=None)


async def test_a_deleted_tenant_is_locked_and_nothing_else_of_it_is_changed(
    server: AuthentikStandIn, daily: Identity
) -> None:
    await daily.settle(ACME)
    application = one(server.store, "application", "slug", "dezky-acme")
    server.store.update("application", application, {"group": "Drifted"})
    await daily.settle(replace(ACME, phase=Phase.DELETED, established=True))
    assert application["group"] == "Drifted"
    assert not one(server.store, "user", "username", "anna@acme.test")["is_active"]
    assert not server.store.may_use(one(server.store, "user", "username", "anna@acme.test"), application)


async def test_a_purge_leaves_nothing_of_ours_and_all_of_everybody_elses(
    server: AuthentikStandIn, daily: Identity
) -> None:
    await daily.settle(intent("acme2"))
    before = {kind: deepcopy(server.store.objects[kind]) for kind in KINDS}
    await daily.settle(ACME)
    await daily.settle(_purged(ACME))
    assert {kind: server.store.objects[kind] for kind in KINDS} == before


async def test_a_purge_keeps_people_who_came_by_other_hands(server: AuthentikStandIn, daily: Identity) -> None:
    await daily.settle(ACME)
    group = one(server.store, "group", "name", "dezky-acme-users")
    guest = server.store.insert("user", {"username": "guest@else.test", "name": "Guest", "groups": [group["pk"]]})
    near = server.store.insert("user", {"username": "near", "name": "Near", "path": "dezky/tenants/acme"})
    await daily.settle(_purged(ACME))
    assert server.store.get("user", guest["pk"]) is guest
    assert server.store.groups_of(guest) == []
    assert server.store.get("user", near["pk"]) is near


async def test_a_purge_that_would_take_another_tenants_person_is_blocked(
    server: AuthentikStandIn, daily: Identity
) -> None:
    await asyncio.gather(daily.settle(ACME), daily.settle(intent("beta")))
    anna = one(server.store, "user", "username", "anna@acme.test")
    server.store.join(anna, one(server.store, "group", "name", "dezky-beta-users")["pk"])
    plan = await daily.planned(_purged(ACME))
    assert plan.steps == ()
    assert [found.reason for found in plan.obstacles] == ["PurgeBlocked"]
    assert "anna@acme.test" in plan.obstacles[0].message


async def test_a_purge_touches_no_foreign_object_of_our_name(server: AuthentikStandIn, daily: Identity) -> None:
    foreign = [_group(server.store, None), _application(server.store, None), _provider(server.store, None)]
    before = deepcopy(foreign)
    assert (await daily.planned(_purged(ACME))).steps == ()
    assert foreign == before
