"""A tenant's life in OCIS: the operator's own integration over a real connection."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from dezky_operator.integrations.intent import Adoption, Phase, Space, TenantIntent, space_id_of
from dezky_operator.integrations.steps import Verb
from tests.acceptance import reconcile
from tests.acceptance.graph import BETA, EDITOR, GRAPH, MANAGER, VIEWER, Graph, invitation
from tests.acceptance.reconcile import Reconciler
from tests.acceptance.targets import Web

GIB = 2**30
INSTALLATION = str(uuid.uuid4())


def tenant(slug: str, *keys: str, **changes: Any) -> TenantIntent:
    """A tenant with its main space, and one more for every key."""
    own = uuid.uuid5(uuid.UUID(INSTALLATION), slug)
    spaces = tuple(
        Space(
            key=key,
            id=space_id_of(own, key),
            name=f"{slug.title()} {key}",
            alias=f"project/dezky-{slug}" + ("" if key == "main" else f"_{key}"),
            quota=GIB,
        )
        for key in ("main", *keys)
    )
    plain = TenantIntent(
        slug=slug,
        tenant_id=own,
        installation_id=INSTALLATION,
        display_name=slug.title(),
        base_domain="dezky.test",
        spaces=spaces,
    )
    return replace(plain, **changes)


def known(wanted: TenantIntent) -> tuple[tuple[str, str], ...]:
    """The spaces a tenant has, as its status remembers them."""
    return tuple((space.key, str(space.id)) for space in wanted.spaces)


def purged(wanted: TenantIntent) -> TenantIntent:
    return replace(wanted, phase=Phase.PURGED, known_spaces=known(wanted))


@pytest.fixture
async def acme(slug: str, graph: Graph) -> AsyncIterator[TenantIntent]:
    """A tenant of this test with two spaces; whatever is left of it is removed."""
    wanted = tenant(slug, "archive")
    yield wanted
    await graph.sweep([str(space.id) for space in wanted.spaces], wanted.users_group)


@pytest.fixture
async def operator(ocis: Web) -> AsyncIterator[Reconciler]:
    async with reconcile.files(ocis) as found:
        yield found


def main(wanted: TenantIntent) -> str:
    return str(wanted.spaces[0].id)


async def group_of(graph: Graph, wanted: TenantIntent) -> str:
    return str((await graph.http.get(f"{GRAPH}/groups/{wanted.users_group}")).json()["id"])


# -- from nothing to nothing ------------------------------------------------------------------


async def test_a_new_tenant_gets_its_group_and_its_spaces(
    graph: Graph, acme: TenantIntent, operator: Reconciler
) -> None:
    """C002, C016, C032: one round, and the second look finds nothing to do."""
    await operator.round(acme)
    plan = await operator.planned(acme)
    assert (plan.in_sync, plan.steps) == (True, ())
    group, own = await group_of(graph, acme), await graph.own_id()
    for space in acme.spaces:
        found = await graph.drive(str(space.id))
        assert (found["name"], found["driveAlias"], found["quota"]["total"]) == (space.name, space.alias, GIB)
        assert await graph.grants(str(space.id)) == {f"u:{own}": [MANAGER], f"g:{group}": [EDITOR]}


async def test_what_is_observed_is_what_the_status_shows(
    graph: Graph, acme: TenantIntent, operator: Reconciler
) -> None:
    """Quota used and its state, and the address of the space."""
    await operator.settle(acme)
    await graph.http.put(f"/dav/spaces/{main(acme)}/report.odt", content=b"report")
    found = (await operator.integration.observe(acme)).drives["main"]
    assert (found.quota.total, found.quota.used, found.quota.state) == (GIB, 6, "normal")
    assert found.web_url.startswith("http")


async def test_a_purge_leaves_nothing_and_can_be_repeated(
    graph: Graph, acme: TenantIntent, operator: Reconciler
) -> None:
    """C025: also with files in it and one space closed already."""
    await operator.settle(acme)
    await graph.http.put(f"/dav/spaces/{main(acme)}/report.odt", content=b"report")
    await graph.delete(str(acme.spaces[1].id))
    assert (await operator.settle(purged(acme))).in_sync
    for space in acme.spaces:
        assert (await graph.http.get(f"{BETA}/drives/{space.id}")).status_code == 404
    assert (await graph.http.get(f"{GRAPH}/groups/{acme.users_group}")).status_code == 404
    assert (await operator.planned(purged(acme))).steps == ()


# -- spaces come and go -----------------------------------------------------------------------


async def test_a_space_that_left_the_spec_is_closed_comes_back_and_goes_when_a_person_says_so(
    graph: Graph, acme: TenantIntent, operator: Reconciler
) -> None:
    await operator.settle(acme)
    archive = str(acme.spaces[1].id)
    await graph.http.put(f"/dav/spaces/{archive}/old", content=b"old")
    without = replace(acme, spaces=acme.spaces[:1], known_spaces=known(acme))
    assert (await operator.settle(without)).in_sync
    assert "deleted" in (await graph.drive(archive))["root"]
    assert (await operator.settle(acme)).in_sync
    assert (await graph.http.get(f"/dav/spaces/{archive}/old")).content == b"old"
    await operator.settle(without)
    assert (await operator.settle(replace(without, removable=frozenset({"archive"})))).in_sync
    assert (await graph.http.get(f"{BETA}/drives/{archive}")).status_code == 404
    assert (await graph.http.get(f"{BETA}/drives/{main(acme)}")).status_code == 200


# -- drift --------------------------------------------------------------------------------------


DRIFT: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "name": ({"name": "Mine"}, ("name",)),
    "alias": ({"driveAlias": "project/mine"}, ("driveAlias",)),
    "quota": ({"quota": {"total": 1}}, ("quota.total",)),
}


@pytest.mark.parametrize("what", DRIFT)
async def test_drift_is_put_back_by_one_step(graph: Graph, acme: TenantIntent, operator: Reconciler, what: str) -> None:
    """C014. A space without our alias is no longer known as ours, so it is taken back only by adoption."""
    await operator.settle(acme)
    change, fields = DRIFT[what]
    assert (await graph.patch(main(acme), change)).status_code == 200
    wanted = replace(acme, adoption=Adoption.IF_UNOWNED) if what == "alias" else acme
    plan = await operator.round(wanted)
    assert [(step.verb, step.fields) for step in plan.steps] == [(Verb.UPDATE, fields)]
    found, space = await graph.drive(main(acme)), acme.spaces[0]
    assert (found["name"], found["driveAlias"], found["quota"]["total"]) == (space.name, space.alias, GIB)
    assert (await operator.planned(acme)).in_sync


async def test_a_space_closed_by_another_hand_is_opened(graph: Graph, acme: TenantIntent, operator: Reconciler) -> None:
    await operator.settle(acme)
    await graph.delete(main(acme))
    assert (await operator.settle(acme)).in_sync
    assert "deleted" not in (await graph.drive(main(acme)))["root"]


async def test_a_grant_taken_away_or_changed_is_given_again(
    graph: Graph, acme: TenantIntent, operator: Reconciler
) -> None:
    await operator.settle(acme)
    group = await group_of(graph, acme)
    path = f"{BETA}/drives/{main(acme)}/root/permissions/g:{group}"
    for change in (graph.http.delete(path), graph.http.patch(path, json={"roles": [VIEWER]})):
        assert (await change).status_code < 300
        plan = await operator.round(acme)
        assert [step.verb for step in plan.steps] == [Verb.GRANT]
        assert (await graph.grants(main(acme)))[f"g:{group}"] == [EDITOR]


async def test_another_manager_is_removed_and_other_grants_are_the_tenants_business(
    graph: Graph, acme: TenantIntent, operator: Reconciler
) -> None:
    await operator.settle(acme)
    boss, guest = await graph.group(f"{acme.slug}-boss"), await graph.group(f"{acme.slug}-guest")
    await graph.invite(main(acme), invitation(boss, MANAGER, kind="group"))
    await graph.invite(main(acme), invitation(guest, VIEWER, kind="group"))
    plan = await operator.round(acme)
    assert [step.verb for step in plan.steps] == [Verb.REVOKE]
    grants = await graph.grants(main(acme))
    assert (f"g:{boss}" in grants, grants[f"g:{guest}"]) == (False, [VIEWER])
    assert (await operator.planned(acme)).in_sync


async def test_what_was_removed_is_made_again(graph: Graph, acme: TenantIntent, operator: Reconciler) -> None:
    await operator.settle(acme)
    await graph.raze(main(acme))
    assert (await operator.settle(acme)).in_sync
    assert (await graph.drive(main(acme)))["name"] == acme.spaces[0].name


# -- what is somebody else's ----------------------------------------------------------------------


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.PURGED])
async def test_a_foreign_space_under_our_id_is_not_touched(
    graph: Graph, acme: TenantIntent, operator: Reconciler, phase: Phase
) -> None:
    """C034."""
    await graph.create("Theirs", id=main(acme), driveAlias=f"project/{acme.slug}-theirs", quota={"total": 7})
    before = await graph.drive(main(acme))
    plan = await operator.settle(replace(acme, phase=phase, known_spaces=known(acme)))
    assert [found.reason for found in plan.obstacles] == ["ForeignObject"]
    after = await graph.drive(main(acme))
    assert [after[key] for key in ("name", "driveAlias", "quota")] == [
        before[key] for key in ("name", "driveAlias", "quota")
    ]
    assert await graph.grants(main(acme)) == {f"u:{await graph.own_id()}": [MANAGER]}


async def test_two_tenants_with_the_same_name_do_not_meet(
    graph: Graph, acme: TenantIntent, operator: Reconciler
) -> None:
    """Neither names nor aliases are unique; ids are."""
    other = tenant(f"{acme.slug}b")
    other = replace(other, spaces=(replace(other.spaces[0], name=acme.spaces[0].name),))
    try:
        await operator.settle(acme)
        await operator.settle(other)
        await operator.settle(purged(acme))
        assert (await operator.planned(other)).in_sync
    finally:
        await graph.sweep([main(other)], other.users_group)
