"""Stalwart's stand-in, domains and how values are written: each trap of facts/stalwart.md 2.2, 2.3 and 11.2 once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.sandbox.stalwart.caller import Caller, basic
from tests.sandbox.stalwart.server import StalwartStandIn

MANUAL = {"dkimManagement": {"@type": "Manual"}}


@pytest.fixture
async def server() -> AsyncIterator[StalwartStandIn]:
    async with StalwartStandIn() as found:
        yield found


@pytest.fixture
async def admin(server: StalwartStandIn) -> AsyncIterator[Caller]:
    async with Caller(server.url, basic(*server.admin)) as found:
        yield found


async def made(admin: Caller, name: str = "acme.test", **more: Any) -> str:
    return str((await admin.make("Domain", {"name": name, **MANUAL, **more}))["id"])


async def test_a_name_is_enough_and_keys_are_automatic_unless_said_otherwise(admin: Caller) -> None:
    found = await admin.one("Domain", (await admin.make("Domain", {"name": "acme.test"}))["id"])
    kinds = ("dkimManagement", "certificateManagement", "dnsManagement", "subAddressing")
    assert [found[kind]["@type"] for kind in kinds] == ["Automatic", "Manual", "Manual", "Enabled"]
    assert (found["isEnabled"], found["description"]) == (True, None)


async def test_get_shows_the_zone_file_unless_properties_are_named(admin: Caller) -> None:
    key = await made(admin)
    assert "dnsZoneFile" in await admin.one("Domain", key)
    assert set(await admin.one("Domain", key, properties=["name"])) == {"id", "name"}


async def test_names_are_stored_lower_case_and_as_punycode(admin: Caller) -> None:
    first, second = await made(admin, "AcMe.Test"), await made(admin, "bücher.de")
    names = [found["name"] for found in await admin.get("Domain", first, second, properties=["name"])]
    assert names == ["acme.test", "xn--bcher-kva.de"]


async def test_the_filter_by_name_knows_no_other_case(admin: Caller) -> None:
    key = await made(admin, "AcMe.Test")
    assert await admin.ids("Domain", filter={"name": "acme.test"}) == [key]
    assert await admin.ids("Domain", filter={"name": "AcMe.Test"}) == []


@pytest.mark.parametrize("name", ["acme.example", "acme.invalid", "acme.zzzz", "acme", "acme.test.", "a..test"])
async def test_names_without_a_known_ending_are_refused(name: str, admin: Caller) -> None:
    error = await admin.not_made("Domain", {"name": name})
    assert (error["type"], error["description"]) == ("invalidPatch", "Invalid domain name")


@pytest.mark.parametrize("name", ["co.uk", "a_b.com", "-x.com", "shop.acme.test"])
async def test_names_that_one_should_check_oneself_are_taken(name: str, admin: Caller) -> None:
    await made(admin, "acme.test")
    assert (await admin.one("Domain", await made(admin, name)))["name"] == name


async def test_a_second_domain_of_a_name_is_told_whose_it_is(admin: Caller) -> None:
    key = await made(admin)
    error = await admin.not_made("Domain", {"name": "ACME.test"})
    assert error == {
        "type": "primaryKeyViolation",
        "properties": ["name"],
        "objectId": {"object": "Domain", "id": key},
    }


async def test_names_and_aliases_are_one_space(admin: Caller) -> None:
    key = await made(admin, "acme.test", aliases={"acme.eu": True})
    assert (await admin.not_made("Domain", {"name": "acme.eu"}))["objectId"] == {"object": "Domain", "id": key}
    error = await admin.not_made("Domain", {"name": "beta.test", "aliases": {"ACME.test": True}})
    assert (error["type"], error["properties"], error["objectId"]["id"]) == ("primaryKeyViolation", ["aliases"], key)


async def test_a_rename_frees_the_old_name(admin: Caller) -> None:
    key = await made(admin)
    await admin.change("Domain", key, {"name": "acme.eu"})
    assert await made(admin) != key


async def test_ids_go_up_and_none_is_used_again(admin: Caller) -> None:
    first = await made(admin, "one.test")
    await admin.remove("Domain", first)
    assert await made(admin, "one.test") != first


async def test_without_a_name_the_missing_property_is_told(admin: Caller) -> None:
    error = await admin.not_made("Domain", {"description": "x"})
    assert error == {"type": "validationFailed", "validationErrors": [{"type": "Required", "property": "name"}]}


# -- values and patches ------------------------------------------------------------------------


@pytest.mark.parametrize("value", [["acme.eu"], "acme.eu"])
async def test_a_set_is_an_object_and_never_an_array(value: object, admin: Caller) -> None:
    error = await admin.not_changed("Domain", await made(admin), {"aliases": value})
    assert error == {
        "type": "invalidPatch",
        "description": "Invalid value for object property",
        "properties": ["aliases"],
    }


async def test_an_unknown_property_is_refused_and_named_in_a_patch_only(admin: Caller) -> None:
    error = await admin.not_changed("Domain", await made(admin), {"colour": "red"})
    assert error == {"type": "invalidPatch", "description": "Invalid property", "properties": ["colour"]}
    error = await admin.not_made("Domain", {"name": "b.test", "colour": "red"})
    assert error == {"type": "invalidPatch", "description": "Invalid key for object", "properties": [""]}


@pytest.mark.parametrize("pointer", ["createdAt", "dnsZoneFile", "id"])
async def test_what_the_server_sets_can_not_be_sent(pointer: str, admin: Caller) -> None:
    error = await admin.not_changed("Domain", await made(admin), {pointer: "x"})
    assert (error["type"], error["properties"]) == ("invalidPatch", [pointer])


async def test_a_pointer_adds_and_removes_one_member_and_the_rest_stays(admin: Caller) -> None:
    key = await made(admin, aliases={"acme.eu": True, "acme.de": True})
    await admin.change("Domain", key, {"aliases/acme.at": True, "aliases/acme.de": False})
    assert (await admin.one("Domain", key))["aliases"] == {"acme.eu": True, "acme.at": True}
    await admin.change("Domain", key, {"aliases/acme.eu": None})
    assert (await admin.one("Domain", key))["aliases"] == {"acme.at": True}
    await admin.change("Domain", key, {"aliases": {"acme.fr": True}})
    assert (await admin.one("Domain", key))["aliases"] == {"acme.fr": True}


@pytest.mark.parametrize("patch", [{"aliases/acme.eu": "yes"}, {"aliases/acme.eu/more": True}])
async def test_a_member_is_there_or_not_and_has_no_inside(patch: dict[str, Any], admin: Caller) -> None:
    error = await admin.not_changed("Domain", await made(admin), patch)
    assert (error["type"], error["description"]) == ("invalidPatch", "Invalid value for object property")


async def test_the_same_patch_twice_is_the_same_state(admin: Caller) -> None:
    key = await made(admin)
    await admin.change("Domain", key, {"aliases/acme.eu": True})
    once = await admin.one("Domain", key)
    await admin.change("Domain", key, {"aliases/acme.eu": True})
    assert await admin.one("Domain", key) == once
    await admin.change("Domain", key, {"aliases/nobody.eu": False})
    assert await admin.one("Domain", key) == once


async def test_a_refused_patch_changes_nothing_of_the_object(admin: Caller) -> None:
    key = await made(admin)
    before = await admin.one("Domain", key)
    await admin.not_changed("Domain", key, {"description": "new", "catchAllAddress": "nowhere"})
    assert await admin.one("Domain", key) == before


async def test_null_empties_what_may_be_empty_and_nothing_else(admin: Caller) -> None:
    key = await made(admin, description="mine")
    await admin.change("Domain", key, {"description": None})
    assert (await admin.one("Domain", key))["description"] is None
    assert (await admin.not_changed("Domain", key, {"name": None}))["type"] == "invalidPatch"
    assert (await admin.not_changed("Domain", key, {"description": ""}))["type"] == "invalidPatch"


async def test_a_change_of_what_is_destroyed_in_the_same_call_is_refused(admin: Caller) -> None:
    key = await made(admin)
    answer = await admin.call("x:Domain/set", update={key: {"description": "x"}}, destroy=[key])
    assert answer["notUpdated"][key]["type"] == "willDestroy"
    assert answer["destroyed"] == [key]


async def test_what_is_missing_is_not_found_and_what_is_no_id_is_passed_over(admin: Caller) -> None:
    assert (await admin.not_removed("Domain", "zz"))["type"] == "notFound"
    assert (await admin.not_changed("Domain", "zz", {"description": "x"}))["type"] == "notFound"
    answer = await admin.call("x:Domain/set", destroy=["not an id"], update={"not an id": {}})
    assert set(answer) == {"accountId"}


async def test_is_enabled_is_a_flag_without_any_effect(admin: Caller, server: StalwartStandIn) -> None:
    key = await made(admin)
    await admin.make("Account", {"@type": "User", "name": "jane", "domainId": key})
    await admin.change("Domain", key, {"isEnabled": False})
    await admin.reload()
    assert server.mailroom.is_known("jane@acme.test")


async def test_settings_exist_once_and_can_neither_be_made_nor_destroyed(admin: Caller) -> None:
    assert (await admin.one("SystemSettings", "singleton"))["defaultDomainId"] == "b"
    assert (await admin.not_made("Http", {}))["type"] == "singleton"
    assert (await admin.not_removed("Http", "singleton"))["type"] == "singleton"
    assert (await admin.not_changed("Http", "b", {}))["type"] == "notFound"
