"""Stalwart's stand-in, settings: stored until a reload, and a reload that does all or nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.stalwart.caller import Caller, Tenant, basic, made_tenant
from tests.sandbox.stalwart.connections import smtp
from tests.sandbox.stalwart.server import StalwartStandIn

HELD = "452 4.4.5 Rate limit exceeded, try again later."
TEN_YEARS = 315_360_000_000


@dataclass
class Clock:
    """Seconds since 1970."""

    now: float = 1_795_521_600.0

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


def hold(domain: str = "acme.test", **more: Any) -> dict[str, Any]:
    rate = {"count": 1, "period": TEN_YEARS}
    match = {"else": f"rcpt_domain = '{domain}'"}
    return {"description": f"dezky:test:{domain}:hold", "key": {}, "match": match, "rate": rate, **more}


async def answers(server: StalwartStandIn, *addresses: str) -> list[str]:
    """What one transaction is told for each recipient."""
    async with smtp(server.smtp_port) as sender:
        await sender.ask("MAIL FROM:<a@elsewhere.test>")
        return [await sender.ask(f"RCPT TO:<{address}>") for address in addresses]


# -- hooks -------------------------------------------------------------------------------------


async def test_an_address_is_enough_for_a_hook_and_then_everything_is_sent(admin: Caller) -> None:
    hook = await admin.one("WebHook", (await admin.make("WebHook", {"url": "https://hook.test/"}))["id"])
    assert (hook["eventsPolicy"], hook["events"], hook["enable"]) == ("exclude", {}, True)
    assert (hook["timeout"], hook["throttle"], hook["discardAfter"]) == (30_000, 1_000, 300_000)


async def test_nothing_of_a_hook_is_checked_when_it_is_made(admin: Caller) -> None:
    await admin.make("WebHook", {"url": "notaurl"})
    await admin.make("WebHook", {"url": "https://hook.test/", "httpHeaders": {"bad header": "x"}})
    missing = {"@type": "EnvironmentVariable", "variableName": "NOBODY_SET_THIS"}
    await admin.make("WebHook", {"url": "https://hook.test/", "signatureKey": missing})


@pytest.mark.parametrize("event", ["auth.sneezed", "auth.*"])
async def test_an_unknown_event_is_refused_and_there_are_no_wildcards(event: str, admin: Caller) -> None:
    error = await admin.not_made("WebHook", {"url": "https://hook.test/", "events": {event: True}})
    assert error == {
        "type": "invalidPatch",
        "description": "Invalid key for object property",
        "properties": ["events"],
    }


async def test_a_hook_neither_starts_nor_ends_before_a_reload(admin: Caller, server: StalwartStandIn) -> None:
    key = (await admin.make("WebHook", {"url": "https://hook.test/"}))["id"]
    assert server.live.hooks == {}
    await admin.reload()
    assert set(server.live.hooks) == {key}
    await admin.remove("WebHook", key)
    assert set(server.live.hooks) == {key}
    await admin.reload()
    assert server.live.hooks == {}


async def test_a_running_hook_keeps_its_address_and_takes_other_events(admin: Caller, server: StalwartStandIn) -> None:
    """Until it was once off."""
    key = (await admin.make("WebHook", {"url": "https://old.test/", "events": {"auth.failed": True}}))["id"]
    await admin.reload()
    await admin.change("WebHook", key, {"url": "https://new.test/", "events/auth.success": True})
    await admin.reload()
    assert server.live.hooks[key]["url"] == "https://old.test/"
    assert set(server.live.hooks[key]["events"]) == {"auth.failed", "auth.success"}
    await admin.change("WebHook", key, {"enable": False})
    await admin.reload()
    await admin.change("WebHook", key, {"enable": True})
    await admin.reload()
    assert server.live.hooks[key]["url"] == "https://new.test/"


@pytest.mark.parametrize(
    "bad",
    [
        {"httpHeaders": {"bad header": "x"}},
        {"signatureKey": {"@type": "EnvironmentVariable", "variableName": "NOBODY_SET_THIS"}},
        {"signatureKey": {"@type": "File", "filePath": "/nowhere/at/all"}},
    ],
)
async def test_one_bad_setting_stops_every_other_one(
    bad: dict[str, Any], admin: Caller, server: StalwartStandIn, tenant: Tenant
) -> None:
    hook = (await admin.make("WebHook", {"url": "https://hook.test/", **bad}))["id"]
    await admin.make("MtaInboundThrottle", hold())
    error = await admin.not_made("Action", {"@type": "ReloadSettings"})
    assert (error["type"], error["objectId"]) == ("validationFailed", {"object": "WebHook", "id": hook})
    assert await answers(server, tenant.address, "jane@acme.test") == ["250 2.1.5 OK"] * 2
    await admin.change("WebHook", hook, {"enable": False})
    await admin.reload()
    assert server.live.throttles[-1]["description"] == "dezky:test:acme.test:hold"


async def test_a_file_that_is_there_is_a_good_key(admin: Caller, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret")
    body = {"url": "https://hook.test/", "signatureKey": {"@type": "File", "filePath": str(tmp_path / "key")}}
    hook = await admin.one("WebHook", (await admin.make("WebHook", body))["id"])
    assert hook["signatureKey"]["@type"] == "File"
    await admin.reload()


@pytest.mark.parametrize("action", ["ReloadEverything", "", None])
async def test_an_unknown_action_is_refused(action: object, admin: Caller) -> None:
    assert (await admin.not_made("Action", {"@type": action}))["type"] == "invalidPatch"


# -- hold ---------------------------------------------------------------------------------------


async def test_a_hold_acts_after_the_reload_and_lets_one_message_through(
    admin: Caller, server: StalwartStandIn, tenant: Tenant
) -> None:
    await admin.make("MtaInboundThrottle", hold())
    assert await answers(server, tenant.address) == ["250 2.1.5 OK"], "only stored until now"
    await admin.reload()
    async with smtp(server.smtp_port) as sender:
        assert await sender.send(tenant.address) == "250 2.0.0 Message queued"
        assert await sender.recipient(tenant.address, sender="b@another.test") == HELD
    assert len(server.objects.mail[tenant.account]) == 1, "the one that was let through is not lost"


async def test_other_domains_in_the_same_transaction_are_not_held(
    admin: Caller, server: StalwartStandIn, tenant: Tenant
) -> None:
    other = await made_tenant(admin, "beta.test")
    await admin.make("MtaInboundThrottle", hold())
    await admin.reload()
    await answers(server, tenant.address)
    assert await answers(server, tenant.address, other.address) == [HELD, "250 2.1.5 OK"]


async def test_an_unknown_mailbox_is_told_before_a_hold(admin: Caller, server: StalwartStandIn, tenant: Tenant) -> None:
    await admin.make("MtaInboundThrottle", hold())
    await admin.reload()
    await answers(server, tenant.address)
    assert await answers(server, "nobody@acme.test") == ["550 5.1.2 Mailbox does not exist."]


async def test_a_hold_ends_with_the_reload_after_it_was_destroyed(
    admin: Caller, server: StalwartStandIn, tenant: Tenant
) -> None:
    key = (await admin.make("MtaInboundThrottle", hold()))["id"]
    await admin.reload()
    await answers(server, tenant.address)
    await admin.remove("MtaInboundThrottle", key)
    assert await answers(server, tenant.address) == [HELD]
    await admin.reload()
    assert await answers(server, tenant.address) == ["250 2.1.5 OK"]


async def test_the_counter_outlives_the_object_and_a_new_period_is_a_new_one(
    admin: Caller, server: StalwartStandIn, tenant: Tenant
) -> None:
    key = (await admin.make("MtaInboundThrottle", hold()))["id"]
    await admin.reload()
    await answers(server, tenant.address)
    await admin.remove("MtaInboundThrottle", key)
    await admin.reload()
    again = (await admin.make("MtaInboundThrottle", hold()))["id"]
    await admin.reload()
    assert await answers(server, tenant.address) == [HELD], "nothing is let through the second time"
    await admin.change("MtaInboundThrottle", again, {"rate/period": TEN_YEARS + 1000})
    await admin.reload()
    assert await answers(server, tenant.address) == ["250 2.1.5 OK"]


async def test_two_holds_of_one_rate_share_their_counter(
    admin: Caller, server: StalwartStandIn, tenant: Tenant
) -> None:
    other = await made_tenant(admin, "beta.test")
    await admin.make("MtaInboundThrottle", hold())
    await admin.make("MtaInboundThrottle", hold("beta.test"))
    await admin.reload()
    assert await answers(server, tenant.address, other.address) == ["250 2.1.5 OK", HELD]


async def test_senders_of_the_house_are_held_too(admin: Caller, server: StalwartStandIn, tenant: Tenant) -> None:
    await admin.make("MtaInboundThrottle", hold())
    await admin.reload()
    await answers(server, tenant.address)
    async with smtp(server.smtp_port) as jane:
        assert (await jane.log_in(tenant.address, "Tr0ub4dor & 9 horses")).startswith("235")
        assert await jane.recipient(tenant.address, sender=tenant.address) == HELD


@pytest.mark.parametrize(("field", "rate"), [("count", {"count": 0, "period": 1000}), ("period", {"count": 1})])
async def test_a_throttle_of_nothing_is_refused(field: str, rate: dict[str, int], admin: Caller) -> None:
    error = await admin.not_made("MtaInboundThrottle", hold(rate=rate))
    assert error == {
        "type": "validationFailed",
        "validationErrors": [{"type": "MinValue", "property": field, "required": 1}],
    }


async def test_a_bad_expression_is_refused_at_once(admin: Caller) -> None:
    error = await admin.not_made("MtaInboundThrottle", hold(match={"else": "rcpt_domain is 'acme.test'"}))
    assert error["type"] == "validationFailed"


async def test_a_list_of_conditions_holds_nothing(admin: Caller, server: StalwartStandIn, tenant: Tenant) -> None:
    """Only the `else` part is looked at."""
    match = {"match": {"0": {"if": "rcpt_domain = 'acme.test'", "then": "true"}}, "else": "false"}
    await admin.make("MtaInboundThrottle", hold(match=match))
    await admin.reload()
    assert await answers(server, tenant.address) + await answers(server, tenant.address) == ["250 2.1.5 OK"] * 2


async def test_the_description_of_a_throttle_is_for_ever(admin: Caller) -> None:
    key = (await admin.make("MtaInboundThrottle", hold()))["id"]
    error = await admin.not_changed("MtaInboundThrottle", key, {"description": "somebody else's"})
    assert (error["type"], error["properties"]) == ("invalidPatch", ["description"])


# -- the throttles of a first start ------------------------------------------------------------------


async def test_two_throttles_are_there_before_anybody_made_one(admin: Caller) -> None:
    found = await admin.get("MtaInboundThrottle")
    assert [set(throttle["key"]) for throttle in found] == [{"remoteIp"}, {"senderDomain", "rcpt"}]


async def test_a_sixth_connection_in_a_second_is_not_greeted(server: StalwartStandIn, clock: Clock) -> None:
    for _ in range(5):
        async with smtp(server.smtp_port) as sender:
            assert (await sender.ask("NOOP")).startswith("250")
    async with smtp(server.smtp_port) as sixth:
        assert await sixth.ask("NOOP") == ""
    clock.now += 1
    async with smtp(server.smtp_port) as sender:
        assert (await sender.ask("NOOP")).startswith("250")


async def test_one_sender_domain_reaches_one_recipient_twenty_five_times_an_hour(
    server: StalwartStandIn, tenant: Tenant
) -> None:
    async with smtp(server.smtp_port) as sender:
        told = [await sender.recipient(tenant.address, sender=f"u{n}@elsewhere.test") for n in range(26)]
        assert told == ["250 2.1.5 OK"] * 25 + [HELD]
        assert await sender.recipient(tenant.address, sender="u@another.test") == "250 2.1.5 OK"
