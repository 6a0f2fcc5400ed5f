"""What the watch and the controllers tell the audit log (C030, C082, C084, C094)."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from dezky_operator.audit.event import Event
from dezky_operator.crd.tenant import ReceiptStatus, SuspensionStatus
from dezky_operator.integrations.intent import tenant_id_of
from dezky_operator.kube.cache import Seen, TenantCache
from dezky_operator.kube.journal import Journalist, Registry
from dezky_operator.tenant.outcome import Notice
from dezky_operator.tenant.record import AsBuilt, Record, RecordState

INSTALLATION = "6f0c1d2e-3a4b-4c5d-8e6f-708192a3b4c5"
UID = "11111111-1111-4111-8111-111111111111"
OWN = str(tenant_id_of(INSTALLATION, UID))
EARLIER = str(uuid.UUID(int=7))
NOW = "2026-11-24T04:00:00.000000Z"


def raw(generation: int = 1, *, by: str | None = "ann@acme.test", **more: Any) -> dict[str, Any]:
    spec = {"displayName": "Acme", "domains": ["acme.test"], **more.pop("spec", {})}
    metadata = {
        "name": "acme",
        "uid": UID,
        "resourceVersion": str(generation * 10 + len(str(more))),
        "generation": generation,
        "creationTimestamp": "2026-11-24T03:00:00Z",
        "annotations": {"dezky.eu/changed-by": by} if by else {},
        **more.pop("metadata", {}),
    }
    return {"metadata": metadata, "spec": spec, "status": more.pop("status", {"observedGeneration": -1})}


class Scene:
    """A journal over a cache, and what it offered."""

    def __init__(self, *records: Record) -> None:
        self.events: list[Event] = []
        self.cache = TenantCache()
        self.registry = Registry(installation_id=INSTALLATION, cache=self.cache, records=lambda: records)
        self.journal = Journalist(self.events.append, self.registry, lambda: NOW)

    def see(self, told: dict[str, Any]) -> Seen:
        before, now = self.cache.put(told)
        self.journal.seen(before, now)
        return now

    @property
    def actions(self) -> list[str]:
        return [event.action for event in self.events]


def record() -> Record:
    return Record(
        tenant_id=EARLIER,
        slug="nord",
        state=RecordState.LOCKED,
        spec={"domains": ["nord.test"], "partnerRef": {"name": "handel"}},
        created_at="2026-11-24T03:00:00Z",
        as_built=AsBuilt(domains=("nord.test",), spaces={"main": "storage$space-1"}),
    )


def test_five_changes_in_a_row_are_five_events_with_who_made_them() -> None:
    scene = Scene()
    scene.see(raw(1))
    scene.see(raw(2, spec={"suspended": True}))
    scene.see(raw(3, by="ben@dezky.test"))
    scene.see(raw(4, spec={"plan": "business"}))
    scene.see(raw(5, metadata={"deletionTimestamp": "2026-11-24T05:00:00Z"}))
    assert scene.actions == [
        "tenant.created",
        "tenant.suspended",
        "tenant.resumed",
        "tenant.updated",
        "tenant.deleted",
    ]
    assert [event.values.get("actor.email") for event in scene.events] == [
        "ann@acme.test",
        "ann@acme.test",
        "ben@dezky.test",
        "ann@acme.test",
        None,
    ]
    assert {event.tenant for event in scene.events} == {OWN}


def test_a_status_write_is_no_change_of_the_spec() -> None:
    scene = Scene()
    scene.see(raw(1))
    scene.see(raw(1, status={"observedGeneration": 1, "phase": "Active"}))
    assert scene.actions == ["tenant.created"]


def test_an_object_that_can_not_be_understood_is_recorded_all_the_same() -> None:
    scene = Scene()
    scene.see({**raw(1), "spec": {"domains": 7}})
    assert scene.actions == ["tenant.created"]


def test_what_is_done_for_a_new_spec_is_done_for_whoever_changed_it_and_repairs_for_the_operator() -> None:
    scene = Scene()
    scene.see(raw(2, status={"observedGeneration": 1, "tenantId": OWN}))
    assert scene.registry.whose(OWN).actor.name == "ann@acme.test"
    scene.see(raw(2, status={"observedGeneration": 2, "tenantId": OWN, "phase": "Active"}))
    assert scene.registry.whose(OWN).actor.type == "operator"


def test_a_deleted_tenant_is_known_by_its_record_and_one_that_restored_another_by_its_status() -> None:
    scene = Scene(record())
    assert (scene.registry.whose(EARLIER).slug, scene.registry.whose(EARLIER).partner_slug) == ("nord", "handel")
    scene.see(raw(2, status={"observedGeneration": 2, "tenantId": EARLIER}))
    assert scene.registry.whose(EARLIER).slug == "acme"
    assert scene.registry.whose(str(uuid.UUID(int=9))).slug == ""


def test_sources_find_tenants_by_domain_space_and_group_deleted_ones_too() -> None:
    scene = Scene(record())
    scene.see(raw(1, status={"observedGeneration": 1, "files": {"spaces": [{"name": "main", "id": "s$acme-1"}]}}))
    tenants = scene.registry.tenants()
    living = [tenants.by_address("ann@ACME.test"), tenants.by_group("dezky-acme-admins"), tenants.by_drive("acme-1")]
    assert [found.slug if found else None for found in living] == ["acme", "acme", None]
    assert [
        found.slug if (found := tenants.by_drive(drive)) else None for drive in ("s$acme-1", "storage$space-1")
    ] == [
        "acme",
        "nord",
    ]
    assert (kept := tenants.by_domain("nord.test")) is not None
    assert (kept.tenant_id, kept.partner_slug) == (EARLIER, "handel")


def test_what_is_told_of_a_tenant_is_kept_by_its_reason_and_never_by_its_text() -> None:
    scene = Scene()
    scene.see(raw(1))
    scene.journal.told(OWN, Notice(reason="ProofIncomplete", message="acme is locked, Ann said so.", warning=True))
    event = scene.events[-1]
    assert (event.action, event.tenant, event.data) == ("tenant.proof_incomplete", OWN, {"warning": True})
    assert "Ann" not in str(event.values)


def test_receipts_of_a_lock_are_kept_once() -> None:
    def receipts(*results: str) -> SuspensionStatus:
        systems = ("authentik", "stalwart", "ocis")
        return SuspensionStatus(
            since=NOW,
            receipts=tuple(
                ReceiptStatus(system=system, at=NOW, result=result)
                for system, result in zip(systems, results, strict=False)
            ),
        )

    scene = Scene()
    scene.see(raw(1))
    locked = receipts("refused", "refused", "inconclusive")
    scene.journal.proved(OWN, None, receipts())
    scene.journal.proved(OWN, receipts(), locked)
    scene.journal.proved(OWN, locked, msgspec.structs.replace(locked, hold="Held"))
    scene.journal.proved(OWN, locked, None)
    assert scene.actions[1:] == ["tenant.lock_proof"]
    assert scene.events[-1].data == {
        "authentik": "refused",
        "stalwart": "refused",
        "ocis": "inconclusive",
        "source": "Spec",
    }
