"""The records of deleted tenants, kept as ConfigMaps in the operator's namespace."""

from __future__ import annotations

import msgspec
import structlog
from lightkube import ApiError, AsyncClient
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap

from dezky_operator.kube.resources import LABEL_RECORD, LABEL_TENANT, LABEL_TENANT_ID, is_status
from dezky_operator.tenant import record as records
from dezky_operator.tenant.record import Record

log = structlog.get_logger(__name__)
KEY = "record.json"


def name_of(slug: str) -> str:
    """The name of a tenant's record."""
    return f"dezky-tombstone-{slug}"


class ForeignRecord(ValueError):  # noqa: N818 - named after what was found
    """A ConfigMap of a record's name is somebody else's, or another tenant's. The text is fit for an event."""


class RecordBook:
    """All records, in memory and in the API server. Read whole at start; every later write goes through here."""

    def __init__(self, client: AsyncClient, namespace: str) -> None:
        self._client, self._namespace = client, namespace
        self._known: dict[str, Record] = {}
        self.unreadable: frozenset[str] = frozenset()
        """Slugs whose record is damaged: who they were is not known, so nobody may take their names."""

    @property
    def all(self) -> tuple[Record, ...]:
        """Every record, by slug."""
        return tuple(self._known[slug] for slug in sorted(self._known))

    def of(self, slug: str) -> Record | None:
        """The record of ``slug``."""
        return self._known.get(slug)

    async def load(self) -> None:
        """Read every record anew. One that can not be read is logged and blocks nothing but its own slug."""
        known: dict[str, Record] = {}
        unreadable = set()
        async for found in self._client.list(ConfigMap, namespace=self._namespace, labels={LABEL_RECORD: "tenant"}):
            text = (found.data or {}).get(KEY, "")
            try:
                record = records.decode(text)
            except msgspec.DecodeError as error:
                slug = ((found.metadata and found.metadata.labels) or {}).get(LABEL_TENANT, "")
                log.error(  # noqa: TRY400 - the place in our code tells nothing
                    "record unreadable", configmap=name_of(slug), error=str(error)
                )
                unreadable.add(slug)
                continue
            known[record.slug] = record
        self._known, self.unreadable = known, frozenset(unreadable)

    async def write(self, record: Record) -> None:
        """Keep ``record``. Raises ForeignRecord over another tenant's record or a ConfigMap that is none of ours."""
        known = self._known.get(record.slug)
        if known == record:
            return
        if known is not None and known.tenant_id != record.tenant_id:
            raise ForeignRecord(
                f"record {name_of(record.slug)} is of tenantId {known.tenant_id}, not {record.tenant_id}"
            )
        try:
            await self._client.create(self._config_map(record))
        except ApiError as error:
            if not is_status(error, 409):
                raise
            await self._replace(record)
        self._known[record.slug] = record

    async def remove(self, slug: str) -> None:
        """Forget the tenant for good: only after its purge. A ConfigMap that is none of ours stays."""
        try:
            found = await self._client.get(ConfigMap, name_of(slug), namespace=self._namespace)
            if _labels(found).get(LABEL_RECORD) == "tenant":
                await self._client.delete(ConfigMap, name_of(slug), namespace=self._namespace)
        except ApiError as error:
            if not is_status(error, 404):
                raise
        self._known.pop(slug, None)

    async def _replace(self, record: Record) -> None:
        """Over our own that is there, unless somebody else wrote it since it was read (409)."""
        found = await self._client.get(ConfigMap, name_of(record.slug), namespace=self._namespace)
        labels = _labels(found)
        if labels.get(LABEL_RECORD) != "tenant" or labels.get(LABEL_TENANT_ID) != record.tenant_id:
            raise ForeignRecord(
                f"ConfigMap {self._namespace}/{name_of(record.slug)} is there already and not the record of tenantId "
                f"{record.tenant_id}. Look what it is, and move it away."
            )
        body = self._config_map(record)
        if body.metadata and found.metadata:
            body.metadata.resourceVersion = found.metadata.resourceVersion
        await self._client.replace(body)

    def _config_map(self, record: Record) -> ConfigMap:
        labels = {LABEL_RECORD: "tenant", LABEL_TENANT: record.slug, LABEL_TENANT_ID: record.tenant_id}
        metadata = ObjectMeta(name=name_of(record.slug), namespace=self._namespace, labels=labels)
        return ConfigMap(metadata=metadata, data={KEY: records.encode(record)})


def _labels(found: ConfigMap) -> dict[str, str]:
    return dict((found.metadata and found.metadata.labels) or {})
