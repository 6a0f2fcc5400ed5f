"""What happens after `kubectl delete tenant`: locked from a tombstone, kept, restored or purged (C021, C027)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.builders import Manifest, admin, annotated, deletion, domains, spec, tenant
from tests.controlplane.cluster import Cluster
from tests.sandbox.standin import Fault
from tests.site import Site
from tests.tombstones import annotate_tombstone, buried, forgotten, places, tombstone

ANNA = admin("anna@acme.test", "Anna")
ACME = tenant("acme", ANNA)
AT_ONCE = {
    "deletion": {"graceSeconds": 0, "lookSeconds": 0.2},
    "purge": {"auditWaitSeconds": 0, "waitSeconds": 0.5, "lookSeconds": 0.3},
}


@pytest.fixture
async def site(cluster: Cluster) -> AsyncIterator[Site]:
    """A site where nothing waits longer than a test can."""
    async with Site(cluster, changes=AT_ONCE) as found:
        yield found


async def deleted(site: Site, manifest: Manifest = ACME) -> None:
    await site.start()
    await site.apply(manifest)
    await site.ready("acme")
    await site.kubectl("delete", "tenant", "acme", "--wait=false")


async def test_a_soft_delete_locks_everybody_out_and_keeps_everything(site: Site) -> None:
    """C021: the Tenant is gone at once, the customer is locked, nothing is destroyed."""
    await deleted(site)
    await site.gone("acme")
    record = await buried(site, "acme", "Locked")
    anna = site.workspace.authentik.store.find("user", "username", "anna@acme.test")
    assert anna is not None
    assert not anna["is_active"]
    assert all(space.disabled for space in site.workspace.ocis.store.spaces.values() if "dezky-acme" in space.alias)
    assert "acme.test" in site.workspace.stalwart.objects.names
    assert record["suspension"]["source"] == "Deletion"
    assert record["purgeAt"].startswith("20")
    assert {receipt["result"] for receipt in record["suspension"]["receipts"]} == {"Refused"}
    assert (await site.secret("acme"))["client-secret"], "running applications keep their credentials"


async def test_a_system_that_is_down_holds_up_only_its_own_part(site: Site) -> None:
    await site.start()
    await site.apply(ACME)
    await site.ready("acme")
    site.workspace.ocis.faults.append(Fault(match="/graph|/dav", status=503))
    await site.kubectl("delete", "tenant", "acme", "--wait=false")
    await site.gone("acme")
    record = await buried(site, "acme", "Locking")
    await site.until(lambda: _inactive(site), "sign-in is locked meanwhile")
    site.workspace.ocis.faults.clear()
    record = await buried(site, "acme", "Locked")
    assert record["suspension"]["disabledDriveIds"]


async def test_the_same_customer_applied_again_gets_everything_back_unlocked(site: Site) -> None:
    await deleted(site)
    await buried(site, "acme", "Locked")
    await site.apply(ACME)
    status = await site.ready("acme")
    record = await tombstone(site, "acme")
    assert (record["state"], status["tenantId"]) == ("Restored", record["tenantId"])
    assert not _inactive(site)
    assert not any(space.disabled for space in site.workspace.ocis.store.spaces.values())
    assert "suspension" not in status
    found = await site.get("acme")
    assert found is not None
    assert "dezky.eu/operator" in found["metadata"]["finalizers"]


async def test_a_restored_tenant_can_be_purged(site: Site) -> None:
    """Its finalizer is there again: without it a confirmed purge would destroy nothing and say nothing."""
    await deleted(site)
    await buried(site, "acme", "Locked")
    purge = tenant("acme", ANNA, deletion("Purge"), annotated("confirm-purge", "acme"))
    await site.apply(purge)
    await site.ready("acme")
    await site.kubectl("delete", "tenant", "acme", "--wait=false")
    await site.gone("acme")
    assert places(site, "acme") == {"authentik": 0, "stalwart": 0, "ocis": 0}


async def test_another_customer_does_not_get_the_data_of_a_deleted_one(site: Site) -> None:
    await deleted(site)
    await buried(site, "acme", "Locked")
    await site.apply(tenant("acme", domains("other.test")))
    status = await site.wait("acme", "Ready", "False", "TombstoneExists")
    assert "tenantId" not in status
    assert "other.test" not in site.workspace.stalwart.objects.names
    assert _inactive(site)


async def test_time_alone_purges_only_after_both_clocks_and_the_wait_agree(site: Site) -> None:
    await deleted(site)
    await buried(site, "acme", "Locked")
    await _due(site, "2020-01-01T00:00:00Z")
    await _until_event(site, "It is purged in about an hour")
    await forgotten(site, "acme")
    assert places(site, "acme") == {"authentik": 0, "stalwart": 0, "ocis": 0}
    await _until_event(site, "Everything of tenant acme")


async def test_what_is_not_due_is_kept(site: Site) -> None:
    await deleted(site)
    record = await buried(site, "acme", "Locked")
    await site.idle()
    assert (await tombstone(site, "acme"))["state"] == "Locked"
    assert record["purgeAt"] > "2026"
    assert places(site, "acme")["authentik"] > 0


async def test_a_person_purges_earlier_by_an_annotation_on_the_tombstone(site: Site) -> None:
    await deleted(site)
    await buried(site, "acme", "Locked")
    await annotate_tombstone(site, "acme", "confirm-purge", "acme")
    await forgotten(site, "acme")
    assert places(site, "acme") == {"authentik": 0, "stalwart": 0, "ocis": 0}
    assert await site.secret("acme") == {}


async def test_a_tombstone_deleted_by_hand_stays_and_does_its_work(site: Site) -> None:
    await deleted(site)
    await buried(site, "acme", "Locked")
    await site.kubectl("-n", site.namespace, "delete", "configmap", "dezky-tombstone-acme", "--wait=false")
    assert (await tombstone(site, "acme"))["state"] == "Locked"
    await annotate_tombstone(site, "acme", "confirm-purge", "acme")
    await forgotten(site, "acme")


async def test_a_pruned_repository_harms_nobody(cluster: Cluster) -> None:
    """The brake: too many at once are held, also those that came first, and a person releases them."""
    changes: dict[str, Any] = {**AT_ONCE, "deletion": {"graceSeconds": 1.5, "lookSeconds": 0.2, "brake": 2}}
    async with Site(cluster, changes=changes) as site:
        await site.start()
        names = ["acme", "beta", "coral", "delta"]
        await site.apply(*(tenant(name, admin(f"anna@{name}.test")) for name in names))
        for name in names:
            await site.ready(name)
        await site.kubectl("delete", "tenants", "--all", "--wait=false")
        for name in names:
            await site.gone(name)
            await buried(site, name, "Held")
        assert not _inactive(site)
        assert not any(space.disabled for space in site.workspace.ocis.store.spaces.values())
        await annotate_tombstone(site, "acme", "release-deletions", "true")
        await buried(site, "acme", "Locked")
        assert (await tombstone(site, "beta"))["state"] == "Held"
        await site.apply(tenant("beta", admin("anna@beta.test")))
        await site.ready("beta")


async def test_a_purge_that_would_destroy_another_tenants_user_is_blocked_and_names_him(site: Site) -> None:
    await site.start()
    await site.apply(tenant("acme", ANNA, deletion("Purge"), annotated("confirm-purge", "acme")), tenant("beta"))
    await site.ready("acme")
    await site.ready("beta")
    store = site.workspace.authentik.store
    anna, group = store.find("user", "username", "anna@acme.test"), store.find("group", "name", "dezky-beta-users")
    assert anna is not None
    assert group is not None
    store.join(anna, group["pk"])
    await site.kubectl("delete", "tenant", "acme", "--wait=false")
    status = await site.wait("acme", "Synced", "False", "PurgeBlocked")
    message = next(found["message"] for found in status["conditions"] if found["type"] == "Synced")
    assert "anna@acme.test" in message
    assert places(site, "acme")["stalwart"] > 0
    assert places(site, "acme")["ocis"] > 0
    store.leave(anna, group["pk"])
    await site.gone("acme")
    assert places(site, "acme") == {"authentik": 0, "stalwart": 0, "ocis": 0}


async def test_members_who_are_not_the_tenants_own_are_left_and_named(site: Site) -> None:
    await site.start()
    await site.apply(ACME)
    await site.ready("acme")
    store = site.workspace.authentik.store
    group = store.find("group", "name", "dezky-acme-users")
    assert group is not None
    guest = store.insert("user", {"username": "guest@elsewhere.test", "name": "Guest"})
    store.join(guest, group["pk"])
    await site.kubectl("delete", "tenant", "acme", "--wait=false")
    await buried(site, "acme", "Locked")
    assert not guest["is_active"]
    await annotate_tombstone(site, "acme", "confirm-purge", "acme")
    await forgotten(site, "acme")
    assert store.find("user", "username", "guest@elsewhere.test") is not None
    assert guest["is_active"]
    await _until_event(site, "guest@elsewhere.test")


async def test_retain_changes_nothing_outside(site: Site) -> None:
    await site.start()
    await site.apply(tenant("acme", ANNA, deletion("Retain")))
    await site.ready("acme")
    await site.idle()
    site.workspace.forget()
    await site.kubectl("delete", "tenant", "acme", "--wait=false")
    await site.gone("acme")
    assert (await buried(site, "acme", "Retained"))["tenantId"]
    await site.idle()
    assert site.workspace.writes() == {"authentik": 0, "stalwart": 0, "ocis": 0}


async def test_a_tenant_with_a_spec_that_is_refused_still_leaves_a_tombstone(cluster: Cluster) -> None:
    async with Site(cluster, changes={**AT_ONCE, "plans": ["standard"]}) as site:
        await site.start()
        await site.apply(ACME)
        await site.ready("acme")
        await site.apply(tenant("acme", ANNA, spec(plan="gold")))
        await site.wait("acme", "Stalled", "True", "InvalidSpec")
        await site.kubectl("delete", "tenant", "acme", "--wait=false")
        await site.gone("acme")
        await buried(site, "acme", "Locked")


async def test_a_preview_of_a_purge_counts_users_mailboxes_and_bytes(site: Site) -> None:
    await site.start()
    await site.apply(ACME)
    await site.ready("acme")
    await site.annotate("acme", "plan-only", "purge")
    status = await site.wait("acme", "Synced", "False", "PlanOnly")
    assert (status["preview"]["users"], status["preview"]["mailboxes"], status["preview"]["spaces"]) == (1, 1, 1)
    assert "bytes" in status["preview"]
    assert (await site.condition("acme", "Ready"))["status"] == "True"


async def test_a_marked_group_of_an_earlier_tenant_stops_mail_and_files_too(site: Site) -> None:
    """Its record is lost; the mark in one system is enough to keep the other two from mixing customers."""
    old = "11111111-1111-1111-1111-111111111111"
    mark = f"dezky:{site.settings.installation_id}:{old}:users"
    site.workspace.authentik.store.insert("group", {"name": "dezky-acme-users", "attributes": {"dezky.eu/mark": mark}})
    await site.start()
    await site.apply(ACME)
    status = await site.wait("acme", "Ready", "False", "TombstoneExists")
    assert "tenantId" not in status
    assert site.workspace.writes()["stalwart"] == 0
    assert site.workspace.writes()["ocis"] == 0


async def test_a_mistyped_restore_changes_nothing_for_good(site: Site) -> None:
    await site.start()
    wrong = "22222222-2222-2222-2222-222222222222"
    await site.apply(tenant("acme", ANNA, annotated("restore", wrong)))
    await site.wait("acme", "Ready", "False", "TombstoneExists")
    await site.annotate("acme", "restore", None)
    await site.ready("acme")
    assert await tombstone(site, "acme") == {}


# -- help ---------------------------------------------------------------------------------


def _inactive(site: Site) -> bool:
    anna = site.workspace.authentik.store.find("user", "username", "anna@acme.test")
    return anna is not None and not anna["is_active"]


async def _due(site: Site, moment: str) -> None:
    """Make a tombstone due, as 30 days would."""
    record = await tombstone(site, "acme")
    patch = {"data": {"record.json": json.dumps({**record, "purgeAt": moment})}}
    await site.kubectl(
        "-n", site.namespace, "patch", "configmap", "dezky-tombstone-acme", "--type=merge", "-p", json.dumps(patch)
    )


async def _until_event(site: Site, text: str) -> None:
    events = ""

    async def told() -> bool:
        nonlocal events
        events = await site.kubectl("-n", site.namespace, "get", "events", "-o", "jsonpath={.items[*].message}")
        return text in events

    for _ in range(300):
        if await told():
            return
    raise AssertionError(f"no event says {text!r}: {events}")
