"""A tenant's life in Authentik: the operator's own integration, with the daily token that bootstrap makes."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from dezky_operator.integrations.authentik.bootstrap import AuthentikBootstrap
from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.integrations.authentik.integration import AuthentikIntegration
from dezky_operator.integrations.intent import Admin, Brand, Phase, TenantIntent
from dezky_operator.integrations.steps import System
from tests.acceptance import reconcile
from tests.acceptance.reconcile import Reconciler
from tests.acceptance.rest import Rest
from tests.acceptance.targets import Identity

BASE = "dezky.test"


@pytest.fixture(scope="session")
async def token(authentik: Identity) -> str:
    """The daily token; everything bootstrap makes is found the second time."""
    async with reconcile.connection(System.AUTHENTIK, authentik.web, authentik.web.header) as found:
        made = AuthentikBootstrap(AuthentikClient(found), installation_id=authentik.installation, base_domain=BASE)
        first = await made.run()
        again = await AuthentikBootstrap(
            AuthentikClient(found), installation_id=authentik.installation, base_domain=BASE
        ).run()
    assert again.lines == []
    assert again.token == first.token
    return first.token


@pytest.fixture
async def operator(authentik: Identity, token: str) -> AsyncIterator[Reconciler]:
    async with reconcile.identity(authentik, token) as found:
        yield found


@pytest.fixture
async def acme(authentik: Identity, slug: str, rest: Rest) -> AsyncIterator[TenantIntent]:
    """A tenant of this test with an administrator and a brand; whatever is left of it is removed."""
    wanted = TenantIntent(
        slug=slug,
        tenant_id=uuid.uuid4(),
        installation_id=authentik.installation,
        display_name=slug.title(),
        base_domain=BASE,
        domains=(f"{slug}.test",),
        admin=Admin(username=f"anna@{slug}.test", email=f"anna@{slug}.test", name="Anna"),
        brand=Brand(host=f"{slug}.{BASE}", title=slug.title(), primary_color="#0a7"),
    )
    yield wanted
    for path in await _left(rest, wanted):
        await rest.ask("DELETE", path)


async def _left(rest: Rest, wanted: TenantIntent) -> list[str]:
    """The paths of everything that has a name of the tenant."""
    name = wanted.application
    found = [f"core/users/{one['pk']}/" for one in await rest.rows("core/users/", username=f"anna@{wanted.slug}.test")]
    if (await rest.ask("GET", f"core/applications/{name}/")).status_code == 200:
        found.append(f"core/applications/{name}/")
    found += [f"providers/oauth2/{one['pk']}/" for one in await rest.rows("providers/oauth2/", name=name)]
    brands = await rest.rows("core/brands/", domain=f"{wanted.slug}.{BASE}")
    found += [f"core/brands/{one['brand_uuid']}/" for one in brands]
    for group in (wanted.admins_group, wanted.users_group):
        found += [f"core/groups/{one['pk']}/" for one in await rest.rows("core/groups/", name=group)]
    return found


async def one(rest: Rest, path: str, **filters: str) -> dict[str, Any]:
    (found,) = await rest.rows(path, **filters)
    return found


def purged(wanted: TenantIntent) -> TenantIntent:
    return replace(wanted, phase=Phase.PURGED, admin=None)


# -- from nothing to nothing ---------------------------------------------------------------------


async def test_a_new_tenant_gets_groups_client_application_brand_and_administrator(
    rest: Rest, acme: TenantIntent, operator: Reconciler
) -> None:
    """C002, C016, C033: and the second look finds nothing to do."""
    assert (await operator.settle(acme)).in_sync
    assert (await operator.planned(acme)).steps == ()
    users = await one(rest, "core/groups/", name=acme.users_group)
    admins = await one(rest, "core/groups/", name=acme.admins_group)
    provider = await one(rest, "providers/oauth2/", name=acme.application)
    application = await rest.get(f"core/applications/{acme.application}/")
    assert admins["parents"] == [users["pk"]]
    assert users["attributes"]["dezky.eu/mark"] == f"{acme.mark}:users"
    assert set(provider["grant_types"]) == {"authorization_code", "refresh_token"}
    assert (application["provider"], application["policy_engine_mode"]) == (provider["pk"], "all")
    anna = await one(rest, "core/users/", username=f"anna@{acme.slug}.test")
    assert set(anna["groups"]) == {users["pk"], admins["pk"]}
    brand = await one(rest, "core/brands/", domain=f"{acme.slug}.{BASE}")
    assert brand["default_application"] == application["pk"]


async def test_the_administrator_gets_one_link_that_opens_a_flow(
    authentik: Identity, acme: TenantIntent, operator: Reconciler
) -> None:
    """C033."""
    applied = await operator.applied(replace(acme, recovery_link_due=True))
    (link,) = [outputs["link"] for outputs in applied.outputs.values() if "link" in outputs]
    parts = urlsplit(link)
    async with authentik.web.client("") as browser:
        answer = await browser.get(f"{parts.path}?{parts.query}")
    assert answer.status_code in {200, 302}
    assert "flow_token" in parts.query
    assert (await operator.planned(acme)).steps == ()


async def test_members_are_those_of_the_tenants_group(rest: Rest, acme: TenantIntent, operator: Reconciler) -> None:
    integration = operator.integration
    assert isinstance(integration, AuthentikIntegration)
    assert await integration.members(acme) is None
    await operator.settle(acme)
    users = await one(rest, "core/groups/", name=acme.users_group)
    await rest.make("core/users/", username=f"Bob@{acme.slug}.test", name="Bob", groups=[users["pk"]])
    members = await integration.members(acme)
    assert members is not None
    assert [member.username for member in members] == [f"anna@{acme.slug}.test", f"Bob@{acme.slug}.test"]


async def test_a_purge_leaves_nothing_and_can_be_repeated(rest: Rest, acme: TenantIntent, operator: Reconciler) -> None:
    """C025: and takes nobody who came by other hands."""
    await operator.settle(acme)
    users = await one(rest, "core/groups/", name=acme.users_group)
    guest = await rest.make("core/users/", username=f"guest@{acme.slug}.test", name="Guest", groups=[users["pk"]])
    assert (await operator.settle(purged(acme))).in_sync
    assert await _left(rest, acme) == []
    assert (await rest.get(f"core/users/{guest['pk']}/"))["groups"] == []
    assert (await operator.planned(purged(acme))).steps == ()


# -- drift ------------------------------------------------------------------------------------------


DRIFT: tuple[tuple[str, dict[str, Any]], ...] = (
    ("users", {"parents": []}),
    ("admins", {"parents": []}),
    ("provider", {"grant_types": ["client_credentials"]}),
    ("provider", {"redirect_uris": []}),
    ("provider", {"sub_mode": "hashed_user_id"}),
    ("provider", {"signing_key": None}),
    ("provider", {"access_token_validity": "hours=24"}),
    ("application", {"policy_engine_mode": "any"}),
    ("application", {"meta_launch_url": "https://elsewhere.test/"}),
    ("brand", {"branding_title": "Mine"}),
)


async def _path(rest: Rest, wanted: TenantIntent, what: str) -> str:
    if what == "application":
        return f"core/applications/{wanted.application}/"
    if what == "provider":
        return f"providers/oauth2/{(await one(rest, 'providers/oauth2/', name=wanted.application))['pk']}/"
    if what == "brand":
        brand = await one(rest, "core/brands/", domain=f"{wanted.slug}.{BASE}")
        return f"core/brands/{brand['brand_uuid']}/"
    name = wanted.users_group if what == "users" else wanted.admins_group
    return f"core/groups/{(await one(rest, 'core/groups/', name=name))['pk']}/"


def _ordered(value: object) -> object:
    return sorted(map(str, value)) if isinstance(value, list) else value


@pytest.mark.parametrize(("what", "change"), DRIFT)
async def test_drift_is_put_back_by_one_step(
    rest: Rest, acme: TenantIntent, operator: Reconciler, what: str, change: dict[str, Any]
) -> None:
    """C014: every field that is ours to keep."""
    await operator.settle(acme)
    path = await _path(rest, acme, what)
    (field,) = change
    before = (await rest.get(path))[field]
    assert _ordered((await rest.change(path, **change))[field]) != _ordered(before)
    plan = await operator.round(acme)
    assert [step.fields for step in plan.steps] == [(field,)]
    assert _ordered((await rest.get(path))[field]) == _ordered(before)
    assert (await operator.planned(acme)).in_sync


async def test_a_binding_switched_off_is_put_back(rest: Rest, acme: TenantIntent, operator: Reconciler) -> None:
    """Without it everybody with an account gets into the application."""
    await operator.settle(acme)
    application = await rest.get(f"core/applications/{acme.application}/")
    bindings = await rest.rows("policies/bindings/", target=application["pk"])
    (group,) = [found for found in bindings if found["group"]]
    body = {key: group[key] for key in ("target", "group", "order")}
    await rest.change(f"policies/bindings/{group['pk']}/", "PUT", **body, enabled=False)
    assert (await operator.settle(acme)).in_sync
    assert (await rest.get(f"policies/bindings/{group['pk']}/"))["enabled"] is True


async def test_what_others_keep_in_our_group_stays(rest: Rest, acme: TenantIntent, operator: Reconciler) -> None:
    await operator.settle(acme)
    users = await one(rest, "core/groups/", name=acme.users_group)
    bob = await rest.make("core/users/", username=f"bob@{acme.slug}.test", name="Bob", groups=[users["pk"]])
    attributes = {**users["attributes"], "theirs": 1, "dezky.eu/tenant": "wrong"}
    await rest.change(f"core/groups/{users['pk']}/", attributes=attributes)
    assert (await operator.settle(acme)).in_sync
    after = await rest.get(f"core/groups/{users['pk']}/")
    assert (after["attributes"]["theirs"], after["attributes"]["dezky.eu/tenant"]) == (1, acme.slug)
    assert bob["pk"] in after["users"]


@pytest.mark.parametrize("what", ["users", "provider", "application", "brand"])
async def test_what_was_deleted_is_made_again(rest: Rest, acme: TenantIntent, operator: Reconciler, what: str) -> None:
    await operator.settle(acme)
    count = len(await _left(rest, acme))
    assert (await rest.ask("DELETE", await _path(rest, acme, what))).status_code == 204
    assert (await operator.settle(acme)).in_sync
    assert len(await _left(rest, acme)) == count


# -- what is somebody else's --------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.PURGED])
async def test_foreign_objects_of_our_names_are_not_touched(
    rest: Rest, acme: TenantIntent, operator: Reconciler, phase: Phase
) -> None:
    """C034: a group, an application and a brand without our mark."""
    group = await rest.make("core/groups/", name=acme.users_group, attributes={"theirs": True})
    application = await rest.make("core/applications/", key="slug", slug=acme.application, name="Theirs")
    brand = await rest.make("core/brands/", key="brand_uuid", domain=f"{acme.slug}.{BASE}")
    wanted = acme if phase is Phase.ACTIVE else purged(acme)
    plan = await operator.settle(wanted)
    if phase is Phase.ACTIVE:
        assert {found.reason for found in plan.obstacles} == {"ForeignObject"}
    for path, before in (
        (f"core/groups/{group['pk']}/", group),
        (f"core/applications/{acme.application}/", application),
        (f"core/brands/{brand['brand_uuid']}/", brand),
    ):
        after = await rest.get(path)
        assert {key: after[key] for key in before if key in after and not key.endswith("_obj")} == {
            key: value for key, value in before.items() if key in after and not key.endswith("_obj")
        }
    assert await rest.rows("policies/bindings/", target=application["pk"]) == []
