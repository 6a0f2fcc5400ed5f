"""Tenants that can not be understood, and versions of a Tenant that come in the wrong order."""

from __future__ import annotations

import uuid
from typing import Any

from dezky_operator.crd.tenant import InvalidTenant
from dezky_operator.integrations.intent import tenant_id_of
from dezky_operator.kube.cache import TenantCache
from dezky_operator.kube.unreadable import may_go, outline, retained
from dezky_operator.tenant.record import Record, RecordState
from tests.builders import annotated, spec, tenant

INSTALLATION = "5a0c3c5e-6f4f-4a4e-8a55-0d2f0b1c7e11"
NONSENSE = spec(seats="many", domains=["acme.test", 5])


def stored(manifest: dict[str, Any], *, uid: str = "one", version: int = 1, deleted: bool = False) -> dict[str, Any]:
    manifest["metadata"] |= {"uid": uid, "resourceVersion": str(version), "creationTimestamp": "2026-01-01T00:00:00Z"}
    if deleted:
        manifest["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z"
    return manifest


def test_what_can_not_be_understood_lives_and_keeps_the_domains_it_asks_for() -> None:
    cache = TenantCache()
    cache.put(stored(tenant("acme", NONSENSE)))
    cache.put(stored(tenant("beta"), uid="two"))
    seen = cache.get("acme")
    assert seen is not None
    assert isinstance(seen.tenant, InvalidTenant)
    assert [(found.metadata.uid, found.spec.domains) for found in cache.tenants()] == [
        ("one", ("acme.test",)),
        ("two", ("beta.test",)),
    ]


def test_an_outline_needs_neither_spec_nor_status() -> None:
    raw = stored(tenant("acme"))
    raw |= {"spec": None, "status": "nonsense"}
    assert outline(raw).spec.domains == ()


def test_it_goes_when_it_is_deleted_and_nobody_holds_it_up() -> None:
    assert not may_go(outline(stored(tenant("acme", NONSENSE))))
    assert may_go(outline(stored(tenant("acme", NONSENSE), deleted=True)))
    for key in ("paused", "plan-only"):
        manifest = tenant("acme", NONSENSE, annotated(key, "purge"))
        assert not may_go(outline(stored(manifest, deleted=True)))


def test_what_it_may_own_is_recorded() -> None:
    raw = stored(tenant("acme", NONSENSE), deleted=True)
    raw["status"] = {"mail": {"domains": [{"name": "old.test"}]}, "files": {"spaces": [{"name": "main", "id": "7"}]}}
    record = retained(outline(raw), raw["spec"], None, installation_id=INSTALLATION)
    assert record is not None
    assert record.tenant_id == str(tenant_id_of(INSTALLATION, "one"))
    assert (record.state, record.primary_domain) == (RecordState.RETAINED, "acme.test")
    assert (record.as_built.domains, record.as_built.spaces) == (("old.test",), {"main": "7"})


def test_a_restored_identity_goes_back_into_its_record() -> None:
    known = Record(
        tenant_id=str(uuid.uuid4()),
        slug="acme",
        state=RecordState.RESTORED,
        spec={},
        created_at="2025-01-01T00:00:00Z",
        restored_uid="one",
    )
    record = retained(outline(stored(tenant("acme", NONSENSE))), {}, known, installation_id=INSTALLATION)
    assert record is not None
    assert (record.tenant_id, record.state) == (known.tenant_id, RecordState.RETAINED)


def test_one_that_never_got_the_name_leaves_the_earlier_record_alone() -> None:
    known = Record(tenant_id=str(uuid.uuid4()), slug="acme", state=RecordState.RETAINED, spec={}, created_at="")
    assert retained(outline(stored(tenant("acme", NONSENSE))), {}, known, installation_id=INSTALLATION) is None


def test_a_late_word_of_the_first_does_not_replace_the_second_of_the_same_name() -> None:
    cache = TenantCache()
    cache.put(stored(tenant("acme"), uid="first", version=1))
    cache.put(stored(tenant("acme"), uid="second", version=5))
    _, now = cache.put(stored(tenant("acme"), uid="first", version=3))
    assert now.uid == "second"
    assert cache.remove("acme", "first") is None
    assert cache.names == ["acme"]
