"""Stalwart's stand-in, logging in: what a suspended role closes at once, and what it leaves open."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.sandbox.stalwart.caller import PASSWORD, Caller, Tenant, basic, made_tenant, resume, suspend
from tests.sandbox.stalwart.connections import imap, smtp
from tests.sandbox.stalwart.server import StalwartStandIn

WRONG = "Not-the-password-9"
NO = "535 5.7.8 Authentication credentials invalid."
NOT_YOU = "550 5.7.1 Your account is not authorized to use this service."
FAILED = "NO [AUTHENTICATIONFAILED] Authentication failed"


@pytest.fixture
async def server() -> AsyncIterator[StalwartStandIn]:
    async with StalwartStandIn() as found:
        yield found


@pytest.fixture
async def admin(server: StalwartStandIn) -> AsyncIterator[Caller]:
    async with Caller(server.url, basic(*server.admin)) as found:
        yield found


@pytest.fixture
async def tenant(admin: Caller) -> Tenant:
    return await made_tenant(admin)


async def http(server: StalwartStandIn, user: str, password: str) -> tuple[int, int, int]:
    """Statuses of the three ways to see whether a user gets in."""
    async with Caller(server.url, basic(user, password)) as caller:
        account, session = await caller.http.get("/api/account"), await caller.http.get("/jmap/session")
        return account.status_code, session.status_code, (await caller.raw(["Core/echo", {}, "e"])).status_code


async def by_smtp(server: StalwartStandIn, user: str, password: str) -> str:
    async with smtp(server.smtp_port) as sender:
        return await sender.log_in(user, password)


async def by_imap(server: StalwartStandIn, user: str, password: str) -> list[str]:
    async with imap(server.imap_port) as mailbox:
        return await mailbox.log_in(user, password)


# -- who gets in --------------------------------------------------------------------------------------


async def test_the_right_password_opens_all_three(server: StalwartStandIn, tenant: Tenant) -> None:
    assert await http(server, tenant.address, PASSWORD) == (200, 200, 200)
    assert await by_smtp(server, tenant.address, PASSWORD) == "235 2.7.0 Authentication succeeded."
    assert (await by_imap(server, tenant.address, PASSWORD))[-1].startswith("a1 OK ")


async def test_a_wrong_password_opens_none(server: StalwartStandIn, tenant: Tenant) -> None:
    assert await http(server, tenant.address, WRONG) == (401, 401, 401)
    assert await by_smtp(server, tenant.address, WRONG) == NO
    assert await by_imap(server, tenant.address, WRONG) == [f"a1 {FAILED}"]


@pytest.mark.parametrize("user", ["nobody@acme.test", "jane@nowhere.test", "", "jane"])
async def test_whoever_is_unknown_is_answered_as_with_a_wrong_password(
    user: str, server: StalwartStandIn, tenant: Tenant
) -> None:
    del tenant
    assert await http(server, user, PASSWORD) == (401, 401, 401)
    assert await by_smtp(server, user, PASSWORD) == NO


async def test_a_name_without_a_domain_is_of_the_default_domain(admin: Caller, server: StalwartStandIn) -> None:
    credentials = {"0": {"@type": "Password", "secret": PASSWORD}}
    await admin.make("Account", {"@type": "User", "name": "peter", "domainId": "b", "credentials": credentials})
    assert (await http(server, "Peter", PASSWORD))[0] == 200


async def test_an_alias_logs_in_until_that_is_forbidden(admin: Caller, tenant: Tenant, server: StalwartStandIn) -> None:
    await admin.change("Account", tenant.account, {"aliases/0": {"name": "j.doe", "domainId": tenant.domain}})
    assert (await http(server, "j.doe@acme.test", PASSWORD))[0] == 200
    await admin.change("Role", tenant.role, {"disabledPermissions/authenticateWithAlias": True})
    assert (await http(server, "j.doe@acme.test", PASSWORD))[0] == 401


async def test_an_account_without_a_credential_lets_nobody_in(
    admin: Caller, tenant: Tenant, server: StalwartStandIn
) -> None:
    await admin.make("Account", {"@type": "User", "name": "bob", "domainId": tenant.domain})
    assert (await http(server, "bob@acme.test", ""))[0] == 401


async def test_a_password_can_be_set_on_an_account_that_had_none(
    admin: Caller, tenant: Tenant, server: StalwartStandIn
) -> None:
    key = (await admin.make("Account", {"@type": "User", "name": "canary", "domainId": tenant.domain}))["id"]
    await admin.change("Account", key, {"credentials": {"0": {"@type": "Password", "secret": PASSWORD}}})
    assert (await http(server, "canary@acme.test", PASSWORD))[0] == 200


# -- suspended ---------------------------------------------------------------------------------------------


async def test_suspended_is_told_from_a_wrong_password(admin: Caller, tenant: Tenant, server: StalwartStandIn) -> None:
    await suspend(admin, tenant)
    assert await http(server, tenant.address, PASSWORD) == (403, 403, 403)
    assert await http(server, tenant.address, WRONG) == (401, 401, 401)
    assert await by_smtp(server, tenant.address, PASSWORD) == NOT_YOU
    assert await by_smtp(server, tenant.address, WRONG) == NO
    assert await by_imap(server, tenant.address, PASSWORD) == [], "closed without a line"
    assert await by_imap(server, tenant.address, WRONG) == [f"a1 {FAILED}"]


async def test_the_next_request_of_a_client_that_was_in_is_refused(
    admin: Caller, tenant: Tenant, server: StalwartStandIn
) -> None:
    async with Caller(server.url, tenant.header) as jane:
        assert (await jane.http.get("/api/account")).status_code == 200
        await suspend(admin, tenant)
        answer = await jane.http.get("/api/account")
        assert answer.status_code == 403
        assert answer.json()["detail"] == "You do not have enough permissions to access this resource."
        await resume(admin, tenant)
        assert (await jane.http.get("/api/account")).status_code == 200


async def test_a_suspended_user_s_keys_and_app_passwords_are_refused_too(
    admin: Caller, tenant: Tenant, server: StalwartStandIn
) -> None:
    key = await admin.make("ApiKey", {"description": "k"}, accountId=tenant.account)
    app = await admin.make("AppPassword", {"description": "k"}, accountId=tenant.account)
    await suspend(admin, tenant)
    async with Caller(server.url, f"Bearer {key['secret']}") as jane:
        assert (await jane.http.get("/api/account")).status_code == 403
    assert (await http(server, tenant.address, app["secret"]))[0] == 403
    assert await by_smtp(server, tenant.address, app["secret"]) == NOT_YOU
    assert await by_imap(server, tenant.address, app["secret"]) == []


async def test_one_disabled_role_among_several_is_enough(
    admin: Caller, tenant: Tenant, server: StalwartStandIn
) -> None:
    lock = await admin.make("Role", {"description": "lock", "disabledPermissions": {"authenticate": True}})
    await admin.change("Account", tenant.account, {f"roles/roleIds/{lock['id']}": True})
    assert (await http(server, tenant.address, PASSWORD))[0] == 403


async def test_a_disabled_parent_is_enough(admin: Caller, tenant: Tenant, server: StalwartStandIn) -> None:
    lock = await admin.make("Role", {"description": "lock", "disabledPermissions": {"authenticate": True}})
    middle = await admin.make("Role", {"description": "middle", "roleIds": {lock["id"]: True}})
    await admin.change("Role", tenant.role, {f"roleIds/{middle['id']}": True})
    assert (await http(server, tenant.address, PASSWORD))[0] == 403


async def test_other_tenants_go_on(admin: Caller, tenant: Tenant, server: StalwartStandIn) -> None:
    other = await made_tenant(admin, "beta.test")
    await suspend(admin, tenant)
    assert (await http(server, other.address, PASSWORD))[0] == 200


async def test_one_account_can_be_locked_alone(admin: Caller, tenant: Tenant, server: StalwartStandIn) -> None:
    merge = {"@type": "Merge", "disabledPermissions": {"authenticate": True}}
    await admin.change("Account", tenant.account, {"permissions": merge})
    assert (await http(server, tenant.address, PASSWORD))[0] == 403
    assert not server.may_log_in(server.objects.by_type["Account"][tenant.account])


async def test_without_email_send_only_sending_is_refused(
    admin: Caller, tenant: Tenant, server: StalwartStandIn
) -> None:
    await admin.change("Role", tenant.role, {"disabledPermissions/emailSend": True})
    assert await by_smtp(server, tenant.address, PASSWORD) == NOT_YOU
    assert (await by_imap(server, tenant.address, PASSWORD))[-1].startswith("a1 OK ")
    assert (await http(server, tenant.address, PASSWORD))[0] == 200


async def test_sessions_that_are_open_go_on(admin: Caller, tenant: Tenant, server: StalwartStandIn) -> None:
    async with imap(server.imap_port) as mailbox, smtp(server.smtp_port) as sender:
        await mailbox.log_in(tenant.address, PASSWORD)
        await sender.log_in(tenant.address, PASSWORD)
        await suspend(admin, tenant)
        assert await sender.send(tenant.address, sender=tenant.address) == "250 2.0.0 Message queued"
        assert await sender.recipient("x@far.away.test", sender=tenant.address) == "250 2.1.5 OK"
        assert await mailbox.ask("SELECT INBOX") == ["* 1 EXISTS", "a1 OK SELECT completed"]
        assert "hello" in "\n".join(await mailbox.ask("FETCH 1 (BODY[])"))


async def test_an_imap_session_outlives_its_account(admin: Caller, tenant: Tenant, server: StalwartStandIn) -> None:
    async with imap(server.imap_port) as mailbox:
        await mailbox.log_in(tenant.address, PASSWORD)
        await admin.remove("Account", tenant.account)
        assert await mailbox.ask("NOOP") == ["a1 OK NOOP completed"]


async def test_nothing_is_read_before_a_log_in(server: StalwartStandIn) -> None:
    async with imap(server.imap_port) as mailbox:
        assert await mailbox.ask("SELECT INBOX") == ["a1 BAD Not authenticated"]


# -- other ways to say who one is ---------------------------------------------------------------------------


async def test_imap_and_smtp_take_plain_without_an_initial_answer(server: StalwartStandIn, tenant: Tenant) -> None:
    async with imap(server.imap_port) as mailbox:
        await mailbox.say("a1 AUTHENTICATE PLAIN")
        assert await mailbox.line() == "+ "
        await mailbox.say(_plain(tenant.address, PASSWORD))
        assert (await mailbox.line() or "").startswith("a1 OK ")
    async with smtp(server.smtp_port) as sender:
        assert await sender.ask("AUTH PLAIN") == "334 "
        assert (await sender.ask(_plain(tenant.address, PASSWORD))).startswith("235")


@pytest.mark.parametrize("bad", ["AUTH PLAIN %%%", "AUTH PLAIN YQ==", "AUTH CRAM-MD5"])
async def test_what_can_not_be_read_is_refused_and_the_session_goes_on(bad: str, server: StalwartStandIn) -> None:
    async with smtp(server.smtp_port) as sender:
        assert (await sender.ask(bad))[:3] in {"500", "504"}
        assert (await sender.ask("NOOP")).startswith("250")


# -- app passwords over IMAP ------------------------------------------------------------------------------------


async def _app(admin: Caller, tenant: Tenant, **more: Any) -> dict[str, Any]:
    return await admin.make("AppPassword", {"description": "phone", **more}, accountId=tenant.account)


async def test_an_app_password_opens_all_three(admin: Caller, tenant: Tenant, server: StalwartStandIn) -> None:
    secret = (await _app(admin, tenant))["secret"]
    assert secret.startswith("app_")
    assert await http(server, tenant.address, secret) == (200, 200, 200)
    assert (await by_smtp(server, tenant.address, secret)).startswith("235")
    assert (await by_imap(server, tenant.address, secret))[-1].startswith("a1 OK ")


async def test_a_destroyed_app_password_is_answered_without_the_tag(
    admin: Caller, tenant: Tenant, server: StalwartStandIn
) -> None:
    app = await _app(admin, tenant)
    await admin.remove("AppPassword", app["id"], accountId=tenant.account)
    async with imap(server.imap_port) as mailbox:
        await mailbox.say(f"a1 LOGIN {tenant.address} {app['secret']}")
        assert await mailbox.line() == f"* {FAILED}"
        assert await mailbox.ask("NOOP") == ["a1 OK NOOP completed"], "and no tagged line comes for the log-in"


async def test_an_expired_app_password_is_never_answered(
    admin: Caller, tenant: Tenant, server: StalwartStandIn
) -> None:
    app = await _app(admin, tenant, expiresAt="2020-01-01T00:00:00Z")
    async with imap(server.imap_port) as mailbox:
        await mailbox.say(f"a1 LOGIN {tenant.address} {app['secret']}")
        assert await mailbox.ask("NOOP") == ["a1 OK NOOP completed"], "the next command's answer comes first"


def _plain(user: str, password: str) -> str:
    return base64.b64encode(f"\0{user}\0{password}".encode()).decode()
