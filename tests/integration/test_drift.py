"""Whatever another hand changes is found by the next sweep, put back and counted (C022, C027). Over the stand-ins."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.fleet import Fleet
from tests.hands import (
    MAIN,
    MANAGER,
    SALES,
    VIEWER,
    Act,
    another_claim,
    binding,
    change,
    domain,
    for_groups,
    hosted,
    mailbox,
    named,
    no_key,
    one_role_more,
    patch,
    role,
    slugged,
    space,
    three_tenants,
    throttle,
    users,
    wake,
)


@pytest.fixture
async def town() -> AsyncIterator[Fleet]:
    async with three_tenants() as found:
        yield found


@dataclass(frozen=True)
class Change:
    """What another hand does, to whom, and the step that shows it (a pattern of its id) with the field it names."""

    what: str
    slug: str
    act: Act
    step: str
    field: str


# -- Authentik -----------------------------------------------------------------------------------


PROVIDER = "authentik/provider/main"
GRANTS = ["authorization_code", "refresh_token", "implicit"]
WIDE = [{"url": ".*", "matching_mode": "regex", "redirect_uri_type": "authorization"}]
IN_AUTHENTIK = (
    *(
        Change(f"provider {name}", slug, change("oauth2provider", named, **{name: value}), PROVIDER, name)
        for slug in ("acme", "held")
        for name, value in (("grant_types", GRANTS), ("client_type", "public"))
    ),
    *(
        Change(f"provider {name}", "acme", change("oauth2provider", named, **{name: value}), PROVIDER, name)
        for name, value in (
            ("redirect_uris", WIDE),
            ("property_mappings", []),
            ("access_token_validity", "days=90"),
            ("refresh_token_validity", "days=900"),
            ("sub_mode", "user_email"),
            ("issuer_mode", "global"),
            ("signing_key", None),
        )
    ),
    *(
        Change(f"binding {name} of the group", slug, binding("group", **{name: value}), "authentik/binding/users", name)
        for slug in ("acme", "held")
        for name, value in (("enabled", False), ("negate", True), ("order", 5), ("failure_result", True))
    ),
    *(
        Change(f"deny binding {name}", slug, binding("policy", **{name: value}), "authentik/binding/deny", name)
        for slug, enabled in (("acme", True), ("held", False), ("gone", False))
        for name, value in (("enabled", enabled), ("negate", True), ("order", 5), ("failure_result", True))
    ),
    Change("no deny binding", "acme", binding("policy"), "authentik/binding/deny", "missing"),
    Change("no binding of the group", "acme", binding("group"), "authentik/binding/users", "missing"),
    Change("group under none", "acme", change("group", users, parents=[]), "authentik/group/users", "parents"),
    Change("group of another claim", "acme", change("group", users, attributes=another_claim), "authentik/group/users",
           "attributes"),
    *(
        Change(f"brand {name}", "acme", change("brand", hosted, **{name: value}), "authentik/brand/main", name)
        for name, value in (
            ("branding_title", "Other"),
            ("branding_logo", "/x.svg"),
            ("branding_custom_css", "a {}"),
            ("default_application", None),
            ("flow_authentication", None),
        )
    ),
    Change("no brand", "acme", change("brand", hosted), "authentik/brand/main", "missing"),
    Change("somebody is let in", "held", wake, r"authentik/user/\d+", "is_active"),
    Change("somebody is let in", "gone", wake, r"authentik/user/\d+", "is_active"),
    *(
        Change("application policy_engine_mode", slug, change("application", slugged, policy_engine_mode="any"),
               "authentik/application/main", "policy_engine_mode")
        for slug in ("held", "gone")
    ),
)  # fmt: skip

# -- Stalwart --------------------------------------------------------------------------------------


IN_STALWART = (
    Change("role may do more", "acme", patch("Role", role, enabledPermissions={"impersonate": True}),
           "stalwart/role/main", "enabledPermissions"),
    Change("role is shut", "acme", patch("Role", role, disabledPermissions={"authenticate": True}),
           "stalwart/role/main", "disabledPermissions"),
    Change("role without parents", "acme", patch("Role", role, roleIds={}), "stalwart/role/main", "roleIds"),
    Change("role is open", "held", patch("Role", role, disabledPermissions={}),
           "stalwart/role/main", "disabledPermissions"),
    Change("role is open", "gone", patch("Role", role, disabledPermissions={}),
           "stalwart/role/main", "disabledPermissions"),
    Change("domain is off", "acme", patch("Domain", domain, isEnabled=False), "stalwart/domain/acme.test", "isEnabled"),
    Change("domain relays", "acme", patch("Domain", domain, allowRelaying=True),
           "stalwart/domain/acme.test", "allowRelaying"),
    Change("domain catches all", "acme", patch("Domain", domain, catchAllAddress="bob@acme.test"),
           "stalwart/domain/acme.test", "catchAllAddress"),
    Change("account with a second role", "acme", patch("Account", mailbox, roles=one_role_more),
           "stalwart/account/bob@acme.test", "roles"),
    Change("account quota", "acme", patch("Account", mailbox, quotas={"maxDiskQuota": 1}),
           "stalwart/account/bob@acme.test", "quotas"),
    Change("key is gone", "acme", no_key, r"stalwart/dkim/acme.test/dezky1-\w+", "missing"),
    Change("throttle is off", "held", patch("MtaInboundThrottle", throttle, enable=False),
           "stalwart/throttle/held.test", "missing"),
    Change("throttle lets more through", "held",
           patch("MtaInboundThrottle", throttle, rate={"count": 100, "period": 1000}),
           "stalwart/throttle/held.test", "missing"),
    Change("throttle is gone", "held", patch("MtaInboundThrottle", throttle), "stalwart/throttle/held.test", "missing"),
)  # fmt: skip

# -- OCIS -------------------------------------------------------------------------------------------


IN_OCIS = (
    Change("space renamed", "acme", space(MAIN, name="Other"), "ocis/drive/main", "name"),
    Change("space moved", "acme", space(SALES, alias="project/dezky-acme_other"), "ocis/drive/sales", "driveAlias"),
    Change("space with more room", "acme", space(MAIN, quota=7), "ocis/quota/main", "quota.total"),
    Change("space closed", "acme", space(SALES, disabled=True), "ocis/drive/sales", "disabled"),
    Change("people may only read", "acme", space(MAIN, grants=for_groups(VIEWER)), "ocis/grant/main", "roles"),
    Change("people have no grant", "acme", space(MAIN, grants=for_groups(None)), "ocis/grant/main", "missing"),
    Change("somebody else manages", "acme", space(MAIN, grants=lambda one: {**one.grants, "u:eve": MANAGER}),
           "ocis/grant/main/u:eve", "surplus"),
    Change("space opened", "held", space(MAIN, disabled=False), "ocis/drive/main/close", "disabled"),
    Change("space opened", "gone", space(MAIN, disabled=False), "ocis/drive/main/close", "disabled"),
    Change("personal space opened", "held", space("personal/bob@{}.test", disabled=False),
           "ocis/drive/bob@held.test/close", "disabled"),
    Change("personal space opened", "gone", space("personal/bob@{}.test", disabled=False),
           "ocis/drive/bob@gone.test/close", "disabled"),
)  # fmt: skip


async def find_and_repair(town: Fleet, changes: tuple[Change, ...]) -> None:
    """Every change is found by the next sweep, of its tenant alone; after the repair the sweep finds nothing."""
    assert await town.suspects() == {}
    for wanted in changes:
        wanted.act(town, wanted.slug)
        found = await town.suspects()
        assert set(found) == {wanted.slug}, wanted.what
        steps = [step for step in found[wanted.slug].steps if re.fullmatch(f"{wanted.step}(/.*)?", step.id)]
        assert steps, (wanted.what, [step.id for step in found[wanted.slug].steps])
        before = dict(town.drifted())
        await (town.bury(wanted.slug) if wanted.slug in town.records else town.settle(wanted.slug))
        assert await town.suspects() == {}, wanted.what
        grown = {key[1] for key, count in town.drifted().items() if count > before.get(key, 0)}
        assert wanted.field in grown, (wanted.what, grown)


async def test_every_field_in_authentik_is_found_and_put_back(town: Fleet) -> None:
    await find_and_repair(town, IN_AUTHENTIK)


async def test_every_field_in_stalwart_is_found_and_put_back(town: Fleet) -> None:
    await find_and_repair(town, IN_STALWART)


async def test_every_field_in_ocis_is_found_and_put_back(town: Fleet) -> None:
    await find_and_repair(town, IN_OCIS)


@pytest.mark.parametrize("slug", ["acme", "held"])
async def test_a_group_of_superusers_is_found_though_the_daily_token_may_not_change_it(town: Fleet, slug: str) -> None:
    """Authentik asks for a right of its own for that; a person is told, and the tenant is not ready until then."""
    change("group", users, is_superuser=True)(town, slug)
    found = await town.suspects()
    assert [step.fields for step in found[slug].steps] == [("is_superuser",)]
    await town.reconcile(slug)
    ready = town.tenants[slug].status.condition("Ready")
    assert ready is not None
    assert (ready.status, ready.reason) == ("False", "Rejected")
    assert "is_superuser" in ready.message
