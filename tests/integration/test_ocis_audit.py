"""What the OCIS stand-in does, read from its audit file into the log (C105, C108, C110 to C113)."""

# ruff: noqa: ASYNC240 - as in the unit tests of the tailer
from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dezky_operator.audit.draft import prepare
from dezky_operator.audit.event import Event
from dezky_operator.audit.fates import Appended, Fate
from dezky_operator.audit.keyring import KeyRing
from dezky_operator.audit.line import Line, decode
from dezky_operator.audit.sequencer import Sequencer
from dezky_operator.ingest.ocis.owner import Names, unknown
from dezky_operator.ingest.ocis.people import People
from dezky_operator.ingest.ocis.recovery import recovered
from dezky_operator.ingest.ocis.tail import OcisTail
from dezky_operator.ingest.ocis.told import OPENED
from dezky_operator.ingest.tenants import KnownTenant, Tenants
from dezky_operator.store.interface import Reader, Rows
from dezky_operator.store.sqlite import SqliteStore
from dezky_operator.store.tables import CURSORS, LOG, CursorRow, LogRow
from tests.drafts import ACME, ORIGIN, RECEIVED
from tests.files import Given, basic, files
from tests.sandbox.ocis.server import OcisStandIn
from tests.sandbox.ocis.store import EDITOR, VIEWER

GRAPH, BETA = "/graph/v1.0", "/graph/v1beta1"
SPACE = "0b0f2a5e-7d0c-5f4e-9a51-3f2f1f1c0a11"
SRC = "ocis-main"
TENANTS = Tenants([KnownTenant(tenant_id=ACME, slug="acme", domains=("acme.test",), drives=(SPACE,))])
LINK_PASSWORD = "Long-Enough-1"


@dataclass
class Installation:
    """A stand-in with its audit file, a store, and the tailer between them."""

    server: OcisStandIn
    path: Path
    store: SqliteStore
    admin: httpx2.AsyncClient
    alice: httpx2.AsyncClient
    tail: OcisTail

    async def collect(self) -> list[Appended]:
        """Read until nothing comes: events first, then the cursor."""
        ring = KeyRing(lambda tenant, who: sha256(f"{tenant}/{who}".encode()).digest(), lambda _: bytes(32))
        log = Sequencer(self.store, origin=ORIGIN, clock=time.time_ns, clock_difference=lambda: 0.0)
        found: list[Appended] = []
        while True:
            look = await self.tail.look(await self.cursor())
            drafts = [prepare(event, keys=ring, random=os.urandom) for event in look.events]
            if drafts:
                found.append(await log.append(drafts))
            await self.keep(look.cursor)
            if not look.more and not look.events:
                return found

    async def cursor(self) -> CursorRow | None:
        async def read(rows: Reader) -> CursorRow | None:
            return await rows.get(CURSORS, SRC)

        return await self.store.read(read)

    async def keep(self, cursor: CursorRow) -> None:
        async def write(rows: Rows) -> None:
            await rows.put(CURSORS, [cursor])

        await self.store.run(write)

    async def lines(self) -> list[Line]:
        async def read(rows: Reader) -> list[LogRow]:
            return await rows.scan(LOG, limit=1_000)

        return [decode(row.body) for row in await self.store.read(read)]

    async def actions(self) -> list[str]:
        return [line.action.removeprefix("ocis.") for line in await self.lines()]

    def opened(self) -> OcisTail:
        return tail(self.path)


def tail(path: Path, allow: set[str] | None = None, names: Names = unknown) -> OcisTail:
    return OcisTail(
        path, src=SRC, allow=allow, tenants=lambda: TENANTS, token_key=b"k" * 32, now=lambda: RECEIVED, names=names
    )


@pytest.fixture
async def ocis(tmp_path: Path) -> AsyncIterator[Installation]:
    path = tmp_path / "shared" / "audit.log"
    path.parent.mkdir()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(OcisStandIn(audit_file=path))
        server.store.add_user("alice", display="Alice", password="alice")
        admin = await stack.enter_async_context(client(server, "admin", "admin-password"))
        alice = await stack.enter_async_context(client(server, "alice", "alice"))
        store = await SqliteStore.open(tmp_path / "audit.db")
        stack.push_async_callback(store.close)
        found = Installation(server, path, store, admin, alice, tail(path))
        yield found
        await found.tail.close()


def client(server: OcisStandIn, name: str, password: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=server.url, headers={"Authorization": basic(name, password)}, trust_env=False)


def alice_id(ocis: Installation) -> str:
    found = ocis.server.store.user("alice")
    assert found is not None
    return found.id


def invitation(who: str, role: str = EDITOR) -> dict[str, Any]:
    return {"recipients": [{"objectId": who, "@libre.graph.recipient.type": "user"}], "roles": [role]}


async def work(ocis: Installation) -> None:
    """A space is made, filled, shared by a link, switched off and on; a user and a group come and go."""
    who = alice_id(ocis)
    space, grant = f"{GRAPH}/drives/{SPACE}", f"{BETA}/drives/{SPACE}/root/permissions/u:{who}"
    await ocis.admin.post(f"{GRAPH}/drives", json={"id": SPACE, "name": "Acme", "driveType": "project"})
    await ocis.admin.post(f"{BETA}/drives/{SPACE}/root/invite", json=invitation(who))
    await ocis.admin.patch(grant, json={"roles": [VIEWER]})
    await ocis.admin.patch(grant, json={"roles": [EDITOR]})
    await ocis.alice.put(f"/dav/spaces/{SPACE}/plan.txt", content=b"x")
    await ocis.alice.get(f"/dav/spaces/{SPACE}/plan.txt")
    link = await ocis.admin.post(f"{BETA}/drives/{SPACE}/root/createLink", json={"password": LINK_PASSWORD})
    token = link.json()["link"]["webUrl"].rpartition("/")[2]
    async with httpx2.AsyncClient(base_url=ocis.server.url, trust_env=False) as stranger:
        await stranger.get(f"/dav/public-files/{token}")
        await stranger.get(f"/dav/public-files/{token}", headers={"Authorization": basic("public", LINK_PASSWORD)})
    await ocis.admin.patch(space, json={"quota": {"total": 7_000_000}})
    await ocis.admin.delete(space)
    await ocis.admin.patch(space, json={}, headers={"Restore": "T"})
    group = (await ocis.admin.post(f"{GRAPH}/groups", json={"displayName": "dezky-acme-users"})).json()["id"]
    await ocis.admin.post(f"{GRAPH}/groups/{group}/members/$ref", json={"@odata.id": f"x/users/{who}"})
    await ocis.admin.delete(f"{GRAPH}/groups/{group}")


DONE = [
    "space_created",
    "space_shared",
    "file_create",
    "file_shared",
    "space_updated",
    "space_disabled",
    "space_enabled",
    "group_created",
    "group_member_added",
    "group_deleted",
]
"""What `work` leaves in the log: nobody audits the two changes of the role, reads are left out."""


async def test_what_happens_in_ocis_stands_in_the_log_in_its_order(ocis: Installation) -> None:
    await work(ocis)
    await ocis.collect()
    assert await ocis.actions() == [OPENED, *DONE]


async def test_an_upload_is_told_of_who_uploaded_and_of_the_space_s_tenant(ocis: Installation) -> None:
    """OCIS itself writes the operator's user there (facts/ocis.md 4.3)."""
    await work(ocis)
    events = [event async for event in read_all(ocis)]
    upload = next(event for event in events if event.action == "ocis.file_create")
    assert upload.values["actor.id"] == alice_id(ocis)
    assert (upload.tenant, upload.values["tenant.slug"]) == (ACME, "acme")
    assert ocis.server.store.admin.id in upload.people


async def read_all(ocis: Installation) -> AsyncIterator[Event]:
    cursor, quiet = None, False
    while not quiet:
        look = await ocis.tail.look(cursor)
        cursor, quiet = look.cursor, not look.more and not look.events
        for event in look.events:
            yield event


async def test_records_without_a_time_get_the_time_of_recording(ocis: Installation) -> None:
    await work(ocis)
    await ocis.collect()
    untimed = {line.action for line in await ocis.lines() if line.time_source == "rec"} - {OPENED}
    assert untimed == {f"ocis.{name}" for name in DONE if name.startswith("group_") or name == "space_shared"}


async def test_the_link_s_token_is_nowhere_in_the_store(ocis: Installation, tmp_path: Path) -> None:
    await work(ocis)
    ocis.tail = tail(ocis.path, {"file_shared", "public_link_accessed"})
    await ocis.collect()
    (token,) = ocis.server.store.links
    assert await ocis.actions() == [OPENED, "file_shared"] + ["public_link_accessed"] * 3
    assert token.encode() in ocis.path.read_bytes()
    assert all(token.encode() not in file.read_bytes() for file in tmp_path.glob("audit.db*"))


async def test_reading_again_adds_nothing_after_a_restart_and_after_a_lost_cursor(ocis: Installation) -> None:
    await work(ocis)
    await ocis.collect()
    kept = await ocis.lines()
    await ocis.tail.close()
    ocis.tail = ocis.opened()
    assert await ocis.collect() == []
    assert await recovered(ocis.store, "ocis-other", heartbeat=RECEIVED) is None
    found = await recovered(ocis.store, SRC, heartbeat=RECEIVED)
    assert found is not None
    await ocis.keep(found)
    await ocis.tail.close()
    ocis.tail = ocis.opened()
    fates = [placed.fate for appended in await ocis.collect() for placed in appended.placed]
    assert set(fates) == {Fate.DUPLICATE}
    assert len(fates) == len(kept)
    assert await ocis.lines() == kept


async def test_users_and_groups_find_their_tenant_by_name_also_when_they_are_gone(ocis: Installation) -> None:
    """Their records hold ids only (C111)."""
    async with files(ocis.server.url, Given(basic("admin", "admin-password"))) as reads:
        people = People(reads.client, clock=lambda: 0.0)
        group = (await ocis.admin.post(f"{GRAPH}/groups", json={"displayName": "dezky-acme-users"})).json()["id"]
        made = {"displayName": "Ann", "onPremisesSamAccountName": "ann@acme.test", "mail": "ann@acme.test"}
        user = (await ocis.admin.post(f"{GRAPH}/users", json=made)).json()["id"]
        await people.ask()
        await ocis.admin.delete(f"{GRAPH}/groups/{group}")
        await ocis.admin.delete(f"{GRAPH}/users/{user}")
    ocis.tail = tail(ocis.path, names=people)
    await ocis.collect()
    found = {line.action: line.tenant for line in (await ocis.lines())[1:]}
    assert set(found) == {f"ocis.{kind}_{what}" for kind in ("group", "user") for what in ("created", "deleted")}
    assert set(found.values()) == {ACME}


async def test_a_rotation_while_ocis_works_loses_nothing(ocis: Installation) -> None:
    await work(ocis)
    await ocis.tail.look(None)
    ocis.path.rename(ocis.path.with_name("audit.log.1"))
    await ocis.admin.patch(f"{GRAPH}/drives/{SPACE}", json={"name": "Acme Ltd"})
    await ocis.collect()
    assert await ocis.actions() == [OPENED, *DONE, OPENED, "space_renamed"]


async def test_without_its_environment_ocis_audits_nothing(tmp_path: Path) -> None:
    """The default: there is not even a file (C112)."""
    async with OcisStandIn() as server, client(server, "admin", "admin-password") as admin:
        await admin.post(f"{GRAPH}/drives", json={"id": SPACE, "name": "Acme", "driveType": "project"})
    assert server.audit.path is None
    assert list(tmp_path.iterdir()) == []


async def test_a_record_that_ocis_cannot_write_is_lost_for_ever(ocis: Installation) -> None:
    """The stand-in is as unforgiving as OCIS: its own log says so, the audit file does not."""
    ocis.path.parent.rmdir()
    await ocis.admin.post(f"{GRAPH}/drives", json={"id": SPACE, "name": "Acme", "driveType": "project"})
    ocis.path.parent.mkdir()
    await ocis.admin.patch(f"{GRAPH}/drives/{SPACE}", json={"name": "Acme Ltd"})
    await ocis.collect()
    assert ocis.server.audit.failed == 1
    assert await ocis.actions() == [OPENED, "space_renamed"]
