"""Stalwart's stand-in, faults: latency, errors, cut connections and lost answers, for the calls one names."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.sandbox.stalwart.caller import Caller, basic
from tests.sandbox.stalwart.server import StalwartStandIn


@pytest.fixture
async def server() -> AsyncIterator[StalwartStandIn]:
    async with StalwartStandIn() as found:
        yield found


@pytest.fixture
async def admin(server: StalwartStandIn) -> AsyncIterator[Caller]:
    async with Caller(server.url, basic(*server.admin)) as found:
        yield found


@pytest.fixture
async def control(server: StalwartStandIn) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=server.url) as found:
        yield found


async def fault(control: httpx2.AsyncClient, **rule: Any) -> None:
    assert (await control.post("/__sandbox/faults", json=rule)).status_code == 201


async def roles(server: StalwartStandIn) -> list[str]:
    return [str(role["description"]) for role in server.objects.by_type["Role"].values()][4:]


async def test_an_answer_can_be_lost_after_the_write_was_done(
    admin: Caller, control: httpx2.AsyncClient, server: StalwartStandIn
) -> None:
    await fault(control, match="x:Role/set create", lost=True, times=1)
    with pytest.raises(httpx2.TransportError):
        await admin.make("Role", {"description": "lost"})
    assert await roles(server) == ["lost"]
    await admin.make("Role", {"description": "found"})
    assert await roles(server) == ["lost", "found"]


async def test_a_call_can_be_cut_before_anything_is_done(
    admin: Caller, control: httpx2.AsyncClient, server: StalwartStandIn
) -> None:
    await fault(control, match="x:Role/set create", refused=True, times=1)
    with pytest.raises(httpx2.TransportError):
        await admin.make("Role", {"description": "refused"})
    assert await roles(server) == []


async def test_a_status_answers_instead_with_its_headers_and_only_where_it_fits(
    admin: Caller, control: httpx2.AsyncClient, server: StalwartStandIn
) -> None:
    await fault(control, match="x:Domain/", status=429, body="slow", headers={"Retry-After": "37"})
    answer = await admin.raw(["x:Domain/set", {"create": {"d": {"name": "acme.test"}}}, "t"])
    assert (answer.status_code, answer.headers["retry-after"], answer.text) == (429, "37", "slow")
    assert "acme.test" not in server.objects.names
    await admin.make("Role", {"description": "others go on"})


async def test_faults_can_wait_for_the_nth_call_and_be_taken_back(admin: Caller, control: httpx2.AsyncClient) -> None:
    await fault(control, match="/api/account", status=503, after=1)
    told = [(await admin.http.get("/api/account")).status_code for _ in range(3)]
    assert told == [200, 503, 503]
    await control.delete("/__sandbox/faults")
    assert (await admin.http.get("/api/account")).status_code == 200


async def test_latency_is_added_to_the_calls_it_is_meant_for(admin: Caller, control: httpx2.AsyncClient) -> None:
    await fault(control, match="/api/account", latency=0.2)
    start = time.monotonic()
    await admin.http.get("/api/account")
    assert time.monotonic() - start >= 0.2


async def test_a_rate_limit_can_be_set_and_is_kept(admin: Caller, server: StalwartStandIn) -> None:
    """Not a fault but a setting: the stand-in counts, as the real one does."""
    role = await admin.make("Role", {"description": "r", "roleIds": {"b": True}})
    roles = {"@type": "Custom", "roleIds": {role["id"]: True}}
    account = await admin.make("Account", {"@type": "User", "name": "s", "domainId": "b", "roles": roles})
    key = await admin.make("ApiKey", {"description": "k"}, accountId=account["id"])
    await admin.change("Http", "singleton", {"rateLimitAuthenticated/count": 3, "rateLimitAuthenticated/period": 10**9})
    await admin.reload()
    async with Caller(server.url, f"Bearer {key['secret']}") as caller:
        told = [(await caller.http.get("/api/account")).status_code for _ in range(5)]
    assert told == [200, 200, 200, 429, 429]


async def test_reads_are_no_writes_and_writes_are_counted(admin: Caller, server: StalwartStandIn) -> None:
    await admin.get("Role", "b")
    await admin.make("Role", {"description": "x"})
    assert [call.label for call in server.writes] == ["x:Role/set create"]
    assert len(server.calls) == 2


async def test_a_snapshot_brings_objects_and_settings_back(admin: Caller, server: StalwartStandIn) -> None:
    before = server.snapshot()
    hold = {"description": "h", "match": {"else": "rcpt_domain = 'a.test'"}, "rate": {"count": 1, "period": 1000}}
    await admin.make("MtaInboundThrottle", hold)
    await admin.make("Domain", {"name": "acme.test", "dkimManagement": {"@type": "Manual"}})
    await admin.reload()
    server.restore(before)
    assert "acme.test" not in server.objects.names
    assert len(server.live.throttles) == 2
    await admin.make("Domain", {"name": "acme.test", "dkimManagement": {"@type": "Manual"}})
    assert await admin.ids("Domain", filter={"name": "acme.test"}) == ["c"], "the living parts still know each other"
    directory = await admin.make("Directory", {"@type": "Oidc", "issuerUrl": "https://id.test/"})
    await admin.change("Authentication", "singleton", {"directoryId": directory["id"]})
    await admin.reload()
    assert server.objects.directory_rules()


async def test_stopped_and_started_again_it_is_the_same(server: StalwartStandIn) -> None:
    port = int(server.url.rpartition(":")[2])
    server.objects.create("Role", {"description": "kept"})
    await server.stop()
    await server.start(port=port)
    async with Caller(server.url, basic(*server.admin)) as admin:
        assert await admin.ids("Role", filter={"description": "kept"}) == ["f"]
