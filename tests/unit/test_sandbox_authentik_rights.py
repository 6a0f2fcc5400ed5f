"""What an account with few rights meets in the Authentik stand-in (facts/authentik.md 3.9, 11.4, 11.5)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.sandbox.authentik.server import AuthentikStandIn
from tests.sandbox.authentik.visitor import Visitor, make_application

KINDS = {
    "authentik_core": ("group", "user", "application", "token"),
    "authentik_providers_oauth2": ("oauth2provider",),
    "authentik_policies": ("policybinding",),
    "authentik_brands": ("brand",),
}
DAILY = [
    *(f"{app}.{act}_{kind}" for app, kinds in KINDS.items() for kind in kinds for act in ("view", "add")),
    "authentik_core.delete_authenticatedsession",
]
OWN = ("change_group", "delete_group", "change_user", "delete_user", "add_user_to_group", "reset_user_password")


@pytest.fixture
async def server() -> AsyncIterator[AuthentikStandIn]:
    async with AuthentikStandIn() as found:
        yield found


@pytest.fixture
async def admin(server: AuthentikStandIn) -> AsyncIterator[Visitor]:
    async with Visitor(server.url, server.bootstrap_token) as found:
        yield found


@pytest.fixture
async def daily(admin: Visitor) -> AsyncIterator[Visitor]:
    """An account that may see and make everything, and change what it made."""
    async with await _account(admin, "daily", DAILY, own=OWN) as found:
        yield found


async def _account(admin: Visitor, name: str, rights: list[str], *, own: tuple[str, ...] = ()) -> Visitor:
    role = await admin.make("rbac/roles/", name=name)
    await admin.ask("POST", f"rbac/permissions/assigned_by_roles/{role['pk']}/assign/", {"permissions": rights})
    numbers = [(await admin.rows("rbac/permissions/", codename=codename))[0]["id"] for codename in own]
    await admin.make("rbac/initial_permissions/", name=name, role=role["pk"], permissions=numbers)
    user = await admin.make("core/users/", username=name, name=name, type="service_account", roles=[role["pk"]])
    await admin.make("core/tokens/", identifier=name, user=user["pk"], expiring=False)
    return Visitor(admin.url, (await admin.get(f"core/tokens/{name}/view_key/"))["key"])


async def test_what_an_account_made_it_may_change_and_nothing_else(admin: Visitor, daily: Visitor) -> None:
    own = await daily.make("core/groups/", name="own")
    foreign = await admin.make("core/groups/", name="foreign")
    await daily.change(f"core/groups/{own['pk']}/", attributes={"a": 1})
    for method, path in (("PATCH", "core/groups/{}/"), ("DELETE", "core/groups/{}/"), ("PATCH", "core/users/1/")):
        assert (await daily.ask(method, path.format(foreign["pk"]), {"name": "mine"})).status_code == 403
    assert (await daily.ask("DELETE", f"core/groups/{own['pk']}/")).status_code == 204


async def test_nobody_joins_the_administrators_or_takes_their_password_by_himself(daily: Visitor) -> None:
    admins = (await daily.rows("core/groups/", name="authentik Admins"))[0]
    assert (await daily.ask("POST", f"core/groups/{admins['pk']}/add_user/", {"pk": 2})).status_code == 403
    assert (await daily.ask("PATCH", "core/users/2/", {"groups": [admins["pk"]]})).status_code == 403
    assert (await daily.ask("POST", "core/users/1/set_password/", {"password": "x"})).status_code == 403
    assert (await daily.ask("POST", "core/users/1/recovery/", {})).status_code == 403
    flag = await daily.ask("POST", "core/groups/", {"name": "mine", "is_superuser": True})
    assert (flag.status_code, list(flag.json())) == (400, ["is_superuser"])


async def test_a_group_under_the_administrators_is_a_hole_as_in_the_real_one(daily: Visitor) -> None:
    admins = (await daily.rows("core/groups/", name="authentik Admins"))[0]
    me = (await daily.rows("core/users/", username="daily"))[0]
    await daily.make("core/groups/", name="hole", parents=[admins["pk"]], users=[me["pk"]])
    assert (await daily.get(f"core/users/{me['pk']}/"))["is_superuser"] is True


async def test_rights_for_the_whole_server_let_an_account_promote_itself(admin: Visitor) -> None:
    rights = [*DAILY, "authentik_core.add_user_to_group"]
    async with await _account(admin, "strong", rights) as strong:
        admins = (await strong.rows("core/groups/", name="authentik Admins"))[0]
        me = (await strong.rows("core/users/", username="strong"))[0]
        joined = await strong.ask("POST", f"core/groups/{admins['pk']}/add_user/", {"pk": me["pk"]})
        assert joined.status_code == 204
        assert (await strong.get(f"core/users/{me['pk']}/"))["is_superuser"] is True


async def test_the_list_of_applications_counts_them_and_shows_none(admin: Visitor, daily: Visitor) -> None:
    group = await admin.make("core/groups/", name="acme")
    for slug in ("one", "two"):
        _, application = await make_application(admin, slug)
        await admin.make("policies/bindings/", target=application["pk"], group=group["pk"], order=0)
    lying = await daily.get("core/applications/", superuser_full_list="true")
    assert (lying["pagination"]["count"], lying["results"]) == (2, [])
    assert (await daily.get("core/applications/one/"))["slug"] == "one"


async def test_rights_on_other_objects_make_it_404_and_no_rights_on_a_list_403(admin: Visitor) -> None:
    first = await admin.make("core/groups/", name="first")
    second = await admin.make("core/groups/", name="second")
    async with await _account(admin, "narrow", []) as narrow:
        assert (await narrow.ask("GET", "core/groups/")).status_code == 403
        role = (await admin.rows("rbac/roles/", name="narrow"))[0]
        body = {"permissions": ["authentik_core.view_group"], "model": "authentik_core.group", "object_pk": first["pk"]}
        await admin.ask("POST", f"rbac/permissions/assigned_by_roles/{role['pk']}/assign/", body)
        assert [group["name"] for group in await narrow.rows("core/groups/")] == ["first"]
        assert (await narrow.ask("GET", f"core/groups/{second['pk']}/")).status_code == 404
        assert (await narrow.ask("PATCH", f"core/groups/{second['pk']}/", {})).status_code == 404
        assert (await narrow.ask("PATCH", f"core/groups/{first['pk']}/", {})).status_code == 403


async def test_sessions_without_the_right_to_see_them_are_an_empty_list(admin: Visitor, daily: Visitor) -> None:
    await admin.ask("POST", "core/users/1/set_password/", {"password": "secret"})
    async with Visitor(admin.url) as akadmin:
        await akadmin.sign_in("akadmin", "secret")
    assert len(await admin.rows("core/authenticated_sessions/")) == 1
    assert await daily.rows("core/authenticated_sessions/") == []
    assert (await daily.ask("DELETE", "core/authenticated_sessions/bulk_delete/?user_pks=1")).json()["deleted"] > 1
    assert await admin.rows("core/authenticated_sessions/") == []


async def test_settings_and_rights_are_the_superusers(daily: Visitor) -> None:
    for path in ("admin/settings/", "rbac/permissions/", "events/events/"):
        assert (await daily.ask("GET", path)).status_code == 403
    assert (await daily.ask("GET", "admin/version/")).status_code == 200


async def test_a_token_for_somebody_else_becomes_the_callers_own(daily: Visitor) -> None:
    token = await daily.make("core/tokens/", identifier="sly", user=1)
    assert token["user_obj"]["username"] == "daily"


async def test_access_is_checked_for_the_caller_whoever_is_asked_for(admin: Visitor, daily: Visitor) -> None:
    user = await admin.make("core/users/", username="anna", name="Anna")
    _, application = await make_application(admin, "acme")
    await admin.make("policies/bindings/", target=application["pk"], user=user["pk"], order=0)
    path = "core/applications/acme/check_access/"
    assert (await admin.get(path, for_user=user["pk"]))["passing"] is True
    assert (await daily.get(path, for_user=user["pk"]))["passing"] is False


async def test_others_refresh_tokens_are_not_shown(admin: Visitor, daily: Visitor) -> None:
    provider, _ = await make_application(admin, "acme")
    await admin.ask("POST", "core/users/1/set_password/", {"password": "secret"})
    async with Visitor(admin.url) as akadmin:
        await akadmin.sign_in("akadmin", "secret")
        tokens = await akadmin.tokens(provider, "openid offline_access")
        assert await daily.rows("oauth2/refresh_tokens/") == []
        shown = (await admin.rows("oauth2/refresh_tokens/", user=1, provider=provider["pk"]))[0]
        assert (await admin.ask("DELETE", f"oauth2/refresh_tokens/{shown['pk']}/")).status_code == 204
        assert (await akadmin.refresh(provider, tokens)).status_code == 400
