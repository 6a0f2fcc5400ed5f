"""Keeps Stalwart's WebHook object, and sees that it delivers (facts/stalwart.md 5, 11.7)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from dezky_operator.integrations.apply import Outputs, Recorder, apply
from dezky_operator.integrations.errors import Rejected
from dezky_operator.integrations.stalwart.client import StalwartClient
from dezky_operator.integrations.stalwart.model import WebHook
from dezky_operator.integrations.stalwart.webhook_plan import (
    PROBE,
    current_hook,
    desired_hook,
    own_hooks,
    plan_hook,
)
from dezky_operator.integrations.steps import Step, System, Verb

AGAIN = 5.0
"""Seconds after which another event is provoked: one that stalls is sent with the next (facts/stalwart.md 5.4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookState:
    """What became of the object.

    Attributes:
        id: of the hook in use.
        others: hooks of this installation that are to go once this one was seen to deliver.
        changed: whether anything was written.
        can_be_verified: whether this version knows the event that :func:`verify_webhook` provokes.
    """

    id: str
    others: tuple[str, ...]
    changed: bool
    can_be_verified: bool


async def ensure_webhook(
    client: StalwartClient,
    *,
    url: str,
    key: str,
    installation_id: str,
    recorder: Recorder,
    loaded: bool = True,
    works: bool = False,
) -> WebhookState:
    """Make or repair the hook that sends to ``url`` signed with ``key``; repeatable, one caller at a time.

    A new key or address makes a second hook: take both keys until a call with ``works`` has removed the first one.

    Args:
        client: of Stalwart.
        url: of the webhook, path included.
        key: at least 32 characters.
        installation_id: whose hook it is.
        recorder: of the steps.
        loaded: False makes the server load its settings even though nothing differs. After a crash between object and
            reload nothing shows that it has not; a verification that hears nothing does.
        works: the hook in use was verified since it was made: older ones are destroyed.

    Raises:
        IntegrationError: the first step that failed, in words for a condition.
    """
    known = await client.event_types()
    wanted = desired_hook(url=url, key=key, installation_id=installation_id, known=known)
    own = own_hooks(installation_id, await client.every("WebHook", WebHook))
    plan = plan_hook(wanted, own, loaded=loaded, works=works)
    applied = await apply(plan, {System.STALWART: _Performer(client, key)}, recorder)
    for error in applied.failed.values():
        raise error
    current = current_hook(wanted, own)
    made = "" if current else applied.outputs[plan.steps[0].id]["id"]
    return WebhookState(
        id=current.id if current else made,
        others=() if works and current else tuple(hook.id for hook in own if hook is not current),
        changed=bool(plan.steps),
        can_be_verified=PROBE in wanted.events,
    )


async def verify_webhook(
    client: StalwartClient, *, token: str, heard: Callable[[str], Awaitable[None]], within: float
) -> bool:
    """Whether an event that is provoked now comes in within so many seconds.

    The event is the refusal of a method that is not there: it lets nobody in and locks nobody out, and no other call
    has its name.

    Args:
        client: of Stalwart.
        token: letters and digits that were never used here before.
        heard: waits until an event that holds a text is in the log.
        within: seconds.

    Raises:
        IntegrationError: Stalwart can not be asked.
    """
    kind = f"DezkyWebhook{token}"
    waiting = asyncio.ensure_future(heard(f"x:{kind}/get"))
    try:
        async with asyncio.timeout(within):
            while not waiting.done():
                await _provoke(client, kind)
                await asyncio.wait({waiting}, timeout=AGAIN)
    except TimeoutError:
        return False
    finally:
        waiting.cancel()
    return True


async def _provoke(client: StalwartClient, kind: str) -> None:
    try:
        await client.every(kind, WebHook)
    except Rejected:
        return
    raise Rejected(System.STALWART, f"Stalwart knows a method of the name x:{kind}/get; choose another token.")


class _Performer:
    """Carries out the steps of a hook. The key comes from here, so that no step holds it."""

    def __init__(self, client: StalwartClient, key: str) -> None:
        self._client, self._key = client, key

    async def perform(self, step: Step) -> Outputs:
        """Do what ``step`` says. Raises IntegrationError."""
        if step.kind == "settings":
            return await self._reload()
        body = {str(name): value for name, value in step.body.items()}
        if step.verb is Verb.CREATE:
            secret = {"@type": "Value", "secret": self._key}
            made = await self._client.create("WebHook", {**body, "signatureKey": secret})
            return {"id": str(made["id"])}
        target = str(step.target)
        if step.verb is Verb.DELETE:
            await self._client.destroy("WebHook", target)
        else:
            await self._client.patch("WebHook", target, body)
        return {"id": target}

    async def _reload(self) -> Outputs:
        try:
            await self._client.reload_settings()
        except Rejected as error:
            raise Rejected(
                System.STALWART,
                f"Stalwart can not reload its settings, so its events are not sent as they should be: {error} "
                "Correct that setting in Stalwart; it may be somebody else's.",
            ) from error
        return {"id": "reload"}
