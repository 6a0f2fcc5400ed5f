"""The tenants' Secrets: read and written as steps of a plan, like everything else."""

from __future__ import annotations

import base64

import httpx2
from lightkube import ApiError, AsyncClient
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Secret
from lightkube.types import PatchType

from dezky_operator.integrations.apply import Outputs
from dezky_operator.integrations.errors import IntegrationError, Rejected, Unreachable
from dezky_operator.integrations.steps import Step, System, Verb
from dezky_operator.kube.resources import LABEL_TENANT, LABEL_TENANT_ID, is_status
from dezky_operator.tenant.credentials import KeptSecret


class SecretStore:
    """Reads and performs what :mod:`dezky_operator.tenant.credentials` plans."""

    def __init__(self, client: AsyncClient, namespace: str) -> None:
        self._client, self.namespace = client, namespace

    async def read(self, name: str) -> KeptSecret | None:
        """The Secret ``name``; None when there is none. Raises IntegrationError."""
        try:
            secret = await self._client.get(Secret, name, namespace=self.namespace)
        except ApiError as error:
            if is_status(error, 404):
                return None
            raise self._failure(name, error) from error
        except httpx2.HTTPError as error:
            raise self._failure(name, error) from error
        data = {key: base64.b64decode(value).decode() for key, value in (secret.data or {}).items()}
        labels = (secret.metadata.labels if secret.metadata else None) or {}
        return KeptSecret(name=name, tenant_id=labels.get(LABEL_TENANT_ID), data=data)

    async def perform(self, step: Step) -> Outputs:
        """Write or delete the Secret. Safe to repeat: it ends in the same content."""
        try:
            if step.verb is Verb.DELETE:
                await self._delete(step)
            elif step.verb is Verb.CREATE:
                await self._create(step)
            else:
                await self._update(step)
        except (ApiError, httpx2.HTTPError) as error:
            raise self._failure(step.name, error) from error
        return {"id": step.name}

    async def _create(self, step: Step) -> None:
        try:
            await self._client.create(self._secret(step))
        except ApiError as error:
            if not is_status(error, 409):
                raise
            await self._update(step)  # made before a crash, or in the moment since it was looked for

    async def _update(self, step: Step) -> None:
        """Merge the new values over those that are there; a None takes its key away."""
        found = await self._client.get(Secret, step.name, namespace=self.namespace)
        labels = (found.metadata.labels if found.metadata else None) or {}
        if labels.get(LABEL_TENANT_ID) != step.body["tenantId"]:
            raise Rejected(
                System.KUBERNETES,
                f"Secret {self.namespace}/{step.name} is not this tenant's (label {LABEL_TENANT_ID}). "
                "Move it away; the operator then makes its own.",
            )
        version = found.metadata.resourceVersion if found.metadata else None
        data = {key: None if value is None else _encoded(value) for key, value in _data(step).items()}
        patch = {"metadata": {"resourceVersion": version}, "data": data}
        await self._client.patch(Secret, step.name, patch, namespace=self.namespace, patch_type=PatchType.MERGE)

    async def _delete(self, step: Step) -> None:
        kept = await self.read(step.name)
        if kept is None or kept.tenant_id != step.body["tenantId"]:
            return  # gone, or somebody else's by now
        try:
            await self._client.delete(Secret, step.name, namespace=self.namespace)
        except ApiError as error:
            if not is_status(error, 404):
                raise

    def _secret(self, step: Step) -> Secret:
        labels = {
            "app.kubernetes.io/managed-by": "dezky-operator",
            LABEL_TENANT: str(step.body["slug"]),
            LABEL_TENANT_ID: str(step.body["tenantId"]),
        }
        data = {key: _encoded(value) for key, value in _data(step).items() if value is not None}
        # No ownerReference: the garbage collector would take running applications' credentials on a soft delete.
        return Secret(metadata=ObjectMeta(name=step.name, namespace=self.namespace, labels=labels), data=data)

    def _failure(self, name: str, error: ApiError | httpx2.HTTPError) -> IntegrationError:
        where = f"Secret {self.namespace}/{name}"
        if isinstance(error, ApiError) and is_status(error, 403):
            return Rejected(System.KUBERNETES, f"{where}: the API server forbids it. Grant the operator's role access.")
        told = f"HTTP {error.status.code}" if isinstance(error, ApiError) else type(error).__name__
        return Unreachable(System.KUBERNETES, f"{where}: the API server did not do it ({told}).")


def _data(step: Step) -> dict[str, str | None]:
    data = step.body["data"]
    assert isinstance(data, dict)  # noqa: S101 - the plan that made this step is ours
    return data


def _encoded(value: object) -> str:
    return base64.b64encode(str(value).encode()).decode()
