"""The records of deleted tenants on a real API server: what is not ours is neither overwritten nor removed."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import msgspec
import pytest
from lightkube import AsyncClient
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, Namespace
from lightkube.types import PatchType

from dezky_operator.kube.lease import Fence, boottime
from dezky_operator.kube.records import ANNOTATION_CONFIRM_PURGE, KEY, ForeignRecord, RecordBook, name_of
from dezky_operator.kube.resources import LABEL_RECORD, LABEL_TENANT, LABEL_TENANT_ID
from dezky_operator.kube.transport import cluster_config, connect
from dezky_operator.telemetry.metrics import Metrics
from dezky_operator.tenant.record import Record, RecordState
from tests.controlplane.cluster import Cluster

ACME = Record(
    tenant_id="6f2f3427-a08a-5625-9d63-cf4762df0471",
    slug="acme",
    state=RecordState.RETAINED,
    spec={"domains": ["acme.test"]},
    created_at="2026-01-01T00:00:00Z",
)
OURS = {LABEL_RECORD: "tenant", LABEL_TENANT: "acme", LABEL_TENANT_ID: ACME.tenant_id}


class Shelf:
    """A namespace of its own with ConfigMaps, and a book that keeps records in it."""

    def __init__(self, client: AsyncClient) -> None:
        self._client, self.namespace = client, f"records-{uuid.uuid4().hex[:8]}"
        self.book = RecordBook(client, self.namespace)

    async def put(self, labels: dict[str, str], text: str, *, slug: str = "acme") -> None:
        """A ConfigMap of a record's name."""
        metadata = ObjectMeta(name=name_of(slug), namespace=self.namespace, labels=labels)
        await self._client.create(ConfigMap(metadata=metadata, data={KEY: text}))

    async def annotate(self, key: str, value: str) -> None:
        """What a person does to it."""
        body = {"metadata": {"annotations": {key: value}}}
        await self._client.patch(ConfigMap, name_of("acme"), body, namespace=self.namespace, patch_type=PatchType.MERGE)

    async def text(self) -> str:
        """What it says."""
        found = await self._client.get(ConfigMap, name_of("acme"), namespace=self.namespace)
        return str((found.data or {})[KEY])


@pytest.fixture
async def shelf(cluster: Cluster) -> AsyncIterator[Shelf]:
    fence = Fence()
    fence.extend(boottime() + 600.0)
    client = connect(cluster_config(str(cluster.kubeconfig)), fence=fence, metrics=Metrics())
    found = Shelf(client)
    await client.create(Namespace(metadata=ObjectMeta(name=found.namespace)))
    yield found
    await client.delete(Namespace, found.namespace)
    await client.close()


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {LABEL_TENANT: "acme", LABEL_TENANT_ID: ACME.tenant_id},
        {**OURS, LABEL_TENANT_ID: "another"},
    ],
)
async def test_a_config_map_that_is_not_its_record_is_not_overwritten(shelf: Shelf, labels: dict[str, str]) -> None:
    await shelf.put(labels, "somebody else's")
    with pytest.raises(ForeignRecord, match=f"{shelf.namespace}/dezky-tombstone-acme is there already"):
        await shelf.book.write(ACME)
    assert await shelf.text() == "somebody else's"
    assert shelf.book.of("acme") is None


async def test_a_config_map_that_is_no_record_survives_the_purge(shelf: Shelf) -> None:
    await shelf.put({}, "somebody else's")
    await shelf.book.remove("acme")
    assert await shelf.text() == "somebody else's"


async def test_a_record_of_another_tenant_is_not_overwritten(shelf: Shelf) -> None:
    await shelf.book.write(ACME)
    later = Record(tenant_id=str(uuid.uuid4()), slug="acme", state=RecordState.RETAINED, spec={}, created_at="")
    with pytest.raises(ForeignRecord, match=ACME.tenant_id):
        await shelf.book.write(later)
    again = RecordBook(shelf._client, shelf.namespace)
    await again.load()
    assert again.all == (ACME,)


@pytest.mark.parametrize("damage", ["", "{", "no JSON", '{"slug": 7}'])
async def test_a_damaged_record_blocks_its_own_slug_only_and_is_put_right(shelf: Shelf, damage: str) -> None:
    await shelf.put(OURS, damage)
    await shelf.put({**OURS, LABEL_TENANT: "beta"}, damage, slug="beta")
    await shelf.book.load()
    assert shelf.book.unreadable == {"acme", "beta"}
    await shelf.book.write(ACME)
    await shelf.book.load()
    assert shelf.book.of("acme") == ACME
    assert shelf.book.unreadable == {"beta"}


async def test_a_record_is_kept_changed_and_removed(shelf: Shelf) -> None:
    await shelf.book.write(ACME)
    await RecordBook(shelf._client, shelf.namespace).write(ACME)  # made before a crash, found by the next process
    await shelf.book.load()
    assert [record.slug for record in shelf.book.all] == ["acme"]
    await shelf.book.remove("acme")
    await shelf.book.remove("acme")
    await shelf.book.load()
    assert not shelf.book.all


async def test_a_restore_takes_off_what_people_annotated_about_the_deletion_it_undid(shelf: Shelf) -> None:
    """Else a purge that was confirmed, and prevented by the restore, would come unasked with the next soft delete."""
    await shelf.book.write(ACME)
    await shelf.annotate(ANNOTATION_CONFIRM_PURGE, "acme")
    await shelf.annotate("example.test/note", "stays")
    await shelf.book.load()
    again = await shelf.book.write(msgspec.structs.replace(ACME, left=("bob",)))
    assert again.annotations[ANNOTATION_CONFIRM_PURGE] == "acme"
    restored = await shelf.book.write(msgspec.structs.replace(ACME, state=RecordState.RESTORED))
    assert dict(restored.annotations) == {"example.test/note": "stays"}
