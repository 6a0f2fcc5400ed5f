"""What may happen to a Tenant while the operator works on it, and that it stays with that Tenant."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2

from dezky_operator.kube.bootstrap import prepare
from dezky_operator.kube.process import Operator
from tests.builders import admin, domains, tenant
from tests.controlplane.cluster import Cluster
from tests.deaf import listener
from tests.sandbox.standin import Fault
from tests.site import Site

ACME = tenant("acme", admin("anna@acme.test"))
SHARED = domains("shared.test")
SEATS = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/seats"


async def test_the_older_tenant_gets_the_domain_whatever_the_watch_tells_first(
    cluster: Cluster, tmp_path: Path
) -> None:
    """The watch never tells of the older one here, and the newer must not have its domain for that."""
    async with Site(cluster) as site, listener(site.config, tmp_path) as (stream, way):
        site.config = way
        await site.apply(tenant("older", admin("anna@shared.test"), SHARED))
        await asyncio.sleep(1.1)  # a second is all that tells creation times apart
        await site.apply(tenant("newer", admin("bo@shared.test"), SHARED))
        stream.hidden = {"older"}
        await site.start()
        status = await site.wait("newer", "Ready", "False", "DomainConflict")
        assert "tenant older" in json.dumps(status)
        await site.ready("older")
        await site.stop()


async def test_a_tenant_made_again_while_it_is_made_starts_clean(site: Site) -> None:
    site.workspace.authentik.faults.append(Fault(latency=1.5, match="GET .*groups"))
    await site.start()
    await site.apply(ACME)
    first = await site.get("acme")
    assert first is not None
    await site.until(lambda: bool(site.workspace.authentik.calls), "its reconcile has begun")
    await site.kubectl("delete", "tenant", "acme")
    await site.apply(ACME)
    second = await site.get("acme")
    assert second is not None
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    site.workspace.authentik.faults.clear()
    status = await site.ready("acme")
    assert status["tenantId"] == str(uuid.uuid5(site.settings.installation_id, second["metadata"]["uid"]))
    former = str(uuid.uuid5(site.settings.installation_id, first["metadata"]["uid"]))
    everything = [site.workspace.authentik.store.objects, site.workspace.stalwart.objects.by_type]
    assert former not in repr(everything)
    assert former not in repr(vars(site.workspace.ocis.store))


async def test_a_conflict_on_the_finalizer_is_no_defect(site: Site) -> None:
    """Somebody edits the Tenant in the moment before our first write to it: the API server answers 409."""
    meddled = asyncio.Event()

    def wrap(inner: httpx2.AsyncBaseTransport) -> httpx2.AsyncBaseTransport:
        return Meddler(inner, site, meddled)

    operator = await site.start(wrap=wrap)
    await site.apply(ACME)
    await site.ready("acme")
    assert meddled.is_set()
    assert _outcomes(operator, "conflict") == 1
    assert _outcomes(operator, "defect") == 0


async def test_a_tenant_that_is_gone_before_the_finalizer_is_no_defect(site: Site) -> None:
    """The API server answers 404: nothing is made for it, and nobody tries again."""
    meddled = asyncio.Event()

    def wrap(inner: httpx2.AsyncBaseTransport) -> httpx2.AsyncBaseTransport:
        return Meddler(inner, site, meddled, "delete", "tenant", "acme", "--wait=true")

    operator = await site.start(wrap=wrap)
    await site.apply(ACME)
    await asyncio.wait_for(meddled.wait(), 30)
    await site.until(lambda: _outcomes(operator, "superseded") == 1, "the reconcile is given up")
    assert _outcomes(operator, "defect") == 0
    assert site.workspace.writes() == {"authentik": 0, "stalwart": 0, "ocis": 0}


async def test_a_secret_that_is_no_text_stops_only_its_own_system(site: Site) -> None:
    await site.start()
    patch = '{"data":{"token":"//4="}}'
    await site.kubectl("-n", site.namespace, "patch", "secret", "stalwart", "-p", patch)
    await site.apply(ACME)
    status = await site.wait("acme", "MailReady", "False", "AuthFailed")
    assert f"Secret {site.namespace}/stalwart, key token is not UTF-8 text" in json.dumps(status["conditions"])
    assert (await site.wait("acme", "IdentityReady", "True"))["provisioningStatus"]["ocis"] == "Ready"
    await prepare(site.settings, site.config, site.administrator)
    await site.ready("acme")


async def test_a_tenant_that_can_not_be_understood_stops_nobody_and_can_be_deleted(site: Site) -> None:
    """Its schema was replaced under it: it still lives, so what is its own stays so, also when it is gone."""
    await site.start()
    await site.apply(ACME)
    first = await site.ready("acme")
    async with _any_seats(site):
        await _until_taken(site, "patch", "tenant", "acme", "--type=merge", "-p", '{"spec":{"seats":"many"}}')
        await site.wait("acme", "Ready", "False", "InvalidSpec")
        site.workspace.forget()
        await site.apply(tenant("beta"), tenant("rival", domains("acme.test")))
        await site.ready("beta")
        status = await site.wait("rival", "Ready", "False", "DomainConflict")
        assert "tenant acme" in json.dumps(status)
        await site.kubectl("delete", "tenant", "acme")
        assert await site.get("acme") is None
        await site.annotate("rival", "reconcile-requested-at", "again")
        await site.until(lambda: site.operator is not None and site.operator.idle, "it was looked at again")
        assert "the retained tenant acme" in json.dumps(await site.status("rival"))
    record = json.loads(await site.kubectl("-n", site.namespace, "get", "cm", "dezky-tombstone-acme", "-o", "json"))
    kept = json.loads(record["data"]["record.json"])
    assert (kept["tenantId"], kept["state"]) == (first["tenantId"], "Retained")
    assert kept["asBuilt"]["domains"] == ["acme.test"]
    assert "acme.test" in site.workspace.stalwart.objects.names


async def test_a_config_map_in_the_place_of_a_record_holds_up_the_deletion_and_is_named(site: Site) -> None:
    await site.start()
    await site.apply(ACME)
    await site.ready("acme")
    place = ("-n", site.namespace, "configmap", "dezky-tombstone-acme")
    await site.kubectl("create", *place, "--from-literal=record.json=mine")
    await site.kubectl("delete", "tenant", "acme", "--wait=false")
    said = f"ConfigMap {site.namespace}/dezky-tombstone-acme is there already"
    for _ in range(600):
        events = await site.kubectl("get", "events", "-o", "jsonpath={.items[*].message}")
        if said in events:
            break
        await asyncio.sleep(0.05)
    assert events.count(said) == 1
    assert "mine" in await site.kubectl("get", *place, "-o", "json")
    await site.kubectl("delete", *place)
    await site.gone("acme")
    assert "tenantId" in await site.kubectl("get", *place, "-o", "json")


# -- help ---------------------------------------------------------------------------------


class Meddler(httpx2.AsyncBaseTransport):
    """Runs kubectl just before the operator's first write to a Tenant goes out."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, site: Site, done: asyncio.Event, *command: str) -> None:
        self._inner, self._site, self._done = inner, site, done
        self._command = command or ("annotate", "tenant", "acme", "example.org/edited=yes")

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "PATCH" and request.url.path.endswith("/tenants/acme") and not self._done.is_set():
            self._done.set()
            await self._site.kubectl(*self._command)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


def _outcomes(operator: Operator, outcome: str) -> float:
    return operator.metrics.registry.get_sample_value(
        "dezky_reconcile_total", {"kind": "Tenant", "outcome": outcome}
    ) or 0.0  # fmt: skip


@asynccontextmanager
async def _any_seats(site: Site) -> AsyncIterator[None]:
    """A schema that takes anything for `spec.seats`, which this operator does not."""
    crd = json.loads(await site.kubectl("get", "crd", "tenants.dezky.eu", "-o", "json"))
    proper = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["seats"]
    await _put_schema(site, {"x-kubernetes-preserve-unknown-fields": True})
    try:
        yield
    finally:
        await site.kubectl("delete", "tenants", "--all", "--wait=false")
        await _put_schema(site, proper)


async def _put_schema(site: Site, schema: object) -> None:
    patch = json.dumps([{"op": "replace", "path": SEATS, "value": schema}])
    await site.kubectl("patch", "crd", "tenants.dezky.eu", "--type=json", "-p", patch)


async def _until_taken(site: Site, *command: str) -> None:
    """Until the API server takes it: a schema acts a moment after it was changed."""
    for _ in range(200):
        told = await site.kubectl(*command, check=False)
        if "rror" not in told and "nvalid" not in told:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(told)
