"""Suspending a tenant's mail and holding it, over HTTP, SMTP and IMAP, with the daily key (facts/stalwart.md 11)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from dezky_operator.audit.recorder import NoRecorder
from dezky_operator.integrations.apply import apply
from dezky_operator.integrations.errors import Rejected
from dezky_operator.integrations.intent import Adoption, Phase, TenantIntent
from dezky_operator.integrations.stalwart.bootstrap import Plan as Wanted
from dezky_operator.integrations.stalwart.bootstrap import StalwartBootstrap
from dezky_operator.integrations.stalwart.hold import TEN_YEARS
from dezky_operator.integrations.steps import Plan, System
from tests.mail import INSTALLATION, Mail, intent, mail, members
from tests.sandbox.stalwart.caller import PASSWORD, Caller, basic
from tests.sandbox.stalwart.connections import imap, smtp
from tests.sandbox.stalwart.objects import Record
from tests.sandbox.stalwart.server import StalwartStandIn
from tests.sandbox.standin import Fault

ANNA, BEN = "anna@acme.test", "ben@beta.test"
TAKEN, HELD = "250 2.1.5 OK", "452 4.4.5 Rate limit exceeded, try again later."
QUEUED = "250 2.0.0 Message queued"
TEAM = members(ANNA, "bob@acme.test")


@pytest.fixture
async def server() -> AsyncIterator[StalwartStandIn]:
    async with StalwartStandIn() as found:
        yield found


@pytest.fixture
async def admin(server: StalwartStandIn) -> AsyncIterator[Caller]:
    async with Caller(server.url, basic(*server.admin)) as found:
        yield found


@pytest.fixture
async def daily(server: StalwartStandIn, admin: Caller) -> AsyncIterator[Mail]:
    """The integration with the daily key, and a tenant whose administrator has a password."""
    async with mail(server.url, basic(*server.admin)) as bootstrapping:
        key = (await StalwartBootstrap(bootstrapping.client, Wanted(installation_id=INSTALLATION)).run()).key
    async with mail(server.url, f"Bearer {key}") as found:
        await found.settle(intent(members=TEAM))
        await password(server, admin, ANNA)
        server.calls.clear()
        yield found


async def password(server: StalwartStandIn, admin: Caller, address: str) -> None:
    credentials = {"credentials": {"0": {"@type": "Password", "secret": PASSWORD}}}
    await admin.change("Account", server.objects.addresses[address][1], credentials)


def suspended(**changes: Any) -> TenantIntent:
    return intent(**{"phase": Phase.SUSPENDED, "established": True, "members": TEAM, **changes})


def resumed(**changes: Any) -> TenantIntent:
    return intent(**{"unlocking": True, "established": True, "members": TEAM, **changes})


def held(**changes: Any) -> TenantIntent:
    return suspended(**{"hold": True, **changes})


def labels(server: StalwartStandIn) -> list[str]:
    return [call.label for call in server.writes]


def stored(server: StalwartStandIn) -> dict[str, dict[str, Record]]:
    kinds = ("Domain", "Role", "Account", "DkimSignature", "MailingList", "MtaInboundThrottle")
    return {kind: deepcopy(server.objects.by_type[kind]) for kind in kinds}


def throttles(server: StalwartStandIn) -> list[Record]:
    found = server.objects.by_type["MtaInboundThrottle"].values()
    return [one for one in found if one["description"].startswith("dezky:")]


def account(server: StalwartStandIn, address: str) -> Record:
    return server.objects.by_type["Account"][server.objects.addresses[address][1]]


# -- the lock ------------------------------------------------------------------------------------


async def test_a_lock_is_one_write_of_the_role(server: StalwartStandIn, daily: Mail) -> None:
    before = stored(server)
    await daily.settle(suspended())
    assert labels(server) == ["x:Role/set update"]
    (role,) = [one for one in server.objects.by_type["Role"].values() if one["description"].endswith(":role")]
    assert role["disabledPermissions"] == {"authenticate": True}
    after = stored(server)
    assert {**after, "Role": before["Role"]} == before, "no domain, no mailbox, no key was written"


async def test_a_locked_mailbox_takes_mail_and_lets_nobody_in(server: StalwartStandIn, daily: Mail) -> None:
    """403, 550 and a closed connection; a wrong password is told apart (facts 11.5)."""
    await daily.settle(suspended())
    async with Caller(server.url, basic(ANNA, PASSWORD)) as anna, Caller(server.url, basic(ANNA, "wrong")) as other:
        assert (await anna.raw(["Core/echo", {}, "c"])).status_code == 403
        assert (await other.raw(["Core/echo", {}, "c"])).status_code == 401
    async with smtp(server.smtp_port) as session:
        assert (await session.log_in(ANNA, PASSWORD)).startswith("550 5.7.1")
        assert await session.send(ANNA) == QUEUED
    async with imap(server.imap_port) as session:
        await session.say(f'a1 LOGIN "{ANNA}" "{PASSWORD}"')
        assert await session.line() is None
    await daily.settle(resumed())
    async with imap(server.imap_port) as session:
        await session.log_in(ANNA, PASSWORD)
        assert "* 1 EXISTS" in await session.ask("SELECT INBOX")


async def test_a_resume_leaves_every_object_as_it_was(server: StalwartStandIn, daily: Mail) -> None:
    await daily.settle(intent(members=TEAM[:1]))  # Bob has left, and stays out
    before = stored(server)
    await daily.settle(held())
    assert stored(server) != before
    await daily.settle(resumed(members=TEAM[:1]))
    assert stored(server) == before


async def test_other_edits_wait_for_the_resume(server: StalwartStandIn, daily: Mail) -> None:
    edited = {"domains": ("acme.test", "two.test"), "mailbox_quota": 5, "members": members(ANNA, "new@acme.test")}
    await daily.settle(suspended(**edited))
    assert "two.test" not in server.objects.names
    assert "new@acme.test" not in server.objects.addresses
    assert account(server, ANNA)["quotas"] == {}
    await daily.settle(resumed(**edited))
    assert "two.test" in server.objects.names
    assert "new@acme.test" in server.objects.addresses
    assert account(server, ANNA)["quotas"] == {"maxDiskQuota": 5}


async def test_a_tenant_that_begins_suspended_is_made_locked(server: StalwartStandIn, daily: Mail) -> None:
    born = intent("beta", phase=Phase.SUSPENDED, members=members(BEN))
    await daily.settle(born)
    assert not server.may_log_in(account(server, BEN))
    await daily.settle(intent("beta", unlocking=True, members=members(BEN)))
    assert server.may_log_in(account(server, BEN))


async def test_a_second_role_of_ours_is_locked_too(server: StalwartStandIn, daily: Mail, admin: Caller) -> None:
    """A doubled role may have mailboxes of its own."""
    (first,) = [one for one in server.objects.by_type["Role"].values() if one["description"].endswith(":role")]
    double = await admin.make("Role", {"description": first["description"], "roleIds": {"b": True}})
    roles = {"roles": {"@type": "Custom", "roleIds": {double["id"]: True}}}
    await admin.change("Account", account(server, "bob@acme.test")["id"], roles)
    await daily.settle(suspended())
    assert not server.may_log_in(account(server, "bob@acme.test"))
    await daily.settle(resumed())
    assert server.may_log_in(account(server, "bob@acme.test"))


@pytest.mark.parametrize(
    "escape",
    [
        {"roles": {"@type": "User"}},
        {"permissions": {"@type": "Replace", "enabledPermissions": {"authenticate": True}}},
    ],
)
async def test_a_mailbox_that_escaped_the_lock_is_told(
    server: StalwartStandIn, daily: Mail, admin: Caller, escape: dict[str, Any]
) -> None:
    """Whose it is only a person can say, so the lock is not complete until one did."""
    await daily.settle(suspended())
    await admin.change("Account", account(server, "bob@acme.test")["id"], escape)
    server.calls.clear()
    found = await daily.round(suspended())
    assert not found.in_sync
    assert "bob@acme.test" in found.obstacles[0].message
    assert server.writes == []


async def test_a_role_opened_by_another_hand_is_closed_again(server: StalwartStandIn, daily: Mail) -> None:
    await daily.settle(suspended())
    (role,) = [one for one in server.objects.by_type["Role"].values() if one["description"].endswith(":role")]
    server.objects.update("Role", role["id"], {"disabledPermissions": {}})
    await daily.settle(suspended())
    assert not server.may_log_in(account(server, ANNA))


# -- holding mail ----------------------------------------------------------------------------------


async def test_held_mail_is_told_to_come_again_and_other_tenants_mail_goes_on(
    server: StalwartStandIn, daily: Mail
) -> None:
    """One message is let through, and stored: 0 is refused by the server (facts 11.8)."""
    await daily.settle(intent("beta", members=members(BEN)))
    await daily.settle(held())
    async with smtp(server.smtp_port) as sender:
        assert await sender.send(ANNA) == QUEUED
        assert await sender.recipient(ANNA, sender="a@one.test") == HELD
        assert await sender.recipient("bob@acme.test", sender="a@two.test") == HELD
        for number in range(3):
            assert await sender.recipient(BEN, sender=f"a@from{number}.test") == TAKEN
    assert len(server.objects.mail[account(server, ANNA)["id"]]) == 1
    await daily.settle(held(hold_active=True))
    await daily.settle(intent("beta", members=members(BEN), phase=Phase.SUSPENDED, established=True, hold=True))
    async with smtp(server.smtp_port) as sender:
        assert await sender.send(BEN, sender="a@three.test") == QUEUED, "every domain is counted by itself"
        assert await sender.recipient(BEN, sender="a@four.test") == HELD


async def test_a_hold_ends_without_the_suspension(server: StalwartStandIn, daily: Mail) -> None:
    await daily.settle(held())
    async with smtp(server.smtp_port) as sender:
        await sender.send(ANNA)
        assert await sender.recipient(ANNA, sender="a@one.test") == HELD
    await daily.settle(suspended(hold_active=True))
    assert throttles(server) == []
    async with smtp(server.smtp_port) as sender:
        assert await sender.recipient(ANNA, sender="a@two.test") == TAKEN
    assert not server.may_log_in(account(server, ANNA))


async def test_without_a_hold_no_setting_is_read_or_written(server: StalwartStandIn, daily: Mail) -> None:
    await daily.settle(suspended())
    assert not [call for call in server.calls if "Throttle" in call.label or "Action" in call.label]


async def test_a_held_tenant_in_sync_writes_nothing(server: StalwartStandIn, daily: Mail) -> None:
    await daily.settle(held())
    server.calls.clear()
    await daily.settle(held(hold_active=True))
    assert server.writes == []


@pytest.mark.parametrize(
    "change", [{"enable": False}, {"rate": {"count": 9, "period": TEN_YEARS}}, {"rate": {"count": 1, "period": 1000}},
               {"key": {"rcpt": True}}, {"match": {"else": "rcpt_domain = 'other.test'"}}],
)  # fmt: skip
async def test_a_weakened_hold_is_made_again(server: StalwartStandIn, daily: Mail, change: dict[str, Any]) -> None:
    await daily.settle(held())
    (found,) = throttles(server)
    server.objects.update("MtaInboundThrottle", found["id"], change)
    await daily.settle(held(hold_active=True))
    (found,) = throttles(server)
    assert found["enable"] is True
    assert found["key"] == {"rcptDomain": True}
    assert found["rate"] == {"count": 1, "period": TEN_YEARS}
    assert [one["id"] for one in server.live.throttles if one["description"] == found["description"]] == [found["id"]]


async def test_a_bad_setting_of_somebody_else_holds_up_the_reload_and_is_named(
    server: StalwartStandIn, daily: Mail, admin: Caller
) -> None:
    """A reload applies nothing at all while any one setting is bad (facts 11.0.13)."""
    secret = {"@type": "EnvironmentVariable", "variableName": "NOT_SET_ANYWHERE"}
    hook = await admin.make("WebHook", {"url": "https://theirs.test/", "signatureKey": secret})
    plan = await daily.planned(held())
    for step in plan.steps:
        if step.kind == "settings":
            with pytest.raises(Rejected) as refused:
                await daily.integration.perform(step)
            assert f"WebHook {hook['id']}" in str(refused.value)
            assert "mail is not held or let go yet" in str(refused.value)
        else:
            await daily.integration.perform(step)
    async with smtp(server.smtp_port) as sender:
        await sender.send(ANNA)
        assert await sender.recipient(ANNA, sender="a@one.test") == TAKEN
    assert [step.kind for step in (await daily.planned(held(hold_active=None))).steps] == ["settings"]
    await admin.remove("WebHook", hook["id"])
    await daily.settle(held(hold_active=None))
    async with smtp(server.smtp_port) as sender:
        await sender.send(ANNA)
        assert await sender.recipient(ANNA, sender="a@two.test") == HELD


async def test_an_operator_that_dies_before_the_reload_is_followed_by_one_that_reloads(
    server: StalwartStandIn, daily: Mail
) -> None:
    """What was written ahead says that a hold was begun; whether it was loaded nobody knows."""
    for step in (await daily.planned(held())).steps:
        if step.kind != "settings":
            await daily.integration.perform(step)
    async with mail(server.url, daily.given.header) as successor:
        await successor.settle(held(hold_active=None))
    assert [one["id"] for one in server.live.throttles if one["description"].startswith("dezky:")] == [
        one["id"] for one in throttles(server)
    ]
    assert len(throttles(server)) == 1


@pytest.mark.parametrize("number", range(3))
async def test_a_hold_whose_answers_are_lost_is_there_once(server: StalwartStandIn, daily: Mail, number: int) -> None:
    server.faults.append(Fault(match="/set", times=1, after=number, lost=True))
    await daily.round(held())
    server.faults.clear()
    await daily.settle(held(hold_active=None))
    assert len(throttles(server)) == 1
    assert not server.may_log_in(account(server, ANNA))


async def test_a_plan_that_is_applied_twice_makes_one_hold(server: StalwartStandIn, daily: Mail) -> None:
    """Descriptions are not unique: a second one would go on holding mail when the first is taken away."""
    plan = await daily.planned(held())
    for _ in range(2):
        applied = await apply(plan, {System.STALWART: daily.integration}, NoRecorder())
        assert applied.failed == {}
    assert len(throttles(server)) == 1


async def test_a_purge_takes_the_holds_with_it(server: StalwartStandIn, daily: Mail) -> None:
    default = [one["id"] for one in server.objects.by_type["MtaInboundThrottle"].values()]
    await daily.settle(held())
    await daily.settle(intent(phase=Phase.PURGED, hold_active=True, known_domains=("acme.test",)))
    assert list(server.objects.by_type["MtaInboundThrottle"]) == default
    assert not [one for one in server.live.throttles if one["description"].startswith("dezky:")]
    assert ANNA not in server.objects.addresses


# -- whose a domain and a mailbox is ------------------------------------------------------------------


@pytest.mark.parametrize("adoption", list(Adoption))
async def test_the_servers_own_domain_is_never_taken(server: StalwartStandIn, daily: Mail, adoption: Adoption) -> None:
    """The operator's own account is in it: with it taken, a tenant's suspension would lock the operator out."""
    before = deepcopy(server.objects.by_type["Domain"]["b"])
    own = intent("beta", domains=("dezky.test",), adoption=adoption, members=members("dezky-operator@dezky.test"))
    found = await daily.round(own)
    assert server.objects.by_type["Domain"]["b"] == before
    assert ["own default domain" in obstacle.message for obstacle in found.obstacles] == [True]
    assert (await daily.integration.domain_marks(["dezky.test"]))["dezky.test"] == "dezky:server:platform"


async def test_who_leaves_after_the_domain_was_detached_loses_the_log_in(server: StalwartStandIn, daily: Mail) -> None:
    await daily.settle(intent(members=members(ANNA, "bob@acme.test", "cleo@acme.test")))
    detached = intent(domains=("two.test",), known_domains=("acme.test",), members=members(ANNA, "bob@acme.test"))
    await daily.settle(detached)
    assert server.may_log_in(account(server, "bob@acme.test"))
    assert not server.may_log_in(account(server, "cleo@acme.test"))
    await daily.settle(replace(detached, members=members(ANNA, "bob@acme.test", "cleo@acme.test")))
    assert server.may_log_in(account(server, "cleo@acme.test"))


async def test_a_user_name_that_mail_would_change_gets_no_mailbox_and_holds_nothing_up(
    server: StalwartStandIn, daily: Mail
) -> None:
    """Stalwart would make `janedoe@` of it, somebody else's address perhaps."""
    plan = await daily.settle(intent(members=members(ANNA, "Jane Doe@acme.test", "janedoe@acme.test")))
    assert plan == Plan()
    assert "janedoe@acme.test" in server.objects.addresses


async def test_a_refused_mailbox_is_named_with_its_address(server: StalwartStandIn, daily: Mail) -> None:
    error = {"notCreated": {"new": {"type": "invalidProperties", "properties": ["name"]}}}
    body = json.dumps({"methodResponses": [["x:Account/set", error, "c0"]], "sessionState": "0"})
    (step,) = (await daily.planned(intent(members=members(ANNA, "bob@acme.test", "new@acme.test")))).steps
    server.faults.append(Fault(match="x:Account/set create", status=200, body=body))
    with pytest.raises(Rejected) as refused:
        await daily.integration.perform(step)
    for word in ("new@acme.test", "invalidProperties name", "Expected"):
        assert word in str(refused.value)


async def test_who_comes_who_goes_and_what_was_confirmed_is_no_drift(server: StalwartStandIn, daily: Mail) -> None:
    """With driftPolicy ReportOnly these are still done; a changed quota is only told."""
    account(server, ANNA)["quotas"] = {"maxDiskQuota": 7}
    wanted = intent(known_domains=("acme.test",), members=members(ANNA, "new@acme.test"))
    found = (await daily.planned(wanted)).asked
    assert sorted((step.verb, step.name) for step in found.steps) == [
        ("create", "new@acme.test"), ("create", "role of people who left acme"), ("disable", "bob@acme.test"),
    ]  # fmt: skip
    gone = intent(domains=(), known_domains=("acme.test",), removable=frozenset({"acme.test"}), members=())
    assert {step.verb for step in (await daily.planned(gone)).asked.steps} == {"delete"}
    published = intent(members=TEAM, published_dkim=frozenset({("acme.test", "dezky1-rsa")}))
    assert [step.kind for step in (await daily.planned(published)).asked.steps] == ["dkim"]
