"""The API server by a direct client: what a person does with kubectl, without a process for each call."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, Self

from lightkube import ApiError, AsyncClient
from lightkube.config.kubeconfig import SingleConfig
from lightkube.operators import Operator
from lightkube.resources.core_v1 import ConfigMap, Secret
from lightkube.types import PatchType

from dezky_operator.kube.records import KEY, name_of
from dezky_operator.kube.resources import LABEL_RECORD, LABEL_TENANT, TenantResource
from tests.builders import Manifest

PATIENCE = 30.0
POLL = 0.02
Labels = dict[str, str | Operator[Any] | Iterable[Any] | None]
TENANTS: Labels = {LABEL_TENANT: None}
"""Labelled with any tenant."""
RECORDS: Labels = {LABEL_RECORD: "tenant"}
PERSON = "person"
"""Field manager of everything applied here."""


class ApiServer:
    """Start with ``async with``. Secrets and records are those of ``namespace``."""

    def __init__(self, config: SingleConfig, namespace: str) -> None:
        self._client = AsyncClient(config=config, trust_env=False, field_manager=PERSON)
        self.namespace = namespace

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    # -- what a person does ---------------------------------------------------------

    async def apply(self, manifest: Manifest) -> None:
        """Server-side apply of a Tenant: what is no longer in the manifest goes."""
        await self._client.apply(TenantResource.from_dict(manifest), force=True)

    async def annotate(self, name: str, **annotations: str | None) -> None:
        """Set our annotations on a Tenant (``confirm_purge`` is ``dezky.eu/confirm-purge``), or take them off."""
        body = {"metadata": {"annotations": _named(annotations)}}
        await self._client.patch(TenantResource, name, body, patch_type=PatchType.MERGE)

    async def annotate_tombstone(self, slug: str, **annotations: str) -> None:
        """The same on the tombstone of a deleted Tenant."""
        body = {"metadata": {"annotations": _named(annotations)}}
        name = name_of(slug)
        await self._client.patch(ConfigMap, name, body, namespace=self.namespace, patch_type=PatchType.MERGE)

    async def delete(self, name: str) -> None:
        """Ask for the deletion of a Tenant; :meth:`gone` waits for it."""
        await self._client.delete(TenantResource, name)

    # -- what is there ---------------------------------------------------------------

    async def tenant(self, name: str) -> Manifest | None:
        """The Tenant, or None."""
        try:
            return dict(await self._client.get(TenantResource, name))
        except ApiError as error:
            if error.status.code == 404:
                return None
            raise

    async def tenants(self) -> list[Manifest]:
        """All Tenants."""
        return [dict(found) async for found in self._client.list(TenantResource)]

    async def secrets(self) -> list[Manifest]:
        """The Secrets of tenants."""
        return [_plain(found) async for found in self._client.list(Secret, namespace=self.namespace, labels=TENANTS)]

    async def secret(self, name: str) -> dict[str, str]:
        """The content of one Secret, decoded."""
        found = await self._client.get(Secret, name, namespace=self.namespace)
        return {key: base64.b64decode(value).decode() for key, value in (found.data or {}).items()}

    async def records(self) -> list[Manifest]:
        """The records of tenants."""
        return [_plain(found) async for found in self._client.list(ConfigMap, namespace=self.namespace, labels=RECORDS)]

    async def tombstone(self, slug: str) -> dict[str, Any]:
        """What the record of a deleted tenant says; empty when there is none."""
        for found in await self.records():
            if found["metadata"]["name"] == name_of(slug):
                return dict(json.loads(found["data"][KEY]))
        return {}

    async def tombstones(self) -> list[dict[str, Any]]:
        """What all records say."""
        return [dict(json.loads(found["data"][KEY])) for found in await self.records()]

    async def foreign(self) -> list[Manifest]:
        """What else the namespace keeps: none of it is the operator's."""
        found = [_plain(found) async for found in self._client.list(ConfigMap, namespace=self.namespace)]
        found += [_plain(found) async for found in self._client.list(Secret, namespace=self.namespace)]
        return [item for item in found if LABEL_TENANT not in item["metadata"].get("labels", {})]

    async def create(self, item: ConfigMap | Secret) -> None:
        """Put something into the namespace."""
        assert item.metadata is not None
        item.metadata.namespace = self.namespace
        if isinstance(item, ConfigMap):
            await self._client.create(item)
        else:
            await self._client.create(item)

    # -- until something is so ----------------------------------------------------------

    async def ready(self, name: str) -> dict[str, Any]:
        """Until the Tenant is ready for its current spec; its status."""
        return await self.condition(name, "Ready", "True")

    async def condition(self, name: str, kind: str, status: str, reason: str | None = None) -> dict[str, Any]:
        """Until a condition of the current generation has a status, and a reason where one is given."""
        found = await self._until(name, lambda found: _has(found, kind, status, reason))
        return dict(found["status"])

    async def handled(self, name: str, request: str) -> None:
        """Until the operator answered ``dezky.eu/reconcile-requested-at: <request>``."""
        await self._until(name, lambda found: found.get("status", {}).get("lastHandledReconcileAt") == request)

    async def gone(self, name: str) -> None:
        """Until the Tenant is gone."""
        await self._until(name, lambda found: not found)

    async def buried(self, slug: str, state: str) -> dict[str, Any]:
        """Until the tombstone is in a state; what it says then."""
        return await self._until_tombstone(slug, lambda found: found.get("state") == state)

    async def forgotten(self, slug: str) -> None:
        """Until there is no tombstone any more."""
        await self._until_tombstone(slug, lambda found: not found)

    async def _until_tombstone(self, slug: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while not condition(found := await self.tombstone(slug)):
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"the tombstone of {slug} never came to what was waited for: {found}")
            await asyncio.sleep(POLL)
        return found

    async def _until(self, name: str, condition: Callable[[Manifest], bool]) -> Manifest:
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while not condition(found := await self.tenant(name) or {}):
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"{name} never came to what was waited for: {found}")
            await asyncio.sleep(POLL)
        return found

    async def clear(self, *, apart: Container[str] = ()) -> None:
        """Remove every Tenant, Secret and record, past the operator; the Tenants ``apart`` stay."""
        release = {"metadata": {"finalizers": None}}
        names = [found["metadata"]["name"] for found in await self.tenants()]
        for name in [name for name in names if name not in apart]:
            try:
                await self._client.patch(TenantResource, name, release, patch_type=PatchType.MERGE)
                await self._client.delete(TenantResource, name)
            except ApiError as error:
                if error.status.code != 404:  # it was going already
                    raise
        for secret in await self.secrets():
            await self._client.delete(Secret, secret["metadata"]["name"], namespace=self.namespace)
        for record in await self.records():
            record_name = record["metadata"]["name"]
            await self._client.patch(
                ConfigMap, record_name, release, namespace=self.namespace, patch_type=PatchType.MERGE
            )
            await self._client.delete(ConfigMap, record_name, namespace=self.namespace)


def _named(annotations: Mapping[str, str | None]) -> dict[str, str | None]:
    return {f"dezky.eu/{key.replace('_', '-')}": value for key, value in annotations.items()}


def _has(tenant: Manifest, kind: str, status: str, reason: str | None) -> bool:
    generation = tenant.get("metadata", {}).get("generation")
    return any(
        (found["type"], found["status"], found.get("observedGeneration")) == (kind, status, generation)
        and reason in {None, found["reason"]}
        for found in tenant.get("status", {}).get("conditions", [])
    )


def _plain(item: ConfigMap | Secret) -> Manifest:
    plain: Manifest = item.to_dict()
    return plain
