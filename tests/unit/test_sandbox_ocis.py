"""The traps of OCIS, each as it was measured, in the stand-in: it must never be kinder than the real one."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from tests.files import basic
from tests.sandbox.ocis.server import OcisStandIn
from tests.sandbox.ocis.store import EDITOR, MANAGER, STORAGE, VIEWER

GRAPH, BETA = "/graph/v1.0", "/graph/v1beta1"
KEY = "0b0f2a5e-7d0c-5f4e-9a51-3f2f1f1c0a11"
LINK_PASSWORD = "Long-Enough-1"
PURGE, RESTORE = {"Purge": "T"}, {"Restore": "T"}


@pytest.fixture
async def server() -> AsyncIterator[OcisStandIn]:
    async with OcisStandIn() as found:
        yield found


@pytest.fixture
async def admin(server: OcisStandIn) -> AsyncIterator[httpx2.AsyncClient]:
    async with as_user(server, "admin", "admin-password") as found:
        yield found


@pytest.fixture
async def alice(server: OcisStandIn) -> AsyncIterator[httpx2.AsyncClient]:
    """An ordinary user with the password `alice`."""
    server.store.add_user("alice", display="Alice", password="alice")
    async with as_user(server, "alice", "alice") as found:
        yield found


def as_user(server: OcisStandIn, name: str, password: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=server.url, headers={"Authorization": basic(name, password)}, trust_env=False)


def user(server: OcisStandIn, name: str) -> str:
    found = server.store.user(name)
    assert found is not None
    return found.id


async def made(admin: httpx2.AsyncClient, **more: Any) -> httpx2.Response:
    return await admin.post(f"{GRAPH}/drives", json={"id": KEY, "name": "Acme", "driveType": "project", **more})


def link_token(answer: httpx2.Response) -> str:
    return str(answer.json()["link"]["webUrl"].rpartition("/")[2])


def code(answer: httpx2.Response) -> str:
    return str(answer.json()["error"]["code"])


# -- bodies and signing in ---------------------------------------------------------------------


async def test_an_unknown_field_is_refused(admin: httpx2.AsyncClient) -> None:
    assert (await made(admin, colour="red")).status_code == 400


async def test_an_empty_body_is_refused(admin: httpx2.AsyncClient) -> None:
    assert (await admin.post(f"{GRAPH}/groups")).status_code == 400


async def test_a_wrong_password_is_401_without_a_body(server: OcisStandIn) -> None:
    async with as_user(server, "admin", "wrong") as client:
        answer = await client.get(f"{GRAPH}/me")
    assert (answer.status_code, answer.content) == (401, b"")


async def test_with_an_issuer_basic_is_500_for_everybody(server: OcisStandIn, admin: httpx2.AsyncClient) -> None:
    server.issuer = "https://auth.dezky.test/application/o/dezky-ocis/"
    assert (await admin.get(f"{GRAPH}/me")).status_code == 500


# -- spaces -------------------------------------------------------------------------------------


async def test_a_chosen_id_comes_back_behind_the_storage(admin: httpx2.AsyncClient) -> None:
    answer = await made(admin)
    assert answer.status_code == 201
    assert answer.json()["id"].endswith(f"${KEY}")


async def test_the_same_id_again_is_a_500_also_when_it_is_disabled(admin: httpx2.AsyncClient) -> None:
    await made(admin)
    for _ in range(2):
        again = await made(admin)
        assert (again.status_code, code(again)) == (500, "generalException")
        assert again.json()["error"]["message"] == "already exists"
        await admin.delete(f"{GRAPH}/drives/{KEY}")


async def test_names_and_aliases_are_not_unique(admin: httpx2.AsyncClient) -> None:
    await made(admin, driveAlias="project/same")
    answer = await made(admin, id=str(uuid.uuid4()), driveAlias="project/same")
    assert answer.status_code == 201


@pytest.mark.parametrize("name", ["acme.test", "a/b", "", "x" * 256])
async def test_a_name_with_a_dot_or_a_slash_is_refused(name: str, admin: httpx2.AsyncClient) -> None:
    assert (await made(admin, name=name)).status_code == 400


async def test_the_filter_by_name_is_ignored_and_a_combined_one_refused(admin: httpx2.AsyncClient) -> None:
    await made(admin)
    everything = await admin.get(f"{GRAPH}/drives", params={"$filter": "name eq 'nothing'"})
    assert [found["name"] for found in everything.json()["value"]] == ["Admin", "Acme"]
    both = await admin.get(f"{GRAPH}/drives", params={"$filter": "driveType eq 'project' and name eq 'x'"})
    assert (both.status_code, code(both)) == (501, "notSupported")


async def test_a_negative_quota_poisons_the_space_until_a_good_one_comes(admin: httpx2.AsyncClient) -> None:
    await made(admin)
    path = f"{GRAPH}/drives/{KEY}"
    assert (await admin.patch(path, json={"quota": {"total": -1}})).status_code == 500
    assert (await admin.patch(path, json={"name": "Other"})).status_code == 500
    assert (await admin.get(path)).json()["name"] == "Other", "the field was written all the same"
    assert (await admin.patch(path, json={"quota": {"total": 5}})).status_code == 200
    assert (await admin.patch(path, json={"name": "Third"})).status_code == 200


async def test_a_rename_does_not_change_the_alias(admin: httpx2.AsyncClient) -> None:
    await made(admin)
    answer = await admin.patch(f"{GRAPH}/drives/{KEY}", json={"name": "Other"})
    assert answer.json()["driveAlias"] == "project/acme"


async def test_an_open_space_can_not_be_purged_and_a_purged_one_not_again(admin: httpx2.AsyncClient) -> None:
    await made(admin)
    path = f"{GRAPH}/drives/{KEY}"
    assert (await admin.delete(path, headers=PURGE)).status_code == 400
    assert [(await admin.delete(path)).status_code for _ in range(2)] == [204, 204]
    assert [(await admin.delete(path, headers=PURGE)).status_code for _ in range(2)] == [204, 404]


async def test_a_disabled_space_shows_its_state_and_only_the_total_of_its_quota(admin: httpx2.AsyncClient) -> None:
    await made(admin)
    await admin.delete(f"{GRAPH}/drives/{KEY}")
    found = (await admin.get(f"{BETA}/drives/{KEY}")).json()
    assert found["root"]["deleted"] == {"state": "trashed"}
    assert list(found["quota"]) == ["total"]
    assert (await admin.get(f"{BETA}/drives/{KEY}/root/permissions")).status_code == 404


async def test_restoring_needs_an_object_for_a_body(admin: httpx2.AsyncClient) -> None:
    await made(admin)
    path = f"{GRAPH}/drives/{KEY}"
    await admin.delete(path)
    assert (await admin.patch(path, headers=RESTORE)).status_code == 400
    assert [(await admin.patch(path, headers=RESTORE, json={})).status_code for _ in range(2)] == [200, 200]


# -- who gets in -----------------------------------------------------------------------------------


def invitation(key: str, role: str = EDITOR, kind: str | None = "user") -> dict[str, Any]:
    recipient = {"objectId": key, **({"@libre.graph.recipient.type": kind} if kind else {})}
    return {"recipients": [recipient], "roles": [role]}


async def test_an_invitation_needs_the_kind_and_happens_once(server: OcisStandIn, admin: httpx2.AsyncClient) -> None:
    await made(admin)
    key, path = server.store.add_group("dezky-acme-users"), f"{BETA}/drives/{KEY}/root/invite"
    assert (await admin.post(path, json=invitation(key, kind=None))).status_code == 400
    assert (await admin.post(path, json=invitation("nobody", kind="group"))).status_code == 400
    assert (await admin.post(path, json=invitation(key, kind="group"))).status_code == 200
    again = await admin.post(path, json=invitation(key, kind="group"))
    assert (again.status_code, code(again)) == (409, "nameAlreadyExists")


async def test_removing_an_absent_grant_is_a_500_and_the_last_manager_stays(
    server: OcisStandIn, admin: httpx2.AsyncClient
) -> None:
    await made(admin)
    path = f"{BETA}/drives/{KEY}/root/permissions"
    assert (await admin.delete(f"{path}/u:nobody")).status_code == 500
    assert (await admin.delete(f"{path}/u:{user(server, 'admin')}")).status_code == 403


async def test_an_admin_who_is_no_member_can_do_all_but_invite(
    server: OcisStandIn, admin: httpx2.AsyncClient, alice: httpx2.AsyncClient
) -> None:
    """And a manager can throw him out, undo a disable, and purge."""
    await made(admin)
    boss = user(server, "alice")
    await admin.post(f"{BETA}/drives/{KEY}/root/invite", json=invitation(boss, MANAGER))
    grants = f"{BETA}/drives/{KEY}/root/permissions"
    assert (await alice.delete(f"{grants}/u:{user(server, 'admin')}")).status_code == 204
    assert (await admin.post(f"{BETA}/drives/{KEY}/root/invite", json=invitation(boss))).status_code == 404
    assert (await admin.get(grants)).status_code == 404
    assert len((await admin.get(f"{BETA}/drives/{KEY}")).json()["root"]["permissions"]) == 1
    path = f"{GRAPH}/drives/{KEY}"
    assert (await admin.patch(path, json={"name": "Still"})).status_code == 200
    assert (await admin.delete(path)).status_code == 204
    assert (await alice.patch(path, headers=RESTORE, json={})).status_code == 200
    assert (await alice.delete(path)).status_code == 204
    assert (await alice.delete(path, headers=PURGE)).status_code == 204


async def test_a_member_of_a_disabled_space_sees_nothing_of_it(
    server: OcisStandIn, admin: httpx2.AsyncClient, alice: httpx2.AsyncClient
) -> None:
    await made(admin)
    await admin.post(f"{BETA}/drives/{KEY}/root/invite", json=invitation(user(server, "alice")))
    file = f"/dav/spaces/{KEY}/report.odt"
    assert (await alice.put(file, content=b"report")).status_code == 201
    await admin.delete(f"{GRAPH}/drives/{KEY}")
    assert (await alice.get(file)).status_code == 404
    assert (await alice.put(file, content=b"report")).status_code == 409
    assert (await alice.request("PROPFIND", f"/dav/spaces/{KEY}")).status_code == 404
    assert (await alice.get(f"{GRAPH}/drives/{KEY}")).status_code == 404
    shown = (await alice.get(f"{GRAPH}/me/drives")).json()["value"]
    assert [found["driveType"] for found in shown] == ["personal"]
    await admin.patch(f"{GRAPH}/drives/{KEY}", headers=RESTORE, json={})
    assert (await alice.get(file)).content == b"report"


async def test_a_viewer_reads_and_does_not_write(
    server: OcisStandIn, admin: httpx2.AsyncClient, alice: httpx2.AsyncClient
) -> None:
    await made(admin, quota={"total": 3})
    await admin.put(f"/dav/spaces/{KEY}/a", content=b"abc")
    await admin.post(f"{BETA}/drives/{KEY}/root/invite", json=invitation(user(server, "alice"), VIEWER))
    assert (await alice.get(f"/dav/spaces/{KEY}/a")).content == b"abc"
    assert (await alice.put(f"/dav/spaces/{KEY}/b", content=b"b")).status_code == 403
    assert (await admin.put(f"/dav/spaces/{KEY}/b", content=b"b")).status_code == 507, "the space is full"


async def test_a_public_link_ends_with_its_space_and_comes_back_with_it(
    server: OcisStandIn, admin: httpx2.AsyncClient
) -> None:
    await made(admin)
    answer = await admin.post(f"{BETA}/drives/{KEY}/root/createLink", json={"type": "view", "password": LINK_PASSWORD})
    link = f"/dav/public-files/{link_token(answer)}"
    async with as_user(server, "public", LINK_PASSWORD) as visitor:
        assert (await visitor.request("PROPFIND", link)).status_code == 207
        await admin.delete(f"{GRAPH}/drives/{KEY}")
        assert (await visitor.request("PROPFIND", link)).status_code == 404
        await admin.patch(f"{GRAPH}/drives/{KEY}", headers=RESTORE, json={})
        assert (await visitor.request("PROPFIND", link)).status_code == 207


async def test_a_folder_is_made_once_and_tells_its_id_only_when_asked(admin: httpx2.AsyncClient) -> None:
    await made(admin)
    folder = f"/dav/spaces/{KEY}/probe"
    first, again = [await admin.request("MKCOL", folder) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 405)
    assert "OC-FileId" not in first.headers
    assert (await admin.request("MKCOL", f"{folder}/a/b")).status_code == 409, "its parent is not there"
    assert (await admin.request("MKCOL", f"{folder}2", content=b"<x/>")).status_code == 415
    found = await admin.request("PROPFIND", folder, headers={"Depth": "0"})
    assert found.status_code == 207
    assert f"<oc:fileid>{STORAGE}${KEY}!" in found.text
    assert (await admin.request("PROPFIND", f"{folder}2")).status_code == 404


async def test_a_link_needs_a_manager_a_password_and_an_item_of_the_same_space(
    server: OcisStandIn, admin: httpx2.AsyncClient, alice: httpx2.AsyncClient
) -> None:
    await made(admin)
    await admin.post(f"{BETA}/drives/{KEY}/root/invite", json=invitation(user(server, "alice"), EDITOR))
    await alice.request("MKCOL", f"/dav/spaces/{KEY}/probe")
    found = await admin.request("PROPFIND", f"/dav/spaces/{KEY}/probe", headers={"Depth": "0"})
    item = quote(found.text.partition("<oc:fileid>")[2].partition("<")[0], safe="")
    whole = f"{BETA}/drives/{STORAGE}%24{KEY}/items/{item}/createLink"
    body = {"type": "view", "password": LINK_PASSWORD}
    assert (await alice.post(whole, json=body)).status_code == 400, "an Editor can give no access"
    assert (await admin.post(whole, json={"type": "view"})).status_code == 400, "a password is enforced"
    assert (await admin.post(whole, json={**body, "password": "short-1A"[:7]})).status_code == 400
    past = {**body, "expirationDateTime": "2020-01-01T00:00:00Z"}
    assert (await admin.post(whole, json=past)).status_code == 400
    assert (await admin.post(f"{BETA}/drives/{KEY}/items/{item}/createLink", json=body)).status_code == 404
    answer = await admin.post(whole, json=body)
    assert answer.status_code == 200
    assert answer.json()["id"] != link_token(answer)


async def test_a_link_ends_by_itself_and_opens_to_nobody_without_its_password(
    server: OcisStandIn, admin: httpx2.AsyncClient
) -> None:
    await made(admin)
    until = datetime.fromtimestamp(time.time() + 3600, UTC).isoformat()
    body = {"type": "view", "password": LINK_PASSWORD, "expirationDateTime": until}
    token = link_token(await admin.post(f"{BETA}/drives/{KEY}/root/createLink", json=body))
    async with as_user(server, "public", "wrong") as visitor:
        assert (await visitor.request("PROPFIND", f"/dav/public-files/{token}")).status_code == 401
    async with as_user(server, "public", LINK_PASSWORD) as visitor:
        assert (await visitor.request("PROPFIND", f"/dav/public-files/{token}")).status_code == 207
        server.store.links[token] = replace(server.store.links[token], until=time.time() - 1)
        assert (await visitor.request("PROPFIND", f"/dav/public-files/{token}")).status_code == 404


# -- groups ------------------------------------------------------------------------------------------


async def test_a_group_is_found_by_its_name_and_made_once(server: OcisStandIn, admin: httpx2.AsyncClient) -> None:
    body = {"displayName": "dezky-acme-users"}
    assert (await admin.post(f"{GRAPH}/groups", json={**body, "id": "x"})).status_code == 400
    key = (await admin.post(f"{GRAPH}/groups", json=body)).json()["id"]
    again = await admin.post(f"{GRAPH}/groups", json=body)
    assert (again.status_code, code(again)) == (409, "nameAlreadyExists")
    assert (await admin.get(f"{GRAPH}/groups/dezky-acme-users")).json()["id"] == key
    assert [(await admin.delete(f"{GRAPH}/groups/{key}")).status_code for _ in range(2)] == [204, 404]
    assert server.store.groups == {}


async def test_the_grant_of_a_removed_group_stays_without_a_name(
    server: OcisStandIn, admin: httpx2.AsyncClient
) -> None:
    await made(admin)
    key = server.store.add_group("dezky-acme-users")
    await admin.post(f"{BETA}/drives/{KEY}/root/invite", json=invitation(key, kind="group"))
    await admin.delete(f"{GRAPH}/groups/{key}")
    permissions = (await admin.get(f"{BETA}/drives/{KEY}")).json()["root"]["permissions"]
    left = next(found for found in permissions if found["id"] == f"g:{key}")
    assert left["grantedToV2"] == {"group": {"id": key, "displayName": ""}}


async def test_a_space_admin_can_not_write_groups(server: OcisStandIn) -> None:
    server.store.add_user("spaces", display="Spaces", role="ocisSpaceAdmin", password="spaces")
    async with as_user(server, "spaces", "spaces") as client:
        assert (await client.post(f"{GRAPH}/groups", json={"displayName": "x"})).status_code == 403
        assert (await made(client)).status_code == 201


async def test_health_says_nothing_and_status_tells_the_version(server: OcisStandIn) -> None:
    """Any unknown path is answered by the web page (facts/ocis.md 5)."""
    async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as visitor:
        assert "html" in (await visitor.get("/health")).text
        assert (await visitor.get("/status.php")).json()["productversion"]
