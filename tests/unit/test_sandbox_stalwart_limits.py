"""Stalwart's stand-in, limits: requests per minute, and wrong passwords that shut an address out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx2
import pytest

from tests.sandbox.stalwart.caller import Caller, Tenant, basic, made_tenant, suspend
from tests.sandbox.stalwart.connections import imap, smtp
from tests.sandbox.stalwart.server import StalwartStandIn

NOON = 1_795_521_600
STRANGER = "127.0.0.9"
"""Another address of this machine: what happens to it does not happen to the administrator."""


@dataclass
class Clock:
    """Seconds since 1970: 23 seconds into a minute."""

    now: float = NOON + 23.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def server(clock: Clock) -> AsyncIterator[StalwartStandIn]:
    async with StalwartStandIn(clock=clock) as found:
        found.work_time = 0
        yield found


@pytest.fixture
async def admin(server: StalwartStandIn) -> AsyncIterator[Caller]:
    async with Caller(server.url, basic(*server.admin)) as found:
        yield found


@pytest.fixture
async def tenant(admin: Caller) -> Tenant:
    return await made_tenant(admin)


async def wrong(server: StalwartStandIn, times: int, *, user: str = "nobody@acme.test") -> list[int]:
    """Statuses of that many wrong passwords from a stranger's address, over one connection."""
    async with Caller(server.url, basic(user, "wrong"), address=STRANGER) as stranger:
        return [(await stranger.http.get("/api/account")).status_code for _ in range(times)]


# -- requests ---------------------------------------------------------------------------------------


async def test_the_thousand_and_first_request_in_a_minute_is_429_with_its_pause(
    admin: Caller, tenant: Tenant, server: StalwartStandIn, clock: Clock
) -> None:
    await admin.change("Http", "singleton", {"rateLimitAuthenticated": {"count": 10, "period": 60_000}})
    await admin.reload()
    async with Caller(server.url, tenant.header) as jane:
        told = [(await jane.http.get("/api/account")).status_code for _ in range(10)]
        over = await jane.raw(["Core/echo", {}, "e"])
        assert told == [200] * 10
        assert (over.status_code, over.json()["title"]) == (429, "Too Many Requests")
        assert over.headers["retry-after"] == "37"
        assert over.headers["ratelimit-policy"] == '"requests";q=10'
        assert over.headers["ratelimit"] == '"requests";r=0;t=37'
        clock.now += 37
        assert (await jane.http.get("/api/account")).status_code == 200


async def test_the_limit_is_a_thousand_until_a_reload_says_otherwise(
    admin: Caller, tenant: Tenant, server: StalwartStandIn
) -> None:
    await admin.change("Http", "singleton", {"rateLimitAuthenticated": {"count": 1, "period": 60_000}})
    async with Caller(server.url, tenant.header) as jane:
        told = {(await jane.http.get("/api/account")).status_code for _ in range(1000)}
        assert told == {200}
        assert (await jane.http.get("/api/account")).headers["ratelimit-policy"] == '"requests";q=1000'


async def test_administrators_are_never_too_many(admin: Caller, server: StalwartStandIn) -> None:
    await admin.change("Http", "singleton", {"rateLimitAuthenticated": {"count": 1, "period": 60_000}})
    await admin.reload()
    boss = {"@type": "User", "name": "boss", "domainId": "b", "roles": {"@type": "Admin"}}
    made = await admin.make("Account", boss)
    key = await admin.make("ApiKey", {"description": "k"}, accountId=made["id"])
    async with Caller(server.url, f"Bearer {key['secret']}") as caller:
        assert {(await caller.http.get("/api/account")).status_code for _ in range(5)} == {200}
    assert {(await admin.http.get("/api/account")).status_code for _ in range(5)} == {200}


async def test_a_session_is_not_counted(admin: Caller, tenant: Tenant, server: StalwartStandIn) -> None:
    await admin.change("Http", "singleton", {"rateLimitAuthenticated": {"count": 1, "period": 60_000}})
    await admin.reload()
    async with Caller(server.url, tenant.header) as jane:
        assert {(await jane.http.get("/jmap/session")).status_code for _ in range(5)} == {200}


async def test_the_hundred_and_first_look_at_the_health_of_the_server_is_429(server: StalwartStandIn) -> None:
    async with httpx2.AsyncClient(base_url=server.url) as probe:
        told = [(await probe.get("/healthz/live")).status_code for _ in range(101)]
    assert told == [200] * 100 + [429]


async def test_an_allowed_address_has_no_limit(admin: Caller, tenant: Tenant, server: StalwartStandIn) -> None:
    await admin.change("Http", "singleton", {"rateLimitAuthenticated": {"count": 1, "period": 60_000}})
    await admin.make("AllowedIp", {"address": "127.0.0.0/8"})
    await admin.reload()
    async with Caller(server.url, tenant.header) as jane:
        assert {(await jane.http.get("/api/account")).status_code for _ in range(5)} == {200}


# -- bans --------------------------------------------------------------------------------------------


async def test_a_hundred_wrong_passwords_are_too_many_for_an_address(server: StalwartStandIn, tenant: Tenant) -> None:
    assert await wrong(server, 102) == [401] * 100 + [429, 403]
    async with Caller(server.url, tenant.header, address=STRANGER) as jane:
        with pytest.raises(httpx2.TransportError):
            await jane.http.get("/api/account")
    async with smtp(server.smtp_port, address=STRANGER) as sender:
        assert await sender.ask("NOOP") == ""
    async with imap(server.imap_port, address=STRANGER) as mailbox:
        assert await mailbox.ask("NOOP") == []


async def test_other_addresses_go_on(server: StalwartStandIn, tenant: Tenant) -> None:
    await wrong(server, 101)
    async with Caller(server.url, tenant.header) as jane:
        assert (await jane.http.get("/api/account")).status_code == 200


async def test_wrong_passwords_over_smtp_and_imap_count_too(server: StalwartStandIn, clock: Clock) -> None:
    assert await wrong(server, 98) == [401] * 98
    async with smtp(server.smtp_port, address=STRANGER) as sender:
        await sender.log_in("nobody@acme.test", "wrong")
    async with imap(server.imap_port, address=STRANGER) as mailbox:
        await mailbox.log_in("nobody@acme.test", "wrong")
    clock.now += 1
    assert await wrong(server, 1) == [429]


async def test_an_allowed_address_is_never_shut_out(admin: Caller, server: StalwartStandIn) -> None:
    await admin.make("AllowedIp", {"address": STRANGER})
    await admin.reload()
    assert await wrong(server, 125) == [401] * 125


async def test_allowing_without_a_reload_does_nothing(admin: Caller, server: StalwartStandIn) -> None:
    await admin.make("AllowedIp", {"address": STRANGER})
    assert (await wrong(server, 101))[-1] == 429


async def test_a_ban_is_an_object_and_ends_with_a_reload_of_its_own(admin: Caller, server: StalwartStandIn) -> None:
    await wrong(server, 101)
    ban = (await admin.get("BlockedIp"))[0]
    assert ban["address"] == STRANGER
    await admin.remove("BlockedIp", ban["id"])
    await admin.reload()
    with pytest.raises(httpx2.TransportError):
        await wrong(server, 1)
    await admin.reload("ReloadBlockedIps")
    assert len(await wrong(server, 1)) == 1


async def test_a_suspended_user_s_log_ins_do_not_count(admin: Caller, tenant: Tenant, server: StalwartStandIn) -> None:
    await suspend(admin, tenant)
    async with Caller(server.url, tenant.header, address=STRANGER) as jane:
        assert {(await jane.http.get("/api/account")).status_code for _ in range(120)} == {403}
    assert server.failures == 0


async def test_one_look_for_a_hole_shuts_an_address_out(server: StalwartStandIn) -> None:
    async with Caller(server.url, address=STRANGER) as stranger:
        assert (await stranger.http.get("/index.php")).status_code == 404
        assert (await stranger.http.get("/jmap/session")).status_code == 200
        assert (await stranger.http.get("/cgi-bin/x")).status_code == 404
        assert (await stranger.http.get("/jmap/session")).status_code == 403
