"""A new process over tenants that are as declared: one look at all of them, and not one write. On an API server."""

from __future__ import annotations

import asyncio

from dezky_operator.kube.process import Operator
from tests.builders import admin, annotated, spec, suspended, tenant
from tests.site import Site

SLUGS = ("acme", "borg", "corp")


def reconciles(operator: Operator) -> float:
    samples = [sample for metric in operator.metrics.reconciles.collect() for sample in metric.samples]
    return sum(sample.value for sample in samples)


def kube_writes(operator: Operator) -> dict[str, float]:
    samples = [sample for metric in operator.metrics.kube_writes.collect() for sample in metric.samples]
    return {one.labels["what"]: one.value for one in samples if "leases" not in one.labels["what"] and one.value}


async def three(site: Site) -> Operator:
    """Three tenants as declared, one of them locked, and then a new process."""
    await site.start()
    await site.apply(*(tenant(slug, admin(f"anna@{slug}.test")) for slug in SLUGS))
    for slug in SLUGS:
        await site.ready(slug)
    await site.apply(tenant("corp", admin("anna@corp.test"), suspended()))
    await site.wait("corp", "Suspended", "True", "Locked")
    await site.idle()
    await site.stop()
    site.workspace.forget()
    return await site.start()


async def swept(site: Site, operator: Operator, times: int = 1) -> None:
    await site.until(lambda: operator.sweep.done >= times, f"{times} sweeps are done")
    await site.idle()


async def test_a_restart_over_settled_tenants_writes_nothing_and_reconciles_nobody(site: Site) -> None:
    operator = await three(site)
    await swept(site, operator)
    assert site.workspace.writes() == {"authentik": 0, "stalwart": 0, "ocis": 0}
    assert (kube_writes(operator), reconciles(operator)) == ({}, 0.0)
    assert operator.controller.all_ready(len(SLUGS))


async def test_what_changed_while_no_operator_ran_is_found_by_the_first_sweep(site: Site) -> None:
    operator = await three(site)
    await swept(site, operator)
    await site.stop()
    store = site.workspace.authentik.store
    provider = store.find("oauth2provider", "name", "dezky-corp")
    assert provider is not None
    store.update("oauth2provider", provider, {"grant_types": ["authorization_code", "refresh_token"]})
    await site.apply(tenant("acme", admin("anna@acme.test"), spec(displayName="Acme AG")))
    operator = await site.start()
    await swept(site, operator)
    await site.ready("acme")
    await site.idle()
    assert reconciles(operator) == 2.0
    drift = (await site.status("corp"))["drift"]
    assert [(step["key"], step["fields"]) for step in drift["steps"]] == [("authentik/provider/main", ["grant_types"])]
    events = await site.kubectl("get", "events", "-n", "default", "-o", "jsonpath={.items[*].reason}")
    assert "DriftRepaired" in events.split()


async def test_a_tenant_may_ask_to_be_looked_at_more_often(site: Site) -> None:
    """Its Secret is in no sweep: only a look of its own finds that."""
    await site.start()
    await site.apply(tenant("acme", admin("anna@acme.test"), annotated("resync-seconds", "1")))
    await site.ready("acme")
    await site.idle()
    await site.kubectl("-n", site.namespace, "delete", "secret", "dezky-tenant-acme")
    for _ in range(300):
        if await site.secret("acme"):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the Secret never came back")
