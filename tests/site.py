"""A whole installation for one test: stand-ins, prepared by bootstrap, and the operator in this process."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import httpx2

from dezky_operator import config
from dezky_operator.integrations.steps import System
from dezky_operator.kube.bootstrap import Administrator, prepare
from dezky_operator.kube.process import Operator
from dezky_operator.kube.transport import cluster_config
from tests.builders import Manifest
from tests.controlplane.cluster import Cluster
from tests.sandbox.workspace import Workspace

PATIENCE = 30.0
Wire = Callable[[System], httpx2.AsyncBaseTransport]


@dataclass
class Site:
    """Start with ``async with``. Every site has a namespace of its own, so records and Secrets never meet."""

    cluster: Cluster
    changes: dict[str, Any] = field(default_factory=dict)
    workspace: Workspace = field(default_factory=Workspace)
    operator: Operator | None = None
    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.namespace = f"dezky-{uuid.uuid4().hex[:8]}"
        await self.workspace.start()
        raw = self.workspace.settings(namespace=self.namespace, **self.changes)
        self.settings = config.parse(raw, where="the test")
        self.config = cluster_config(str(self.cluster.kubeconfig))
        self.prepared = await prepare(self.settings, self.config, self.administrator)
        self.workspace.forget()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        await self.clear()
        await self.workspace.stop()

    @property
    def administrator(self) -> Administrator:
        """The credentials bootstrap is given."""
        return Administrator(
            authentik_token=self.workspace.authentik.bootstrap_token, stalwart=":".join(self.workspace.stalwart.admin)
        )

    # -- the operator -------------------------------------------------------------

    async def start(self, **options: Any) -> Operator:
        """Start an operator; the one before must be stopped."""
        self.operator = Operator(self.settings, self.config, identity="test", **options)
        await self.operator.check()
        self._task = asyncio.create_task(self.operator.run(signals=False))
        return self.operator

    async def stop(self) -> None:
        """Stop the operator as SIGTERM would, and let its errors out."""
        if self.operator is not None and self._task is not None:
            self.operator.stop()
            await asyncio.wait_for(self._task, PATIENCE)
        self.operator = self._task = None

    async def idle(self) -> None:
        """Until the operator has nothing to do."""
        await self.until(lambda: self.operator is not None and self.operator.idle, "the operator is idle")

    # -- Kubernetes -----------------------------------------------------------------

    async def kubectl(self, *arguments: str, input: str | None = None, check: bool = True) -> str:  # noqa: A002
        """Real kubectl."""
        return await asyncio.to_thread(self.cluster.kubectl, *arguments, input=input, check=check)

    async def apply(self, *manifests: Manifest) -> None:
        """Apply manifests, with real kubectl."""
        document = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        await self.kubectl("apply", "-f", "-", input=json.dumps(document))

    async def annotate(self, name: str, key: str, value: str | None) -> None:
        """Set or remove one of our annotations."""
        item = f"dezky.eu/{key}-" if value is None else f"dezky.eu/{key}={value}"
        await self.kubectl("annotate", "--overwrite", "tenant", name, item)

    async def get(self, name: str) -> Manifest | None:
        """The Tenant as the API server has it."""
        told = await self.kubectl("get", "tenant", name, "-o", "json", "--ignore-not-found")
        return dict(json.loads(told)) if told.strip() else None

    async def status(self, name: str) -> dict[str, Any]:
        """Its status."""
        found = await self.get(name)
        return dict(found.get("status", {})) if found else {}

    async def condition(self, name: str, kind: str) -> dict[str, Any]:
        """One condition; empty while there is none."""
        conditions = (await self.status(name)).get("conditions", [])
        return next((dict(found) for found in conditions if found["type"] == kind), {})

    async def ready(self, name: str) -> dict[str, Any]:
        """Until the Tenant is ready for its current spec; its status."""
        return await self.wait(name, "Ready", "True")

    async def wait(self, name: str, kind: str, status: str, reason: str | None = None) -> dict[str, Any]:
        """Until a condition of the current generation has a status, and a reason where one is given."""
        found: Manifest = {}
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while asyncio.get_running_loop().time() < deadline:
            found = await self.get(name) or {}
            for condition in found.get("status", {}).get("conditions", []):
                current = condition.get("observedGeneration") == found["metadata"]["generation"]
                fits = (condition["type"], condition["status"]) == (kind, status) and current
                if fits and reason in {None, condition["reason"]}:
                    return dict(found["status"])
            await asyncio.sleep(0.05)
        raise AssertionError(
            f"{name} never became {kind}={status} {reason or ''}: {json.dumps(found.get('status'), indent=1)}"
        )

    async def gone(self, name: str) -> None:
        """Until the Tenant is gone."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while (found := await self.get(name)) is not None:
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"{name} is still there: {json.dumps(found.get('status'), indent=1)}")
            await asyncio.sleep(0.05)

    async def secret(self, name: str) -> dict[str, str]:
        """A tenant's Secret, decoded."""
        told = await self.kubectl(
            "-n", self.namespace, "get", "secret", f"dezky-tenant-{name}", "-o", "json", "--ignore-not-found"
        )
        data = json.loads(told).get("data", {}) if told.strip() else {}
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    async def clear(self) -> None:
        """Remove every Tenant, past the operator."""
        names = (await self.kubectl("get", "tenants", "-o", "name", check=False)).split()
        for name in names:
            await self.kubectl("patch", name, "--type=merge", "-p", '{"metadata":{"finalizers":null}}', check=False)
        if names:
            await self.kubectl("delete", "tenants", "--all", "--wait=true", check=False)

    async def until(self, condition: Callable[[], bool], what: str, *, patience: float = PATIENCE) -> None:
        """Until ``condition`` holds; ``patience`` in seconds."""
        deadline = asyncio.get_running_loop().time() + patience
        while not condition():
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"never came about: {what}")
            await asyncio.sleep(0.02)
