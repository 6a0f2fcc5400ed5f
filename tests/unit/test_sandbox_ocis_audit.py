"""The stand-in's audit file holds what the real one's holds, and lacks what that one lacks (facts/ocis.md 4)."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.files import basic
from tests.sandbox.ocis.server import OcisStandIn
from tests.sandbox.ocis.store import EDITOR, MANAGER, VIEWER

GRAPH, BETA = "/graph/v1.0", "/graph/v1beta1"
KEY = "0b0f2a5e-7d0c-5f4e-9a51-3f2f1f1c0a11"
BASE = ["RemoteAddr", "User", "URL", "Method", "UserAgent", "Time", "App", "Message", "Action", "CLI", "Level"]


class Audited:
    """A stand-in with its file, and an administrator."""

    def __init__(self, server: OcisStandIn, path: Path, admin: httpx2.AsyncClient) -> None:
        self.server, self.path, self.admin = server, path, admin

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_bytes().splitlines()]

    def newest(self) -> dict[str, Any]:
        return self.records()[-1]

    async def made(self) -> str:
        await self.admin.post(f"{GRAPH}/drives", json={"id": KEY, "name": "A&B", "driveType": "project"})
        return self.server.store.add_user("alice", display="Alice", password="alice").id

    async def invite(self, who: str, role: str = EDITOR) -> None:
        recipient = {"objectId": who, "@libre.graph.recipient.type": "user"}
        await self.admin.post(f"{BETA}/drives/{KEY}/root/invite", json={"recipients": [recipient], "roles": [role]})


@pytest.fixture
async def ocis(tmp_path: Path) -> AsyncIterator[Audited]:
    path = tmp_path / "audit.log"
    async with OcisStandIn(audit_file=path) as server:
        headers = {"Authorization": basic("admin", "admin-password")}
        async with httpx2.AsyncClient(base_url=server.url, headers=headers, trust_env=False) as admin:
            yield Audited(server, path, admin)


async def test_a_record_has_the_fields_that_nothing_fills(ocis: Audited) -> None:
    await ocis.made()
    found = ocis.newest()
    assert list(found)[: len(BASE)] == BASE
    assert {found[name] for name in ("RemoteAddr", "URL", "Method", "UserAgent", "User")} == {""}
    assert (found["App"], found["CLI"], found["Level"]) == ("admin_audit", False, 1)


async def test_the_file_is_made_with_the_first_record_and_escaped_as_go_does(ocis: Audited) -> None:
    assert not ocis.path.exists()
    await ocis.made()
    assert stat.S_IMODE(ocis.path.stat().st_mode) == 0o644
    assert b"A\\u0026B" in ocis.path.read_bytes()
    assert ocis.newest()["Name"] == "A&B"


async def test_a_rename_of_the_file_needs_no_signal(ocis: Audited) -> None:
    await ocis.made()
    old = ocis.path.rename(ocis.path.with_name("audit.log.1"))
    await ocis.admin.delete(f"{GRAPH}/drives/{KEY}")
    assert len(old.read_bytes().splitlines()) == 1
    assert [record["Action"] for record in ocis.records()] == ["space_disabled"]


async def test_a_new_member_is_audited_without_a_time_and_a_change_of_the_role_not_at_all(ocis: Audited) -> None:
    alice = await ocis.made()
    await ocis.invite(alice)
    shared = ocis.newest()
    assert (shared["Action"], shared["Time"], shared["GranteeUserID"]) == ("space_shared", "", alice)
    await ocis.admin.patch(f"{BETA}/drives/{KEY}/root/permissions/u:{alice}", json={"roles": [VIEWER]})
    assert ocis.newest() == shared
    await ocis.admin.delete(f"{BETA}/drives/{KEY}/root/permissions/u:{alice}")
    assert ocis.newest()["Action"] == "space_unshared"
    assert ocis.newest()["Time"]


async def test_an_upload_blames_the_first_who_may_read_everything(ocis: Audited) -> None:
    alice = await ocis.made()
    await ocis.invite(alice)
    await ocis.admin.put(f"/dav/spaces/{KEY}/x.txt", content=b"x", headers={"Authorization": basic("alice", "alice")})
    found = ocis.newest()
    assert found["User"] == found["Owner"] == ocis.server.store.admin.id
    assert found["Message"].startswith(f"user '{alice}' created file '")


async def test_the_message_about_a_member_of_a_group_has_the_ids_the_wrong_way_round(ocis: Audited) -> None:
    alice = await ocis.made()
    group = (await ocis.admin.post(f"{GRAPH}/groups", json={"displayName": "g"})).json()["id"]
    await ocis.admin.post(f"{GRAPH}/groups/{group}/members/$ref", json={"@odata.id": f"x/users/{alice}"})
    found = ocis.newest()
    assert (found["GroupID"], found["UserID"], found["Time"]) == (group, alice, "")
    assert found["Message"].index(group) < found["Message"].index(alice)


async def test_the_quota_stands_in_the_message_only_and_a_rename_hides_it(ocis: Audited) -> None:
    await ocis.made()
    await ocis.admin.patch(f"{GRAPH}/drives/{KEY}", json={"quota": {"total": 7}})
    assert ocis.newest()["QuotaMaxBytes"] == 0
    assert "quota: '7'" in ocis.newest()["Message"]
    await ocis.admin.patch(f"{GRAPH}/drives/{KEY}", json={"name": "B", "quota": {"total": 8}})
    assert ocis.newest()["Action"] == "space_renamed"
    assert "'8'" not in ocis.newest()["Message"]


async def test_a_link_s_token_is_in_plain_sight_and_a_visit_is_several_records(ocis: Audited) -> None:
    await ocis.made()
    await ocis.admin.post(f"{BETA}/drives/{KEY}/root/createLink", json={"password": "Long-Enough-1"})
    ((token, link),) = ocis.server.store.links.items()
    assert ocis.newest()["ShareToken"] == token
    await ocis.admin.get(f"/dav/public-files/{token}", headers={"Authorization": link.header})
    visits = [record for record in ocis.records() if record["Action"] == "public_link_accessed"]
    assert len(visits) == 2
    assert all(token in visit["Message"] for visit in visits)


async def test_reads_of_the_api_and_what_was_refused_are_not_audited(ocis: Audited) -> None:
    await ocis.made()
    before = ocis.records()
    await ocis.admin.get(f"{GRAPH}/drives")
    await ocis.admin.post(f"{GRAPH}/drives", json={"id": KEY, "name": "again", "driveType": "project"})
    await ocis.admin.patch(f"{GRAPH}/drives/{KEY}", json={})
    await ocis.admin.delete(f"{BETA}/drives/{KEY}/root/permissions/u:nobody")
    assert ocis.records() == before
    assert MANAGER in ocis.server.store.spaces[KEY].grants.values()
