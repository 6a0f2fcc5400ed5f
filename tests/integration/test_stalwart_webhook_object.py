"""The WebHook object in Stalwart: made, repaired, rotated and seen to deliver (C103, C104; facts/stalwart.md 11.7)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dezky_operator.audit.recorder import NoRecorder
from dezky_operator.http.application import WEBHOOK
from dezky_operator.integrations.errors import NoPermission, Rejected, Unreachable
from dezky_operator.integrations.stalwart.bootstrap import Plan, StalwartBootstrap
from dezky_operator.integrations.stalwart.webhook import WebhookState, ensure_webhook, verify_webhook
from dezky_operator.integrations.stalwart.webhook_plan import MARK, WANTED
from dezky_operator.integrations.steps import Step
from tests.mail import INSTALLATION, Mail, mail
from tests.receiver import Receiver, receiver
from tests.sandbox.stalwart.caller import Caller, basic
from tests.sandbox.stalwart.names import EVENTS
from tests.sandbox.stalwart.server import StalwartStandIn
from tests.sandbox.standin import Fault
from tests.webhooks import SECRET, Door, door, until

KEY, NEW = SECRET.decode(), "another key of thirty-two letters"


class Record(NoRecorder):
    """What was done, step by step."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    async def done(self, step: object) -> None:
        assert isinstance(step, Step)
        self.steps.append(f"{step.kind} {step.verb}")


@pytest.fixture
async def server() -> AsyncIterator[StalwartStandIn]:
    async with StalwartStandIn() as found:
        yield found


@pytest.fixture
async def operator(server: StalwartStandIn) -> AsyncIterator[Mail]:
    """With the daily key, which is no administrator's."""
    async with mail(server.url, basic(*server.admin)) as admin:
        key = (await StalwartBootstrap(admin.client, Plan(installation_id=INSTALLATION)).run()).key
    async with mail(server.url, f"Bearer {key}") as found:
        yield found


@pytest.fixture
async def admin(server: StalwartStandIn) -> AsyncIterator[Caller]:
    async with Caller(server.url, basic(*server.admin)) as found:
        yield found


@pytest.fixture
async def told() -> AsyncIterator[Receiver]:
    async with receiver() as found:
        yield found


@pytest.fixture
async def webhook(tmp_path: Path) -> AsyncIterator[Door]:
    async with door(tmp_path) as opened:
        yield opened


async def ensured(operator: Mail, url: str, key: str = KEY, record: Record | None = None, **more: Any) -> WebhookState:
    return await ensure_webhook(
        operator.client, url=url, key=key, installation_id=INSTALLATION, recorder=record or NoRecorder(), **more
    )


async def verified(operator: Mail, webhook: Door, token: str, within: float = 20.0) -> bool:
    return await verify_webhook(operator.client, token=token, heard=webhook.ingress.hear, within=within)


async def test_the_hook_is_made_loaded_and_left_alone_afterwards(
    server: StalwartStandIn, operator: Mail, told: Receiver
) -> None:
    record = Record()
    state = await ensured(operator, told.url, record=record)
    assert record.steps == ["webhook create", "settings update"]
    (hook,) = server.live.hooks.values()
    assert (hook["id"], hook["url"], hook["discardAfter"]) == (state.id, told.url, 86_400_000)
    assert set(hook["events"]) == WANTED & EVENTS
    assert state.changed
    assert state.can_be_verified
    server.calls.clear()
    again = await ensured(operator, told.url)
    assert (again.id, again.changed, server.writes) == (state.id, False, [])


async def test_an_event_that_is_provoked_arrives_signed_and_is_in_the_log(operator: Mail, webhook: Door) -> None:
    """WebhookVerified: the whole way, by an event that lets nobody in and locks nobody out."""
    await ensured(operator, webhook.url + WEBHOOK)
    assert await verified(operator, webhook, "a1")
    assert "stalwart.jmap.unknown-method" in await webhook.log.actions()


async def test_to_verify_counts_towards_no_ban(server: StalwartStandIn, operator: Mail, webhook: Door) -> None:
    await ensured(operator, webhook.url + WEBHOOK)
    failures = server.failures
    assert await verified(operator, webhook, "a1")
    assert server.failures == failures
    assert server.objects.by_type["BlockedIp"] == {}


async def test_a_hook_whose_key_the_receiver_does_not_know_is_not_verified(operator: Mail, webhook: Door) -> None:
    await ensured(operator, webhook.url + WEBHOOK, key=NEW)
    assert not await verified(operator, webhook, "a1", within=1.0)
    assert webhook.answers("forged") > 0
    assert await webhook.log.lines() == []


async def test_what_arrived_before_proves_nothing(operator: Mail, webhook: Door) -> None:
    await ensured(operator, webhook.url + WEBHOOK)
    assert await verified(operator, webhook, "a1")
    webhook.secrets[:] = [NEW.encode()]
    assert not await verified(operator, webhook, "a2", within=1.0)


async def test_a_rotation_loses_nothing_and_ends_with_one_hook(
    server: StalwartStandIn, operator: Mail, webhook: Door
) -> None:
    """C104: a second hook, a reload, both keys taken, a verification, and only then the first one goes."""
    url = webhook.url + WEBHOOK
    first = await ensured(operator, url)
    assert await verified(operator, webhook, "a1")
    webhook.secrets[:] = [NEW.encode(), KEY.encode()]
    second = await ensured(operator, url, NEW)
    assert (second.others, set(server.live.hooks)) == ((first.id,), {first.id, second.id})
    assert await verified(operator, webhook, "a2")
    last = await ensured(operator, url, NEW, works=True)
    assert (last.id, last.others, set(server.live.hooks)) == (second.id, (), {second.id})
    webhook.secrets[:] = [NEW.encode()]
    assert await verified(operator, webhook, "a3")


async def test_both_hooks_tell_of_an_event_and_it_is_one_line(operator: Mail, webhook: Door) -> None:
    url = webhook.url + WEBHOOK
    webhook.secrets[:] = [NEW.encode(), KEY.encode()]
    await ensured(operator, url)
    await ensured(operator, url, NEW)
    assert await verified(operator, webhook, "a1")
    await until(lambda: _twice(webhook), "the second hook never delivered")
    assert (await webhook.log.actions()).count("stalwart.jmap.unknown-method") == 1


async def _twice(webhook: Door) -> bool:
    return webhook.answers("accepted") >= 2


async def test_what_another_hand_changed_is_put_right(
    server: StalwartStandIn, operator: Mail, admin: Caller, told: Receiver
) -> None:
    state = await ensured(operator, told.url)
    await admin.change("WebHook", state.id, {"enable": False, "events/auth.failed": False})
    await admin.reload()
    assert (await ensured(operator, told.url)).id == state.id
    assert "auth.failed" in server.live.hooks[state.id]["events"]


async def test_an_address_that_another_hand_changed_makes_a_new_hook(
    server: StalwartStandIn, operator: Mail, admin: Caller, told: Receiver
) -> None:
    """Patched back, Stalwart would go on with whatever it has loaded."""
    state = await ensured(operator, told.url)
    await admin.change("WebHook", state.id, {"url": "https://elsewhere.test/"})
    again = await ensured(operator, told.url)
    assert again.id != state.id
    assert again.others == (state.id,)
    assert server.live.hooks[again.id]["url"] == told.url


async def test_a_hook_that_was_destroyed_comes_back(server: StalwartStandIn, operator: Mail, admin: Caller) -> None:
    url = "https://operator.dezky.test/"
    state = await ensured(operator, url)
    await admin.remove("WebHook", state.id)
    again = await ensured(operator, url)
    assert again.id != state.id
    assert set(server.live.hooks) == set(server.objects.by_type["WebHook"]) == {again.id}


async def test_hooks_of_others_stay(server: StalwartStandIn, operator: Mail, admin: Caller) -> None:
    theirs = (await admin.make("WebHook", {"url": "https://theirs.test/", "httpHeaders": {MARK: "dezky:other:webhook:"}}))["id"]  # fmt: skip  # noqa: E501 - one object
    await ensured(operator, "https://operator.dezky.test/", works=True)
    assert theirs in server.objects.by_type["WebHook"]


@pytest.mark.parametrize("lost", [True, False], ids=["the answer is lost", "it never arrives"])
@pytest.mark.parametrize("label", ["x:WebHook/set create", "x:Action/set create"])
async def test_a_write_that_fails_is_finished_by_the_next_call(
    server: StalwartStandIn, operator: Mail, label: str, *, lost: bool
) -> None:
    server.faults.append(Fault(match=label, lost=lost, refused=not lost, times=1))
    url = "https://operator.dezky.test/"
    with pytest.raises(Unreachable):
        await ensured(operator, url)
    state = await ensured(operator, url, loaded=False)
    assert set(server.live.hooks) == set(server.objects.by_type["WebHook"]) == {state.id}


async def test_a_setting_of_somebody_else_that_stops_the_reload_is_named(operator: Mail, admin: Caller) -> None:
    secret = {"@type": "EnvironmentVariable", "variableName": "NOBODY_SET_THIS"}
    theirs = (await admin.make("WebHook", {"url": "https://theirs.test/", "signatureKey": secret}))["id"]
    with pytest.raises(Rejected, match=f"WebHook {theirs}"):
        await ensured(operator, "https://operator.dezky.test/")


async def test_without_the_right_it_says_what_to_do(server: StalwartStandIn, operator: Mail, admin: Caller) -> None:
    (role,) = [one for one in await admin.get("Role") if one["description"] == f"dezky:{INSTALLATION}:platform"]
    await admin.change("Role", role["id"], {"enabledPermissions/sysWebHookCreate": False})
    with pytest.raises(NoPermission, match="bootstrap"):
        await ensured(operator, "https://operator.dezky.test/")
    assert server.objects.by_type["WebHook"] == {}
