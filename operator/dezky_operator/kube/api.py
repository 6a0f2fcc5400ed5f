"""Our reads and writes of Tenants in the API server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx2
import msgspec
from lightkube import ApiError, AsyncClient
from lightkube.config.client_adapter import user_auth, verify_cluster
from lightkube.config.kubeconfig import SingleConfig
from lightkube.config.models import User
from lightkube.types import PatchType

from dezky_operator.kube.resources import FINALIZER, GROUP, VERSION, TenantResource, is_status

T = TypeVar("T")
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
METADATA_ONE = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
PAGE = 500


class _Token(msgspec.Struct, frozen=True):
    next: str = msgspec.field(name="continue", default="")


class _Page(msgspec.Struct, frozen=True):
    """Part of a list. Without objects some API servers write ``"items": null``."""

    metadata: _Token
    items: list[dict[str, Any]] | None = None


class _Resource(msgspec.Struct, frozen=True):
    name: str


class _Resources(msgspec.Struct, frozen=True):
    resources: list[_Resource] | None = None


class TenantApi:
    """The Tenants of one API server. Raises httpx2.HTTPError, of which lightkube's ApiError is one."""

    def __init__(self, client: AsyncClient, config: SingleConfig) -> None:
        self._client = client
        # lightkube can not ask for metadata only, which is what keeps the watch check cheap at a thousand tenants.
        self._reader = httpx2.AsyncClient(
            base_url=config.cluster.server,
            auth=user_auth(config.user),
            verify=verify_cluster(config.cluster, config.user or User(), config.abs_file, trust_env=False),
            trust_env=False,
            timeout=10.0,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._reader.aclose()

    async def served(self) -> frozenset[str]:
        """Which of our resources the API server knows at all: their CRDs are installed."""
        answer = await self._reader.get(f"/apis/{GROUP}/{VERSION}")
        if answer.status_code == 404:
            return frozenset()
        return frozenset(found.name for found in _decoded(answer, _Resources).resources or ())

    async def time(self) -> datetime | None:
        """What time it is for the API server, by the header of an answer; None when it does not say."""
        try:
            answer = await self._reader.get("/version")
            return parsedate_to_datetime(answer.headers["Date"])
        except (httpx2.HTTPError, KeyError, ValueError):
            return None

    async def terminating(self) -> bool:
        """Whether the resource as a whole is being removed, and every Tenant with it."""
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/tenants.dezky.eu"
        answer = await self._reader.get(path, headers={"Accept": METADATA_ONE})
        return answer.status_code == 200 and bool(answer.json()["metadata"].get("deletionTimestamp"))

    async def versions(self) -> Mapping[str, str]:
        """The resourceVersion of every Tenant by name."""
        listed = [item["metadata"] async for item in self._listed(METADATA_ONLY)]
        return {metadata["name"]: metadata["resourceVersion"] for metadata in listed}

    async def all(self) -> list[dict[str, Any]]:
        """Every Tenant."""
        return [item async for item in self._listed("application/json")]

    async def _listed(self, accept: str) -> AsyncIterator[dict[str, Any]]:
        params: dict[str, str | int] = {"limit": PAGE}
        while True:
            answer = await self._reader.get(
                f"/apis/{GROUP}/{VERSION}/tenants", params=params, headers={"Accept": accept}
            )
            page = _decoded(answer, _Page)
            for item in page.items or ():
                yield item
            if not page.metadata.next:
                return
            params["continue"] = page.metadata.next

    async def get(self, name: str) -> dict[str, Any] | None:
        """The Tenant ``name``, or None."""
        try:
            return dict(await self._client.get(TenantResource, name))
        except ApiError as error:
            if is_status(error, 404):
                return None
            raise

    async def patch_status(self, name: str, version: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Apply a merge patch to the status; 409 when the object is no longer at ``version``."""
        body = {"metadata": {"resourceVersion": version}, "status": patch}
        return dict(await self._client.patch(TenantResource.Status, name, body, patch_type=PatchType.MERGE))

    async def hold(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Put our finalizer on the object, beside those of others."""
        finalizers = [*(raw["metadata"].get("finalizers") or ()), FINALIZER]
        return await self._patch_finalizers(raw, finalizers)

    async def release(self, raw: Mapping[str, Any]) -> dict[str, Any] | None:
        """Take our finalizer off; None when the object is gone with it."""
        finalizers = [name for name in raw["metadata"].get("finalizers") or () if name != FINALIZER]
        try:
            return await self._patch_finalizers(raw, finalizers)
        except ApiError as error:
            if is_status(error, 404):
                return None
            raise

    async def _patch_finalizers(self, raw: Mapping[str, Any], finalizers: list[str]) -> dict[str, Any]:
        metadata = raw["metadata"]
        body = {"metadata": {"resourceVersion": metadata["resourceVersion"], "finalizers": finalizers}}
        return dict(await self._client.patch(TenantResource, metadata["name"], body, patch_type=PatchType.MERGE))


def _decoded(answer: httpx2.Response, kind: type[T]) -> T:
    """What the API server says. Something in between may answer in its place, and not in JSON."""
    try:
        return msgspec.json.decode(answer.raise_for_status().content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise httpx2.DecodingError(f"not the API server's form: {error}", request=answer.request) from error
