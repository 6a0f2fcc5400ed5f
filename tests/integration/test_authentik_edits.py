"""What an edit of the spec, or a person who goes, means in Authentik. Over real HTTP with the daily token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from dezky_operator.integrations.errors import AlreadyExists
from dezky_operator.integrations.intent import Brand
from tests.identity import Given, Identity, bootstrap, identity, intent
from tests.sandbox.authentik.kinds import Record
from tests.sandbox.authentik.server import AuthentikStandIn

ACME = intent()
ANNA = "anna@acme.test"


@pytest.fixture
async def server() -> AsyncIterator[AuthentikStandIn]:
    async with AuthentikStandIn() as found:
        yield found


@pytest.fixture
async def daily(server: AuthentikStandIn) -> AsyncIterator[Identity]:
    async with identity(server.url, Given((await bootstrap(server)).token)) as found:
        await found.settle(ACME)
        yield found


def brand(server: AuthentikStandIn) -> Record | None:
    return server.store.find("brand", "domain", "acme.dezky.test")


@pytest.mark.usefixtures("daily")
async def test_a_logo_that_left_the_spec_is_replaced_by_the_installations(server: AuthentikStandIn) -> None:
    default = next(found for found in server.store.objects["brand"].values() if found["default"])
    server.store.update("brand", default, {"branding_logo": "https://platform.test/logo.svg"})
    plain = replace(ACME, brand=Brand(host="acme.dezky.test", title="Acme"))
    async with identity(server.url, Given((await bootstrap(server)).token)) as later:
        await later.settle(plain)
        found = brand(server)
        assert found
        assert found["branding_logo"] == "https://platform.test/logo.svg"
        assert found["branding_custom_css"] == ""
        server.calls.clear()
        await later.settle(plain)
        assert server.writes == []


async def test_a_brand_that_left_the_spec_goes_and_comes_back_with_it(
    server: AuthentikStandIn, daily: Identity
) -> None:
    await daily.settle(replace(ACME, brand=None))
    assert brand(server) is None
    await daily.settle(ACME)
    assert brand(server)


async def test_a_brand_of_somebody_else_stays(server: AuthentikStandIn, daily: Identity) -> None:
    found = brand(server)
    assert found
    server.store.update("brand", found, {"attributes": {}})
    await daily.settle(replace(ACME, brand=None))
    assert brand(server) is found


async def test_an_administrator_who_was_in_may_go(server: AuthentikStandIn, daily: Identity) -> None:
    anna = server.store.find("user", "username", ANNA)
    group = server.store.find("group", "name", "dezky-acme-users")
    assert anna
    assert group
    server.store.leave(anna, group["pk"])
    await daily.settle(ACME)
    assert group["pk"] in server.store.groups_of(anna), "she has not been in yet"
    server.store.update("user", anna, {"last_login": "2026-11-24T00:00:00Z"})
    server.store.leave(anna, group["pk"])
    await daily.settle(ACME)
    assert group["pk"] not in server.store.groups_of(anna)
    server.store.remove("user", anna)
    await daily.settle(replace(ACME, admin_signed_in=True))
    assert server.store.find("user", "username", ANNA) is None


async def test_a_name_that_is_taken_is_told_with_the_object_and_the_way_out(
    server: AuthentikStandIn, daily: Identity
) -> None:
    """Made by another hand between looking and writing."""
    plan = await daily.planned(intent("beta"))
    server.store.insert("group", {"name": "dezky-beta-users"})
    (step,) = [step for step in plan.steps if step.name == "dezky-beta-users"]
    with pytest.raises(AlreadyExists) as refused:
        await daily.integration.perform(step)
    for word in ("group dezky-beta-users", "Expected no group of this name", "Remove or rename"):
        assert word in str(refused.value)
