"""Who gets into a space of OCIS: members, locked members, a manager who is not the operator (facts/ocis.md 2.3, 3)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.acceptance.graph import BETA, GRAPH, MANAGER, PURGE, RESTORE, VIEWER, Graph, Person, invitation, uuid_of
from tests.acceptance.targets import Web, basic


@dataclass(frozen=True, slots=True)
class Alice:
    """A user, and what she asks."""

    person: Person
    graph: Graph


@pytest.fixture
async def alice(ocis: Web, graph: Graph, slug: str) -> AsyncIterator[Alice]:
    if ocis.header.startswith("Bearer "):
        pytest.skip("This OCIS takes only tokens of Authentik, so a second person can not be signed in here.")
    person = await graph.person(f"{slug}alice")
    async with ocis.client(basic(person.name, person.password)) as http:
        assert (await http.get(f"{GRAPH}/me")).status_code == 200
        yield Alice(person, Graph(http))


def folder(key: str) -> str:
    return f"/dav/spaces/{key}"


async def test_a_user_exists_once(graph: Graph, alice: Alice) -> None:
    body = {"displayName": "x", "onPremisesSamAccountName": alice.person.name, "mail": "x@x.test"}
    assert (await graph.http.post(f"{GRAPH}/users", json=body)).status_code == 409
    assert (await graph.http.get(f"{GRAPH}/users/{alice.person.name}")).json()["id"] == alice.person.id


async def test_a_stranger_sees_nothing_of_a_space(graph: Graph, alice: Alice, slug: str) -> None:
    key = await graph.space(slug)
    assert (await alice.graph.http.request("PROPFIND", folder(key))).status_code == 404
    assert (await alice.graph.http.get(f"{GRAPH}/drives/{key}")).status_code == 404
    assert (await alice.graph.delete(key)).status_code == 404


async def test_a_member_of_a_group_gets_in_by_its_grant(graph: Graph, alice: Alice, slug: str) -> None:
    """C032: one name in the claim and in OCIS opens the space."""
    key, group = await graph.space(slug), await graph.group(slug)
    await graph.invite(key, invitation(group, kind="group"))
    url = f"https://files.test/graph/v1.0/users/{alice.person.id}"
    path = f"{GRAPH}/groups/{group}/members/$ref"
    assert [(await graph.http.post(path, json={"@odata.id": url})).status_code for _ in range(2)] == [204, 204]
    members = (await graph.http.get(f"{GRAPH}/groups/{group}/members")).json()
    assert [member["id"] for member in members] == [alice.person.id]
    assert (await alice.graph.http.put(f"{folder(key)}/report.odt", content=b"report")).status_code == 201
    assert (await alice.graph.http.get(f"{folder(key)}/report.odt")).content == b"report"


async def test_a_member_of_a_disabled_space_sees_nothing_of_it_until_it_is_restored(
    graph: Graph, alice: Alice, slug: str
) -> None:
    """C024: at once, and nothing is lost."""
    key = await graph.space(slug)
    await graph.invite(key, invitation(alice.person.id))
    http, file = alice.graph.http, f"{folder(key)}/report.odt"
    assert (await http.put(file, content=b"report")).status_code == 201
    assert (await http.request("PROPFIND", folder(key))).status_code == 207
    await graph.delete(key)
    assert (await http.get(file)).status_code == 404
    assert (await http.put(file, content=b"report")).status_code == 409
    assert (await http.request("PROPFIND", folder(key))).status_code == 404
    assert (await http.get(f"{GRAPH}/drives/{key}")).status_code == 404
    shown = (await http.get(f"{GRAPH}/me/drives")).json()["value"]
    assert key not in {uuid_of(found) for found in shown}
    await graph.patch(key, {}, **RESTORE)
    assert (await http.get(file)).content == b"report"


async def test_a_viewer_reads_and_does_not_write(graph: Graph, alice: Alice, slug: str) -> None:
    key = await graph.space(slug)
    await graph.http.put(f"{folder(key)}/a", content=b"abc")
    await graph.invite(key, invitation(alice.person.id, VIEWER))
    assert (await alice.graph.http.get(f"{folder(key)}/a")).content == b"abc"
    assert (await alice.graph.http.put(f"{folder(key)}/b", content=b"b")).status_code == 403


async def test_a_full_space_takes_no_more(graph: Graph, slug: str) -> None:
    key = await graph.space(slug, quota={"total": 3})
    assert (await graph.http.put(f"{folder(key)}/a", content=b"abc")).status_code == 201
    assert (await graph.http.put(f"{folder(key)}/b", content=b"d")).status_code == 507
    quota = (await graph.drive(key))["quota"]
    assert (quota["used"], quota["state"]) == (3, "exceeded")


async def test_a_manager_can_lock_the_operator_out_and_the_operator_can_still_close_and_purge(
    graph: Graph, alice: Alice, slug: str
) -> None:
    key, own = await graph.space(slug), await graph.own_id()
    await graph.invite(key, invitation(alice.person.id, MANAGER))
    grants = f"{BETA}/drives/{key}/root/permissions"
    assert (await alice.graph.http.delete(f"{grants}/u:{own}")).status_code == 204
    assert (await graph.invite(key, invitation(own))).status_code == 404
    assert (await graph.http.get(grants)).status_code == 404
    assert await graph.grants(key) == {f"u:{alice.person.id}": [MANAGER]}
    assert (await graph.patch(key, {"name": f"{slug} still", "quota": {"total": 9}})).status_code == 200
    assert (await graph.delete(key)).status_code == 204
    assert (await alice.graph.patch(key, {}, **RESTORE)).status_code == 200, "a manager undoes a lock"
    assert (await graph.delete(key)).status_code == 204
    assert (await graph.delete(key, **PURGE)).status_code == 204


async def test_a_public_link_ends_with_its_space_and_comes_back_with_it(ocis: Web, graph: Graph, slug: str) -> None:
    key = await graph.space(slug)
    body = {"type": "view", "password": f"Long-Enough-{slug}-1!"}
    answer = await graph.http.post(f"{BETA}/drives/{key}/root/createLink", json=body)
    assert answer.status_code == 200, answer.text
    token = answer.json()["link"]["webUrl"].rpartition("/")[2]
    async with ocis.client(basic("public", body["password"])) as visitor:
        link = f"/dav/public-files/{token}"
        assert (await visitor.request("PROPFIND", link)).status_code == 207
        await graph.delete(key)
        assert (await visitor.request("PROPFIND", link)).status_code == 404
        await graph.patch(key, {}, **RESTORE)
        assert (await visitor.request("PROPFIND", link)).status_code == 207


async def test_a_removed_user_is_gone_with_the_own_space(graph: Graph, alice: Alice) -> None:
    path = f"{GRAPH}/users/{alice.person.id}"
    assert [(await graph.http.delete(path)).status_code for _ in range(2)] == [204, 404]
    assert (await graph.http.get(f"{GRAPH}/drives/{alice.person.id}")).status_code == 404
