"""What Authentik answers over its REST API: statuses, lists, what a write wipes (facts/authentik.md 2, 3, 11)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.acceptance.rest import Rest
from tests.acceptance.targets import Identity

FLOWS = ("authorization_flow", "invalidation_flow")


async def flows(rest: Rest) -> dict[str, str]:
    """The two flows a provider must have."""
    found = [await rest.rows("flows/instances/", designation=kind.removesuffix("_flow")) for kind in FLOWS]
    return {kind: rows[0]["pk"] for kind, rows in zip(FLOWS, found, strict=True)}


async def provider(rest: Rest, name: str, **more: Any) -> dict[str, Any]:
    """An OAuth2 provider."""
    body: dict[str, Any] = {"name": name, "client_id": name, "redirect_uris": [], **await flows(rest), **more}
    return await rest.make("providers/oauth2/", **body)


# -- credentials ----------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["", "Bearer not-a-token"])
async def test_a_missing_or_bad_token_is_403_and_never_401(authentik: Identity, header: str) -> None:
    async with authentik.web.client(header) as http:
        answer = await Rest(http).ask("GET", "admin/version/")
    assert (answer.status_code, list(answer.json())) == (403, ["detail"])


async def test_the_version_is_told_to_any_good_token(rest: Rest) -> None:
    assert (await rest.get("admin/version/"))["version_current"]


async def test_a_token_of_an_inactive_user_is_refused(authentik: Identity, rest: Rest, slug: str) -> None:
    user = await rest.make("core/users/", username=slug, name=slug)
    await rest.make("core/tokens/", key="identifier", identifier=slug, intent="api", user=user["pk"], expiring=False)
    key = (await rest.get(f"core/tokens/{slug}/view_key/"))["key"]
    async with authentik.web.client(f"Bearer {key}") as http:
        anna = Rest(http)
        assert (await anna.ask("GET", "admin/version/")).status_code == 200
        await rest.change(f"core/users/{user['pk']}/", is_active=False)
        assert (await anna.ask("GET", "admin/version/")).status_code == 403


async def test_a_missing_right_looks_as_a_bad_token_does(authentik: Identity, rest: Rest, slug: str) -> None:
    """So one question that every good token may ask tells them apart."""
    user = await rest.make("core/users/", username=slug, name=slug)
    await rest.make("core/tokens/", key="identifier", identifier=slug, intent="api", user=user["pk"], expiring=False)
    key = (await rest.get(f"core/tokens/{slug}/view_key/"))["key"]
    async with authentik.web.client(f"Bearer {key}") as http:
        assert (await Rest(http).ask("POST", "core/groups/", {"name": f"{slug}x"})).status_code == 403


# -- lists ------------------------------------------------------------------------------------


async def test_a_page_past_the_end_is_404(rest: Rest, slug: str) -> None:
    await rest.make("core/groups/", name=slug)
    only = await rest.get("core/groups/", name=slug, page=1, page_size=100)
    assert (len(only["results"]), only["pagination"]["next"]) == (1, 0)
    assert (await rest.ask("GET", "core/groups/", name=slug, page=2, page_size=100)).status_code == 404


async def test_a_page_never_holds_more_than_a_hundred(rest: Rest, slug: str) -> None:
    for number in range(101):
        await rest.make("core/groups/", name=f"{slug}-{number}")
    found = await rest.get("core/groups/", search=slug, page_size=500)
    assert (len(found["results"]), found["pagination"]["count"], found["pagination"]["next"]) == (100, 101, 2)


async def test_an_unknown_filter_is_ignored_and_everything_comes_back(rest: Rest, slug: str) -> None:
    await rest.make("core/groups/", name=slug)
    everything = (await rest.get("core/groups/"))["pagination"]["count"]
    assert (await rest.get("core/groups/", slug=slug))["pagination"]["count"] == everything
    assert [found["name"] for found in await rest.rows("core/groups/", name=slug)] == [slug]


async def test_attributes_are_filtered_by_json(rest: Rest, slug: str) -> None:
    await rest.make("core/groups/", name=slug, attributes={"dezky.eu/tenant": slug})
    found = await rest.rows("core/groups/", attributes=json.dumps({"dezky.eu/tenant": slug}))
    assert [group["name"] for group in found] == [slug]


async def test_users_are_found_by_group_path_and_exact_name(rest: Rest, slug: str) -> None:
    group = await rest.make("core/groups/", name=slug)
    name, path = f"anna@{slug}.test", f"dezky/tenants/{slug}"
    user = await rest.make("core/users/", username=name, name="Anna", path=path, groups=[group["pk"]])
    for filters in ({"groups_by_pk": group["pk"]}, {"path": path}, {"username": name}):
        assert [found["pk"] for found in await rest.rows("core/users/", **filters)] == [user["pk"]], filters
    assert await rest.rows("core/users/", username=name.upper()) == []


# -- groups and users -----------------------------------------------------------------------------


async def test_a_duplicate_is_400_and_names_the_field(rest: Rest, slug: str) -> None:
    await rest.make("core/groups/", name=slug)
    again = await rest.ask("POST", "core/groups/", {"name": slug})
    assert (again.status_code, list(again.json())) == (400, ["name"])
    await rest.make("core/users/", username=slug, name=slug)
    again = await rest.ask("POST", "core/users/", {"username": slug, "name": slug})
    assert (again.status_code, list(again.json())) == (400, ["username"])


async def test_usernames_are_told_apart_by_case(rest: Rest, slug: str) -> None:
    """So the operator writes them in lower case."""
    for name in (slug, slug.upper()):
        await rest.make("core/users/", username=name, name=name)


async def test_a_put_without_users_empties_the_group_and_a_patch_does_not(rest: Rest, slug: str) -> None:
    user = await rest.make("core/users/", username=slug, name=slug)
    group = await rest.make("core/groups/", name=slug, users=[user["pk"]])
    path = f"core/groups/{group['pk']}/"
    assert (await rest.change(path, attributes={"a": 1}))["users"] == [user["pk"]]
    assert (await rest.change(path, "PUT", name=slug))["users"] == []


async def test_a_put_without_groups_takes_a_user_out_of_all(rest: Rest, slug: str) -> None:
    group = await rest.make("core/groups/", name=slug)
    user = await rest.make("core/users/", username=slug, name=slug, groups=[group["pk"]])
    path = f"core/users/{user['pk']}/"
    assert (await rest.change(path, name="Anna"))["groups"] == [group["pk"]]
    assert (await rest.change(path, "PUT", username=slug, name=slug))["groups"] == []


async def test_a_patch_of_attributes_replaces_them_all(rest: Rest, slug: str) -> None:
    group = await rest.make("core/groups/", name=slug, attributes={"theirs": 1})
    assert (await rest.change(f"core/groups/{group['pk']}/", attributes={"ours": 2}))["attributes"] == {"ours": 2}


async def test_joining_and_leaving_twice_is_fine(rest: Rest, slug: str) -> None:
    group = await rest.make("core/groups/", name=slug)
    user = await rest.make("core/users/", username=slug, name=slug)
    for act in ("add_user", "remove_user"):
        for _ in range(2):
            answer = await rest.ask("POST", f"core/groups/{group['pk']}/{act}/", {"pk": user["pk"]})
            assert answer.status_code == 204, act


async def test_a_group_has_parents(rest: Rest, slug: str) -> None:
    above = await rest.make("core/groups/", name=f"{slug}-above")
    below = await rest.make("core/groups/", name=f"{slug}-below", parents=[above["pk"]])
    assert (await rest.change(f"core/groups/{below['pk']}/", parents=[]))["parents"] == []


# -- providers, applications, bindings ----------------------------------------------------------------


async def test_grant_types_left_out_are_none_at_all(rest: Rest, slug: str) -> None:
    """A provider made without them signs nobody in."""
    assert (await provider(rest, slug))["grant_types"] == []


async def test_a_provider_shows_its_secret(rest: Rest, slug: str) -> None:
    made = await provider(rest, slug, grant_types=["authorization_code"])
    assert (await rest.get(f"providers/oauth2/{made['pk']}/"))["client_secret"]


async def test_a_client_id_is_unique(rest: Rest, slug: str) -> None:
    await provider(rest, slug, grant_types=["authorization_code"])
    body = {"name": f"{slug}x", "client_id": slug, "redirect_uris": [], **await flows(rest)}
    again = await rest.ask("POST", "providers/oauth2/", body)
    assert (again.status_code, "client_id" in again.json()) == (400, True)


async def test_a_provider_has_one_application_and_outlives_it(rest: Rest, slug: str) -> None:
    made = await provider(rest, slug, grant_types=["authorization_code"])
    await rest.make("core/applications/", key="slug", slug=slug, name=slug, provider=made["pk"])
    again = await rest.ask("POST", "core/applications/", {"slug": f"{slug}x", "name": slug, "provider": made["pk"]})
    assert again.status_code == 400
    assert (await rest.ask("DELETE", f"core/applications/{slug}/")).status_code == 204
    assert (await rest.get(f"providers/oauth2/{made['pk']}/"))["assigned_application_slug"] in {None, ""}


async def test_a_slug_is_unique(rest: Rest, slug: str) -> None:
    await rest.make("core/applications/", key="slug", slug=slug, name=slug)
    again = await rest.ask("POST", "core/applications/", {"slug": slug, "name": slug})
    assert (again.status_code, list(again.json())) == (400, ["slug"])


async def test_a_patch_of_a_binding_without_its_target_is_405_without_a_body(rest: Rest, slug: str) -> None:
    """And a PUT works: so bindings are the one thing that is written whole."""
    application = await rest.make("core/applications/", key="slug", slug=slug, name=slug)
    group = await rest.make("core/groups/", name=slug)
    body = {"target": application["pk"], "group": group["pk"], "order": 0}
    binding = await rest.make("policies/bindings/", **body)
    path = f"policies/bindings/{binding['pk']}/"
    answer = await rest.ask("PATCH", path, {"enabled": False})
    assert (answer.status_code, answer.content) == (405, b"")
    assert (await rest.change(path, "PUT", **body, enabled=False))["enabled"] is False


async def test_a_binding_of_a_group_can_be_made_twice(rest: Rest, slug: str) -> None:
    """So a lost answer may have made one more, and the operator looks for doubles."""
    application = await rest.make("core/applications/", key="slug", slug=slug, name=slug)
    group = await rest.make("core/groups/", name=slug)
    for _ in range(2):
        await rest.make("policies/bindings/", target=application["pk"], group=group["pk"], order=0)
    assert len(await rest.rows("policies/bindings/", target=application["pk"])) == 2


async def test_an_application_takes_its_bindings_along(rest: Rest, slug: str) -> None:
    application = await rest.make("core/applications/", key="slug", slug=slug, name=slug)
    group = await rest.make("core/groups/", name=slug)
    binding = await rest.make("policies/bindings/", target=application["pk"], group=group["pk"], order=0)
    await rest.ask("DELETE", f"core/applications/{slug}/")
    assert (await rest.ask("GET", f"policies/bindings/{binding['pk']}/")).status_code == 404


async def test_a_brand_is_unique_by_its_domain(rest: Rest, slug: str) -> None:
    await rest.make("core/brands/", key="brand_uuid", domain=f"{slug}.dezky.test")
    again = await rest.ask("POST", "core/brands/", {"domain": f"{slug}.dezky.test"})
    assert (again.status_code, list(again.json())) == (400, ["domain"])


async def test_what_is_gone_is_404(rest: Rest, slug: str) -> None:
    group = await rest.make("core/groups/", name=slug)
    path = f"core/groups/{group['pk']}/"
    assert [(await rest.ask("DELETE", path)).status_code for _ in range(2)] == [204, 404]
