"""What OCIS answers to LibreGraph requests: strict bodies, odd statuses, spaces, grants (facts/ocis.md 2, 3)."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.acceptance.graph import (
    BETA,
    EDITOR,
    GRAPH,
    MANAGER,
    PURGE,
    RESTORE,
    VIEWER,
    Graph,
    error,
    invitation,
    uuid_of,
)
from tests.acceptance.targets import Web, basic

ABSENT = "11111111-2222-4333-8444-555555555555"


@pytest.fixture
async def nobody(ocis: Web) -> AsyncIterator[httpx2.AsyncClient]:
    async with ocis.client("") as http:
        yield http


# -- signing in and bodies ------------------------------------------------------------------


async def test_a_wrong_password_is_401_without_a_body(ocis: Web) -> None:
    async with ocis.client(basic("nobody", "wrong")) as http:
        answer = await http.get(f"{GRAPH}/me")
    assert (answer.status_code, answer.content) == (401, b"")


async def test_status_tells_the_version_to_anybody(nobody: httpx2.AsyncClient) -> None:
    found = (await nobody.get("/status.php")).json()
    assert int(found["productversion"].lstrip("v").split(".")[0]) >= 7


async def test_an_unknown_field_is_refused(graph: Graph, slug: str) -> None:
    answer = await graph.create(slug, colour="red")
    assert error(answer)[:2] == (400, "invalidRequest")
    answer = await graph.http.post(f"{GRAPH}/groups", json={"displayName": slug, "id": ABSENT})
    assert answer.status_code == 400


async def test_an_empty_body_is_refused(graph: Graph) -> None:
    for path in (f"{GRAPH}/groups", f"{GRAPH}/drives"):
        assert (await graph.http.post(path)).status_code == 400


# -- spaces ----------------------------------------------------------------------------------


async def test_a_chosen_id_comes_back_behind_the_storage(graph: Graph, slug: str) -> None:
    key = str(uuid.uuid4())
    answer = await graph.create(slug, id=key)
    assert answer.status_code == 201
    storage, _, found = answer.json()["id"].partition("$")
    assert (bool(storage), found) == (True, key)
    for version in (GRAPH, BETA):
        assert uuid_of((await graph.http.get(f"{version}/drives/{key}")).json()) == key


async def test_the_same_id_again_is_a_500_also_while_it_is_disabled(graph: Graph, slug: str) -> None:
    key = await graph.space(slug)
    for _ in range(2):
        again = await graph.create(slug, id=key)
        status, code, message = error(again)
        assert (status, code) == (500, "generalException")
        assert "already exists" in message
        assert (await graph.delete(key)).status_code == 204


async def test_names_and_aliases_are_not_unique(graph: Graph, slug: str) -> None:
    for _ in range(2):
        await graph.space(slug, driveAlias=f"project/{slug}")


@pytest.mark.parametrize("name", ["acme.test", "a/b", 'a"b', "", " ", "x" * 256])
async def test_a_name_that_can_not_be_is_refused(graph: Graph, name: str) -> None:
    assert error(await graph.create(name))[:2] == (400, "invalidRequest")


async def test_a_space_is_what_was_asked_for(graph: Graph, slug: str) -> None:
    key = await graph.space(f"{slug} Files", driveAlias=f"project/dezky-{slug}", quota={"total": 4096})
    found = await graph.drive(key)
    assert (found["name"], found["driveAlias"], found["driveType"]) == (
        f"{slug} Files",
        f"project/dezky-{slug}",
        "project",
    )
    assert (found["quota"]["total"], found["quota"]["used"], found["quota"]["state"]) == (4096, 0, "normal")
    assert found["webUrl"]
    assert found["root"]["webDavUrl"]


async def test_an_alias_comes_from_the_name_and_stays_through_a_rename(graph: Graph, slug: str) -> None:
    key = await graph.space(f"{slug.upper()} Files")
    assert (await graph.drive(key))["driveAlias"] == f"project/{slug}-files"
    answer = await graph.patch(key, {"name": f"{slug} other"})
    assert (answer.status_code, answer.json()["driveAlias"]) == (200, f"project/{slug}-files")


async def test_a_space_without_a_quota_gets_the_servers_own(graph: Graph, slug: str) -> None:
    assert (await graph.drive(await graph.space(slug)))["quota"]["total"] > 0


async def test_a_quota_of_nothing_is_no_limit(graph: Graph, slug: str) -> None:
    key = await graph.space(slug, quota={"total": 0})
    found = await graph.drive(key)
    assert (found["quota"]["total"], found["quota"]["state"]) == (0, "normal")
    assert (await graph.http.put(f"/dav/spaces/{key}/file", content=b"abc")).status_code == 201


async def test_a_patch_of_nothing_is_done(graph: Graph, slug: str) -> None:
    assert (await graph.patch(await graph.space(slug), {})).status_code == 200


async def test_a_filter_by_name_is_ignored(graph: Graph, slug: str) -> None:
    key = await graph.space(slug)
    answer = await graph.http.get(f"{GRAPH}/drives", params={"$filter": "name eq 'nothing of this name'"})
    assert key in {uuid_of(found) for found in answer.json()["value"]}


async def test_a_filter_of_two_parts_is_501(graph: Graph) -> None:
    both = "driveType eq 'project' and name eq 'x'"
    assert error(await graph.http.get(f"{GRAPH}/drives", params={"$filter": both}))[:2] == (501, "notSupported")


async def test_projects_are_listed_with_those_that_are_disabled(graph: Graph, slug: str) -> None:
    open_, closed = await graph.space(slug), await graph.space(slug)
    await graph.delete(closed)
    answer = await graph.http.get(f"{BETA}/drives", params={"$filter": "driveType eq 'project'"})
    found = {uuid_of(drive): "deleted" in drive["root"] for drive in answer.json()["value"]}
    assert (found[open_], found[closed]) == (False, True)
    assert {drive["driveType"] for drive in answer.json()["value"]} == {"project"}


async def test_an_unknown_space_is_404(graph: Graph) -> None:
    answer = await graph.http.get(f"{BETA}/drives/{ABSENT}")
    assert error(answer)[:2] == (404, "itemNotFound")


async def test_a_negative_quota_poisons_the_space_until_a_good_one_comes(graph: Graph, slug: str) -> None:
    key = await graph.space(slug)
    assert (await graph.patch(key, {"quota": {"total": -1}})).status_code == 500
    assert (await graph.patch(key, {"name": f"{slug} second"})).status_code == 500
    assert (await graph.patch(key, {"quota": {"total": 4096}})).status_code == 200
    assert (await graph.drive(key))["name"] == f"{slug} second", "the field was written all the same"
    assert (await graph.patch(key, {"name": f"{slug} third"})).status_code == 200


# -- disabling, restoring, purging ------------------------------------------------------------


async def test_a_space_is_disabled_as_often_as_one_likes(graph: Graph, slug: str) -> None:
    key = await graph.space(slug)
    assert [(await graph.delete(key)).status_code for _ in range(2)] == [204, 204]
    found = await graph.drive(key)
    assert found["root"]["deleted"] == {"state": "trashed"}
    assert set(found["quota"]) == {"total"}
    assert (await graph.http.get(f"{BETA}/drives/{key}/root/permissions")).status_code == 404


async def test_restoring_needs_an_object_for_a_body_and_can_be_repeated(graph: Graph, slug: str) -> None:
    key = await graph.space(slug)
    await graph.delete(key)
    empty = await graph.http.patch(f"{GRAPH}/drives/{key}", headers=RESTORE)
    assert empty.status_code == 400
    assert [(await graph.patch(key, {}, **RESTORE)).status_code for _ in range(2)] == [200, 200]
    assert "deleted" not in (await graph.drive(key))["root"]


async def test_an_open_space_can_not_be_purged_and_a_purged_one_not_again(graph: Graph, slug: str) -> None:
    key = await graph.space(slug)
    assert (await graph.delete(key, **PURGE)).status_code == 400
    await graph.delete(key)
    assert [(await graph.delete(key, **PURGE)).status_code for _ in range(2)] == [204, 404]
    assert (await graph.http.get(f"{GRAPH}/drives/{key}")).status_code == 404


# -- grants ------------------------------------------------------------------------------------


async def test_who_makes_a_space_manages_it_and_the_last_manager_stays(graph: Graph, slug: str) -> None:
    key, own = await graph.space(slug), await graph.own_id()
    assert await graph.grants(key) == {f"u:{own}": [MANAGER]}
    answer = await graph.http.delete(f"{BETA}/drives/{key}/root/permissions/u:{own}")
    assert answer.status_code == 403


async def test_an_invitation_needs_the_kind_and_somebody_who_is_there(graph: Graph, slug: str) -> None:
    key, group = await graph.space(slug), await graph.group(slug)
    for body in (
        invitation(group, kind=None),
        invitation(ABSENT, kind="group"),
        invitation(group, ABSENT, kind="group"),
        {"recipients": [], "roles": [EDITOR]},
    ):
        assert (await graph.invite(key, body)).status_code == 400, body
    assert (await graph.invite(key, invitation(group, kind="group"))).status_code == 200
    assert (await graph.grants(key))[f"g:{group}"] == [EDITOR]


async def test_a_repeated_invitation_is_409_and_a_role_is_changed_by_patch(graph: Graph, slug: str) -> None:
    key, group = await graph.space(slug), await graph.group(slug)
    await graph.invite(key, invitation(group, kind="group"))
    again = await graph.invite(key, invitation(group, VIEWER, kind="group"))
    assert error(again)[:2] == (409, "nameAlreadyExists")
    path = f"{BETA}/drives/{key}/root/permissions/g:{group}"
    assert (await graph.http.patch(path, json={"roles": [VIEWER]})).status_code == 200
    assert (await graph.grants(key))[f"g:{group}"] == [VIEWER]


async def test_taking_away_a_grant_that_is_not_there_is_a_500(graph: Graph, slug: str) -> None:
    key, group = await graph.space(slug), await graph.group(slug)
    await graph.invite(key, invitation(group, kind="group"))
    path = f"{BETA}/drives/{key}/root/permissions/g:{group}"
    assert [(await graph.http.delete(path)).status_code for _ in range(2)] == [204, 500]


async def test_the_roles_have_the_same_ids_everywhere(graph: Graph) -> None:
    answer = await graph.http.get(f"{BETA}/roleManagement/permissions/roleDefinitions")
    assert {MANAGER, EDITOR, VIEWER} <= {found["id"] for found in answer.json()}


# -- groups ------------------------------------------------------------------------------------


async def test_a_group_is_found_by_its_name_and_made_once(graph: Graph, slug: str) -> None:
    key = await graph.group(f"dezky-{slug}-users")
    again = await graph.http.post(f"{GRAPH}/groups", json={"displayName": f"dezky-{slug}-users"})
    assert error(again)[:2] == (409, "nameAlreadyExists")
    assert (await graph.http.get(f"{GRAPH}/groups/dezky-{slug}-users")).json()["id"] == key
    assert (await graph.http.get(f"{GRAPH}/groups/{key}")).json()["displayName"] == f"dezky-{slug}-users"


async def test_a_group_that_is_gone_is_404(graph: Graph, slug: str) -> None:
    key = await graph.group(slug)
    assert [(await graph.http.delete(f"{GRAPH}/groups/{key}")).status_code for _ in range(2)] == [204, 404]
    assert (await graph.http.get(f"{GRAPH}/groups/{slug}")).status_code == 404


async def test_the_grant_of_a_removed_group_stays_without_a_name(graph: Graph, slug: str) -> None:
    """So the operator removes the space before the group."""
    key, group = await graph.space(slug), await graph.group(slug)
    await graph.invite(key, invitation(group, kind="group"))
    await graph.http.delete(f"{GRAPH}/groups/{group}")
    (left,) = [found for found in (await graph.drive(key))["root"]["permissions"] if found["id"] == f"g:{group}"]
    assert left["grantedToV2"]["group"].get("displayName", "") == ""
