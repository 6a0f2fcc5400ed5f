"""Stalwart's stand-in, rights: API keys, what a role of the operator must hold, and what nobody can give."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from dezky_operator.integrations.stalwart.bootstrap import RIGHTS
from tests.sandbox.stalwart.caller import Caller, Tenant, basic, made_tenant
from tests.sandbox.stalwart.connections import imap, smtp
from tests.sandbox.stalwart.permissions import USER
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


async def service(admin: Caller, *, parents: tuple[str, ...] = ("b",), rights: tuple[str, ...] = RIGHTS) -> str:
    """An account with a role of its own; its id."""
    role = {
        "description": "service",
        "roleIds": dict.fromkeys(parents, True),
        "enabledPermissions": dict.fromkeys(rights, True),
    }
    made = await admin.make("Role", role)
    roles = {"@type": "Custom", "roleIds": {made["id"]: True}}
    body = {"@type": "User", "name": "service", "domainId": "b", "roles": roles}
    return str((await admin.make("Account", body))["id"])


async def key(admin: Caller, account: str, **more: Any) -> dict[str, Any]:
    return await admin.make("ApiKey", {"description": "k", **more}, accountId=account)


# -- keys ------------------------------------------------------------------------------------------


async def test_a_key_is_shown_once_and_read_as_a_mask(admin: Caller, tenant: Tenant) -> None:
    made = await key(admin, tenant.account)
    assert made["secret"].startswith("API_")
    found = await admin.one("ApiKey", made["id"], accountId=tenant.account)
    assert (found["secret"], found["description"]) == ("****", "k")


async def test_a_key_acts_for_its_account_with_the_account_s_rights(
    admin: Caller, tenant: Tenant, server: StalwartStandIn
) -> None:
    made = await key(admin, tenant.account)
    async with Caller(server.url, f"Bearer {made['secret']}") as jane:
        told = (await jane.http.get("/api/account")).json()
        assert set(told["permissions"]) == USER
        assert (await jane.failure("x:Domain/get", ids=["b"]))["type"] == "forbidden"


async def test_keys_are_seen_account_by_account(admin: Caller, tenant: Tenant) -> None:
    other = await made_tenant(admin, "beta.test")
    mine, theirs = await key(admin, tenant.account), await key(admin, other.account)
    assert mine["id"] == theirs["id"], "each account has its own numbers"
    assert [one["id"] for one in await admin.get("ApiKey", accountId=tenant.account)] == [mine["id"]]
    assert await admin.get("ApiKey") == [], "the recovery administrator is no account"


async def test_a_key_of_no_account_is_not_made(admin: Caller) -> None:
    assert (await admin.not_made("ApiKey", {"description": "k"}, accountId="zzz"))["type"] == "notFound"


async def test_a_sixth_key_is_one_too_many(admin: Caller, tenant: Tenant) -> None:
    made = [await key(admin, tenant.account) for _ in range(5)]
    assert (await admin.not_made("ApiKey", {"description": "k"}, accountId=tenant.account))["type"] == "overQuota"
    await admin.remove("ApiKey", made[0]["id"], accountId=tenant.account)
    await key(admin, tenant.account)


async def test_a_destroyed_key_is_refused_at_the_next_request(
    admin: Caller, tenant: Tenant, server: StalwartStandIn
) -> None:
    made = await key(admin, tenant.account)
    async with Caller(server.url, f"Bearer {made['secret']}") as jane:
        assert (await jane.http.get("/api/account")).status_code == 200
        await admin.remove("ApiKey", made["id"], accountId=tenant.account)
        assert (await jane.http.get("/api/account")).status_code == 401


async def test_a_key_goes_with_its_account(admin: Caller, tenant: Tenant, server: StalwartStandIn) -> None:
    made = await key(admin, tenant.account)
    await admin.remove("Account", tenant.account)
    assert await admin.get("ApiKey", accountId=tenant.account) == []
    async with Caller(server.url, f"Bearer {made['secret']}") as jane:
        assert (await jane.http.get("/api/account")).status_code == 401


async def test_replacing_all_credentials_takes_the_keys_too(
    admin: Caller, tenant: Tenant, server: StalwartStandIn
) -> None:
    made = await key(admin, tenant.account)
    password = {"0": {"@type": "Password", "secret": "Qx7-another-one-entirely"}}
    await admin.change("Account", tenant.account, {"credentials": password})
    async with Caller(server.url, f"Bearer {made['secret']}") as jane:
        assert (await jane.http.get("/api/account")).status_code == 401


async def test_a_key_that_replaces_all_rights_without_authenticate_is_made_and_useless(
    admin: Caller, tenant: Tenant, server: StalwartStandIn
) -> None:
    scope = {"@type": "Replace", "permissions": {"sysApiKeyGet": True}}
    made = await key(admin, tenant.account, permissions=scope)
    async with Caller(server.url, f"Bearer {made['secret']}") as jane:
        assert (await jane.http.get("/api/account")).status_code == 403
        assert (await jane.raw(["Core/echo", {}, "e"])).status_code == 403


async def test_a_key_can_lack_what_its_account_holds(admin: Caller, tenant: Tenant, server: StalwartStandIn) -> None:
    scope = {"@type": "Disable", "permissions": {"sysApiKeyCreate": True}}
    made = await key(admin, tenant.account, permissions=scope)
    async with Caller(server.url, f"Bearer {made['secret']}") as jane:
        assert (await jane.failure("x:ApiKey/set", create={"k": {"description": "x"}}))["type"] == "forbidden"


async def test_a_key_from_a_wrong_address_is_403(admin: Caller, tenant: Tenant, server: StalwartStandIn) -> None:
    made = await key(admin, tenant.account, allowedIps={"10.42.0.0/16": True})
    async with Caller(server.url, f"Bearer {made['secret']}") as jane:
        assert (await jane.http.get("/api/account")).status_code == 403


async def test_an_expired_key_is_unknown(admin: Caller, tenant: Tenant, server: StalwartStandIn) -> None:
    made = await key(admin, tenant.account, expiresAt="2020-01-01T00:00:00Z")
    async with Caller(server.url, f"Bearer {made['secret']}") as jane:
        assert (await jane.http.get("/api/account")).status_code == 401


async def test_a_key_is_no_password(admin: Caller, tenant: Tenant, server: StalwartStandIn) -> None:
    secret = (await key(admin, tenant.account))["secret"]
    async with Caller(server.url, basic(tenant.address, secret)) as jane:
        assert (await jane.http.get("/api/account")).status_code == 401
    async with imap(server.imap_port) as mailbox:
        assert await mailbox.log_in(tenant.address, secret) == ["a1 NO [AUTHENTICATIONFAILED] Authentication failed"]
    async with smtp(server.smtp_port) as sender:
        assert await sender.log_in(tenant.address, secret) == "535 5.7.8 Authentication credentials invalid."


# -- accounts of others ---------------------------------------------------------------------------------


async def test_only_who_may_impersonate_speaks_of_other_accounts(
    admin: Caller, tenant: Tenant, server: StalwartStandIn
) -> None:
    assert await admin.get("Role", "b", accountId="zzz"), "existing or not"
    async with Caller(server.url, tenant.header) as jane:
        error = await jane.failure("x:ApiKey/get", accountId="zzz")
    assert (error["type"], error["description"]) == ("forbidden", "You are not an owner of account zzz")


async def test_an_ordinary_user_makes_keys_for_himself(admin: Caller, tenant: Tenant, server: StalwartStandIn) -> None:
    del admin
    async with Caller(server.url, tenant.header) as jane:
        assert (await jane.make("ApiKey", {"description": "mine"}))["secret"].startswith("API_")


# -- the operator's role ---------------------------------------------------------------------------------


async def test_the_operator_s_rights_with_the_user_role_as_parent_suffice(
    admin: Caller, tenant: Tenant, server: StalwartStandIn
) -> None:
    made = await key(admin, await service(admin))
    async with Caller(server.url, f"Bearer {made['secret']}") as daily:
        roles = {"@type": "Custom", "roleIds": {tenant.role: True}}
        body = {"@type": "User", "name": "bob", "domainId": tenant.domain, "roles": roles}
        await daily.make("Account", body)
        await daily.make("Domain", {"name": "beta.test"})
        await daily.change("Role", tenant.role, {"disabledPermissions/authenticate": True})
        await daily.reload()


async def test_without_the_user_role_as_parent_no_account_can_be_made_but_suspended_it_can(
    admin: Caller, tenant: Tenant, server: StalwartStandIn
) -> None:
    made = await key(admin, await service(admin, parents=(), rights=(*RIGHTS, "authenticate")))
    async with Caller(server.url, f"Bearer {made['secret']}") as daily:
        error = await daily.not_made("Account", {"@type": "User", "name": "bob", "domainId": tenant.domain})
        assert error["type"] == "forbidden"
        assert error["description"].startswith("You are not authorized to grant permissions: ")
        assert error["description"].endswith(f" and {len(USER) - 1 - 5} more")
        await daily.make("Role", {"description": "empty"})
        await daily.change("Role", tenant.role, {"disabledPermissions/authenticate": True})


async def test_nobody_enables_in_a_role_what_he_does_not_hold(
    admin: Caller, tenant: Tenant, server: StalwartStandIn
) -> None:
    made = await key(admin, await service(admin))
    async with Caller(server.url, f"Bearer {made['secret']}") as daily:
        error = await daily.not_changed("Role", tenant.role, {"enabledPermissions/impersonate": True})
        assert error["description"] == "You are not authorized to grant permissions: impersonate"
        error = await daily.not_made("Role", {"description": "x", "enabledPermissions": {"impersonate": True}})
        assert error["type"] == "forbidden"


async def test_any_role_can_be_edited_that_of_administrators_too(
    admin: Caller, server: StalwartStandIn, tenant: Tenant
) -> None:
    del tenant
    made = await key(admin, await service(admin))
    async with Caller(server.url, f"Bearer {made['secret']}") as daily:
        await daily.change("Role", "e", {"description": "mine now"})


async def test_an_administrator_is_not_made_by_somebody_who_is_none(
    admin: Caller, tenant: Tenant, server: StalwartStandIn
) -> None:
    made = await key(admin, await service(admin))
    async with Caller(server.url, f"Bearer {made['secret']}") as daily:
        for roles in ({"@type": "Admin"}, {"@type": "Custom", "roleIds": {"e": True}}):
            error = await daily.not_changed("Account", tenant.account, {"roles": roles})
            assert error["type"] == "forbidden"


@pytest.mark.parametrize(
    ("lacks", "method", "arguments", "sentence"),
    [
        ("sysDomainGet", "x:Domain/get", {"ids": ["b"]}, "perform this action."),
        ("sysDomainQuery", "x:Domain/query", {}, "perform this action."),
        (
            "sysDomainCreate",
            "x:Domain/set",
            {"create": {"d": {"name": "beta.test"}}},
            "create, update or destroy objects of this type.",
        ),
        ("sysRoleDestroy", "x:Role/set", {"destroy": ["b"]}, "create, update or destroy objects of this type."),
    ],
)
async def test_a_missing_right_fails_the_method(
    lacks: str, method: str, arguments: dict[str, Any], sentence: str, admin: Caller, server: StalwartStandIn
) -> None:
    rights = tuple(right for right in RIGHTS if right != lacks)
    made = await key(admin, await service(admin, rights=rights))
    async with Caller(server.url, f"Bearer {made['secret']}") as daily:
        error = await daily.failure(method, **arguments)
    assert error["type"] == "forbidden"
    assert error["description"].endswith(sentence)


async def test_a_missing_right_to_reload_is_told_at_the_object(admin: Caller, server: StalwartStandIn) -> None:
    rights = tuple(right for right in RIGHTS if right != "actionReloadSettings")
    made = await key(admin, await service(admin, rights=rights))
    async with Caller(server.url, f"Bearer {made['secret']}") as daily:
        error = await daily.not_made("Action", {"@type": "ReloadSettings"})
    assert error["type"] == "forbidden"
    assert error["description"] == "Insufficient permissions to perform action of type ReloadSettings"
