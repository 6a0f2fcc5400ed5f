"""What a sweep over the fleet does beside finding drift: whom it leaves alone, what it tells, what it costs."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from dezky_operator.integrations.authentik.integration import TURNS
from dezky_operator.integrations.steps import System
from tests.builders import admin, spaces, spec, tenant
from tests.fleet import Fleet, fleet
from tests.hands import MAIN, binding, change, domain, hosted, patch, slugged, space, three_tenants, users
from tests.sandbox.standin import Fault


@pytest.fixture
async def town() -> AsyncIterator[Fleet]:
    async with three_tenants() as found:
        yield found


async def test_an_open_tenants_application_is_looked_at_in_its_turn(town: Fleet) -> None:
    """The daily token can not list applications: one in twenty each time, so after twenty sweeps every one was seen."""
    change("application", slugged, policy_engine_mode="any")(town, "acme")
    for _ in range(TURNS):
        if found := await town.suspects():
            break
    assert [step.fields for step in found["acme"].steps] == [("policy_engine_mode",)]
    told = await town.settle("acme")
    assert "application.policy_engine_mode in Authentik" in next(
        one.message for one in told if one.reason == "DriftRepaired"
    )
    drift = town.tenants["acme"].status.drift
    assert drift is not None
    assert [step.key for step in drift.steps] == ["authentik/application/main"]


async def test_a_repair_is_one_write_of_the_status_and_the_next_look_none(town: Fleet) -> None:
    binding("policy", enabled=True)(town, "acme")
    before = town.writes
    await town.settle("acme")
    assert town.writes == before + 1
    await town.settle("acme")
    assert town.writes == before + 1


async def test_what_lost_its_mark_is_told_of_and_not_touched(town: Fleet) -> None:
    change("group", users, attributes={})(town, "acme")
    found = await town.suspects()
    assert [told.blocking for told in found["acme"].obstacles] == [True]
    town.scene.workspace.forget()
    await town.reconcile("acme")
    assert town.scene.workspace.writes()["authentik"] == 0
    assert town.drifted() == {}


async def test_drift_that_is_only_reported_is_shown_counted_once_and_left(town: Fleet) -> None:
    reported = tenant(
        "acme",
        admin("anna@acme.test", "Anna"),
        spaces("sales"),
        spec(brand={"title": "Acme"}, driftPolicy="ReportOnly"),
    )
    await town.apply(reported)
    change("brand", hosted, branding_title="Other")(town, "acme")
    assert set(await town.suspects()) == {"acme"}
    await town.settle("acme")
    status = town.tenants["acme"].status
    assert [step.fields for step in status.plan] == [("branding_title",)]
    assert (status.drift, town.drifted()) == (None, {("authentik", "branding_title"): 1.0})
    assert await town.suspects() == {}, "it is told already"
    await town.settle("acme")
    assert town.drifted() == {("authentik", "branding_title"): 1.0}
    change("brand", hosted, branding_title="Acme")(town, "acme")
    assert set(await town.suspects()) == {"acme"}, "what is right again is no longer shown"
    await town.settle("acme")
    assert town.tenants["acme"].status.plan == ()


async def test_a_system_that_is_silent_makes_nobody_a_suspect(town: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    """Its part is unknown, the other two are looked at, and it is told once until it answers again."""
    patch("Domain", domain, isEnabled=False)(town, "acme")
    space(MAIN, name="Other")(town, "acme")
    standins = town.scene.workspace
    standins.stalwart.faults.append(Fault(match="POST /jmap", status=503))
    capsys.readouterr()
    for _ in range(2):
        swept = await town.sweep()
        assert swept.silent == {System.STALWART}
        assert [{step.system for step in plan.steps} for _, plan in swept.suspects] == [{System.OCIS}]
    assert capsys.readouterr().out.count("system not swept") == 1
    standins.stalwart.faults.clear()
    swept = await town.sweep()
    assert swept.silent == frozenset()
    assert {step.system for _, plan in swept.suspects for step in plan.steps} == {System.OCIS, System.STALWART}


async def test_while_authentik_is_silent_nobody_counts_as_having_left(town: Fleet) -> None:
    town.scene.workspace.authentik.faults.append(Fault(match="GET /api", status=503))
    swept = await town.sweep()
    assert swept.silent == {System.AUTHENTIK}
    assert [(one.tenant.name, plan.steps) for one, plan in swept.suspects if plan.steps] == []


async def test_who_joins_gets_a_mailbox_although_that_is_no_drift(town: Fleet) -> None:
    town.person("late@acme.test", "acme")
    found = await town.suspects()
    assert [(step.id, step.asked) for step in found["acme"].steps] == [("stalwart/account/late@acme.test", True)]
    told = await town.settle("acme")
    assert (told, town.drifted(), town.tenants["acme"].status.drift) == ([], {}, None)


async def test_the_end_of_a_hold_is_found_and_is_no_drift(town: Fleet) -> None:
    held = town.tenants["held"]
    assert held.status.suspension is not None
    over = replace(held.status.suspension, since="2026-11-01T00:00:00Z", hold_until="2026-11-02T00:00:00Z")
    town.tenants["held"] = replace(held, status=replace(held.status, suspension=over))
    found = await town.suspects()
    assert "stalwart/throttle/held.test" in [step.id.rpartition("/")[0] for step in found["held"].steps]
    await town.settle("held")
    assert town.drifted() == {}


# -- what a sweep costs -------------------------------------------------------------------------------


async def test_a_sweep_over_a_thousand_tenants_keeps_its_budget() -> None:
    """Measured at 20 and at 60 tenants of 3 users each, drawn out to 1,000: reads grow with pages."""
    async with fleet() as town:
        few = await _reads(town, 20)
        many = await _reads(town, 60)
        assert town.scene.workspace.writes() == {"authentik": 0, "stalwart": 0, "ocis": 0}
    assert many["ocis"] <= few["ocis"] <= 5
    objects = {"Domain": 1, "Role": 1, "DkimSignature": 2, "Account": 4}
    requests = 3 + sum(math.ceil(1000 * each / 1000) for each in objects.values())
    assert many["stalwart"] == few["stalwart"]
    assert requests <= 20
    # 2 groups, 1 provider, 2 bindings, 1 brand and 4 users for each tenant; what is there without any tenant beside it.
    pages = sum(math.ceil(each * 1000 / 100) for each in (2, 1, 2, 1, 4))
    seen = {count: sum(math.ceil(each * count / 100) for each in (2, 1, 2, 1, 4)) for count in (20, 60)}
    for count, found in ((20, few), (60, many)):
        fixed = found["authentik"] - seen[count] - math.ceil(count / TURNS)
        assert pages + fixed + math.ceil(1000 / TURNS) <= 150 + math.ceil(1000 / 20), (count, fixed)


async def _reads(town: Fleet, count: int) -> dict[str, int]:
    """The requests of one sweep over ``count`` tenants; nothing is remembered from before."""
    for number in range(len(town.tenants), count):
        slug = f"t{number:03}"
        await town.apply(tenant(slug, admin(f"anna@{slug}.test"), spec(brand={"title": slug})))
        for who in ("bob", "cleo", "dan"):
            town.person(f"{who}@{slug}.test", slug)
        await town.settle(slug)
    assert await town.suspects() == {}
    town.scene.workspace.forget()
    assert await town.suspects() == {}
    return {standin.name: len(standin.calls) for standin in town.scene.workspace.systems}
