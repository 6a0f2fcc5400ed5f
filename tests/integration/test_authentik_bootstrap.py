"""What bootstrap makes in Authentik, what a second run does, and what its daily token may not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.integrations.errors import NoPermission, Rejected
from tests.identity import Given, bootstrap, client
from tests.sandbox.authentik.kinds import Record
from tests.sandbox.authentik.server import AuthentikStandIn
from tests.sandbox.authentik.store import Store

SHARED = ("dezky-ocis", "dezky-mail", "dezky-portal")


@pytest.fixture
async def server() -> AsyncIterator[AuthentikStandIn]:
    async with AuthentikStandIn() as found:
        yield found


@pytest.fixture
async def daily(server: AuthentikStandIn) -> AsyncIterator[AuthentikClient]:
    token = (await bootstrap(server)).token
    async with client(server.url, Given(token)) as found:
        yield found


def named(store: Store, kind: str, name: str, field: str = "name") -> Record:
    return next(record for record in store.objects[kind].values() if record[field] == name)


async def test_the_shared_applications_are_for_tenants_only(server: AuthentikStandIn) -> None:
    await bootstrap(server)
    tenants = named(server.store, "group", "dezky-tenants")
    for slug in SHARED:
        application = named(server.store, "application", slug, "slug")
        bindings = server.store.having("policybinding", "target", application["pk"])
        assert [binding["group"] for binding in bindings] == [tenants["pk"]]
        assert named(server.store, "oauth2provider", slug)["sub_mode"] == "user_uuid"


async def test_the_default_brand_gets_a_recovery_flow(server: AuthentikStandIn) -> None:
    await bootstrap(server)
    brand = next(found for found in server.store.objects["brand"].values() if found["default"])
    assert brand["flow_recovery"] == named(server.store, "flow", "dezky-recovery", "slug")["pk"]


async def test_a_recovery_flow_that_is_there_stays(server: AuthentikStandIn) -> None:
    flow = server.store.insert("flow", {"name": "R", "slug": "own", "title": "R", "designation": "recovery"})
    brand = next(found for found in server.store.objects["brand"].values() if found["default"])
    brand["flow_recovery"] = flow["pk"]
    await bootstrap(server)
    assert brand["flow_recovery"] == flow["pk"]


async def test_a_second_run_makes_nothing_and_gives_the_same_token(server: AuthentikStandIn) -> None:
    first = await bootstrap(server)
    before = {kind: len(found) for kind, found in server.store.objects.items()}
    again = await bootstrap(server)
    assert again.lines == []
    assert again.token == first.token
    assert {kind: len(found) for kind, found in server.store.objects.items()} == before


async def test_no_text_shows_token_or_secret(server: AuthentikStandIn) -> None:
    made = await bootstrap(server)
    for secret in (made.token, made.ocis_secret):
        assert secret
        assert secret not in repr(made)
        assert secret not in "".join(made.lines)


async def test_the_daily_token_never_runs_out(server: AuthentikStandIn) -> None:
    """A token that expires changes its key by itself (facts 2)."""
    await bootstrap(server)
    assert server.store.objects["token"]["dezky-operator"]["expiring"] is False


async def test_another_installations_groups_are_refused(server: AuthentikStandIn) -> None:
    attributes = {"dezky.eu/mark": "dezky:other:platform"}
    server.store.insert("group", {"name": "dezky-tenants", "attributes": attributes})
    with pytest.raises(Rejected, match="another installation"):
        await bootstrap(server)


async def test_somebody_elses_shared_application_is_refused(server: AuthentikStandIn) -> None:
    application = server.store.insert("application", {"name": "Theirs", "slug": "dezky-mail"})
    with pytest.raises(Rejected, match="dezky-mail"):
        await bootstrap(server)
    assert server.store.having("policybinding", "target", application["pk"]) == []


async def test_somebody_elses_user_gets_no_daily_token(server: AuthentikStandIn) -> None:
    admins = named(server.store, "group", "authentik Admins")
    server.store.insert("user", {"username": "dezky-operator", "name": "Mine", "groups": [admins["pk"]]})
    with pytest.raises(Rejected, match="Rename it"):
        await bootstrap(server)
    assert "dezky-operator" not in server.store.objects["token"]


async def test_the_daily_token_can_not_make_itself_an_administrator(
    server: AuthentikStandIn, daily: AuthentikClient
) -> None:
    """Facts 0.12, 3.9: a global right to add members would do it."""
    admins = named(server.store, "group", "authentik Admins")
    operator = named(server.store, "user", "dezky-operator", "username")
    with pytest.raises(NoPermission):
        await daily.call(f"/core/groups/{admins['pk']}/add_user/", {"pk": operator["pk"]}, op="test")
    assert not server.store.is_superuser(operator)


async def test_the_daily_token_can_not_reset_the_superusers_password(
    server: AuthentikStandIn, daily: AuthentikClient
) -> None:
    with pytest.raises(NoPermission):
        await daily.call(f"/core/users/{server.store.admin['pk']}/recovery/", {}, op="test")


async def test_the_daily_token_can_not_write_code_that_runs_in_the_server(daily: AuthentikClient) -> None:
    """Expressions are Python (facts 3.9)."""
    with pytest.raises(NoPermission):
        await daily.call("/policies/expression/", {"name": "mine", "expression": "return True"}, op="test")


async def test_the_daily_token_can_not_change_the_shared_applications(daily: AuthentikClient) -> None:
    with pytest.raises(NoPermission):
        await daily.patch("/core/applications/dezky-mail/", {"name": "Mine"}, op="test")
