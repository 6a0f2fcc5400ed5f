"""`bootstrap` against Stalwart. What it makes has fixed names, so a real server must be offered for it."""

from __future__ import annotations

import os
import uuid

import pytest

from dezky_operator.audit.recorder import NoRecorder
from dezky_operator.integrations.stalwart.bootstrap import Plan, StalwartBootstrap
from dezky_operator.integrations.stalwart.client import StalwartClient
from dezky_operator.integrations.stalwart.webhook import ensure_webhook
from dezky_operator.integrations.steps import System
from tests.acceptance import reconcile
from tests.acceptance.jmap import Jmap
from tests.acceptance.targets import Mail, is_real

ACCOUNT = "dezky-operator"


@pytest.fixture
def offered() -> None:
    """A server that an operator works with already must not get its account replaced."""
    if is_real(os.environ, "STALWART") and os.environ.get("DEZKY_TEST_STALWART_BOOTSTRAP") != "yes":
        pytest.skip(
            "This Stalwart is a real one: bootstrap would change its settings and its account dezky-operator. Set "
            "DEZKY_TEST_STALWART_BOOTSTRAP=yes where that is fine."
        )


@pytest.mark.usefixtures("offered")
async def test_bootstrap_makes_a_key_that_works_and_the_second_run_changes_nothing(stalwart: Mail, jmap: Jmap) -> None:
    """C018: the key is shown once; with it, and nothing more, the operator can work, and keep its WebHook (C103)."""
    installation = str(uuid.uuid4())
    mark = f"dezky:{installation}:platform"
    (before,) = (await jmap.ok("x:Http/get", ids=["singleton"]))["list"]
    try:
        async with reconcile.connection(System.STALWART, stalwart.web, stalwart.web.header) as found:
            client = StalwartClient(found)
            plan = Plan(installation_id=installation, networks=("127.0.0.9",))
            first = await StalwartBootstrap(client, plan).run()
            again = await StalwartBootstrap(client, plan).run()
        assert first.key.startswith("API_")
        assert (again.key, again.lines) == ("", [])
        async with reconcile.mail(stalwart.web, f"Bearer {first.key}") as operator:
            await operator.integration.probe()
        async with reconcile.connection(System.STALWART, stalwart.web, f"Bearer {first.key}") as found:
            hook = await ensure_webhook(
                StalwartClient(found),
                url="http://127.0.0.1:9/",
                key="k" * 32,
                installation_id=installation,
                recorder=NoRecorder(),
            )
            assert hook.can_be_verified
        await jmap.raze("WebHook", hook.id)
        (role,) = await jmap.find("Role", description=mark)
        assert "impersonate" not in role["enabledPermissions"], "that right reads all mail"
    finally:
        await jmap.patch("Http", "singleton", {"rateLimitAuthenticated": before["rateLimitAuthenticated"]})
        for role in await jmap.find("Role", description=mark):
            await jmap.raze("Role", role["id"])
        for network in (await jmap.ok("x:AllowedIp/get", ids=None))["list"]:
            if network["address"].startswith("127.0.0.9"):
                await jmap.raze("AllowedIp", network["id"])
        await jmap.reload()
