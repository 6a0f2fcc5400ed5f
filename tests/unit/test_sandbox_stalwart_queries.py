"""Stalwart's stand-in, queries: paging that loses rows, and filters that are fewer than the handbook says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.sandbox.stalwart.caller import Caller, basic, made_tenant
from tests.sandbox.stalwart.ids import decode, encode
from tests.sandbox.stalwart.server import StalwartStandIn

ASCENDING = [{"property": "id", "isAscending": True}]
MANY = 1105


@pytest.fixture
async def server() -> AsyncIterator[StalwartStandIn]:
    async with StalwartStandIn() as found:
        yield found


@pytest.fixture
async def admin(server: StalwartStandIn) -> AsyncIterator[Caller]:
    async with Caller(server.url, basic(*server.admin)) as found:
        yield found


@pytest.fixture
async def crowd(server: StalwartStandIn) -> list[str]:
    """Many accounts, lowest id first."""
    body = {"@type": "User", "domainId": "b"}
    return [server.objects.create("Account", {**body, "name": f"u{number}"})["id"] for number in range(MANY)]


async def pages(admin: Caller, limit: int, **more: Any) -> list[str]:
    found: list[str] = []
    while page := await admin.ids("Account", limit=limit, position=len(found), **more):
        found += page
    return found


# -- pages ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "distinct"), [(250, 855), (500, 605)])
async def test_pages_in_the_default_order_repeat_rows_and_lose_others(
    limit: int, distinct: int, admin: Caller, crowd: list[str]
) -> None:
    found = await pages(admin, limit)
    assert len(found) == len(crowd)
    assert len(set(found)) == distinct


async def test_the_first_page_in_the_default_order_has_the_lowest_ids(admin: Caller, crowd: list[str]) -> None:
    assert await admin.ids("Account", limit=3) == crowd[:3][::-1]


async def test_an_anchor_in_the_default_order_ends_after_one_page(admin: Caller, crowd: list[str]) -> None:
    first = await admin.ids("Account", limit=250)
    assert len(first) == 250
    assert crowd[250] not in first
    assert await admin.ids("Account", limit=250, anchor=first[-1], anchorOffset=1) == []


@pytest.mark.parametrize("limit", [250, 500])
async def test_pages_by_position_in_ascending_order_are_whole(limit: int, admin: Caller, crowd: list[str]) -> None:
    assert await pages(admin, limit, sort=ASCENDING) == crowd


async def test_pages_with_a_total_are_whole_in_any_order(admin: Caller, crowd: list[str]) -> None:
    assert await pages(admin, 250, calculateTotal=True) == crowd[::-1]


async def test_without_a_limit_everything_comes_at_once(admin: Caller, crowd: list[str]) -> None:
    assert await admin.ids("Account") == crowd[::-1]


async def test_pages_by_anchor_and_offset_in_ascending_order_are_whole(admin: Caller, crowd: list[str]) -> None:
    found = await admin.ids("Account", sort=ASCENDING, limit=500)
    while page := await admin.ids("Account", sort=ASCENDING, limit=500, anchor=found[-1], anchorOffset=1):
        found += page
    assert found == crowd


async def test_an_anchor_without_an_offset_is_exclusive_in_ascending_order_and_inclusive_otherwise(
    admin: Caller, crowd: list[str]
) -> None:
    anchor = crowd[10]
    assert (await admin.ids("Account", sort=ASCENDING, anchor=anchor, limit=1)) == [crowd[11]]
    assert (await admin.ids("Account", sort=ASCENDING, anchor=anchor, limit=1, calculateTotal=True)) == [anchor]
    by_name = [{"property": "name", "isAscending": True}]
    assert (await admin.ids("Account", sort=by_name, anchor=anchor, limit=1)) == [anchor]


async def test_an_anchor_that_is_not_there_fails(admin: Caller, crowd: list[str]) -> None:
    gone = encode(decode(crowd[-1]) + 1)
    error = await admin.failure("x:Account/query", anchor=gone, anchorOffset=1)
    assert error["type"] == "anchorNotFound"


async def test_a_limit_of_zero_gives_one_id(admin: Caller, crowd: list[str]) -> None:
    assert await admin.ids("Account", limit=0) == [crowd[0]]


async def test_a_position_before_the_end_counts_from_there(admin: Caller, crowd: list[str]) -> None:
    assert await admin.ids("Account", sort=ASCENDING, position=-2) == crowd[-2:]


async def test_a_total_comes_where_it_was_asked_for(admin: Caller, crowd: list[str]) -> None:
    answer = await admin.call("x:Account/query", calculateTotal=True, limit=2)
    assert (answer["total"], len(answer["ids"])) == (len(crowd), 2)
    assert "total" not in await admin.call("x:Account/query", limit=2)


async def test_the_wrong_page_comes_for_other_types_too(admin: Caller) -> None:
    assert await admin.ids("Role", limit=2) == ["c", "b"]


async def test_a_query_says_it_could_tell_changes_and_can_not(admin: Caller) -> None:
    answer = await admin.call("x:Role/query")
    assert (answer["queryState"], answer["canCalculateChanges"]) == ("n", True)
    assert (await admin.failure("x:Role/queryChanges", sinceQueryState="n"))["type"] == "unknownMethod"


# -- get without a query -----------------------------------------------------------------------


async def test_all_ids_are_the_lowest_five_hundred_without_a_mark(admin: Caller, crowd: list[str]) -> None:
    answer = await admin.call("x:Account/get", ids=None, properties=["name"])
    assert [found["id"] for found in answer["list"]] == crowd[:500]
    assert set(answer) == {"accountId", "list", "notFound"}


async def test_five_hundred_ids_are_fetched_and_one_more_is_too_many(admin: Caller, crowd: list[str]) -> None:
    assert len(await admin.get("Account", *crowd[:500], properties=["name"])) == 500
    assert (await admin.failure("x:Account/get", ids=crowd[:501]))["type"] == "requestTooLarge"
    roles = {f"r{number}": {"description": "x"} for number in range(501)}
    assert (await admin.failure("x:Role/set", create=roles))["type"] == "requestTooLarge"


async def test_ids_that_are_not_there_are_named(admin: Caller) -> None:
    answer = await admin.call("x:Role/get", ids=["b", "zz", "not an id"])
    assert ([found["id"] for found in answer["list"]], answer["notFound"]) == (["b"], ["zz", "not an id"])


# -- filters ------------------------------------------------------------------------------------


async def test_conditions_must_all_hold(admin: Caller) -> None:
    acme, beta = await made_tenant(admin), await made_tenant(admin, "beta.test")
    assert await admin.ids("Account", filter={"name": "jane", "domainId": beta.domain}) == [beta.account]
    both = {"operator": "AND", "conditions": [{"name": "jane"}, {"domainId": acme.domain}]}
    assert await admin.ids("Account", filter=both) == [acme.account]


@pytest.mark.parametrize("operator", ["OR", "NOT"])
async def test_no_other_operator_works(operator: str, admin: Caller) -> None:
    alternatives = {"operator": operator, "conditions": [{"name": "acme.test"}, {"name": "beta.test"}]}
    assert (await admin.failure("x:Domain/query", filter=alternatives))["type"] == "unsupportedFilter"


@pytest.mark.parametrize(
    ("kind", "condition"),
    [
        ("Account", {"roles": "b"}),
        ("Account", {"roleIds": "b"}),
        ("Account", {"description": "x"}),
        ("MailingList", {"domainId": "b"}),
        ("MailingList", {"name": "x"}),
        ("Domain", {"description": "x"}),
        ("WebHook", {"url": "x"}),
        ("MtaInboundThrottle", {"description": "x"}),
        ("Account", {"domainId": "not an id"}),
        ("Domain", {"name": 7}),
    ],
)
async def test_accounts_can_not_be_asked_by_role_nor_anything_by_what_has_no_index(
    kind: str, condition: dict[str, Any], admin: Caller
) -> None:
    assert (await admin.failure(f"x:{kind}/query", filter=condition))["type"] == "unsupportedFilter"


async def test_nothing_is_sorted_by_what_has_no_index(admin: Caller) -> None:
    error = await admin.failure("x:Role/query", sort=[{"property": "description"}])
    assert error["type"] == "unsupportedSort"


async def test_an_account_s_name_is_the_local_part_and_no_alias(admin: Caller) -> None:
    tenant = await made_tenant(admin)
    await admin.change("Account", tenant.account, {"aliases/0": {"name": "j.doe", "domainId": tenant.domain}})
    assert await admin.ids("Account", filter={"name": "jane"}) == [tenant.account]
    assert await admin.ids("Account", filter={"name": "Jane"}) == []
    assert await admin.ids("Account", filter={"name": "jane@acme.test"}) == []
    assert await admin.ids("Account", filter={"name": "j.doe"}) == []
    assert await admin.ids("Account", filter={"text": "doe"}) == [tenant.account]


async def test_a_domain_is_found_by_name_or_alias_each_in_its_own_index(admin: Caller) -> None:
    key = (await admin.make("Domain", {"name": "acme.test", "aliases": {"acme.eu": True}}))["id"]
    assert await admin.ids("Domain", filter={"aliases": "acme.eu"}) == [key]
    assert await admin.ids("Domain", filter={"name": "acme.eu"}) == []
    assert await admin.ids("Domain", filter={"aliases": "acme.test"}) == []


async def test_text_goes_by_whole_words_without_case_and_over_descriptions(admin: Caller) -> None:
    key = (await admin.make("Domain", {"name": "acme.test", "description": "dezky:one:Acme:domain"}))["id"]
    assert await admin.ids("Domain", filter={"text": "DEZKY"}) == [key, "b"], "dezky.test is called so too"
    assert await admin.ids("Domain", filter={"text": "one acme"}) == [key]
    assert await admin.ids("Domain", filter={"text": "acm"}) == []


async def test_a_role_is_found_by_words_and_so_by_more_than_was_meant(admin: Caller) -> None:
    short = (await admin.make("Role", {"description": "dezky:one:acme:role"}))["id"]
    long = (await admin.make("Role", {"description": "dezky:one:acme:role:old"}))["id"]
    assert await admin.ids("Role", filter={"description": "dezky:one:acme:role"}) == [long, short]


async def test_words_that_nobody_has_at_the_beginning_are_forgotten(admin: Caller) -> None:
    key = (await admin.make("Role", {"description": "acme role"}))["id"]
    assert await admin.ids("Role", filter={"description": "unheard acme"}) == [key]
    assert await admin.ids("Role", filter={"description": "acme unheard"}) == []


async def test_a_list_is_found_by_its_own_words_and_not_by_those_of_its_domain(admin: Caller) -> None:
    tenant = await made_tenant(admin)
    recipients = {"peter@elsewhere.local": True}
    key = (await admin.make("MailingList", {"name": "all", "domainId": tenant.domain, "recipients": recipients}))["id"]
    assert await admin.ids("MailingList", filter={"text": "elsewhere"}) == [key]
    assert await admin.ids("MailingList", filter={"text": "acme.test"}) == []


async def test_members_are_found_by_their_group_and_accounts_by_their_type(admin: Caller) -> None:
    tenant = await made_tenant(admin)
    group = (await admin.make("Account", {"@type": "Group", "name": "sales", "domainId": tenant.domain}))["id"]
    await admin.change("Account", tenant.account, {f"memberGroupIds/{group}": True})
    assert await admin.ids("Account", filter={"memberGroupIds": group}) == [tenant.account]
    assert await admin.ids("Account", filter={"@type": "Group"}) == [group]


def test_ids_are_numbers_in_base32() -> None:
    assert [encode(number) for number in (0, 1, 53, 2**32 - 1)] == ["a", "b", "bv", "d333333"]
    assert [decode(encode(number)) for number in range(0, 2**40, 2**33 + 7)] == list(range(0, 2**40, 2**33 + 7))
