"""Suspending a tenant's files and opening exactly the recorded spaces again, over real HTTP (facts/ocis.md 3)."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from dezky_operator.integrations.intent import Member, Phase, TenantIntent
from dezky_operator.integrations.steps import Plan, Verb
from tests.files import Files, Given, basic, files, intent, known, space
from tests.sandbox.ocis.server import OcisStandIn
from tests.sandbox.ocis.store import EDITOR, Space, User
from tests.sandbox.standin import Fault

ANNA, BOTH = "anna@acme.test", "both@x.test"
EVERY = (str(space("acme").id), str(space("acme", "archive").id))


@pytest.fixture
async def server() -> AsyncIterator[OcisStandIn]:
    async with OcisStandIn() as found:
        yield found


@pytest.fixture
async def daily(server: OcisStandIn) -> AsyncIterator[Files]:
    async with files(server.url, Given(basic("admin", "admin-password"))) as found:
        await found.settle(active())
        yield found


def member(name: str, **changes: Any) -> Member:
    plain = Member(pk=1, username=name, name=name, email=name, is_active=True, signed_in=True)
    return replace(plain, **changes)


PEOPLE = (member(ANNA), member(BOTH, elsewhere=True), member("never@acme.test"))


def active(**changes: Any) -> TenantIntent:
    return intent("acme", "archive", **{"established": True, **changes})


def suspended(**changes: Any) -> TenantIntent:
    return active(**{"phase": Phase.SUSPENDED, "members": PEOPLE, **changes})


def resumed(*recorded: str, **changes: Any) -> TenantIntent:
    return active(**{"unlocking": True, "disabled_drives": recorded, **changes})


def person(server: OcisStandIn, name: str) -> User:
    """Somebody who has signed in, in the tenant's group."""
    user = server.store.add_user(name, display=name, password="secret")
    user.groups.add(server.store.group_ids["dezky-acme-users"])
    return user


def own(server: OcisStandIn, user: User) -> Space:
    return server.store.spaces[user.id]


def closed_by(plan: Plan) -> set[str]:
    return {str(step.target) for step in plan.steps if step.verb is Verb.DISABLE}


async def seen(server: OcisStandIn, key: str, user: str = ANNA) -> int:
    """What somebody is answered who looks into a space."""
    async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as http:
        answer = await http.request("PROPFIND", f"/dav/spaces/{key}", headers={"Authorization": basic(user, "secret")})
    return answer.status_code


# -- closing -----------------------------------------------------------------------------------------


async def test_every_space_of_the_tenant_and_of_its_people_is_closed(server: OcisStandIn, daily: Files) -> None:
    anna = person(server, ANNA)
    main = EVERY[0]
    assert (await seen(server, main), await seen(server, anna.id)) == (207, 207)
    plan = await daily.round(suspended())
    assert closed_by(plan) == {*EVERY, anna.id}
    assert (await seen(server, main), await seen(server, anna.id)) == (404, 404)
    assert (await daily.planned(suspended())).in_sync


async def test_links_into_a_closed_space_lead_nowhere_and_work_again_afterwards(
    server: OcisStandIn, daily: Files
) -> None:
    found = server.store.spaces[EVERY[0]]
    link = server.store.add_link(found, found.node("") or "", "Passw0rd!", math.inf, server.store.admin)

    async def followed() -> int:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as http:
            headers = {"Authorization": link.header}
            return (await http.request("PROPFIND", f"/dav/public-files/{link.token}", headers=headers)).status_code

    assert await followed() == 207
    await daily.settle(suspended())
    assert await followed() == 404
    await daily.settle(resumed(*EVERY))
    assert await followed() == 207


async def test_the_own_space_of_somebody_in_another_tenant_is_never_closed(server: OcisStandIn, daily: Files) -> None:
    both = person(server, BOTH)
    server.calls.clear()
    await daily.settle(suspended())
    assert not own(server, both).disabled
    assert not [call for call in server.writes if both.id in call.path]


async def test_a_space_that_is_opened_by_another_hand_is_closed_again(server: OcisStandIn, daily: Files) -> None:
    await daily.settle(suspended())
    server.store.spaces[EVERY[1]].disabled = False
    await daily.settle(suspended())
    assert server.store.spaces[EVERY[1]].disabled


async def test_who_joins_a_closed_tenant_is_closed_in_the_next_round(server: OcisStandIn, daily: Files) -> None:
    await daily.settle(suspended(members=()))
    late = person(server, "late@acme.test")
    plan = await daily.settle(suspended(members=(member("late@acme.test"),)))
    assert own(server, late).disabled
    assert plan.in_sync


async def test_a_detached_space_is_closed_too(server: OcisStandIn, daily: Files) -> None:
    wanted = intent("acme", established=True, phase=Phase.SUSPENDED, members=(), known_spaces=known("acme", "archive"))
    await daily.round(wanted)
    assert all(server.store.spaces[key].disabled for key in EVERY)


async def test_other_edits_wait_for_the_resume(server: OcisStandIn, daily: Files) -> None:
    edited = {"spaces": (space("acme", name="Acme & Sons", quota=5), space("acme", "archive"), space("acme", "new"))}
    await daily.settle(suspended(**edited))
    assert server.store.spaces[EVERY[0]].name == "Acme"
    assert str(space("acme", "new").id) not in server.store.spaces
    await daily.settle(resumed(*EVERY, **edited))
    assert (server.store.spaces[EVERY[0]].name, server.store.spaces[EVERY[0]].quota) == ("Acme & Sons", 5)
    assert str(space("acme", "new").id) in server.store.spaces


async def test_a_tenant_that_begins_suspended_is_made_and_then_closed(server: OcisStandIn, daily: Files) -> None:
    born = intent("beta", phase=Phase.SUSPENDED, members=())
    await daily.settle(born)
    made = server.store.spaces[str(space("beta").id)]
    assert made.disabled
    assert EDITOR in made.grants.values(), "its people come in once it is opened"


async def test_a_space_whose_alias_was_changed_is_told_as_it_can_not_be_closed(
    server: OcisStandIn, daily: Files
) -> None:
    server.store.spaces[EVERY[0]].alias = "project/elsewhere"
    found = await daily.settle(suspended())
    assert not found.in_sync
    assert EVERY[0] in found.obstacles[0].message
    assert not server.store.spaces[EVERY[0]].disabled


async def test_while_nobody_knows_the_people_the_tenants_spaces_are_closed_and_the_rest_is_told(
    server: OcisStandIn, daily: Files
) -> None:
    anna = person(server, ANNA)
    found = await daily.settle(suspended(members=None))
    assert all(server.store.spaces[key].disabled for key in EVERY)
    assert not own(server, anna).disabled
    assert [(told.reason, told.blocking) for told in found.obstacles] == [("IdentityDown", True)]


# -- opening ---------------------------------------------------------------------------------------------


async def test_a_resume_leaves_every_space_as_it_was(server: OcisStandIn, daily: Files) -> None:
    anna = person(server, ANNA)
    shut = person(server, "shut@acme.test")
    own(server, shut).disabled = True
    server.store.spaces[EVERY[0]].files["plan.txt"] = b"content"
    before = deepcopy(server.store.spaces)
    plan = await daily.round(suspended(members=(*PEOPLE, member("shut@acme.test"))))
    await daily.settle(resumed(*closed_by(plan)))
    assert server.store.spaces == before
    assert own(server, anna).disabled is False


async def test_exactly_the_recorded_spaces_are_opened(server: OcisStandIn, daily: Files) -> None:
    anna, bob = person(server, ANNA), person(server, "bob@acme.test")
    await daily.settle(suspended(members=(member(ANNA), member("bob@acme.test"))))
    await daily.settle(resumed(*EVERY, anna.id))
    assert not own(server, anna).disabled
    assert own(server, bob).disabled, "somebody else must have closed it"


async def test_with_drift_only_reported_a_space_that_somebody_else_closed_stays_closed(
    server: OcisStandIn, daily: Files
) -> None:
    server.store.spaces[EVERY[1]].disabled = True
    plan = await daily.round(suspended(members=()))
    assert closed_by(plan) == {EVERY[0]}
    opened = resumed(*closed_by(plan), reopens=False)
    found = await daily.settle(opened)
    assert [server.store.spaces[key].disabled for key in EVERY] == [False, True]
    assert [(told.reason, told.blocking) for told in found.obstacles] == [("Drift", False)]


async def test_a_recorded_id_that_is_no_personal_space_is_not_opened(server: OcisStandIn, daily: Files) -> None:
    """A record that was edited leads to nobody else's space."""
    other = Space(id="11111111-2222-4333-8444-555555555555", name="Other", alias="project/other", disabled=True)
    server.store.spaces[other.id] = other
    await daily.settle(resumed(*EVERY, other.id))
    assert other.disabled


async def test_who_joins_another_tenant_while_locked_gets_the_own_space_back(server: OcisStandIn, daily: Files) -> None:
    anna = person(server, ANNA)
    plan = await daily.round(suspended())
    recorded = tuple(closed_by(plan))
    moved = member(ANNA, elsewhere=True)
    await daily.settle(suspended(members=(moved,), disabled_drives=recorded))
    assert own(server, anna).disabled, "the other tenant is suspended too"
    await daily.settle(suspended(members=(replace(moved, works_elsewhere=True),), disabled_drives=recorded))
    assert not own(server, anna).disabled
    assert all(server.store.spaces[key].disabled for key in EVERY)


async def test_who_closed_the_own_space_before_keeps_it_closed_in_another_tenant(
    server: OcisStandIn, daily: Files
) -> None:
    anna, both = person(server, ANNA), person(server, BOTH)
    own(server, both).disabled = True
    await daily.settle(suspended(disabled_drives=(*EVERY, anna.id)))
    assert own(server, both).disabled


@pytest.mark.parametrize("number", range(3))
async def test_a_lock_whose_answers_are_lost_ends_the_same(server: OcisStandIn, daily: Files, number: int) -> None:
    anna = person(server, ANNA)
    server.faults.append(Fault(match="^DELETE", times=1, after=number, lost=True))
    await daily.round(suspended())
    server.faults.clear()
    await daily.settle(suspended())
    assert all(server.store.spaces[key].disabled for key in (*EVERY, anna.id))


# -- a purge -----------------------------------------------------------------------------------------------


async def test_a_purge_ends_the_recorded_people_while_they_are_the_same_and_nobody_else(
    server: OcisStandIn, daily: Files
) -> None:
    anna, renamed, again = person(server, ANNA), person(server, "bob@acme.test"), person(server, "cleo@acme.test")
    guest = person(server, "guest@x.test")
    people = (
        (ANNA, anna.id),
        ("bob@acme.test", renamed.id),
        ("cleo@acme.test", "99999999-aaaa-4bbb-8ccc-000000000000"),
    )
    renamed.name = "robert@acme.test"
    await daily.settle(active(phase=Phase.PURGED, people=people))
    assert anna.id not in server.store.users
    assert anna.id not in server.store.spaces
    assert {renamed.id, again.id, guest.id} <= set(server.store.users)
    assert not set(EVERY) & set(server.store.spaces)
    assert "dezky-acme-users" not in server.store.group_ids


async def test_a_purge_opens_what_the_lock_had_closed_of_people_who_stay(server: OcisStandIn, daily: Files) -> None:
    anna, guest = person(server, ANNA), person(server, "guest@x.test")
    plan = await daily.round(suspended(members=(member(ANNA, own=True), member("guest@x.test"))))
    purged = active(phase=Phase.PURGED, people=((ANNA, anna.id),), disabled_drives=tuple(closed_by(plan)))
    await daily.settle(purged)
    assert anna.id not in server.store.spaces
    assert not own(server, guest).disabled


async def test_spaces_of_two_tenants_are_never_taken_for_one_another(server: OcisStandIn, daily: Files) -> None:
    """`labs` of acme and the main space of acme-labs: by alias the one belongs to acme, the other does not."""
    await daily.settle(intent("acme", "archive", "labs"))
    await daily.settle(intent("acme-labs"))
    labs, other = (server.store.spaces[str(key.id)] for key in (space("acme", "labs"), space("acme-labs")))
    assert (labs.alias, other.alias) == ("project/dezky-acme_labs", "project/dezky-acme-labs")


async def test_a_confirmed_space_goes_also_where_drift_is_only_reported(server: OcisStandIn, daily: Files) -> None:
    confirmed = intent("acme", known_spaces=known("acme", "archive"), removable=frozenset({"archive"}))
    server.store.spaces[EVERY[0]].name = "Drifted"
    found = (await daily.planned(confirmed)).asked
    assert [(step.verb, step.target) for step in found.steps] == [("disable", EVERY[1]), ("delete", EVERY[1])]
