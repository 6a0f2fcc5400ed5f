"""What bootstrap makes in Stalwart, and what it makes of a second run."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from dezky_operator.integrations.errors import NoPermission, Rejected
from dezky_operator.integrations.stalwart.bootstrap import Plan, Result, StalwartBootstrap
from dezky_operator.integrations.stalwart.model import Authentication
from tests.mail import INSTALLATION, Mail, mail
from tests.sandbox.stalwart.server import StalwartStandIn

ADMIN = "Basic YWRtaW46YWRtaW4tcGFzc3dvcmQ="
ISSUER = "https://id.dezky.test/application/o/dezky-mail/"
WHOLE = Plan(installation_id=INSTALLATION, networks=("10.42.0.0/16",), issuer=ISSUER)


@pytest.fixture
async def server() -> AsyncIterator[StalwartStandIn]:
    async with StalwartStandIn() as found:
        yield found


@pytest.fixture
async def admin(server: StalwartStandIn) -> AsyncIterator[Mail]:
    async with mail(server.url, ADMIN) as found:
        yield found


async def _run(admin: Mail, plan: Plan = WHOLE) -> Result:
    return await StalwartBootstrap(admin.client, plan).run()


async def test_bootstrap_makes_everything_and_says_so(server: StalwartStandIn, admin: Mail) -> None:
    result = await _run(admin)
    assert result.key.startswith("API_")
    assert result.key not in repr(result)
    assert result.lines[0] == "allowed 10.42.0.0/16"
    objects = server.objects
    directory = objects.by_type["Directory"][objects.singletons["Authentication"]["directoryId"]]
    assert (directory["issuerUrl"], directory["requireAudience"]) == (ISSUER, "dezky-mail")
    assert objects.singletons["Http"]["rateLimitAuthenticated"] == {"count": 60_000, "period": 60_000}


async def test_the_network_is_allowed_and_loaded_before_anything_else(server: StalwartStandIn, admin: Mail) -> None:
    await _run(admin)
    writes = [call.label for call in server.writes]
    assert writes[:2] == ["x:AllowedIp/set create", "x:Action/set create"]


async def test_settings_are_loaded_after_the_last_of_them(server: StalwartStandIn, admin: Mail) -> None:
    await _run(admin)
    labels = [call.label for call in server.writes]
    last_reload = max(number for number, label in enumerate(labels) if "Action" in label)
    assert last_reload > labels.index("x:Http/set update")
    assert last_reload > labels.index("x:Authentication/set update")


async def test_a_second_run_writes_nothing(server: StalwartStandIn, admin: Mail) -> None:
    await _run(admin)
    server.calls.clear()
    again = await _run(admin)
    assert again == Result()
    assert server.writes == []


async def test_a_run_cut_short_is_finished_by_the_next(server: StalwartStandIn, admin: Mail) -> None:
    await _run(admin)
    server.objects.singletons["Authentication"]["directoryId"] = None
    result = await _run(admin)
    assert result.lines == ["people sign in through it"]
    assert len(server.objects.by_type["Directory"]) == 1


async def test_another_directory_is_not_replaced(server: StalwartStandIn, admin: Mail) -> None:
    server.objects.singletons["Authentication"]["directoryId"] = "ldap1"
    with pytest.raises(Rejected, match="ldap1"):
        await _run(admin)
    assert server.objects.singletons["Authentication"]["directoryId"] == "ldap1"


async def test_a_higher_rate_limit_stays(server: StalwartStandIn, admin: Mail) -> None:
    server.objects.singletons["Http"]["rateLimitAuthenticated"] = {"count": 2_000, "period": 1_000}
    await _run(admin)
    assert server.objects.singletons["Http"]["rateLimitAuthenticated"] == {"count": 2_000, "period": 1_000}


async def test_rights_that_were_taken_away_are_given_back(server: StalwartStandIn, admin: Mail) -> None:
    await _run(admin)
    role = next(role for role in server.objects.by_type["Role"].values() if "platform" in role["description"])
    del role["enabledPermissions"]["sysDomainCreate"]
    assert (await _run(admin)).lines == ["put the operator's role right"]
    assert role["enabledPermissions"]["sysDomainCreate"]


async def test_somebody_elses_account_of_this_name_gets_no_key(server: StalwartStandIn, admin: Mail) -> None:
    server.objects.create("Account", {"@type": "User", "name": "dezky-operator", "domainId": "b"})
    with pytest.raises(Rejected, match="exists with other roles"):
        await _run(admin)
    assert not server.objects.by_type["ApiKey"]


async def test_a_lost_key_is_replaced_on_demand(server: StalwartStandIn, admin: Mail) -> None:
    first = await _run(admin)
    second = await _run(admin, Plan(installation_id=INSTALLATION, key_kept=False))
    assert second.key
    assert second.key != first.key
    assert len(server.objects.by_type["ApiKey"]) == 1


async def test_the_daily_key_makes_no_key_for_anybody_else(server: StalwartStandIn, admin: Mail) -> None:
    """For its own account it could: an ordinary user may, and it must hold all that an ordinary user holds."""
    key = (await _run(admin)).key
    other = server.objects.create("Account", {"@type": "User", "name": "peter", "domainId": "b"})
    async with mail(server.url, f"Bearer {key}") as daily:
        await daily.client.singleton("Authentication", Authentication)
        with pytest.raises(NoPermission):
            await daily.client.create("ApiKey", {"description": "more"}, account=other["id"])
    assert len(server.objects.by_type["ApiKey"]) == 1
