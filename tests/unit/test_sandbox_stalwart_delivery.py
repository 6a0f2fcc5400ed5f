"""Stalwart's stand-in, mail: which addresses are taken, and what becomes of what was taken."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.sandbox.stalwart.caller import PASSWORD, Caller, Tenant, basic, made_tenant, resume, suspend
from tests.sandbox.stalwart.connections import imap, smtp
from tests.sandbox.stalwart.server import StalwartStandIn

TAKEN, QUEUED = "250 2.1.5 OK", "250 2.0.0 Message queued"
NO_BOX, NO_RELAY = "550 5.1.2 Mailbox does not exist.", "550 5.1.2 Relay not allowed."


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


async def test_accounts_are_taken_and_nobody_else(server: StalwartStandIn, tenant: Tenant) -> None:
    async with smtp(server.smtp_port) as sender:
        assert await sender.recipient(tenant.address) == TAKEN
        assert await sender.recipient("JANE@Acme.test") == TAKEN
        assert await sender.recipient("nobody@acme.test") == NO_BOX
        assert await sender.recipient("postmaster@acme.test") == NO_BOX, "there is none until somebody makes it"
        assert await sender.recipient("jane@nowhere.test") == NO_RELAY


async def test_a_suspended_mailbox_takes_mail_and_shows_it_after_resume(
    admin: Caller, tenant: Tenant, server: StalwartStandIn
) -> None:
    await suspend(admin, tenant)
    async with smtp(server.smtp_port) as sender:
        assert await sender.send(tenant.address) == QUEUED
    await resume(admin, tenant)
    async with imap(server.imap_port) as mailbox:
        await mailbox.log_in(tenant.address, PASSWORD)
        assert "* 1 EXISTS" in await mailbox.ask("SELECT INBOX")


async def test_an_account_without_credentials_takes_mail(
    admin: Caller, tenant: Tenant, server: StalwartStandIn
) -> None:
    await admin.make("Account", {"@type": "User", "name": "bob", "domainId": tenant.domain})
    async with smtp(server.smtp_port) as sender:
        assert await sender.send("bob@acme.test") == QUEUED


async def test_without_email_receive_mail_is_taken_and_then_sent_back(
    admin: Caller, tenant: Tenant, server: StalwartStandIn
) -> None:
    await admin.change("Role", tenant.role, {"disabledPermissions/emailReceive": True})
    async with smtp(server.smtp_port) as sender:
        assert await sender.recipient(tenant.address) == TAKEN
        assert await sender.send(tenant.address) == QUEUED
    reason = "550 5.5.0 This account is not authorized to receive email."
    assert server.mailroom.bounced == [(tenant.address, reason)]
    assert not server.objects.mail[tenant.account]


async def test_over_its_quota_a_mailbox_takes_mail_that_then_waits(
    admin: Caller, tenant: Tenant, server: StalwartStandIn
) -> None:
    await admin.change("Account", tenant.account, {"quotas/maxDiskQuota": 40})
    async with smtp(server.smtp_port) as sender:
        assert await sender.send(tenant.address) == QUEUED
        assert await sender.send(tenant.address, "Subject: long\r\n\r\n" + "x" * 100) == QUEUED
    assert server.mailroom.queued == [(tenant.address, "451 4.3.0 Mailbox over quota.")]
    found = await admin.one("Account", tenant.account)
    assert 0 < found["usedDiskQuota"] <= 40


async def test_aliases_of_accounts_and_of_domains_lead_to_the_mailbox(
    admin: Caller, tenant: Tenant, server: StalwartStandIn
) -> None:
    await admin.change("Account", tenant.account, {"aliases/0": {"name": "j.doe", "domainId": tenant.domain}})
    await admin.change("Domain", tenant.domain, {"aliases/acme.eu": True})
    async with smtp(server.smtp_port) as sender:
        for address in ("j.doe@acme.test", "jane@acme.eu", "jane+news@acme.test"):
            assert await sender.send(address) == QUEUED
    assert len(server.objects.mail[tenant.account]) == 3


async def test_a_catch_all_takes_every_name(admin: Caller, tenant: Tenant, server: StalwartStandIn) -> None:
    await admin.change("Domain", tenant.domain, {"catchAllAddress": tenant.address})
    async with smtp(server.smtp_port) as sender:
        assert await sender.send("anybody@acme.test") == QUEUED
    assert len(server.objects.mail[tenant.account]) == 1


async def test_a_list_gives_each_of_its_members_a_copy(admin: Caller, tenant: Tenant, server: StalwartStandIn) -> None:
    bob = await admin.make("Account", {"@type": "User", "name": "bob", "domainId": tenant.domain})
    recipients = {tenant.address: True, "bob@acme.test": True}
    await admin.make("MailingList", {"name": "all", "domainId": tenant.domain, "recipients": recipients})
    async with smtp(server.smtp_port) as sender:
        assert await sender.send("all@acme.test") == QUEUED
    assert [len(server.objects.mail[key]) for key in (tenant.account, bob["id"])] == [1, 1]


async def test_only_who_logged_in_sends_elsewhere(server: StalwartStandIn, tenant: Tenant) -> None:
    async with smtp(server.smtp_port) as sender:
        assert await sender.recipient("x@nowhere.test", sender=tenant.address) == NO_RELAY
        await sender.log_in(tenant.address, PASSWORD)
        assert await sender.send("x@nowhere.test", sender=tenant.address) == QUEUED
    assert server.mailroom.outbound == ["x@nowhere.test"]


async def test_mail_of_a_destroyed_domain_is_relayed_no_more(
    admin: Caller, tenant: Tenant, server: StalwartStandIn
) -> None:
    await admin.remove("Account", tenant.account)
    await admin.remove("Domain", tenant.domain)
    async with smtp(server.smtp_port) as sender:
        assert await sender.recipient(tenant.address) == NO_RELAY


async def test_commands_come_in_their_order(server: StalwartStandIn, tenant: Tenant) -> None:
    async with smtp(server.smtp_port) as sender:
        assert await sender.ask(f"RCPT TO:<{tenant.address}>") == "503 5.5.1 MAIL is required first."
        await sender.ask("MAIL FROM:<a@elsewhere.test>")
        assert (await sender.ask("DATA")).startswith("503")
        assert (await sender.ask("SING")).startswith("500")
        await sender.ask("RSET")
        assert (await sender.ask(f"RCPT TO:<{tenant.address}>")).startswith("503")
        assert (await sender.ask("QUIT")).startswith("221")
        assert await sender.line() is None


async def test_a_connection_that_breaks_in_the_middle_delivers_nothing(server: StalwartStandIn, tenant: Tenant) -> None:
    async with smtp(server.smtp_port) as sender:
        await sender.recipient(tenant.address)
        await sender.ask("DATA")
        await sender.say("Subject: half")
    async with smtp(server.smtp_port) as sender:
        await sender.send(tenant.address)
    assert [b"half" in message for message in server.objects.mail[tenant.account]] == [False]
