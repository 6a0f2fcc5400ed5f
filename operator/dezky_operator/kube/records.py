"""The tombstones of deleted tenants, kept as ConfigMaps in the operator's namespace.

The operator is the only one that writes their content; people annotate them. They are listed again and again, so that
an annotation, or a tombstone repaired by hand, is noticed without a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from lightkube import ApiError, AsyncClient
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap
from lightkube.types import PatchType

from dezky_operator.kube.resources import LABEL_RECORD, LABEL_STATE, LABEL_TENANT, LABEL_TENANT_ID, is_status
from dezky_operator.tenant import record as records
from dezky_operator.tenant.record import Record

log = structlog.get_logger(__name__)
KEY = "record.json"
ANNOTATION_CONFIRM_PURGE = "dezky.eu/confirm-purge"
ANNOTATION_RELEASE = "dezky.eu/release-deletions"
WISHES = (ANNOTATION_CONFIRM_PURGE, ANNOTATION_RELEASE)
"""What people ask of a tombstone by annotating it."""
FINALIZER = "dezky.eu/tombstone"
"""Keeps a tombstone that somebody deletes by hand: without it nothing would tell what is still to be locked or kept."""


class ForeignRecord(ValueError):  # noqa: N818 - named after what was found
    """A ConfigMap of a tombstone's name is somebody else's, or another tenant's."""


class ChangedMeanwhile(Exception):  # noqa: N818 - named after what happened
    """Somebody changed the tombstone since it was read for this write; what was concluded from it is void."""


def name_of(slug: str) -> str:
    """The name of a tenant's tombstone."""
    return f"dezky-tombstone-{slug}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A tombstone as the API server has it."""

    record: Record
    version: str
    uid: str
    annotations: Mapping[str, str]


class RecordBook:
    """All tombstones, in memory and in the API server. Every write goes through here."""

    def __init__(self, client: AsyncClient, namespace: str) -> None:
        self._client, self.namespace = client, namespace
        self._known: dict[str, Kept] = {}
        self._busy = asyncio.Lock()
        """A listing that began before a write would bring back what the write replaced."""
        self.unreadable: frozenset[str] = frozenset()
        """Slugs whose record is damaged: who they were is not known, so nobody may take their names."""

    @property
    def all(self) -> tuple[Record, ...]:
        """Every record, by slug."""
        return tuple(self._known[slug].record for slug in sorted(self._known))

    def of(self, slug: str) -> Record | None:
        """The record of ``slug``."""
        kept = self._known.get(slug)
        return kept.record if kept else None

    def kept(self, slug: str) -> Kept | None:
        """The tombstone of ``slug`` with what people annotated."""
        return self._known.get(slug)

    async def load(self) -> frozenset[str]:
        """Read every tombstone anew; the slugs of those that changed. A damaged one blocks nothing but its own slug."""
        async with self._busy:
            return await self._load()

    async def _load(self) -> frozenset[str]:
        known: dict[str, Kept] = {}
        unreadable = set()
        async for found in self._client.list(ConfigMap, namespace=self.namespace, labels={LABEL_RECORD: "tenant"}):
            slug = ((found.metadata and found.metadata.labels) or {}).get(LABEL_TENANT, "")
            try:
                known[slug] = _kept(found)
            except msgspec.DecodeError as error:
                unreadable.add(slug)
                if slug not in self.unreadable:
                    log.error(  # noqa: TRY400 - the place in our code tells nothing
                        "record unreadable", configmap=name_of(slug), error=str(error)
                    )
        changed = {slug for slug, kept in known.items() if _version(self._known.get(slug)) != kept.version}
        gone = self._known.keys() - known.keys()
        self._known, self.unreadable = known, frozenset(unreadable)
        return frozenset(changed | gone)

    async def write(self, record: Record, *, over: str | None = None) -> Kept:
        """Keep ``record``; ``over`` is the version it was concluded from.

        Raises ForeignRecord over another tenant's record or a ConfigMap that is none of ours, ChangedMeanwhile when the
        tombstone is not at that version any more.
        """
        async with self._busy:
            known = self._known.get(record.slug)
            if over is not None and _version(known) != over:
                raise ChangedMeanwhile(name_of(record.slug))
            return await self._write(record)

    async def _write(self, record: Record) -> Kept:
        known = self._known.get(record.slug)
        if known is not None and known.record == record:
            return known
        if known is not None and known.record.tenant_id != record.tenant_id:
            raise ForeignRecord(
                f"record {name_of(record.slug)} is of tenantId {known.record.tenant_id}, not {record.tenant_id}"
            )
        kept = await (self._create(record) if known is None else self._patch(record, known.version, known.record))
        self._known[record.slug] = kept
        return kept

    async def remove(self, slug: str) -> None:
        """Forget the tenant for good: only after its purge."""
        async with self._busy:
            await self._remove(slug)

    async def _remove(self, slug: str) -> None:
        try:
            found = await self._client.get(ConfigMap, name_of(slug), namespace=self.namespace)
            if ((found.metadata and found.metadata.labels) or {}).get(LABEL_RECORD) != "tenant":
                return  # somebody else's
            patch = {"metadata": {"finalizers": None}}
            await self._client.patch(
                ConfigMap, name_of(slug), patch, namespace=self.namespace, patch_type=PatchType.MERGE
            )
            await self._client.delete(ConfigMap, name_of(slug), namespace=self.namespace)
        except ApiError as error:
            if not is_status(error, 404):
                raise
        self._known.pop(slug, None)

    async def _create(self, record: Record) -> Kept:
        metadata = ObjectMeta(
            name=name_of(record.slug), namespace=self.namespace, labels=_labels(record), finalizers=[FINALIZER]
        )
        try:
            return _kept(await self._client.create(ConfigMap(metadata=metadata, data={KEY: records.encode(record)})))
        except ApiError as error:
            if not is_status(error, 409):
                raise
        found = await self._client.get(ConfigMap, name_of(record.slug), namespace=self.namespace)
        return await self._patch(record, self._ours(found, record), None)

    def _ours(self, found: ConfigMap, record: Record) -> str:
        """The version of a ConfigMap that may be overwritten. Raises ForeignRecord."""
        labels = (found.metadata and found.metadata.labels) or {}
        if labels.get(LABEL_RECORD) != "tenant" or labels.get(LABEL_TENANT_ID) != record.tenant_id:
            raise ForeignRecord(
                f"ConfigMap {self.namespace}/{name_of(record.slug)} is there already and not the record of tenantId "
                f"{record.tenant_id}. Look what it is, and move it away."
            )
        return str(found.metadata.resourceVersion if found.metadata else "")

    async def _patch(self, record: Record, version: str, before: Record | None) -> Kept:
        """Content and labels; what people annotated stays, unless a restore came between. 409 when somebody wrote it
        since it was read.
        """
        metadata: dict[str, Any] = {"resourceVersion": version, "labels": _labels(record), "finalizers": [FINALIZER]}
        if before is not None and records.voids_wishes(before, record):
            metadata["annotations"] = dict.fromkeys(WISHES)
        patch = {"metadata": metadata, "data": {KEY: records.encode(record)}}
        return _kept(
            await self._client.patch(
                ConfigMap, name_of(record.slug), patch, namespace=self.namespace, patch_type=PatchType.MERGE
            )
        )


def _labels(record: Record) -> dict[str, str]:
    return {
        LABEL_RECORD: "tenant",
        LABEL_TENANT: record.slug,
        LABEL_TENANT_ID: record.tenant_id,
        LABEL_STATE: record.state.value,
    }


def _kept(found: ConfigMap) -> Kept:
    metadata = found.metadata or ObjectMeta()
    return Kept(
        record=records.decode((found.data or {}).get(KEY, "")),
        version=str(metadata.resourceVersion),
        uid=str(metadata.uid),
        annotations=dict(metadata.annotations or {}),
    )


def _version(kept: Kept | None) -> str | None:
    return kept.version if kept else None
