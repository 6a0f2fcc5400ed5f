"""Stalwart's stand-in, webhooks: as hard on a receiver as the real one (facts/stalwart.md 5.2 to 5.4, 11.7)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.receiver import NUDGE, Receiver, receiver
from tests.sandbox.stalwart.caller import PASSWORD, Caller, Tenant, basic, made_tenant
from tests.sandbox.stalwart.connections import imap, smtp
from tests.sandbox.stalwart.ids import decode
from tests.sandbox.stalwart.server import StalwartStandIn
from tests.webhooks import until

KEY = "k" * 32
QUICK = 20
"""Milliseconds between two deliveries."""


class Clock:
    """Seconds since 1970."""

    def __init__(self) -> None:
        self.now = 1_795_521_600.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def server(clock: Clock) -> AsyncIterator[StalwartStandIn]:
    async with StalwartStandIn(clock=clock) as found:
        yield found


@pytest.fixture
async def admin(server: StalwartStandIn) -> AsyncIterator[Caller]:
    async with Caller(server.url, basic(*server.admin)) as found:
        yield found


@pytest.fixture
async def tenant(admin: Caller) -> Tenant:
    return await made_tenant(admin)


@pytest.fixture
async def told() -> AsyncIterator[Receiver]:
    async with receiver() as found:
        yield found


async def hooked(admin: Caller, told: Receiver, **more: Any) -> str:
    """A hook that sends everything but the operator's own calls, loaded."""
    events = {"jmap.method-call": True}
    body = {"url": told.url, "events": events, "signatureKey": {"@type": "Value", "secret": KEY}, "throttle": QUICK}
    told.nudge = lambda: admin.failure(NUDGE, ids=None)
    key = str((await admin.make("WebHook", {**body, **more}))["id"])
    await admin.reload()
    return key


async def wrong(server: StalwartStandIn, user: str = "eve@elsewhere.test", *, address: str | None = None) -> None:
    """A log-in that fails, told as `auth.failed`."""
    async with Caller(server.url, basic(user, "wrong"), address=address) as somebody:
        await somebody.http.get("/api/account")


# -- what is told ---------------------------------------------------------------------------------------


async def test_a_log_in_is_told_with_the_accounts_number_and_its_connection(
    server: StalwartStandIn, admin: Caller, tenant: Tenant, told: Receiver
) -> None:
    await hooked(admin, told)
    async with imap(server.imap_port) as reader:
        await reader.log_in(tenant.address, PASSWORD)
    await told.has("auth.success")
    (event,) = told.events("auth.success")
    assert set(event) == {"id", "createdAt", "type", "data"}
    data = event["data"]
    assert (data["accountName"], data["accountId"]) == (tenant.address, decode(tenant.account))
    assert set(data) == {"accountName", "accountId", "spanId", "listenerId", "localPort", "remoteIp", "remotePort"}
    assert data["spanId"] > 2**53


async def test_failures_name_the_account_only_where_there_is_one(
    server: StalwartStandIn, admin: Caller, tenant: Tenant, told: Receiver
) -> None:
    await hooked(admin, told)
    for user in (tenant.address, "nobody@acme.test", "eve@elsewhere.test"):
        await wrong(server, user)
    await told.has("auth.failed", 3)
    known, unknown, elsewhere = (event["data"] for event in told.events("auth.failed"))
    assert (known["reason"], known["accountId"]) == ("Authentication failed", decode(tenant.account))
    assert (unknown["reason"], "accountId" in unknown) == ("Account not found", False)
    assert (elsewhere["details"], "accountName" in elsewhere) == ("elsewhere.test", False)


async def test_a_suspended_log_in_is_a_success_first_and_then_unauthorized_without_a_name(
    server: StalwartStandIn, admin: Caller, tenant: Tenant, told: Receiver
) -> None:
    """facts/stalwart.md 11.0.8 and 11.0.9."""
    await admin.change("Role", tenant.role, {"disabledPermissions/authenticate": True})
    await hooked(admin, told)
    async with Caller(server.url, basic(tenant.address, PASSWORD)) as somebody:
        await somebody.http.get("/api/account")
    await told.has("security.unauthorized")
    kinds = [event["type"] for event in told.events()]
    assert kinds == ["auth.success", "security.unauthorized"]
    assert "accountName" not in told.events("security.unauthorized")[0]["data"]


async def test_an_http_session_is_told_once(
    server: StalwartStandIn, admin: Caller, tenant: Tenant, told: Receiver
) -> None:
    await hooked(admin, told)
    async with Caller(server.url, basic(tenant.address, PASSWORD)) as somebody:
        for _ in range(3):
            await somebody.http.get("/api/account")
    await wrong(server)
    await told.has("auth.failed")
    assert len(told.events("auth.success")) == 1


async def test_a_ban_is_told(server: StalwartStandIn, admin: Caller, told: Receiver) -> None:
    await hooked(admin, told)
    server.live.ban_after = 1
    for _ in range(2):
        await wrong(server, address="127.0.0.2")
    await told.has("security.authentication-ban")
    assert told.events("security.authentication-ban")[0]["data"]["remoteIp"] == "127.0.0.2"


async def test_a_token_that_is_none_is_told_in_clear(server: StalwartStandIn, admin: Caller, told: Receiver) -> None:
    """facts/stalwart.md 11.10."""
    await hooked(admin, told)
    async with Caller(server.url, "Bearer app_s3cret") as somebody:
        await somebody.http.get("/api/account")
    await told.has("auth.error")
    assert told.events("auth.error")[0]["data"]["details"] == "app_s3cret"


async def test_a_delivery_is_told_in_four_events_and_none_says_delivered(
    server: StalwartStandIn, admin: Caller, tenant: Tenant, told: Receiver
) -> None:
    await hooked(admin, told)
    async with smtp(server.smtp_port) as sender:
        for line in ("MAIL FROM:<a@out.test>", f"RCPT TO:<{tenant.address}>", "DATA", "Subject: x\r\n\r\nx\r\n."):
            await sender.ask(line)
    await told.has("delivery.completed")
    kinds = [event["type"] for event in told.events()]
    assert kinds == ["queue.message-queued", "message-ingest.ham", "delivery.dsn-success", "delivery.completed"]
    ingest, queued = told.events("message-ingest.ham")[0]["data"], told.events("queue.message-queued")[0]["data"]
    assert (ingest["accountId"], ingest["from"], queued["to"]) == (
        decode(tenant.account),
        "a@out.test",
        [tenant.address],
    )


async def test_a_method_that_is_not_there_is_told_by_its_name(admin: Caller, told: Receiver) -> None:
    await hooked(admin, told)
    await admin.failure("x:DezkyWebhook7/get", ids=None)
    await told.has("jmap.unknown-method")
    assert told.events("jmap.unknown-method")[0]["data"]["details"] == "x:DezkyWebhook7/get"


# -- how it is delivered ------------------------------------------------------------------------------------


async def test_every_delivery_is_signed_over_its_bytes(server: StalwartStandIn, admin: Caller, told: Receiver) -> None:
    await hooked(admin, told, httpHeaders={"X-Mark": "ours"})
    await wrong(server)
    await told.has("auth.failed")
    (delivery,) = told.deliveries
    assert delivery.is_signed_with(KEY)
    assert delivery.headers["X-Mark"] == "ours"
    assert delivery.headers["Content-Type"] == "application/json"


async def test_without_a_key_nothing_is_signed(server: StalwartStandIn, admin: Caller, told: Receiver) -> None:
    await hooked(admin, told, signatureKey={"@type": "None"})
    await wrong(server)
    await told.has("auth.failed")
    assert "X-Signature" not in told.deliveries[0].headers


async def test_what_was_refused_comes_again_with_what_is_new_and_under_other_ids(
    server: StalwartStandIn, admin: Caller, told: Receiver
) -> None:
    told.answer = 500
    await hooked(admin, told)
    await wrong(server)
    await told.has("auth.failed")
    await wrong(server, "second@elsewhere.test")
    await told.has("auth.failed", 3)
    told.answer = 200
    await until(lambda: _merged(told), "they never came in one body")
    first, last = told.deliveries[0].events, told.deliveries[-1].events
    assert first[0]["id"] not in {event["id"] for event in last}
    assert first[0]["data"] in [event["data"] for event in last]


async def _merged(told: Receiver) -> bool:
    return len(told.deliveries[-1].events) == 2


async def test_what_happens_during_a_slow_delivery_waits_for_the_next_event(
    server: StalwartStandIn, admin: Caller, told: Receiver
) -> None:
    """The stall of facts/stalwart.md 5.4: nothing wakes the hook but another event."""
    told.gate.clear()
    await hooked(admin, told)
    await wrong(server)
    await told.has("auth.failed")
    waits = server._hooks._running[next(iter(server.live.hooks))]
    await wrong(server, "second@elsewhere.test")
    await until(lambda: _taken(waits), "the second event was not taken")
    told.gate.set()
    await until(lambda: _idle(waits), "the delivery never ended")
    assert len(told.deliveries) == 1
    await wrong(server, "third@elsewhere.test")
    await told.has("auth.failed", 3)
    assert len(told.deliveries[1].events) == 2


async def _taken(hook: Any) -> bool:
    return bool(hook.stalled)


async def _idle(hook: Any) -> bool:
    return not hook._in_flight


async def test_what_is_too_old_is_dropped(server: StalwartStandIn, admin: Caller, told: Receiver, clock: Clock) -> None:
    told.answer = 500
    await hooked(admin, told, discardAfter=60_000)
    await wrong(server)
    await told.has("auth.failed", 2)
    clock.now += 61
    await wrong(server, "second@elsewhere.test")
    told.answer = 200
    count = len(told.deliveries)
    await until(lambda: _more(told, count + 1), "nothing comes any more")
    assert len(told.deliveries[-1].events) == 1


async def _more(told: Receiver, count: int) -> bool:
    return len(told.deliveries) >= count and told.deliveries[-1].events[-1]["data"].get("details") == "elsewhere.test"


async def test_a_hook_sends_nothing_before_it_is_loaded_and_nothing_after_it_is_gone(
    server: StalwartStandIn, admin: Caller, told: Receiver
) -> None:
    async with receiver() as other:
        body = {"url": other.url, "throttle": QUICK, "events": {"jmap.method-call": True}}
        other.nudge = lambda: admin.failure(NUDGE, ids=None)
        late = (await admin.make("WebHook", body))["id"]
        key = await hooked(admin, told)  # its reload loads both
        await admin.remove("WebHook", late)
        await wrong(server)
        await other.has("auth.failed")
        await admin.reload()
        await wrong(server)
        await told.has("auth.failed", 2)
        assert len(other.events("auth.failed")) == 1
        assert set(server.live.hooks) == {key}


async def test_a_restart_loses_what_was_not_delivered(server: StalwartStandIn, admin: Caller, told: Receiver) -> None:
    told.answer = 500
    await hooked(admin, told)
    await wrong(server)
    await told.has("auth.failed")
    port = int(server.url.rpartition(":")[2])
    await server.stop()
    told.answer, seen = 200, len(told.deliveries)
    await server.start(port=port)
    await wrong(server, "second@elsewhere.test")
    await until(lambda: _more(told, seen + 1), "nothing comes any more")
    assert len(told.deliveries[-1].events) == 1
    assert told.deliveries[-1].events[0]["id"].startswith("17955216000"), "the counter of ids begins anew"


async def test_the_key_of_a_hook_never_comes_back(admin: Caller, told: Receiver) -> None:
    hook = await admin.one("WebHook", await hooked(admin, told))
    assert hook["signatureKey"] == {"@type": "Value", "secret": "****"}
