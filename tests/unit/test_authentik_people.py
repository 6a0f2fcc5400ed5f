"""Accounts that are looked up for events: remembered, bounded, and looked up again (C094)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from dezky_operator.ingest.authentik.people import FRESH, People
from dezky_operator.ingest.authentik.whose import Place
from dezky_operator.integrations.errors import NoPermission
from tests import identity
from tests.sandbox.authentik.server import AuthentikStandIn
from tests.sandbox.authentik.visitor import Visitor
from tests.sandbox.standin import Fault

NOON = 1_794_916_800.0


@pytest.fixture
async def server() -> AsyncIterator[AuthentikStandIn]:
    async with AuthentikStandIn() as found:
        yield found


@pytest.fixture
async def people(server: AuthentikStandIn) -> AsyncIterator[People]:
    async with identity.client(server.url, identity.Given(server.bootstrap_token)) as client:
        yield People(client, most=3)


async def accounts(server: AuthentikStandIn, count: int) -> list[int]:
    """So many users of acme."""
    async with Visitor(server.url, server.bootstrap_token) as admin:
        group = await admin.make("core/groups/", name="dezky-acme-users")
        body = {"path": "dezky/tenants/acme", "groups": [group["pk"]]}
        return [(await admin.make("core/users/", username=f"u{n}", name="x", **body))["pk"] for n in range(count)]


async def test_an_account_is_where_its_path_and_its_groups_say(server: AuthentikStandIn, people: People) -> None:
    (number,) = await accounts(server, 1)
    assert people.missing([number], time=NOON) == [number]
    await people.learn([number], time=NOON)
    assert people.place(number) == Place("dezky/tenants/acme", ("dezky-acme-users",))


async def test_it_is_asked_for_again_after_a_while_and_after_the_clock_was_set_back(
    server: AuthentikStandIn, people: People
) -> None:
    (number,) = await accounts(server, 1)
    await people.learn([number], time=NOON)
    assert [bool(people.missing([number], time=NOON + later)) for later in (0, FRESH - 1, FRESH, -1)] == [
        False,
        False,
        True,
        True,
    ]


async def test_one_that_never_was_is_not_asked_for_again_and_again(people: People) -> None:
    await people.learn([4_711], time=NOON)
    assert people.place(4_711) is None
    assert people.missing([4_711], time=NOON) == []


async def test_the_one_used_longest_ago_is_forgotten(server: AuthentikStandIn, people: People) -> None:
    first, second, third, fourth = await accounts(server, 4)
    await people.learn([first, second, third], time=NOON)
    people.place(first)
    await people.learn([fourth], time=NOON)
    assert people.missing([first, second, third, fourth], time=NOON) == [second]


async def test_a_failure_of_one_waits_for_the_others_and_what_they_told_stays(
    server: AuthentikStandIn, people: People
) -> None:
    first, second = await accounts(server, 2)
    server.faults.append(Fault(match=f"core/users/{second}/", status=403))
    server.faults.append(Fault(match=f"core/users/{first}/", latency=0.2))
    with pytest.raises(NoPermission):
        await people.learn([second, first], time=NOON)
    assert people.missing([first, second], time=NOON) == [second]
