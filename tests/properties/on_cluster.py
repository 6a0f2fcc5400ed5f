"""The machine's ground on a real API server: a whole site, whose event loop goes on in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from lightkube import ApiError
from lightkube.resources.core_v1 import ConfigMap, Secret
from lightkube.types import PatchType

from dezky_operator.crd.tenant import Tenant, parse
from dezky_operator.kube.records import KEY
from dezky_operator.kube.resources import FINALIZER
from dezky_operator.tenant import record as records
from dezky_operator.tenant.record import Record
from tests.apiserver import ApiServer
from tests.builders import Manifest
from tests.controlplane.cluster import Cluster
from tests.faults import strangers
from tests.properties.machine import Interruption, first_manifest
from tests.properties.others import SLUGS
from tests.properties.verdict import everything
from tests.sandbox.standin import Call, Fault
from tests.site import Site

T = TypeVar("T")
PATIENCE = 60.0
QUIET = 2
DOWN = {"Unreachable", "SystemUnavailable", "IdentityDown"}
"""What is told of a system that is left alone for a while: nothing is at rest before it was tried again."""
POLL = 0.02


class OnCluster:
    """One installation for all examples. Between two of them every Tenant, tombstone and Secret is removed."""

    def __init__(self, cluster: Cluster, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._asked = loop, 0
        self._do(self._open(cluster))

    async def _open(self, cluster: Cluster) -> None:
        self.site = await Site(cluster).__aenter__()
        self.workspace = self.site.workspace
        self._api = ApiServer(self.site.config, self.site.namespace)
        strangers._into_authentik(self.workspace)
        strangers._into_stalwart(self.workspace)
        strangers._into_ocis(self.workspace)
        self.foreign = everything(self.workspace)
        self._first = self.workspace.snapshot()

    def close(self) -> None:
        """Stop everything."""
        self._do(self._api._client.close())
        self._do(self.site.__aexit__())

    # -- what the machine does ------------------------------------------------------------

    def reset(self) -> None:
        self._do(self._reset())
        self.settle()

    def apply(self, manifest: Manifest) -> None:
        self._do(self._api.apply(manifest))

    def delete(self, slug: str) -> None:
        self._do(_if_there(self._api.delete(slug)))

    def confirm(self, slug: str) -> None:
        self._do(_if_there(self._api.annotate_tombstone(slug, confirm_purge=slug)))

    def hours_pass(self, hours: int) -> None:
        """Nobody can let time pass at a real API server."""

    def restart(self) -> None:
        self._do(self._restart())

    def living(self) -> dict[str, Tenant]:
        return {tenant.name: tenant for tenant in map(parse, self._do(self._api.tenants()))}

    def records(self) -> dict[str, Record]:
        found = (records.decode(item["data"][KEY]) for item in self._do(self._api.records()))
        return {record.slug: record for record in found}

    def look(self, slug: str, interruption: Interruption | None = None) -> None:
        """Ask for a look; it is not waited for. An interruption comes at one of the requests that follow."""
        if interruption is not None:
            self._ambush(interruption)
        self._do(self._ask(slug))
        if interruption is not None:
            self._do(self._met(interruption))

    def settle(self) -> None:
        """As in memory: until rounds are quiet. A Tenant answers that it was looked at."""
        self._do(self._settle())

    # -- how ------------------------------------------------------------------------------------

    async def _reset(self) -> None:
        await self.site.stop()
        for standin in self.workspace.systems:
            standin.ambush = None
        await self.site.clear()
        await self._clear()
        self.workspace.restore(self._first)
        await self.site.start()
        for slug in SLUGS:
            await self._api.apply(first_manifest(slug))
        for slug in SLUGS:
            await self._api.ready(slug)

    async def _clear(self) -> None:
        """Tombstones, past their finalizer, and the Secrets of tenants."""
        client, namespace = self._api._client, self.site.namespace
        for item in await self._api.records():
            name, patch = item["metadata"]["name"], {"metadata": {"finalizers": None}}
            await client.patch(ConfigMap, name, patch, namespace=namespace, patch_type=PatchType.MERGE)
            await client.delete(ConfigMap, name, namespace=namespace)
        for item in await self._api.secrets():
            await client.delete(Secret, item["metadata"]["name"], namespace=namespace)

    async def _restart(self) -> None:
        await self.site.stop()
        await self.site.start()

    async def _ask(self, slug: str) -> str | None:
        """Ask for a look at a Tenant; what it will answer with. None when there is none to ask."""
        self._asked += 1
        token = str(self._asked)
        return token if await _if_there(self._api.annotate(slug, reconcile_requested_at=token)) else None

    def _ambush(self, interruption: Interruption) -> None:
        left, self._reached = interruption.after, asyncio.Event()

        def meet(_: Call) -> Fault | None:
            nonlocal left
            left -= 1
            if left != -1:
                return None
            self._reached.set()
            if interruption.manifest is not None:
                return None
            return Fault(lost=True) if interruption.done else Fault(refused=True)

        for standin in self.workspace.systems:
            standin.ambush = meet

    async def _met(self, interruption: Interruption) -> None:
        """Wait for the point, as far as it comes: what has nothing to do any more sends no further requests."""
        await self._until(lambda: self._reached.is_set() or bool(self.site.operator and self.site.operator.idle))
        for standin in self.workspace.systems:
            standin.ambush = None
        if interruption.manifest is None:
            await self._restart()
        else:
            await self._api.apply(interruption.manifest)

    async def _settle(self) -> None:
        quiet, deadline = 0, self._loop.time() + PATIENCE
        while quiet < QUIET:
            assert self._loop.time() < deadline, f"never came to rest: {json.dumps(await self._state(), indent=1)}"
            self.workspace.forget()
            before = await self._state()
            await self._round(deadline)
            after = await self._state()
            still = before == after and not any(self.workspace.writes().values()) and not await self._waiting()
            quiet = quiet + 1 if still else 0

    async def _round(self, deadline: float) -> None:
        """Every Tenant answers, and every tombstone was looked at."""
        asked = {slug: await self._ask(slug) for slug in SLUGS}
        looks = self._looks()
        for slug, token in asked.items():
            while token is not None and not await self._answered(slug, token):
                assert self._loop.time() < deadline, f"{slug} never answered: {await self._api.tenant(slug)}"
                await asyncio.sleep(POLL)
        waiting = [found for found in await self._api.tombstones() if found["state"] not in {"Restored", "Retained"}]
        if waiting:
            await self._until(lambda: self._looks() >= looks + 2 * len(waiting))

    async def _answered(self, slug: str, token: str) -> bool:
        tenant = await self._api.tenant(slug)
        if tenant is None:
            return True
        if tenant["metadata"].get("deletionTimestamp"):
            return bool((await self._api.tombstone(slug)).get("state", "Restored") != "Restored")
        return bool(tenant.get("status", {}).get("lastHandledReconcileAt") == token)

    def _looks(self) -> float:
        operator = self.site.operator
        assert operator is not None
        samples = next(iter(operator.metrics.reconciles.collect())).samples
        return float(sum(one.value for one in samples if one.name.endswith("_total")))

    async def _state(self) -> dict[str, Any]:
        """Everything that the operator writes, without the answers to what this ground asks."""
        state: dict[str, Any] = {}
        for tenant in await self._api.tenants():
            status = {key: value for key, value in tenant.get("status", {}).items() if key != "lastHandledReconcileAt"}
            state[tenant["metadata"]["name"]] = [
                status,
                tenant["metadata"]["uid"],
                FINALIZER in str(tenant["metadata"]),
            ]
        for item in await self._api.records():
            state[item["metadata"]["name"]] = item["metadata"]["resourceVersion"]
        return state

    async def _waiting(self) -> bool:
        """Whether a system is left alone, for a Tenant or a tombstone."""
        told = [one["reason"] for item in await self._api.tenants() for one in item.get("status", {})["conditions"]]
        told += [found["blocked"]["reason"] for found in await self._api.tombstones() if found.get("blocked")]
        return bool(DOWN & set(told))

    async def _until(self, condition: Callable[[], bool]) -> None:
        deadline = self._loop.time() + PATIENCE
        while not condition():
            assert self._loop.time() < deadline, "never came about"
            await asyncio.sleep(POLL)

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE * 3)


async def _if_there(request: Coroutine[Any, Any, None]) -> bool:
    """Do something to an object that the operator may have let go meanwhile; whether it was there."""
    try:
        await request
    except ApiError as error:
        if error.status.code == 404:
            return False
        raise
    return True


@contextmanager
def on_cluster(cluster: Cluster) -> Iterator[OnCluster]:
    """A site with strangers in every system."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="site", daemon=True)
    thread.start()
    try:
        ground = OnCluster(cluster, loop)
        try:
            yield ground
        finally:
            ground.close()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
