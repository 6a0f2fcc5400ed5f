"""The OCIS integration over real HTTP: from nothing, drift, other people's spaces, lost answers, the credential."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx2
import pytest

from dezky_operator.integrations.authentik.bootstrap import AuthentikBootstrap
from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.integrations.connection import Connection, Limits, NoFence
from dezky_operator.integrations.errors import (
    AlreadyExists,
    AuthFailed,
    IdentityDown,
    NoPermission,
    NotFound,
    Rejected,
    Unreachable,
)
from dezky_operator.integrations.intent import Adoption, Phase, TenantIntent
from dezky_operator.integrations.ocis.bootstrap import check, environment
from dezky_operator.integrations.ocis.sign_in import ClientCredentialsAuthorizer, ClientSecret
from dezky_operator.integrations.steps import Step, System
from dezky_operator.telemetry.metrics import Metrics
from tests.files import GIB, INSTALLATION, Files, Given, basic, files, intent, known, space
from tests.files import Given as Credential
from tests.sandbox.ocis.server import OcisStandIn
from tests.sandbox.ocis.store import EDITOR, MANAGER, VIEWER, Space
from tests.sandbox.standin import Fault
from tests.sandbox.workspace import Workspace

ADMIN = basic("admin", "admin-password")


@pytest.fixture
async def server() -> AsyncIterator[OcisStandIn]:
    async with OcisStandIn() as found:
        yield found


@pytest.fixture
def given() -> Given:
    return Credential(ADMIN)


@pytest.fixture
async def daily(server: OcisStandIn, given: Given) -> AsyncIterator[Files]:
    async with files(server.url, given) as found:
        yield found


def of(server: OcisStandIn, key: str = "main", slug: str = "acme") -> Space:
    return server.store.spaces[str(space(slug, key).id)]


def projects(server: OcisStandIn) -> dict[str, tuple[Any, ...]]:
    """Every project space and group, by the names people know: to compare two worlds whose ids differ."""
    names = {f"g:{key}": name for key, name in server.store.groups.items()}
    return {
        found.id: (found.name, found.alias, found.quota, found.disabled, _named(found, names))
        for found in server.store.spaces.values()
        if found.kind == "project"
    } | dict.fromkeys(server.store.group_ids, ())


def _named(found: Space, names: dict[str, str]) -> dict[str, str]:
    return {names.get(key, "the operator" if key.startswith("u:") else key): role for key, role in found.grants.items()}


def step_of(steps: tuple[Step, ...], kind: str) -> Step:
    return next(step for step in steps if step.kind == kind)


# -- from nothing ---------------------------------------------------------------------------


async def test_a_new_tenant_gets_its_group_and_its_space(server: OcisStandIn, daily: Files) -> None:
    """C002, C016, C032, C033: the group everybody is in, and the space that is named after the slug."""
    await daily.settle(intent())
    found, group = of(server), server.store.group_ids["dezky-acme-users"]
    assert (found.name, found.alias, found.quota) == ("Acme", "project/dezky-acme", GIB)
    assert found.grants == {f"u:{server.store.admin.id}": MANAGER, f"g:{group}": EDITOR}


async def test_one_round_is_enough_and_the_second_writes_nothing(server: OcisStandIn, daily: Files) -> None:
    """C014: no step, and not one write on the wire."""
    await daily.round(intent("acme", "archive"))
    server.calls.clear()
    assert await daily.round(intent("acme", "archive")) == await daily.planned(intent("acme", "archive"))
    assert server.writes == []
    assert (await daily.planned(intent("acme", "archive"))).in_sync


async def test_a_look_costs_one_read_for_each_space_and_one_for_the_group(server: OcisStandIn, daily: Files) -> None:
    """However many spaces others have: there is no listing, and the name filter is ignored anyway."""
    await daily.settle(intent("acme", "archive"))
    server.calls.clear()
    await daily.planned(intent("acme", "archive"))
    assert len(server.calls) == 3


async def test_what_is_observed_is_what_the_status_shows(server: OcisStandIn, daily: Files) -> None:
    """Quota used and its state, and the address of the space."""
    await daily.settle(intent())
    of(server).files["report.odt"] = b"x" * (GIB // 10)
    found = await daily.integration.observe(intent())
    drive = found.drives["main"]
    assert drive.uuid == str(space("acme").id)
    assert (drive.quota.total, drive.quota.used, drive.quota.state) == (GIB, GIB // 10, "normal")
    assert drive.web_url.startswith(server.url)
    assert found.group is not None
    assert found.group.id == server.store.group_ids["dezky-acme-users"]
    assert found.operator == server.store.admin.id


async def test_tenants_with_the_same_display_name_do_not_see_each_other(server: OcisStandIn, daily: Files) -> None:
    """Neither names nor aliases of spaces are unique; ids are."""
    acme, beta = intent(), intent("beta", spaces=(space("beta", name="Acme", alias="project/dezky-beta"),))
    await asyncio.gather(daily.settle(acme), daily.settle(beta))
    await daily.settle(intent(phase=Phase.PURGED))
    assert (await daily.planned(beta)).steps == ()
    assert of(server, slug="beta").name == "Acme"


async def test_many_tenants_at_once_ask_for_the_own_user_once(server: OcisStandIn, daily: Files) -> None:
    await asyncio.gather(*(daily.settle(intent(f"t{number}")) for number in range(20)))
    assert [call.path for call in server.calls].count("/graph/v1.0/me") == 1


# -- drift ------------------------------------------------------------------------------------


def _renamed(found: Space, _: OcisStandIn) -> None:
    found.name = "Mine"


def _realiased(found: Space, _: OcisStandIn) -> None:
    found.alias = "project/dezky-acme_x"


def _shrunk(found: Space, _: OcisStandIn) -> None:
    found.quota = 1


def _poisoned(found: Space, _: OcisStandIn) -> None:
    found.poisoned, found.quota = True, 7


def _disabled(found: Space, _: OcisStandIn) -> None:
    found.disabled = True


def _shut_out(found: Space, server: OcisStandIn) -> None:
    del found.grants[f"g:{server.store.group_ids['dezky-acme-users']}"]


def _demoted(found: Space, server: OcisStandIn) -> None:
    found.grants[f"g:{server.store.group_ids['dezky-acme-users']}"] = VIEWER


def _promoted(found: Space, server: OcisStandIn) -> None:
    found.grants[f"g:{server.store.group_ids['dezky-acme-users']}"] = MANAGER


def _managed(found: Space, server: OcisStandIn) -> None:
    found.grants[f"u:{server.store.add_user('mallory', display='Mallory').id}"] = MANAGER


def _destroyed(found: Space, server: OcisStandIn) -> None:
    del server.store.spaces[found.id]


@pytest.mark.parametrize(
    "drift",
    [_renamed, _realiased, _shrunk, _poisoned, _disabled, _shut_out, _demoted, _promoted, _managed, _destroyed],
)
async def test_drift_of_every_kind_is_put_back(
    drift: Callable[[Space, OcisStandIn], None], server: OcisStandIn, daily: Files
) -> None:
    """C022: each one alone, and with as few writes as it needs."""
    await daily.settle(intent())
    whole = projects(server)
    drift(of(server), server)
    server.calls.clear()
    await daily.settle(intent())
    assert projects(server) == whole
    assert len(server.writes) <= 2


async def test_a_group_that_another_hand_removed_gets_in_again(server: OcisStandIn, daily: Files) -> None:
    await daily.settle(intent())
    server.store.drop_group(server.store.group_ids["dezky-acme-users"])
    await daily.settle(intent())
    assert of(server).grants[f"g:{server.store.group_ids['dezky-acme-users']}"] == EDITOR


async def test_an_operator_that_was_locked_out_says_so_and_keeps_what_it_can(server: OcisStandIn, daily: Files) -> None:
    """Even an Admin can not list or give grants then (facts/ocis.md 3)."""
    await daily.settle(intent())
    found = of(server)
    found.grants, found.name = {"u:mallory": MANAGER}, "Mine"
    plan = await daily.settle(intent())
    assert [one.reason for one in plan.obstacles] == ["OperatorLockedOut"]
    assert found.name == "Acme"


# -- spaces come and go -----------------------------------------------------------------------


async def test_a_space_that_left_the_spec_is_closed_with_its_files_and_opened_when_it_is_back(
    server: OcisStandIn, daily: Files
) -> None:
    """C018: no spec edit destroys data."""
    both = known("acme", "main", "old")
    await daily.settle(intent("acme", "old"))
    of(server, "old").files["report.odt"] = b"report"
    await daily.settle(intent(known_spaces=both))
    assert of(server, "old").disabled
    await daily.settle(intent("acme", "old", known_spaces=both))
    assert not of(server, "old").disabled
    assert of(server, "old").files == {"report.odt": b"report"}


async def test_a_detached_space_goes_when_a_person_confirmed_it(server: OcisStandIn, daily: Files) -> None:
    await daily.settle(intent("acme", "old"))
    await daily.settle(intent(known_spaces=known("acme", "main", "old"), removable=frozenset({"old"})))
    assert str(space("acme", "old").id) not in server.store.spaces
    assert not of(server).disabled


async def test_a_closed_space_goes_when_a_person_confirmed_it(server: OcisStandIn, daily: Files) -> None:
    both = known("acme", "main", "old")
    await daily.settle(intent("acme", "old"))
    await daily.settle(intent(known_spaces=both))
    await daily.settle(intent(known_spaces=both, removable=frozenset({"old"})))
    assert str(space("acme", "old").id) not in server.store.spaces


# -- what is somebody else's -------------------------------------------------------------------


def _theirs(server: OcisStandIn, alias: str) -> Space:
    """Somebody else's space under the id that ours would have; the operator's user is its manager."""
    key = str(space("acme").id)
    made = Space(id=key, name="Theirs", alias=alias, grants={f"u:{server.store.admin.id}": MANAGER})
    server.store.spaces[key] = made
    return made


async def test_a_foreign_space_under_our_id_is_not_touched(server: OcisStandIn, daily: Files) -> None:
    theirs = _theirs(server, "project/shared")
    plan = await daily.settle(intent())
    assert [one.reason for one in plan.obstacles] == ["ForeignObject"]
    assert (theirs.name, theirs.alias) == ("Theirs", "project/shared")
    assert (await daily.integration.observe(intent())).drives == {}, "the status tells nothing of it"


@pytest.mark.parametrize(
    ("alias", "adoption", "taken"),
    [
        ("project/shared", Adoption.NEVER, False),
        ("project/shared", Adoption.IF_UNOWNED, True),
        ("project/dezky-nord", Adoption.IF_UNOWNED, False),
        ("project/dezky-nord", Adoption.FORCE, True),
    ],
)
async def test_adoption_takes_what_it_may(
    alias: str,
    adoption: Adoption,
    taken: bool,  # noqa: FBT001 - a column of the table
    server: OcisStandIn,
    daily: Files,
) -> None:
    theirs = _theirs(server, alias)
    plan = await daily.settle(intent(adoption=adoption))
    assert plan.in_sync is taken
    assert (theirs.alias == "project/dezky-acme") is taken
    assert (await daily.planned(intent())).in_sync is taken, "once taken it is ours without adoption"


async def test_spaces_with_our_name_and_alias_but_another_id_do_not_matter(server: OcisStandIn, daily: Files) -> None:
    other = Space(id="11111111-2222-4333-8444-555555555555", name="Acme", alias="project/dezky-acme")
    server.store.spaces[other.id] = other
    await daily.settle(intent())
    await daily.settle(intent(phase=Phase.PURGED))
    assert server.store.spaces[other.id] is other
    assert not other.disabled


async def test_a_foreign_space_that_came_in_between_is_not_taken_for_our_own(server: OcisStandIn, daily: Files) -> None:
    plan = await daily.planned(intent())
    _theirs(server, "project/shared")
    with pytest.raises(AlreadyExists):
        await daily.integration.perform(step_of(plan.steps, "drive"))


async def test_a_group_that_a_sign_in_made_in_between_is_used(server: OcisStandIn, daily: Files) -> None:
    """Group sync makes groups of unknown names (facts/ocis.md 2.5)."""
    plan = await daily.planned(intent())
    made = server.store.add_group("dezky-acme-users")
    assert await daily.integration.perform(step_of(plan.steps, "group")) == {"id": made}


# -- lost answers and other faults ----------------------------------------------------------------


Life = Callable[[Files], Awaitable[None]]


async def _first(_: Files) -> None:
    """From nothing."""


async def _second(daily: Files) -> None:
    await daily.settle(intent("acme", "old"))


@pytest.mark.parametrize(
    ("before", "wanted"),
    [
        (_first, intent("acme", "archive")),
        (_second, intent(known_spaces=known("acme", "main", "old"))),
        (_second, intent(known_spaces=known("acme", "main", "old"), removable=frozenset({"old"}))),
        (_second, intent(phase=Phase.PURGED, known_spaces=known("acme", "main", "old"))),
    ],
    ids=["create", "detach", "remove", "purge"],
)
@pytest.mark.parametrize("kind", ["lost", "refused"])
async def test_an_answer_lost_at_any_write_ends_in_the_same_state(
    kind: str, before: Life, wanted: TenantIntent
) -> None:
    """Each write in turn is done but not answered, or not even done; the next rounds end the same, nothing doubled."""
    expected = await _after(before, wanted)
    for number in range(20):
        fault = Fault(match="^(POST|PATCH|DELETE)", times=1, after=number, lost=kind == "lost", refused=kind != "lost")
        assert await _after(before, wanted, fault) == expected, f"write {number}"
        if fault.times:
            assert number > 0, "the case writes nothing"
            return
    raise AssertionError("the writes never end")


async def _after(before: Life, wanted: TenantIntent, fault: Fault | None = None) -> dict[str, tuple[Any, ...]]:
    async with OcisStandIn() as server, files(server.url, Credential(ADMIN)) as daily:
        await before(daily)
        server.faults += [fault] if fault else []
        await daily.settle(wanted)
        return projects(server)


async def test_a_manager_who_left_meanwhile_counts_as_removed(server: OcisStandIn, daily: Files) -> None:
    """Removing a grant that is gone is a 500 (facts/ocis.md 2.3)."""
    await daily.settle(intent())
    _managed(of(server), server)
    plan = await daily.planned(intent())
    del of(server).grants[
        next(key for key, role in of(server).grants.items() if key != f"u:{server.store.admin.id}" and role == MANAGER)
    ]
    await daily.integration.perform(plan.steps[0])
    assert (await daily.planned(intent())).in_sync


async def test_a_manager_who_can_not_be_removed_is_a_failure(server: OcisStandIn, daily: Files) -> None:
    await daily.settle(intent())
    _managed(of(server), server)
    plan = await daily.planned(intent())
    server.faults.append(Fault(match="^DELETE", status=500))
    with pytest.raises(Unreachable):
        await daily.integration.perform(plan.steps[0])


async def test_an_invitation_to_a_space_that_is_not_shown_is_no_success(server: OcisStandIn, daily: Files) -> None:
    """Not a member, or disabled in between: 404 even for an Admin (facts/ocis.md 2.3)."""
    await daily.settle(intent())
    _demoted(of(server), server)
    plan = await daily.planned(intent())
    of(server).disabled = True
    with pytest.raises(NotFound):
        await daily.integration.perform(step_of(plan.steps, "grant"))


async def test_what_was_purged_meanwhile_is_gone_and_that_is_enough(server: OcisStandIn, daily: Files) -> None:
    """A second purge is a 404 (facts/ocis.md 2.2)."""
    await daily.settle(intent())
    of(server).disabled = True
    plan = await daily.planned(intent(phase=Phase.PURGED))
    server.store.spaces.pop(str(space("acme").id))
    server.store.drop_group(server.store.group_ids["dezky-acme-users"])
    for step in plan.steps:
        await daily.integration.perform(step)


async def test_a_server_that_chooses_the_ids_is_named_before_it_makes_a_space(
    server: OcisStandIn, daily: Files
) -> None:
    server.faults.append(Fault(match="status.php", status=200, body='{"productversion": "7.1.4"}'))
    with pytest.raises(Rejected, match=r"7\.1.*7\.2"):
        await daily.integration.perform(step_of((await daily.planned(intent())).steps, "drive"))
    assert server.writes == []
    assert "7.2" in (await check(daily.client) or "")


async def test_a_negative_quota_never_reaches_ocis(server: OcisStandIn, daily: Files) -> None:
    """It would poison the space (facts/ocis.md 2.2)."""
    await daily.settle(intent())
    server.calls.clear()
    plan = await daily.planned(intent(spaces=(space("acme", quota=-1),)))
    with pytest.raises(Rejected):
        await daily.integration.perform(plan.steps[0])
    assert server.writes == []


async def test_no_message_repeats_a_body(server: OcisStandIn, daily: Files) -> None:
    body = '{"error": {"code": "generalException", "message": "hunter2"}}'
    server.faults.append(Fault(match="/groups/", status=400, body=body))
    with pytest.raises(Rejected) as found:
        await daily.planned(intent())
    assert "dezky-acme-users" in str(found.value)
    assert "hunter2" not in str(found.value)


async def test_a_500_of_one_object_does_not_stop_the_others(server: OcisStandIn, daily: Files) -> None:
    server.faults.append(Fault(match="dezky-acme-users", status=500))
    with pytest.raises(Unreachable):
        await daily.planned(intent())
    await daily.settle(intent("beta"))


# -- the credential ------------------------------------------------------------------------------


async def test_a_refused_password_is_tried_once_and_then_not_until_it_changes(daily: Files, given: Given) -> None:
    """One round of requests that were in flight together, then silence."""
    given.header, given.version = basic("admin", "wrong"), "2"
    with pytest.raises(AuthFailed, match="Secret dezky-system/ocis, key secret"):
        await daily.planned(intent())
    refused = daily.answered(401)
    assert 1 <= refused <= 4
    for slug in ("acme", "beta"):
        with pytest.raises(AuthFailed):
            await daily.planned(intent(slug))
    assert daily.answered(401) == refused
    given.header, given.version = ADMIN, "3"
    await daily.settle(intent())


async def test_refusals_that_come_together_ask_one_question(server: OcisStandIn, daily: Files) -> None:
    await daily.integration.observe(intent())
    server.calls.clear()
    server.faults.append(Fault(match="dezky-", status=403, latency=0.05))
    found = await asyncio.gather(*(daily.client.group(f"dezky-t{n}-users") for n in range(20)), return_exceptions=True)
    assert {type(error) for error in found} == {NoPermission}
    assert [call.path for call in server.calls].count("/graph/v1.0/me") <= 2


async def test_a_user_that_may_not_make_groups_is_told_its_role(
    server: OcisStandIn, daily: Files, given: Given
) -> None:
    """A Space Admin can do everything but groups (facts/ocis.md 2.1)."""
    server.store.add_user("spaces", display="Spaces", role="ocisSpaceAdmin", password="spaces-password")
    given.header, given.version = basic("spaces", "spaces-password"), "2"
    plan = await daily.planned(intent())
    with pytest.raises(NoPermission, match="Admin"):
        await daily.integration.perform(step_of(plan.steps, "group"))
    await daily.integration.perform(step_of(plan.steps, "drive"))


async def test_another_credential_may_be_another_user(server: OcisStandIn, daily: Files, given: Given) -> None:
    """With the id of the user before it, the operator would take its own grant for a stranger's."""
    await daily.settle(intent())
    other = server.store.add_user("second", display="Second", role="ocisAdmin", password="second-password")
    given.header, given.version = basic("second", "second-password"), "2"
    found = await daily.integration.observe(intent())
    assert found.operator == other.id
    assert [one.reason for one in daily.integration.plan(intent(), found).obstacles] == ["OperatorLockedOut"]


async def test_probe_tells_a_good_credential_from_a_bad_one(daily: Files, given: Given) -> None:
    await daily.integration.probe()
    given.header, given.version = basic("admin", "wrong"), "2"
    with pytest.raises(AuthFailed):
        await daily.integration.probe()


# -- with Authentik, as in production --------------------------------------------------------------


async def _operator(
    workspace: Workspace, http: httpx2.AsyncClient, clock: Callable[[], float]
) -> ClientCredentialsAuthorizer:
    """The operator's way in as bootstrap prepares it."""
    connection = Connection(
        system=System.AUTHENTIK,
        client=http,
        authorizer=Credential(f"Bearer {workspace.authentik.bootstrap_token}"),
        limits=Limits(requests_per_second=5000, pause=0.0),
        fence=NoFence(),
        metrics=Metrics(),
    )
    made = await AuthentikBootstrap(
        AuthentikClient(connection), installation_id=INSTALLATION, base_domain="dezky.test"
    ).run()

    async def secret() -> ClientSecret:
        return ClientSecret(made.ocis_secret, "1", "Secret dezky-system/ocis, key secret")

    return ClientCredentialsAuthorizer(
        http=http, issuer=workspace.ocis.issuer or "", client_id="dezky-ocis", secret=secret, clock=clock
    )


async def test_a_tenant_is_made_with_authentiks_token_only(workspace: Workspace) -> None:
    """C016: the way of production, where Basic answers 500 for everybody (facts/ocis.md 2.1)."""
    async with httpx2.AsyncClient(base_url=workspace.authentik.url, trust_env=False) as http:
        authorizer = await _operator(workspace, http, lambda: 0.0)
        async with files(workspace.ocis.url, authorizer) as daily:
            assert await check(daily.client) is None
            await daily.settle(intent())
        assert of(workspace.ocis).name == "Acme"
        async with files(workspace.ocis.url, Credential(ADMIN)) as daily:
            with pytest.raises(AuthFailed):
                await daily.planned(intent())


async def test_with_authentik_down_files_go_on_until_the_token_ends(workspace: Workspace) -> None:
    now = [0.0]
    async with httpx2.AsyncClient(base_url=workspace.authentik.url, trust_env=False) as http:
        authorizer = await _operator(workspace, http, lambda: now[0])
        async with files(workspace.ocis.url, authorizer) as daily:
            await daily.settle(intent())
            await workspace.authentik.stop()
            now[0] += 200
            assert (await daily.planned(intent())).in_sync
            now[0] += 200
            with pytest.raises(IdentityDown):
                await daily.planned(intent())


# -- the end, and the beginning ----------------------------------------------------------------------


async def test_a_purge_leaves_nothing_of_ours_and_touches_nothing_else(server: OcisStandIn, daily: Files) -> None:
    """Open, closed and detached spaces, then the group; the neighbours stay as they are."""
    await daily.settle(intent("beta"))
    before = projects(server)
    await daily.settle(intent("acme", "old"))
    await daily.settle(intent(known_spaces=known("acme", "main", "old")))
    await daily.round(intent(phase=Phase.PURGED, known_spaces=known("acme", "main", "old")))
    assert projects(server) == before
    assert (await daily.planned(intent(phase=Phase.PURGED))).in_sync


async def test_a_deleted_tenant_is_closed_once(server: OcisStandIn, daily: Files) -> None:
    await daily.settle(intent())
    deleted = intent(phase=Phase.DELETED, established=True, members=())
    await daily.settle(deleted)
    assert of(server).disabled
    server.calls.clear()
    assert (await daily.round(deleted)).steps == ()
    assert server.writes == []


async def test_a_last_manager_stays_and_that_is_no_success(server: OcisStandIn, daily: Files) -> None:
    await daily.settle(intent())
    with pytest.raises(NoPermission):
        await daily.client.revoke(str(space("acme").id), f"u:{server.store.admin.id}")


def test_the_environment_names_what_is_off_by_default() -> None:
    """Group sync since 8.2, and audit to a file: with the wrong names the file stays empty (facts/ocis.md 0.2)."""
    lines = environment("https://auth.dezky.test/application/o/dezky-ocis/")
    for wanted in ("PROXY_AUTOPROVISION_CLAIM_GROUPS=groups", "AUDIT_LOG_TO_FILE=true", "AUDIT_FORMAT=json"):
        assert wanted in lines
    assert any(line.startswith("AUDIT_FILEPATH=/") for line in lines)
