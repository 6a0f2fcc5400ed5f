"""The first administrator over time: let in until the first sign-in, then free to go. On a real API server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.builders import admin, spec, tenant
from tests.sandbox.authentik.kinds import Record
from tests.site import PATIENCE, Site

ANNA = "anna@acme.test"


async def until(check: Callable[[], Awaitable[bool]], what: str) -> None:
    """Until ``check`` holds."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not await check():
        assert asyncio.get_running_loop().time() < deadline, f"never came about: {what}"
        await asyncio.sleep(0.05)


async def handled(site: Site, value: str) -> None:
    """Until the Tenant was reconciled for ``value``."""

    async def done() -> bool:
        return (await site.status("acme")).get("lastHandledReconcileAt") == value

    await site.annotate("acme", "reconcile-requested-at", value)
    await until(done, value)


def user(site: Site) -> Record | None:
    return site.workspace.authentik.store.find("user", "username", ANNA)


async def test_an_administrator_who_was_in_is_not_made_again(site: Site) -> None:
    await site.start()
    await site.apply(tenant("acme", admin(ANNA)))
    await site.ready("acme")
    store, anna = site.workspace.authentik.store, user(site)
    assert anna
    store.update("user", anna, {"last_login": "2026-11-24T00:00:00Z"})
    await handled(site, "signed in")
    assert (await site.status("acme"))["identity"]["adminSignedIn"] is True
    store.remove("user", anna)
    for value in ("gone", "still gone"):
        await handled(site, value)
        identity = (await site.ready("acme"))["identity"]
        assert (identity["adminUsername"], identity["adminSignedIn"]) == (ANNA, True)
        assert user(site) is None
    mailbox = site.workspace.stalwart.objects.by_type["Account"][site.workspace.stalwart.objects.addresses[ANNA][1]]
    assert not site.workspace.stalwart.may_log_in(mailbox), "she left"


async def test_with_drift_only_reported_a_new_link_is_still_made_when_somebody_asks(site: Site) -> None:
    await site.start()
    await site.apply(tenant("acme", admin(ANNA), spec(driftPolicy="ReportOnly")))
    await site.ready("acme")
    before = (await site.secret("acme"))["recovery-link"]

    async def renewed() -> bool:
        return (await site.secret("acme"))["recovery-link"] != before

    await site.annotate("acme", "renew-recovery-link", "first")
    await until(renewed, "another link")
