"""One field locks three systems and undoes exactly itself (C019, C020, X10), on a real API server."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from dezky_operator.kube.process import Operator
from tests.builders import Manifest, admin, annotated, domains, spaces, spec, suspended, tenant
from tests.sandbox.standin import Fault
from tests.site import Site
from tests.smtp import recipient

ANNA = admin("anna@acme.test", "Anna")
ACME = tenant("acme", ANNA, spaces("sales"))


def locked(*modifiers: Any) -> Manifest:
    return tenant("acme", ANNA, spaces("sales"), suspended(), *modifiers)


async def a_ready_tenant(site: Site) -> Operator:
    operator = await site.start()
    await site.apply(ACME)
    await site.ready("acme")
    await site.idle()
    return operator


async def test_one_field_locks_all_three_systems_with_a_receipt_for_each(site: Site) -> None:
    """C019, X10: not a field in a database, but nobody gets in, proven with what worked before."""
    await a_ready_tenant(site)
    await site.apply(locked(spec(suspension={"reason": "unpaid"})))
    status = await site.wait("acme", "Suspended", "True", "Locked")
    assert (status["phase"], status["suspension"]["reason"], status["suspension"]["source"]) == (
        "Suspended",
        "unpaid",
        "Spec",
    )
    receipts = {receipt["system"]: receipt for receipt in status["suspension"]["receipts"]}
    assert {system: receipt["result"] for system, receipt in receipts.items()} == dict.fromkeys(
        ("authentik", "stalwart", "ocis"), "Refused"
    )
    for receipt in receipts.values():
        assert receipt["tried"]
        assert receipt["before"] != receipt["after"]
    ready = await site.condition("acme", "Ready")
    assert (ready["status"], ready["reason"]) == ("True", "Suspended")


async def test_mail_is_still_accepted_while_the_tenant_is_locked(site: Site) -> None:
    await a_ready_tenant(site)
    await site.apply(locked())
    await site.wait("acme", "Suspended", "True", "Locked")
    assert (await recipient(site.workspace, "anna@acme.test")).startswith("250")


async def test_a_suspension_costs_two_writes_and_a_resume_two(site: Site) -> None:
    operator = await a_ready_tenant(site)
    before = _object_writes(operator)
    await site.apply(locked())
    await site.wait("acme", "Suspended", "True", "Locked")
    await site.idle()
    assert _object_writes(operator) - before <= 2
    before = _object_writes(operator)
    await site.apply(ACME)
    await site.wait("acme", "Suspended", "False", "NotSuspended")
    await site.idle()
    assert _object_writes(operator) - before <= 2


async def test_the_ids_of_spaces_are_written_before_the_first_of_them_is_closed(site: Site) -> None:
    await a_ready_tenant(site)
    site.workspace.ocis.faults.append(Fault(match="DELETE /graph", status=503))
    await site.apply(locked())
    status = await site.wait("acme", "Suspended", "False", "Locking")
    open_spaces = {key for key, space in site.workspace.ocis.store.spaces.items() if "dezky-acme" in space.alias}
    assert open_spaces <= set(status["suspension"]["disabledDriveIds"])
    assert not any(space.disabled for space in site.workspace.ocis.store.spaces.values())


async def test_a_resume_opens_exactly_what_was_closed(site: Site) -> None:
    """C020: also nothing that somebody else had closed or deactivated before."""
    await a_ready_tenant(site)
    store, files = site.workspace.authentik.store, site.workspace.ocis.store
    group = store.find("group", "name", "dezky-acme-users")
    assert group is not None
    bob = store.insert("user", {"username": "bob@acme.test", "name": "Bob", "is_active": False})
    eve = store.insert("user", {"username": "eve@acme.test", "name": "Eve"})
    for user in (bob, eve):
        store.join(user, group["pk"])
    await site.apply(locked())
    await site.wait("acme", "Suspended", "True")
    assert not eve["is_active"]
    assert all(space.disabled for space in files.spaces.values() if "dezky-acme" in space.alias)
    await site.apply(ACME)
    status = await site.wait("acme", "Suspended", "False", "NotSuspended")
    assert "suspension" not in status
    assert (bob["is_active"], eve["is_active"]) == (False, True)
    assert "suspendedBy" not in str(eve["attributes"])
    assert not any(space.disabled for space in files.spaces.values() if "dezky-acme" in space.alias)


async def test_who_joins_while_suspended_is_locked_too(site: Site) -> None:
    await a_ready_tenant(site)
    await site.apply(locked())
    await site.wait("acme", "Suspended", "True")
    store = site.workspace.authentik.store
    group = store.find("group", "name", "dezky-acme-users")
    assert group is not None
    late = store.insert("user", {"username": "late@acme.test", "name": "Late"})
    store.join(late, group["pk"])
    await site.annotate("acme", "reconcile-requested-at", "now")
    await site.until(lambda: not late["is_active"], "the late one is locked")


async def test_who_leaves_a_locked_tenant_for_another_gets_the_own_space_back(site: Site) -> None:
    await a_ready_tenant(site)
    await site.apply(tenant("beta"))
    await site.ready("beta")
    store, files = site.workspace.authentik.store, site.workspace.ocis.store
    old, new = (store.find("group", "name", f"dezky-{slug}-users") for slug in ("acme", "beta"))
    assert old is not None
    assert new is not None
    eve = store.insert("user", {"username": "eve@acme.test", "name": "Eve"})
    store.join(eve, old["pk"])
    own = files.spaces[files.add_user("eve@acme.test", display="Eve").id]
    await site.apply(locked())
    await site.wait("acme", "Suspended", "True")
    assert own.disabled
    store.leave(eve, old["pk"])
    await site.annotate("acme", "reconcile-requested-at", "left")
    await site.idle()
    assert own.disabled, "who is in no other tenant stays locked"
    store.join(eve, new["pk"])
    await site.annotate("acme", "reconcile-requested-at", "joined")
    await site.until(lambda: eve["is_active"] and not own.disabled, "account and space are open")
    assert all(space.disabled for space in files.spaces.values() if "dezky-acme" in space.alias)


async def test_a_locked_tenant_whose_group_is_gone_says_how_to_make_it_again(site: Site) -> None:
    await a_ready_tenant(site)
    await site.apply(locked())
    await site.wait("acme", "Suspended", "True")
    store = site.workspace.authentik.store
    group = store.find("group", "name", "dezky-acme-users")
    assert group is not None
    store.remove("group", group)
    await site.annotate("acme", "reconcile-requested-at", "gone")
    status = await site.wait("acme", "FilesReady", "False", "GroupMissing")
    told = next(one["message"] for one in status["conditions"] if one["type"] == "FilesReady")
    assert group["attributes"]["dezky.eu/mark"] in told
    store.insert("group", {"name": group["name"], "attributes": group["attributes"]})
    await site.annotate("acme", "reconcile-requested-at", "again")
    await site.wait("acme", "FilesReady", "True")


async def test_an_edit_of_a_suspended_tenant_applies_on_resume(site: Site) -> None:
    await a_ready_tenant(site)
    await site.apply(locked())
    await site.wait("acme", "Suspended", "True")
    edited = spec(displayName="Acme Renamed", domains=["acme.test", "late.test"])
    await site.apply(locked(edited))
    await site.ready("acme")
    assert "late.test" not in site.workspace.stalwart.objects.names
    await site.apply(tenant("acme", ANNA, spaces("sales"), edited))
    await site.wait("acme", "Suspended", "False", "NotSuspended")
    assert "late.test" in site.workspace.stalwart.objects.names
    assert {"Acme Renamed", "Acme Renamed sales"} == {
        space.name for space in site.workspace.ocis.store.spaces.values() if "dezky-acme" in space.alias
    }


async def test_with_authentik_down_mail_and_files_are_locked_without_waiting(site: Site) -> None:
    await a_ready_tenant(site)
    site.workspace.authentik.faults.append(Fault(match="/api/v3/|/application/", status=503))
    await site.apply(locked())
    status = await site.wait("acme", "Suspended", "False", "Locking")
    assert status["provisioningStatus"]["stalwart"] == "Ready"
    assert all(space.disabled for space in site.workspace.ocis.store.spaces.values() if "dezky-acme" in space.alias)
    site.workspace.authentik.faults.clear()
    status = await site.wait("acme", "Suspended", "Unknown", "ProofIncomplete")
    assert {receipt["result"] for receipt in status["suspension"]["receipts"]} == {"Inconclusive"}


async def test_a_restart_in_the_middle_never_claims_a_proof(site: Site) -> None:
    """Tokens live in memory only: without a control there is no True."""
    await a_ready_tenant(site)
    site.workspace.ocis.faults.append(Fault(match="DELETE /graph", status=503))
    await site.apply(locked())
    await site.wait("acme", "Suspended", "False", "Locking")
    await site.stop()
    site.workspace.ocis.faults.clear()
    await site.start()
    status = await site.wait("acme", "Suspended", "Unknown", "ProofIncomplete")
    results = {receipt["system"]: receipt["result"] for receipt in status["suspension"]["receipts"]}
    assert results["ocis"] == "Inconclusive"


async def test_a_restart_over_a_locked_tenant_writes_nothing_and_probes_nothing(site: Site) -> None:
    await a_ready_tenant(site)
    await site.apply(locked())
    await site.wait("acme", "Suspended", "True")
    await site.stop()
    site.workspace.forget()
    await site.start()
    await site.annotate("acme", "reconcile-requested-at", "again")
    await _until_handled(site, "acme", "again")
    assert site.workspace.writes() == {"authentik": 0, "stalwart": 0, "ocis": 0}
    condition = await site.condition("acme", "Suspended")
    assert condition["status"] == "True"


async def test_held_mail_is_told_to_come_again_and_a_resume_lets_it_in(site: Site) -> None:
    await a_ready_tenant(site)
    await site.apply(locked(spec(suspension={"mailPolicy": "Hold", "holdFor": "1h"})))
    status = await site.wait("acme", "Suspended", "True")
    assert status["suspension"]["hold"] == "Held"
    since = datetime.fromisoformat(status["suspension"]["since"])
    assert datetime.fromisoformat(status["suspension"]["holdUntil"]) - since == timedelta(hours=1)
    assert since <= datetime.now(UTC)
    await recipient(site.workspace, "anna@acme.test")  # the one message that a throttle lets through
    assert (await recipient(site.workspace, "anna@acme.test")).startswith("452")
    await site.apply(ACME)
    await site.wait("acme", "Suspended", "False", "NotSuspended")
    assert (await recipient(site.workspace, "anna@acme.test")).startswith("250")
    throttles = site.workspace.stalwart.objects.by_type["MtaInboundThrottle"].values()
    assert not [found for found in throttles if found["description"].startswith("dezky:")]


async def test_a_preview_of_a_suspension_changes_nothing(site: Site) -> None:
    await a_ready_tenant(site)
    site.workspace.forget()
    await site.annotate("acme", "plan-only", "suspend")
    status = await site.wait("acme", "Synced", "False", "PlanOnly")
    keys = [step["key"] for step in status["plan"]]
    assert "authentik/binding/deny" in keys
    assert "stalwart/role/main" in keys
    assert any(key.startswith("ocis/drive/") for key in keys)
    assert "dezky-probe" not in str(status["plan"])
    assert site.workspace.writes() == {"authentik": 0, "stalwart": 0, "ocis": 0}
    assert (await site.condition("acme", "Ready"))["status"] == "True"


async def test_an_unknown_mail_policy_is_refused_by_the_schema(site: Site) -> None:
    told = await _refused(site, locked(spec(suspension={"mailPolicy": "Bounce"})))
    assert "Unsupported value" in told
    assert "Accept" in told


async def test_a_tenant_suspended_from_birth_is_made_locked(site: Site) -> None:
    await site.start()
    await site.apply(locked())
    status = await site.wait("acme", "Ready", "True", "Suspended")
    assert status["phase"] == "Suspended"
    assert all(space.disabled for space in site.workspace.ocis.store.spaces.values() if "dezky-acme" in space.alias)
    await site.apply(ACME)
    await site.wait("acme", "Ready", "True", "Active")


async def test_another_tenant_notices_nothing(site: Site) -> None:
    await a_ready_tenant(site)
    await site.apply(tenant("beta", domains("beta.test")))
    before = await site.ready("beta")
    await site.apply(locked())
    await site.wait("acme", "Suspended", "True")
    await site.annotate("beta", "reconcile-requested-at", "now")
    await _until_handled(site, "beta", "now")
    after = await site.status("beta")
    assert {**after, "lastHandledReconcileAt": None} == {**before, "lastHandledReconcileAt": None}


async def test_a_lock_undone_by_hand_is_put_back_whatever_the_drift_policy(site: Site) -> None:
    await a_ready_tenant(site)
    await site.apply(locked(spec(driftPolicy="ReportOnly"), annotated("changed", "1")))
    await site.wait("acme", "Suspended", "True")
    application = site.workspace.authentik.store.objects["application"]["dezky-acme"]
    application["policy_engine_mode"] = "any"
    await site.annotate("acme", "reconcile-requested-at", "now")
    await site.until(lambda: application["policy_engine_mode"] == "all", "the lock is put back")


# -- help ---------------------------------------------------------------------------------


def _object_writes(operator: Operator) -> float:
    samples = next(iter(operator.metrics.kube_writes.collect())).samples
    return float(sum(sample.value for sample in samples if sample.labels["what"] in {"tenants", "tenants/status"}))


async def _until_handled(site: Site, name: str, value: str) -> None:
    for _ in range(600):
        if (await site.status(name)).get("lastHandledReconcileAt") == value:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{name} never handled {value}")


async def _refused(site: Site, manifest: Manifest) -> str:
    return await site.kubectl("apply", "-f", "-", input=json.dumps(manifest), check=False)
