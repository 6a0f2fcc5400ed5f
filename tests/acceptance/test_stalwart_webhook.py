"""Webhooks of Stalwart: the object, what a delivery looks like, and the operator's own way in behind a real one.

facts/stalwart.md 5 and 11.7; C097 to C104. Stalwart must reach this host on loopback.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dezky_operator.audit.recorder import NoRecorder
from dezky_operator.http.application import WEBHOOK
from dezky_operator.integrations.stalwart.client import StalwartClient
from dezky_operator.integrations.stalwart.directory import addresses
from dezky_operator.integrations.stalwart.ids import as_id
from dezky_operator.integrations.stalwart.webhook import WebhookState, ensure_webhook, verify_webhook
from dezky_operator.integrations.stalwart.webhook_plan import MARK, PROBE, WANTED
from dezky_operator.integrations.steps import System
from tests.acceptance import reconcile
from tests.acceptance.jmap import Jmap, eventually
from tests.acceptance.postbox import Postbox
from tests.acceptance.targets import Mail, basic
from tests.receiver import NUDGE, Receiver, receiver
from tests.webhooks import SECRET, Door, door

INSTALLATION = "5a0c3c5e-6f4f-4a4e-8a55-0d2f0b1c7e12"
KEY, NEW = SECRET.decode(), "another key of thirty-two letters"
CONNECTION = {"spanId", "listenerId", "localPort", "remoteIp", "remotePort"}


@pytest.fixture
async def told(jmap: Jmap) -> AsyncIterator[Receiver]:
    async with receiver() as found:
        found.nudge = lambda: jmap.call(NUDGE, ids=None)
        yield found


@pytest.fixture
async def client(stalwart: Mail, jmap: Jmap) -> AsyncIterator[StalwartClient]:
    """The operator's client; hooks of its installation go afterwards."""
    async with reconcile.connection(System.STALWART, stalwart.web, stalwart.web.header) as found:
        yield StalwartClient(found)
    for hook in (await jmap.ok("x:WebHook/get", ids=None))["list"]:
        if hook["httpHeaders"].get(MARK, "").startswith(f"dezky:{INSTALLATION}:"):
            await jmap.raze("WebHook", hook["id"])
    await jmap.reload()


@pytest.fixture
async def webhook(tmp_path: Path) -> AsyncIterator[Door]:
    async with door(tmp_path) as opened:
        yield opened


@pytest.fixture
async def person(jmap: Jmap, slug: str) -> tuple[str, str, str]:
    """Id, address and password of an account."""
    domain = (await jmap.make("Domain", name=f"{slug}.test", dkimManagement={"@type": "Manual"}))["id"]
    password = secrets.token_urlsafe(18)
    credentials = {"0": {"@type": "Password", "secret": password}}
    made = await jmap.make("Account", **{"@type": "User"}, name="ann", domainId=domain, credentials=credentials)
    return made["id"], f"ann@{slug}.test", password


async def hooked(jmap: Jmap, told: Receiver, *events: str, **more: Any) -> str:
    """A hook for some events, loaded."""
    wanted = dict.fromkeys((*events, PROBE), True)
    key = {"@type": "Value", "secret": KEY}
    body = {"url": told.url, "eventsPolicy": "include", "events": wanted, "signatureKey": key, "throttle": 100}
    made = await jmap.make("WebHook", **{**body, **more})
    await jmap.reload()
    return str(made["id"])


async def ensured(client: StalwartClient, url: str, key: str = KEY, *, works: bool = False) -> WebhookState:
    return await ensure_webhook(
        client, url=url, key=key, installation_id=INSTALLATION, recorder=NoRecorder(), works=works
    )


async def verified(client: StalwartClient, webhook: Door) -> bool:
    heard = webhook.ingress.hear
    return await verify_webhook(client, token=secrets.token_hex(6), heard=heard, within=30.0)


# -- what a delivery looks like ------------------------------------------------------------------------------


async def test_a_delivery_is_signed_in_base64_over_its_bytes(jmap: Jmap, told: Receiver) -> None:
    """C098: base64 with padding, never hex."""
    await hooked(jmap, told, httpHeaders={MARK: "dezky:test:webhook:0"})
    await jmap.call(NUDGE, ids=None)
    await told.has(PROBE)
    delivery = told.deliveries[0]
    assert delivery.is_signed_with(KEY)
    assert delivery.headers["Content-Type"] == "application/json"
    assert delivery.headers[MARK] == "dezky:test:webhook:0"
    assert delivery.body.startswith(b'{"events":[{"id":"')
    assert "Content-Encoding" not in delivery.headers


async def test_a_method_that_is_not_there_is_told_with_its_name(jmap: Jmap, told: Receiver) -> None:
    """What the operator verifies its webhook with."""
    await hooked(jmap, told)
    name = f"x:DezkyWebhook{secrets.token_hex(4)}/get"
    await jmap.call(name, ids=None)
    await told.has(PROBE)
    event = next(event for event in told.events(PROBE) if event["data"]["details"] == name)
    assert set(event) == {"id", "createdAt", "type", "data"}
    assert set(event["data"]) == {"details", "accountId", "causedBy"} | CONNECTION
    assert event["createdAt"].endswith("Z")
    assert len(event["createdAt"]) == len("2026-11-24T04:04:17Z")


async def test_a_log_in_names_the_account_by_its_number(
    jmap: Jmap, told: Receiver, stalwart: Mail, person: tuple[str, str, str]
) -> None:
    account, address, password = person
    await hooked(jmap, told, "auth.success", "auth.failed")
    box = Postbox(stalwart.smtp, stalwart.submission, stalwart.imap)
    assert await box.read(address, password) == "OK"
    await told.has("auth.success")
    (event,) = [one for one in told.events("auth.success") if one["data"]["accountName"] == address]
    assert as_id(event["data"]["accountId"]) == account
    assert set(event["data"]) == {"accountName", "accountId"} | CONNECTION


async def test_failures_tell_as_much_as_there_is(
    jmap: Jmap, told: Receiver, stalwart: Mail, person: tuple[str, str, str]
) -> None:
    _, address, _ = person
    await hooked(jmap, told, "auth.failed")
    for user in (address, address.replace("ann@", "nobody@"), f"eve@{secrets.token_hex(4)}.test"):
        async with stalwart.web.client(basic(user, "wrong")) as http:
            await http.get("/api/account")
    await told.has("auth.failed", 3)
    known, unknown, elsewhere = sorted(told.events("auth.failed"), key=lambda one: one["data"]["reason"])
    assert set(known["data"]) == {"accountName", "reason"} | CONNECTION
    assert known["data"]["reason"] == "Account not found"
    assert set(unknown["data"]) == {"accountName", "accountId", "reason"} | CONNECTION
    assert unknown["data"]["reason"] == "Authentication failed"
    assert set(elsewhere["data"]) == {"details", "reason"} | CONNECTION
    assert elsewhere["data"]["reason"] == "Domain not found"


async def test_a_suspended_log_in_is_told_as_a_success_and_then_as_unauthorized(
    jmap: Jmap, told: Receiver, stalwart: Mail, person: tuple[str, str, str]
) -> None:
    account, address, password = person
    locked = {"@type": "Merge", "disabledPermissions": {"authenticate": True}}
    assert await jmap.patch("Account", account, {"permissions": locked}) is None
    await hooked(jmap, told, "auth.success", "security.unauthorized")
    async with stalwart.web.client(basic(address, password)) as http:
        assert (await http.get("/api/account")).status_code == 403
    await told.has("security.unauthorized")
    assert {event["type"] for event in told.events()} == {"auth.success", "security.unauthorized"}
    data = told.events("security.unauthorized")[0]["data"]
    assert set(data) == {"details", "accountId"} | CONNECTION
    assert as_id(data["accountId"]) == account


async def test_a_delivery_of_mail_is_told_without_delivered(
    jmap: Jmap, told: Receiver, stalwart: Mail, person: tuple[str, str, str]
) -> None:
    account, address, _ = person
    kinds = ("queue.message-queued", "message-ingest.ham", "message-ingest.spam", "delivery.dsn-success")
    await hooked(jmap, told, *kinds, "delivery.completed", "delivery.delivered")
    box = Postbox(stalwart.smtp, stalwart.submission, stalwart.imap)
    assert (await box.deliver(address, "hello")).code == 250
    await told.has("delivery.completed")
    found = {event["type"]: event["data"] for event in told.events()}
    assert "delivery.delivered" not in found
    ingest = found.get("message-ingest.ham") or found["message-ingest.spam"]
    assert as_id(ingest["accountId"]) == account
    assert found["queue.message-queued"]["to"] == found["delivery.completed"]["to"] == [address]
    assert found["delivery.dsn-success"]["to"] == address
    assert {"accountId", "from", "queueId", "size"} <= set(ingest)


# -- how it is delivered -------------------------------------------------------------------------------------


async def test_what_was_refused_comes_again_merged_and_under_new_ids(jmap: Jmap, told: Receiver) -> None:
    told.answer = 500
    await hooked(jmap, told)
    await jmap.call("x:DezkyFirst/get", ids=None)
    await told.has(PROBE)
    await jmap.call("x:DezkySecond/get", ids=None)
    await told.has(PROBE, 3)
    told.answer = 200

    async def merged() -> bool:
        return len(told.deliveries[-1].events) >= 2

    await eventually(merged, "they never came in one body")
    first = told.deliveries[0].events[0]
    again = next(one for one in told.deliveries[-1].events if one["data"] == first["data"])
    assert (again["createdAt"], again["type"]) == (first["createdAt"], first["type"])
    assert again["id"] != first["id"], "which is why ids say nothing about what was delivered"


async def test_a_hook_that_runs_keeps_its_address_until_it_was_off(jmap: Jmap, told: Receiver) -> None:
    key = await hooked(jmap, told)
    assert await jmap.patch("WebHook", key, {"url": "http://127.0.0.1:9/gone"}) is None
    await jmap.reload()
    await jmap.call(NUDGE, ids=None)
    await told.has(PROBE)


async def test_nothing_is_sent_before_a_reload(jmap: Jmap, told: Receiver) -> None:
    async with receiver() as other:
        key = {"@type": "Value", "secret": KEY}
        await hooked(jmap, told)
        await jmap.make("WebHook", url=other.url, signatureKey=key, eventsPolicy="include", events={PROBE: True})
        await jmap.call(NUDGE, ids=None)
        await told.has(PROBE)
        assert other.deliveries == []


async def test_a_key_does_not_come_back_and_headers_do(jmap: Jmap, told: Receiver) -> None:
    """So a header can say which key a hook has."""
    hook = await jmap.get("WebHook", await hooked(jmap, told, httpHeaders={MARK: "dezky:test:webhook:0"}))
    assert hook["signatureKey"] == {"@type": "Value", "secret": "****"}
    assert hook["httpHeaders"] == {MARK: "dezky:test:webhook:0"}


# -- the operator ---------------------------------------------------------------------------------------------


async def test_every_event_the_log_wants_is_known_to_this_version(client: StalwartClient, jmap: Jmap) -> None:
    known = await client.event_types()
    assert PROBE in known
    missing = WANTED - known
    assert await jmap.refusal("WebHook", url="https://x.test/", events={"auth.sneezed": True})
    assert missing == frozenset(), sorted(missing)


async def test_the_operators_hook_is_made_verified_and_left_alone(client: StalwartClient, webhook: Door) -> None:
    """C097, C099, C103: from an event in Stalwart to a line in the log."""
    first = await ensured(client, webhook.url + WEBHOOK)
    assert (first.changed, first.can_be_verified) == (True, True)
    assert await verified(client, webhook)
    assert "stalwart.jmap.unknown-method" in await webhook.log.actions()
    again = await ensured(client, webhook.url + WEBHOOK, works=True)
    assert (again.id, again.changed) == (first.id, False)


async def test_a_rotation_ends_with_one_hook_under_the_new_key(
    client: StalwartClient, webhook: Door, jmap: Jmap
) -> None:
    """C104."""
    url = webhook.url + WEBHOOK
    first = await ensured(client, url)
    assert await verified(client, webhook)
    webhook.secrets[:] = [NEW.encode(), KEY.encode()]
    second = await ensured(client, url, NEW)
    assert second.others == (first.id,)
    assert await verified(client, webhook)
    await ensured(client, url, NEW, works=True)
    webhook.secrets[:] = [NEW.encode()]
    assert await verified(client, webhook)
    ids = {hook["id"] for hook in (await jmap.ok("x:WebHook/get", ids=None))["list"]}
    assert first.id not in ids
    assert second.id in ids


async def test_while_neither_log_nor_disk_takes_them_stalwart_keeps_its_events(
    client: StalwartClient, webhook: Door
) -> None:
    await ensured(client, webhook.url + WEBHOOK)
    webhook.log.down = OSError(5, "the log is down")
    shutil.rmtree(webhook.directory / "incoming")
    waiting = asyncio.ensure_future(verified(client, webhook))

    async def refused() -> bool:
        return webhook.answers("unavailable") >= 2

    await eventually(refused, "nothing was sent again", within=20.0)
    assert await webhook.log.lines() == []
    webhook.log.down = None
    assert await waiting


async def test_while_the_log_is_down_its_events_wait_on_the_disk(client: StalwartClient, tmp_path: Path) -> None:
    """It sends each once, and would drop what is not taken within a day."""
    async with door(tmp_path, again_seconds=0.2) as webhook:
        await ensured(client, webhook.url + WEBHOOK)
        webhook.log.down = OSError(5, "the log is down")
        waiting = asyncio.ensure_future(verified(client, webhook))

        async def kept() -> bool:
            return bool(webhook.files())

        await eventually(kept, "nothing was kept", within=20.0)
        webhook.log.down = None
        assert await waiting
        assert webhook.answers("unavailable") == 0


async def test_people_and_mail_become_lines(
    client: StalwartClient, webhook: Door, stalwart: Mail, person: tuple[str, str, str]
) -> None:
    """C101, C102: real events, none of them put aside."""
    _, address, password = person
    await ensured(client, webhook.url + WEBHOOK)
    box = Postbox(stalwart.smtp, stalwart.submission, stalwart.imap)
    await box.read(address, password)
    await box.read(address, "wrong")
    assert (await box.deliver(address, "hello")).code == 250
    wanted = {"stalwart.auth_success", "stalwart.auth_failed", "stalwart.mail_received", "stalwart.mail_delivered"}

    async def there() -> bool:
        await verified(client, webhook)
        return wanted <= set(await webhook.log.actions())

    await eventually(there, "they never came", within=30.0)
    assert "ingest.malformed" not in await webhook.log.actions()


async def test_accounts_are_known_by_the_ids_that_events_have(
    client: StalwartClient, person: tuple[str, str, str]
) -> None:
    """Where an event has no address, whose it is hangs on the account's number (facts/stalwart.md 11.0.8)."""
    account, address, _ = person
    assert (await addresses(client))[account] == address
    assert await addresses(client, [account, as_id(2**40)]) == {account: address}
