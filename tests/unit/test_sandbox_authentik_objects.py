"""The Authentik stand-in's REST API: each trap of facts/authentik.md once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import authentik_client as published
import pytest

from tests.sandbox.authentik.server import AuthentikStandIn
from tests.sandbox.authentik.visitor import Visitor, make_application

FLOWS = ("authorization_flow", "invalidation_flow")


@pytest.fixture
async def server() -> AsyncIterator[AuthentikStandIn]:
    async with AuthentikStandIn() as found:
        yield found


@pytest.fixture
async def admin(server: AuthentikStandIn) -> AsyncIterator[Visitor]:
    async with Visitor(server.url, server.bootstrap_token) as found:
        yield found


# -- asking ------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", "wrong"])
async def test_a_missing_or_bad_token_is_403_and_never_401(server: AuthentikStandIn, token: str) -> None:
    async with Visitor(server.url, token) as nobody:
        answer = await nobody.ask("GET", "admin/version/")
    assert (answer.status_code, list(answer.json())) == (403, ["detail"])


async def test_an_app_password_is_no_api_token(server: AuthentikStandIn, admin: Visitor) -> None:
    made = await admin.make("core/users/service_account/", name="probe", expiring=False)
    async with Visitor(server.url, made["token"]) as probe:
        assert (await probe.ask("GET", "admin/version/")).status_code == 403


async def test_a_token_of_an_inactive_user_is_refused_until_the_user_is_active_again(
    server: AuthentikStandIn, admin: Visitor
) -> None:
    user = await admin.make("core/users/", username="anna", name="Anna")
    await admin.make("core/tokens/", identifier="annas", intent="api", user=user["pk"], expiring=False)
    key = (await admin.get("core/tokens/annas/view_key/"))["key"]
    async with Visitor(server.url, key) as anna:
        assert (await anna.ask("GET", "admin/version/")).status_code == 200
        await admin.change(f"core/users/{user['pk']}/", is_active=False)
        assert (await anna.ask("GET", "admin/version/")).status_code == 403
        await admin.change(f"core/users/{user['pk']}/", is_active=True)
        assert (await anna.ask("GET", "admin/version/")).status_code == 200


async def test_an_expiring_api_token_lives_half_an_hour_and_then_has_another_key() -> None:
    now = [1_800_000_000.0]
    async with AuthentikStandIn(clock=lambda: now[0]) as server, Visitor(server.url, server.bootstrap_token) as admin:
        await admin.make("core/tokens/", identifier="short", expires="2099-01-01T00:00:00Z")
        await admin.ask("POST", "core/tokens/short/set_key/", {"key": "known"})
        async with Visitor(server.url, "known") as caller:
            now[0] += 29 * 60
            assert (await caller.ask("GET", "admin/version/")).status_code == 200
            now[0] += 2 * 60
            assert (await caller.ask("GET", "admin/version/")).status_code == 403
        assert server.store.events[-1]["action"] == "secret_rotate"


async def test_health_needs_no_token(server: AuthentikStandIn) -> None:
    async with Visitor(server.url) as nobody:
        for probe in ("live", "ready"):
            assert (await nobody.http.get(f"/-/health/{probe}/")).status_code < 300


# -- lists ---------------------------------------------------------------------------------


async def test_a_page_holds_twenty_rows_and_never_more_than_a_hundred(admin: Visitor) -> None:
    for number in range(119):
        await admin.make("core/groups/", name=f"g{number}")
    first = await admin.get("core/groups/")
    assert (len(first["results"]), first["pagination"]["next"], first["pagination"]["count"]) == (20, 2, 120)
    assert len(await admin.rows("core/groups/", page_size=500)) == 100
    assert len(await admin.rows("core/groups/", page_size=0)) == 20
    last = await admin.get("core/groups/", page=2, page_size=100)
    assert (last["pagination"]["next"], last["pagination"]["total_pages"]) == (0, 2)
    past = await admin.ask("GET", "core/groups/", page=3, page_size=100)
    assert (past.status_code, past.json()) == (404, {"detail": "Invalid page."})


async def test_an_unknown_filter_is_ignored_and_everything_comes_back(admin: Visitor) -> None:
    await admin.make("core/groups/", name="acme")
    assert len(await admin.rows("core/groups/", slug="acme")) == 2
    assert len(await admin.rows("core/groups/", name="acme")) == 1


async def test_attributes_are_filtered_by_json_nested_and_with_dots(admin: Visitor) -> None:
    await admin.make("core/groups/", name="acme", attributes={"dezky.eu/tenant": "acme", "a": {"b": 1}})
    for wanted in ({"dezky.eu/tenant": "acme"}, {"a__b": 1}):
        found = await admin.rows("core/groups/", attributes=json.dumps(wanted))
        assert [group["name"] for group in found] == ["acme"]
    assert await admin.rows("core/groups/", attributes='{"a__b": 2}') == []
    assert (await admin.ask("GET", "core/groups/", attributes="{")).status_code == 400


async def test_filters_of_users_add_up(admin: Visitor) -> None:
    group = await admin.make("core/groups/", name="acme")
    for name, active in (("anna", True), ("bob", False)):
        await admin.make("core/users/", username=name, name=name, is_active=active, groups=[group["pk"]])
    both = {"groups_by_name": "acme", "is_active": "true"}
    assert [user["username"] for user in await admin.rows("core/users/", **both)] == ["anna"]
    assert len(await admin.rows("core/users/", groups_by_pk=group["pk"])) == 2
    assert [found["name"] for found in await admin.rows("core/groups/", members_by_username="bob")] == ["acme"]


async def test_a_path_is_found_with_its_subtree_only(admin: Visitor) -> None:
    for path in ("dezky/acme", "dezky/acme/old", "dezky/acme2"):
        await admin.make("core/users/", username=path, name=path, path=path)
    found = await admin.rows("core/users/", path_startswith="dezky/acme")
    assert [user["path"] for user in found] == ["dezky/acme", "dezky/acme/old"]
    assert len(await admin.rows("core/users/", path="dezky/acme")) == 1


# -- groups and users ------------------------------------------------------------------------


async def test_a_duplicate_is_400_and_names_the_field(admin: Visitor) -> None:
    await admin.make("core/groups/", name="acme")
    again = await admin.ask("POST", "core/groups/", {"name": "acme"})
    assert (again.status_code, list(again.json())) == (400, ["name"])
    assert (await admin.ask("POST", "core/groups/", {"name": "Acme"})).status_code == 201


async def test_usernames_are_told_apart_by_case(admin: Visitor) -> None:
    for username in ("alice@acme.test", "Alice@acme.test"):
        await admin.make("core/users/", username=username, name="Alice", email="alice@acme.test")
    taken = await admin.ask("POST", "core/users/", {"username": "alice@acme.test", "name": "A"})
    assert (taken.status_code, list(taken.json())) == (400, ["username"])


async def test_a_put_without_users_empties_the_group_and_a_patch_does_not(admin: Visitor) -> None:
    user = await admin.make("core/users/", username="anna", name="Anna")
    group = await admin.make("core/groups/", name="acme", users=[user["pk"]], attributes={"a": 1})
    patched = await admin.change(f"core/groups/{group['pk']}/", name="acme")
    assert patched["users"] == [user["pk"]]
    put = await admin.change(f"core/groups/{group['pk']}/", "PUT", name="acme")
    assert (put["users"], put["attributes"]) == ([], {"a": 1})


async def test_a_put_without_groups_takes_a_user_out_of_all(admin: Visitor) -> None:
    group = await admin.make("core/groups/", name="acme")
    user = await admin.make("core/users/", username="anna", name="Anna", groups=[group["pk"]])
    assert (await admin.change(f"core/users/{user['pk']}/", name="Anna B"))["groups"] == [group["pk"]]
    put = await admin.change(f"core/users/{user['pk']}/", "PUT", username="anna", name="Anna")
    assert put["groups"] == []


async def test_a_patch_of_attributes_replaces_them(admin: Visitor) -> None:
    group = await admin.make("core/groups/", name="acme", attributes={"a": 1, "b": 2})
    assert (await admin.change(f"core/groups/{group['pk']}/", attributes={"a": 3}))["attributes"] == {"a": 3}


async def test_joining_and_leaving_twice_is_fine_and_an_unknown_user_is_404(admin: Visitor) -> None:
    group = await admin.make("core/groups/", name="acme")
    user = await admin.make("core/users/", username="anna", name="Anna")
    path = f"core/groups/{group['pk']}"
    for action, members in (("add_user", [user["pk"]]), ("remove_user", [])):
        for _ in range(2):
            assert (await admin.ask("POST", f"{path}/{action}/", {"pk": user["pk"]})).status_code == 204
        assert (await admin.get(f"{path}/"))["users"] == members
    assert (await admin.ask("POST", f"{path}/add_user/", {"pk": 999})).status_code == 404


async def test_superuser_is_inherited_from_a_parent(admin: Visitor) -> None:
    admins = (await admin.rows("core/groups/", name="authentik Admins"))[0]
    child = await admin.make("core/groups/", name="child", parents=[admins["pk"]])
    user = await admin.make("core/users/", username="anna", name="Anna", groups=[child["pk"]])
    assert user["is_superuser"] is True
    assert (await admin.get(f"core/groups/{admins['pk']}/"))["children"] == [child["pk"]]


async def test_a_group_can_not_be_put_under_what_is_not_there(admin: Visitor) -> None:
    missing = "00000000-0000-4000-8000-000000000000"
    answer = await admin.ask("POST", "core/groups/", {"name": "acme", "parents": [missing]})
    assert (answer.status_code, list(answer.json())) == (400, ["parents"])


@pytest.mark.parametrize("path", ["/acme", "acme/", "a//b", ""])
async def test_a_user_path_has_no_empty_segment(admin: Visitor, path: str) -> None:
    answer = await admin.ask("POST", "core/users/", {"username": "anna", "name": "Anna", "path": path})
    assert (answer.status_code, list(answer.json())) == (400, ["path"])


async def test_a_recovery_link_needs_a_flow_on_the_brand_of_the_host(admin: Visitor) -> None:
    user = await admin.make("core/users/", username="anna", name="Anna")
    path = f"core/users/{user['pk']}/recovery/"
    refused = await admin.ask("POST", path, {})
    assert refused.status_code == 400
    assert isinstance(refused.json()["non_field_errors"], str)
    body = {"name": "r", "slug": "recover", "title": "r", "designation": "recovery"}
    flow = await admin.make("flows/instances/", **body)
    brand = (await admin.rows("core/brands/"))[0]
    await admin.change(f"core/brands/{brand['brand_uuid']}/", flow_recovery=flow["pk"])
    assert "/if/flow/recover/?flow_token=" in (await admin.make(path, token_duration="hours=72"))["link"]
    own = await admin.make("core/brands/", domain="127.0.0.1")  # the host's own brand has none
    assert (await admin.ask("POST", path, {})).status_code == 400
    await admin.change(f"core/brands/{own['brand_uuid']}/", flow_recovery=flow["pk"])
    await admin.change(f"core/brands/{brand['brand_uuid']}/", flow_recovery=None)
    assert (await admin.ask("POST", path, {})).status_code == 200


async def test_deleting_a_group_keeps_its_users_and_takes_its_bindings_along(admin: Visitor) -> None:
    parent = await admin.make("core/groups/", name="parent")
    child = await admin.make("core/groups/", name="child", parents=[parent["pk"]])
    user = await admin.make("core/users/", username="anna", name="Anna", groups=[parent["pk"]])
    _, application = await make_application(admin, "acme")
    await admin.make("policies/bindings/", target=application["pk"], group=parent["pk"], order=0)
    assert (await admin.ask("DELETE", f"core/groups/{parent['pk']}/")).status_code == 204
    assert (await admin.get(f"core/users/{user['pk']}/"))["groups"] == []
    assert (await admin.get(f"core/groups/{child['pk']}/"))["parents"] == []
    assert await admin.rows("policies/bindings/", target=application["pk"]) == []


# -- providers, applications, bindings -----------------------------------------------------------


async def test_grant_types_left_out_are_empty_and_empty_ones_are_refused(admin: Visitor) -> None:
    provider, _ = await make_application(admin, "acme")
    body = {name: provider[name] for name in ("authorization_flow", "invalidation_flow", "redirect_uris")}
    silent = await admin.make("providers/oauth2/", name="silent", **body)
    assert silent["grant_types"] == []
    told = await admin.ask("PATCH", f"providers/oauth2/{provider['pk']}/", {"grant_types": []})
    assert (told.status_code, list(told.json())) == (400, ["grant_types"])


async def test_redirect_uris_as_text_are_refused(admin: Visitor) -> None:
    provider, _ = await make_application(admin, "acme")
    for uris in ("https://a.test/", ["https://a.test/"]):
        answer = await admin.ask("PATCH", f"providers/oauth2/{provider['pk']}/", {"redirect_uris": uris})
        assert (answer.status_code, list(answer.json())) == (400, ["redirect_uris"])


async def test_a_provider_shows_its_secret_and_its_application(admin: Visitor) -> None:
    provider, application = await make_application(admin, "acme")
    shown = await admin.get(f"providers/oauth2/{provider['pk']}/")
    assert len(shown["client_secret"]) == 128
    assert shown["assigned_application_slug"] == application["slug"]
    assert shown["redirect_uris"][0]["redirect_uri_type"] == "authorization"


async def test_client_ids_are_unique_and_a_provider_has_one_application(admin: Visitor) -> None:
    provider, _ = await make_application(admin, "acme", client_id="acme")
    body = {name: provider[name] for name in (*FLOWS, "redirect_uris")}
    taken = await admin.ask("POST", "providers/oauth2/", {**body, "name": "other", "client_id": "acme"})
    assert (taken.status_code, list(taken.json())) == (400, ["client_id"])
    second = await admin.ask("POST", "core/applications/", {"name": "b", "slug": "b", "provider": provider["pk"]})
    assert (second.status_code, list(second.json())) == (400, ["provider"])


@pytest.mark.parametrize("slug", ["authorize", "token", "a b", "ä"])
async def test_reserved_and_odd_slugs_are_refused(admin: Visitor, slug: str) -> None:
    answer = await admin.ask("POST", "core/applications/", {"name": "a", "slug": slug})
    assert (answer.status_code, list(answer.json())) == (400, ["slug"])


async def test_deleting_an_application_leaves_its_provider(admin: Visitor) -> None:
    provider, application = await make_application(admin, "acme")
    await admin.ask("DELETE", f"core/applications/{application['slug']}/")
    assert (await admin.get(f"providers/oauth2/{provider['pk']}/"))["assigned_application_slug"] is None


async def test_the_list_of_applications_is_kept_for_a_day_whatever_is_asked() -> None:
    now = [1_800_000_000.0]
    async with AuthentikStandIn(clock=lambda: now[0]) as server, Visitor(server.url, server.bootstrap_token) as admin:
        for slug in ("app1", "app2", "app3", "app4"):
            await admin.make("core/applications/", name=slug, slug=slug)
        assert len(await admin.rows("core/applications/")) == 4
        lying = await admin.get("core/applications/", slug="app1")
        assert (lying["pagination"]["count"], len(lying["results"])) == (1, 4)
        await admin.ask("DELETE", "core/applications/app4/")
        assert len(await admin.rows("core/applications/")) == 4
        assert len(await admin.rows("core/applications/", superuser_full_list="true")) == 3
        assert (await admin.ask("GET", "core/applications/app4/")).status_code == 404
        now[0] += 86401
        assert len(await admin.rows("core/applications/")) == 3


async def test_a_patch_of_a_binding_without_target_is_405_without_a_body(admin: Visitor) -> None:
    group = await admin.make("core/groups/", name="acme")
    _, application = await make_application(admin, "acme")
    body = {"target": application["pk"], "group": group["pk"], "order": 0}
    binding = await admin.make("policies/bindings/", **body)
    broken = await admin.ask("PATCH", f"policies/bindings/{binding['pk']}/", {"enabled": False})
    assert (broken.status_code, broken.content) == (405, b"")
    assert (await admin.change(f"policies/bindings/{binding['pk']}/", "PUT", **body, enabled=False))["enabled"] is False


async def test_a_binding_to_a_group_can_be_made_twice_but_not_one_to_a_policy(admin: Visitor) -> None:
    group = await admin.make("core/groups/", name="acme")
    policy = await admin.make("policies/expression/", name="deny", expression="return False")
    _, application = await make_application(admin, "acme")
    for _ in range(2):
        await admin.make("policies/bindings/", target=application["pk"], group=group["pk"], order=0)
    body = {"target": application["pk"], "policy": policy["pk"], "order": 100}
    await admin.make("policies/bindings/", **body)
    assert (await admin.ask("POST", "policies/bindings/", body)).status_code == 400
    assert len(await admin.rows("policies/bindings/", target=application["pk"])) == 3
    assert len(await admin.rows("policies/bindings/", policy=policy["pk"], enabled="true")) == 1


async def test_a_binding_has_exactly_one_end(admin: Visitor) -> None:
    group = await admin.make("core/groups/", name="acme")
    _, application = await make_application(admin, "acme")
    for ends in ({}, {"group": group["pk"], "user": 1}):
        answer = await admin.ask("POST", "policies/bindings/", {"target": application["pk"], "order": 0, **ends})
        assert (answer.status_code, list(answer.json())) == (400, ["non_field_errors"])


async def test_expressions_are_checked_for_syntax_and_never_run(admin: Visitor) -> None:
    wrong = await admin.ask("POST", "policies/expression/", {"name": "x", "expression": "return ("})
    assert (wrong.status_code, list(wrong.json())) == (400, ["expression"])
    await admin.make("policies/expression/", name="y", expression="import os\nreturn os.abort()")


async def test_brands_and_key_pairs_have_unique_names(admin: Visitor) -> None:
    await admin.make("core/brands/", domain="acme.test")
    assert (await admin.ask("POST", "core/brands/", {"domain": "acme.test"})).status_code == 400
    pair = {"common_name": "dezky-signing", "validity_days": 3650, "alg": "rsa"}
    await admin.make("crypto/certificatekeypairs/generate/", **pair)
    assert (await admin.ask("POST", "crypto/certificatekeypairs/generate/", pair)).status_code == 400


async def test_a_patch_of_the_settings_must_name_the_flags(admin: Visitor) -> None:
    assert (await admin.ask("PATCH", "admin/settings/", {"gdpr_compliance": False})).status_code == 400
    assert (await admin.change("admin/settings/", gdpr_compliance=False, flags={}))["gdpr_compliance"] is False


async def test_bad_json_is_400_with_a_detail(admin: Visitor) -> None:
    answer = await admin.http.post("/api/v3/core/groups/", content=b"{", headers={"Content-Type": "application/json"})
    assert (answer.status_code, list(answer.json())) == (400, ["detail"])


# -- shapes -----------------------------------------------------------------------------------------


async def test_every_answer_has_the_shape_of_the_published_client(admin: Visitor) -> None:
    group = await admin.make("core/groups/", name="acme")
    await admin.make("core/groups/", name="child", parents=[group["pk"]])
    await admin.make("core/users/", username="anna", name="Anna", groups=[group["pk"]])
    policy = await admin.make("policies/expression/", name="deny", expression="return False")
    _, application = await make_application(admin, "acme")
    for order, end in enumerate(({"group": group["pk"]}, {"policy": policy["pk"]}, {"user": 1})):
        await admin.make("policies/bindings/", target=application["pk"], order=order, **end)
    stage = (await admin.rows("stages/all/"))[0]
    flow = (await admin.rows("flows/instances/"))[0]
    await admin.make("flows/bindings/", target=flow["pk"], stage=stage["pk"], order=0)
    role = await admin.make("rbac/roles/", name="r")
    await admin.make("rbac/initial_permissions/", name="i", role=role["pk"], permissions=[1, 2])
    async with Visitor(admin.url) as anna:
        await admin.ask("POST", "core/users/2/set_password/", {"password": "secret"})
        await anna.sign_in("anna", "secret")
    lists: dict[str, Any] = {
        "core/groups/": published.PaginatedGroupList,
        "core/users/": published.PaginatedUserList,
        "providers/oauth2/": published.PaginatedOAuth2ProviderList,
        "core/applications/": published.PaginatedApplicationList,
        "policies/bindings/": published.PaginatedPolicyBindingList,
        "policies/expression/": published.PaginatedExpressionPolicyList,
        "propertymappings/provider/scope/": published.PaginatedScopeMappingList,
        "crypto/certificatekeypairs/": published.PaginatedCertificateKeyPairList,
        "core/brands/": published.PaginatedBrandList,
        "flows/instances/": published.PaginatedFlowList,
        "flows/bindings/": published.PaginatedFlowStageBindingList,
        "stages/all/": published.PaginatedStageList,
        "core/tokens/": published.PaginatedTokenList,
        "rbac/roles/": published.PaginatedRoleList,
        "rbac/initial_permissions/": published.PaginatedInitialPermissionsList,
        "rbac/permissions/": published.PaginatedPermissionList,
        "core/authenticated_sessions/": published.PaginatedAuthenticatedSessionList,
        "events/events/": published.PaginatedEventList,
    }
    for path, model in lists.items():
        document = await admin.get(path)
        assert document["results"], path
        assert model.from_dict(document) is not None
    singles: dict[str, Any] = {"admin/version/": published.Version, "admin/settings/": published.Settings}
    for path, single in singles.items():
        assert single.from_dict(await admin.get(path)) is not None
    access = await admin.get("core/applications/acme/check_access/")
    assert published.PolicyTestResult.from_dict(access) is not None
