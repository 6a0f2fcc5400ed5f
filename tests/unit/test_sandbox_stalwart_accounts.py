"""Stalwart's stand-in, roles and accounts, and the order in which things can be destroyed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.sandbox.stalwart.caller import PASSWORD, Caller, Tenant, basic, made_tenant
from tests.sandbox.stalwart.connections import smtp
from tests.sandbox.stalwart.server import StalwartStandIn


@pytest.fixture
async def server() -> AsyncIterator[StalwartStandIn]:
    async with StalwartStandIn() as found:
        yield found


@pytest.fixture
async def admin(server: StalwartStandIn) -> AsyncIterator[Caller]:
    async with Caller(server.url, basic(*server.admin)) as found:
        yield found


@pytest.fixture
async def tenant(admin: Caller) -> Tenant:
    return await made_tenant(admin)


def user(tenant: Tenant, name: str = "bob", **more: Any) -> dict[str, Any]:
    return {"@type": "User", "name": name, "domainId": tenant.domain, **more}


# -- roles --------------------------------------------------------------------------------------


async def test_the_first_four_roles_are_those_of_a_first_start(admin: Caller) -> None:
    roles = await admin.get("Role", properties=["description"])
    assert [role["id"] for role in roles] == ["b", "c", "d", "e"]
    assert [role["description"] for role in roles] == ["User", "Group", "Tenant Administrator", "System Administrator"]
    defaults = await admin.one("Authentication", "singleton")
    assert defaults["defaultUserRoleIds"] == {"b": True}


async def test_two_roles_may_have_one_description(admin: Caller) -> None:
    first, second = [(await admin.make("Role", {"description": "same"}))["id"] for _ in range(2)]
    assert await admin.ids("Role", filter={"description": "same"}) == [second, first]


async def test_a_role_names_the_parent_that_is_missing(admin: Caller) -> None:
    error = await admin.not_made("Role", {"description": "x", "roleIds": {"zz": True}})
    assert error == {"type": "invalidForeignKey", "objectId": {"object": "Role", "id": "zz"}}


async def test_an_unknown_permission_is_refused(admin: Caller) -> None:
    error = await admin.not_made("Role", {"description": "x", "enabledPermissions": {"fly": True}})
    assert (error["type"], error["description"]) == ("invalidPatch", "Invalid key for object property")
    error = await admin.not_changed("Role", "b", {"disabledPermissions/fly": True})
    assert error["type"] == "invalidPatch"


async def test_disabling_twice_is_disabling_once_and_both_ways_back_work(admin: Caller, tenant: Tenant) -> None:
    for _ in range(2):
        await admin.change("Role", tenant.role, {"disabledPermissions/authenticate": True})
        assert (await admin.one("Role", tenant.role))["disabledPermissions"] == {"authenticate": True}
    for off in (False, None):
        await admin.change("Role", tenant.role, {"disabledPermissions/authenticate": True})
        await admin.change("Role", tenant.role, {"disabledPermissions/authenticate": off})
        assert (await admin.one("Role", tenant.role))["disabledPermissions"] == {}


# -- accounts --------------------------------------------------------------------------------------


async def test_a_type_a_name_and_a_domain_are_enough(admin: Caller, tenant: Tenant) -> None:
    found = await admin.one("Account", (await admin.make("Account", user(tenant)))["id"])
    assert found["emailAddress"] == "bob@acme.test"
    assert (found["credentials"], found["roles"], found["usedDiskQuota"]) == ({}, {"@type": "User"}, 0)


async def test_names_lose_case_and_spaces(admin: Caller, tenant: Tenant) -> None:
    error = await admin.not_made("Account", user(tenant, "Ja Ne"))
    assert error == {
        "type": "primaryKeyViolation",
        "properties": ["email"],
        "objectId": {"object": "Account", "id": tenant.account},
    }


async def test_an_alias_and_a_list_are_in_the_way_of_an_account(admin: Caller, tenant: Tenant) -> None:
    await admin.change("Account", tenant.account, {"aliases": {"0": {"name": "J.Doe", "domainId": tenant.domain}}})
    error = await admin.not_made("Account", user(tenant, "j.doe"))
    assert error["objectId"] == {"object": "Account", "id": tenant.account}
    key = (await admin.make("MailingList", {"name": "all", "domainId": tenant.domain}))["id"]
    error = await admin.not_made("Account", user(tenant, "all"))
    assert error["objectId"] == {"object": "MailingList", "id": key}


async def test_the_same_name_in_another_domain_is_free(admin: Caller, tenant: Tenant) -> None:
    other = await made_tenant(admin, "beta.test")
    assert other.account != tenant.account


async def test_a_missing_domain_is_named(admin: Caller) -> None:
    error = await admin.not_made("Account", {"@type": "User", "name": "bob", "domainId": "zz"})
    assert error == {"type": "invalidForeignKey", "objectId": {"object": "Domain", "id": "zz"}}


async def test_a_missing_role_sounds_like_a_moment_s_trouble_and_lasts(admin: Caller, tenant: Tenant) -> None:
    """And it fails the method, so that what came before it in the same call is not told."""
    body = user(tenant, roles={"@type": "Custom", "roleIds": {"zz": True}})
    create = {"first": user(tenant, "carl"), "second": body}
    for _ in range(2):
        assert (await admin.failure("x:Account/set", create=create))["type"] == "serverUnavailable"
    assert len(await admin.ids("Account", filter={"name": "carl"})) == 1, "done all the same, and only once"


async def test_a_set_does_what_it_can_and_tells_the_rest(admin: Caller, tenant: Tenant) -> None:
    create = {name: user(tenant, name) for name in ("anna", "jane", "zoe")}
    answer = await admin.call("x:Account/set", create=create)
    assert set(answer["created"]) == {"anna", "zoe"}
    assert answer["notCreated"]["jane"]["type"] == "primaryKeyViolation"
    again = await admin.call("x:Account/set", create=create)
    told = {name: error["objectId"]["id"] for name, error in again["notCreated"].items()}
    assert told["anna"] == answer["created"]["anna"]["id"]


async def test_a_group_has_no_credentials_and_is_no_user(admin: Caller, tenant: Tenant) -> None:
    group = {"@type": "Group", "name": "sales", "domainId": tenant.domain}
    key = (await admin.make("Account", group))["id"]
    assert "credentials" not in await admin.one("Account", key)
    assert (await admin.not_changed("Account", key, {"credentials": {}}))["type"] == "invalidPatch"
    assert (await admin.not_changed("Account", key, {"@type": "User"}))["type"] == "invalidProperties"
    error = await admin.not_changed("Account", tenant.account, {f"memberGroupIds/{tenant.account}": True})
    assert error["type"] == "invalidForeignKey"


# -- credentials -------------------------------------------------------------------------------------


async def test_secrets_are_read_as_a_mask_and_never_come_back(admin: Caller, tenant: Tenant) -> None:
    found = await admin.one("Account", tenant.account)
    assert found["credentials"]["0"]["secret"] == "****"
    assert PASSWORD not in str(found)


async def test_the_mask_sent_back_keeps_the_password(admin: Caller, tenant: Tenant, server: StalwartStandIn) -> None:
    await admin.change("Account", tenant.account, {"credentials/0/secret": "****"})
    async with Caller(server.url, tenant.header) as jane:
        assert (await jane.http.get("/api/account")).status_code == 200


async def test_writing_an_account_back_as_it_was_read_fails(admin: Caller, tenant: Tenant) -> None:
    found = await admin.one("Account", tenant.account)
    error = await admin.not_changed("Account", tenant.account, {"credentials": found["credentials"]})
    assert (error["type"], error["properties"]) == ("invalidPatch", ["credentials/credentialId"])


@pytest.mark.parametrize("secret", ["short1!", "password123!", "aaaaaaaaaaaa", "jane-is-great-2026"])
async def test_weak_passwords_are_refused(secret: str, admin: Caller, tenant: Tenant) -> None:
    patch = {"credentials/0/secret": secret}
    error = await admin.not_changed("Account", tenant.account, patch)
    assert (error["type"], error["properties"]) == ("invalidProperties", ["secret"])


async def test_an_account_has_one_password(admin: Caller, tenant: Tenant) -> None:
    another = {"@type": "Password", "secret": "Qx7-another-one-entirely"}
    error = await admin.not_changed("Account", tenant.account, {"credentials/1": another})
    assert (error["type"], error["properties"]) == ("invalidProperties", ["credentials"])


async def test_app_passwords_are_not_set_on_the_account(admin: Caller, tenant: Tenant) -> None:
    smuggled = {"@type": "AppPassword", "secret": "app_Qx7-another-one", "description": "x"}
    error = await admin.not_changed("Account", tenant.account, {"credentials/1": smuggled})
    assert (error["type"], error["properties"]) == ("invalidProperties", ["credentials"])


async def test_nobody_gets_a_password_where_a_directory_knows_them(
    admin: Caller, tenant: Tenant, server: StalwartStandIn
) -> None:
    """And the one that was there is no good any more, from the reload on."""
    key = (await admin.make("Directory", {"@type": "Oidc", "issuerUrl": "https://id.test/"}))["id"]
    await admin.change("Authentication", "singleton", {"directoryId": key})
    async with Caller(server.url, tenant.header) as jane:
        assert (await jane.http.get("/api/account")).status_code == 200, "only stored until now"
        await admin.reload()
        assert (await jane.http.get("/api/account")).status_code == 401
    body = user(tenant, credentials={"0": {"@type": "Password", "secret": PASSWORD}})
    assert (await admin.not_made("Account", body))["type"] == "forbidden"


# -- permissions of one account -----------------------------------------------------------------------


async def test_a_pointer_into_an_account_s_permissions_fails_while_they_are_inherited(
    admin: Caller, tenant: Tenant
) -> None:
    pointer = {"permissions/disabledPermissions/authenticate": True}
    error = await admin.not_changed("Account", tenant.account, pointer)
    assert (error["type"], error["description"]) == ("invalidPatch", "Invalid JSON Pointer path")
    merge = {"permissions": {"@type": "Merge", "disabledPermissions": {"authenticate": True}}}
    await admin.change("Account", tenant.account, merge)
    await admin.change("Account", tenant.account, {"permissions/disabledPermissions/authenticate": False})
    assert (await admin.one("Account", tenant.account))["permissions"]["disabledPermissions"] == {}


# -- destroying ------------------------------------------------------------------------------------------


async def test_a_domain_names_everything_that_is_linked_to_it(admin: Caller, tenant: Tenant) -> None:
    made = await admin.call("x:Account/set", create={f"u{n}": user(tenant, f"u{n}") for n in range(60)})
    group = await admin.make("Account", {"@type": "Group", "name": "sales", "domainId": tenant.domain})
    everybody = await admin.make("MailingList", {"name": "all", "domainId": tenant.domain})
    error = await admin.not_removed("Domain", tenant.domain)
    assert (error["type"], error["objectId"]) == ("objectIsLinked", {"object": "Domain", "id": tenant.domain})
    linked = {(one["object"], one["id"]) for one in error["linkedObjects"]}
    accounts = {tenant.account, group["id"], *(one["id"] for one in made["created"].values())}
    assert linked == {("Account", key) for key in accounts} | {("MailingList", everybody["id"])}


async def test_an_alias_in_a_domain_is_a_link_too(admin: Caller, tenant: Tenant) -> None:
    other = (await admin.make("Domain", {"name": "other.test", "dkimManagement": {"@type": "Manual"}}))["id"]
    await admin.change("Account", tenant.account, {"aliases/0": {"name": "jane", "domainId": other}})
    links = (await admin.not_removed("Domain", other))["linkedObjects"]
    assert links == [{"object": "Account", "id": tenant.account}]


async def test_the_default_domain_is_linked_to_the_settings(admin: Caller) -> None:
    error = await admin.not_removed("Domain", "b")
    assert error["linkedObjects"] == [{"object": "SystemSettings", "id": "singleton"}]


async def test_a_role_stays_while_accounts_or_roles_use_it(admin: Caller, tenant: Tenant) -> None:
    child = (await admin.make("Role", {"description": "child", "roleIds": {tenant.role: True}}))["id"]
    links = (await admin.not_removed("Role", tenant.role))["linkedObjects"]
    assert links == [{"object": "Account", "id": tenant.account}, {"object": "Role", "id": child}]


async def test_a_group_stays_while_it_has_members(admin: Caller, tenant: Tenant) -> None:
    group = (await admin.make("Account", {"@type": "Group", "name": "sales", "domainId": tenant.domain}))["id"]
    await admin.change("Account", tenant.account, {f"memberGroupIds/{group}": True})
    assert (await admin.not_removed("Account", group))["type"] == "objectIsLinked"
    await admin.remove("Account", tenant.account)
    await admin.remove("Account", group)


async def test_account_domain_and_role_go_in_one_request_in_that_order(admin: Caller, tenant: Tenant) -> None:
    answers = await admin.several(
        ("x:Account/set", {"destroy": [tenant.account]}),
        ("x:Domain/set", {"destroy": [tenant.domain]}),
        ("x:Role/set", {"destroy": [tenant.role]}),
    )
    assert all(document["destroyed"] for _, document in answers)


async def test_a_destroyed_account_is_gone_at_once_and_comes_back_empty_under_another_id(
    admin: Caller, tenant: Tenant, server: StalwartStandIn
) -> None:
    async with smtp(server.smtp_port) as sender:
        await sender.send(tenant.address)
        assert (await admin.one("Account", tenant.account))["usedDiskQuota"] > 0
        await admin.remove("Account", tenant.account)
        assert await sender.recipient(tenant.address) == "550 5.1.2 Mailbox does not exist."
    again = await admin.make("Account", user(tenant, "jane"))
    assert again["id"] != tenant.account
    assert (await admin.one("Account", again["id"]))["usedDiskQuota"] == 0


async def test_recipients_of_a_list_are_not_cleaned(admin: Caller, tenant: Tenant) -> None:
    body = {"name": "all", "domainId": tenant.domain, "recipients": {tenant.address: True}}
    key = (await admin.make("MailingList", body))["id"]
    await admin.remove("Account", tenant.account)
    assert (await admin.one("MailingList", key))["recipients"] == {tenant.address: True}
