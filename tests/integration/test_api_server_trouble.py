"""An API server that conflicts, asks for patience, breaks, is slow or starts anew: no storm, the right end."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dezky_operator.kube.process import Operator
from tests.builders import admin, spaces, suspended, tenant
from tests.controlplane.cluster import Cluster
from tests.controlplane.plane import ControlPlane
from tests.deaf import listener
from tests.site import Site

ACME = tenant("acme", admin("anna@acme.test"), spaces("sales"))
QUICK = {
    "reconcile": {
        "backoffFirstSeconds": 0.1,
        "backoffLongestSeconds": 0.5,
        "watchCheckSeconds": 1.0,
        "credentialsCheckSeconds": 0.5,
    }
}
STATUS = r"PATCH .*/tenants/[a-z]+/status$"
FINALIZER = r"PATCH .*/tenants/[a-z]+$"
ANYTHING = r"(GET|PATCH|POST|PUT|DELETE) (?!.*/leases/)"


@dataclass
class Rule:
    """What happens to the calls that match. ``done``: the API server acts, and its answer is lost."""

    match: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] | None = None
    slow: float = 0.0
    done: bool = False
    times: int = 3


@dataclass
class Way:
    """Between the operator's own calls and the API server; remembers when each was made."""

    rules: list[Rule] = field(default_factory=list)
    calls: list[tuple[float, str]] = field(default_factory=list)

    def between(self, inner: httpx2.AsyncBaseTransport) -> httpx2.AsyncBaseTransport:
        """The seam."""
        return _Between(self, inner)

    def times(self, match: str) -> list[float]:
        """When such calls were made."""
        return [at for at, call in self.calls if re.match(match, call)]

    def hit(self, call: str) -> Rule | None:
        """The rule for a call."""
        for rule in self.rules:
            if rule.times and re.match(rule.match, call):
                rule.times -= 1
                return rule
        return None


class _Between(httpx2.AsyncBaseTransport):
    def __init__(self, way: Way, inner: httpx2.AsyncBaseTransport) -> None:
        self._way, self._inner = way, inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        call = f"{request.method} {request.url.path}"
        self._way.calls.append((time.monotonic(), call))
        rule = self._way.hit(call)
        if rule is None:
            return await self._inner.handle_async_request(request)
        await asyncio.sleep(rule.slow)
        if rule.done:
            await (await self._inner.handle_async_request(request)).aread()
            raise httpx2.ReadError("the answer is lost", request=request)
        if rule.status:
            return self._refusal(rule, request)
        return await self._inner.handle_async_request(request)

    @staticmethod
    def _refusal(rule: Rule, request: httpx2.Request) -> httpx2.Response:
        if rule.body is None:
            return httpx2.Response(rule.status, headers=rule.headers, request=request)
        return httpx2.Response(rule.status, headers=rule.headers, json=rule.body, request=request)

    async def aclose(self) -> None:
        await self._inner.aclose()


def said(code: int) -> dict[str, Any]:
    """A Status, as the API server says it."""
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": f"it is {code}"}


@pytest.fixture
async def site(cluster: Cluster) -> AsyncIterator[Site]:
    """A site that tries again soon."""
    async with Site(cluster, changes=QUICK) as found:
        yield found


@pytest.mark.parametrize("where", [STATUS, FINALIZER])
@pytest.mark.parametrize(
    "rule",
    [
        Rule("", status=409, body=said(409)),
        Rule("", status=429, body=said(429), headers={"Retry-After": "1"}),
        Rule("", status=500, body=said(500)),
        Rule("", status=503),  # of something in between, that does not even say what kind of content it has none of
        Rule("", status=502, headers={"Content-Type": "application/json"}),
        Rule("", slow=2.0, times=1),
        Rule("", done=True, times=1),
    ],
    ids=["409", "429", "500", "503", "502", "slow", "lost"],
)
async def test_a_write_in_trouble_ends_as_if_there_had_been_none(site: Site, where: str, rule: Rule) -> None:
    way = Way([replace(rule, match=where)])
    operator = await site.start(wrap=way.between)
    await site.apply(ACME)
    await site.ready("acme")
    await site.idle()
    assert way.rules[0].times == 0
    assert len(way.times(where)) <= 3 + 3, "three that failed, and what a new tenant needs"
    assert outcomes(operator, "defect") == 0
    made_once(site)
    await rests(site, way)


async def test_what_the_api_server_asks_to_wait_is_waited(site: Site) -> None:
    way = Way([Rule(STATUS, status=429, body=said(429), headers={"Retry-After": "2"}, times=2)])
    await site.start(wrap=way.between)
    await site.apply(ACME)
    await site.ready("acme")
    first, second, third = way.times(STATUS)[:3]
    assert second - first >= 2.0
    assert third - second >= 2.0


async def test_an_api_server_that_breaks_at_everything_is_asked_less_and_less(site: Site) -> None:
    """For ten tenants at once: what each asks is a handful, whatever the number of tries in its reach."""
    names = [f"t{number}" for number in range(10)]
    broken = Rule(ANYTHING, status=500, body=said(500), times=-1)
    way = Way([broken])
    operator = Operator(site.settings, site.config, identity="test", wrap=way.between)
    running = asyncio.create_task(operator.run(signals=False))
    way.rules.clear()
    await site.until(lambda: operator.health.role() == "working", "it works")
    way.rules.append(broken)
    way.calls.clear()
    await site.apply(*(tenant(name) for name in names))
    await site.until(lambda: outcomes(operator, "api-error") >= 30, "each was tried three times")
    begun, asked = way.calls[0][0], len(way.times(ANYTHING))
    seconds = time.monotonic() - begun
    # With these pauses a tenant is tried at most four times and then four times a second, at about five calls a try.
    assert asked <= 10 * 5 * (4 + 4 * seconds), f"{Counter(call for _, call in way.calls)} in {seconds} s"
    assert site.workspace.writes() == {"authentik": 0, "stalwart": 0, "ocis": 0}, "nothing is made that is not held"
    way.rules.clear()
    for name in names:
        await site.ready(name)
    assert outcomes(operator, "defect") == 0
    operator.stop()
    await asyncio.wait_for(running, 30)


async def test_a_watch_that_is_too_old_is_begun_anew_and_misses_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """410 Gone: what changed unheard until then comes with the new list."""
    patient = {"reconcile": {**QUICK["reconcile"], "watchCheckSeconds": 600.0}}
    async with Site(cluster, changes=patient) as site, listener(site.config, tmp_path) as (stream, way):
        site.config = way
        await site.start()
        await site.apply(ACME, tenant("beta"))
        await site.ready("acme")
        await site.ready("beta")
        stream.deaf = True
        await site.apply(tenant("acme", admin("anna@acme.test"), spaces("sales"), suspended()))
        stream.deaf, stream.expired, stream.listed = False, True, 0
        await site.annotate("beta", "reconcile-requested-at", "now")
        await site.wait("acme", "Suspended", "True")
        assert stream.listed == 1, "one new list, no storm of them"
        assert not stream.expired
        made_once(site)
        await site.stop()


async def test_an_api_server_that_freezes_and_starts_anew_is_outlived(tmp_path: Path) -> None:
    """The Lease is a long one here: with the usual one the process would end, rightly, when it is not renewed."""
    lease = {"lease": {"durationSeconds": 120.0, "renewSeconds": 2.0, "marginSeconds": 5.0}}
    with ControlPlane(tmp_path / "plane") as plane:
        own = Cluster(kubeconfig=plane.kubeconfig, run_id="own", plane=plane)
        await asyncio.to_thread(own.install_crds)
        async with Site(own, changes={**QUICK, **lease}) as site:
            operator = await site.start()
            await site.apply(ACME)
            await site.ready("acme")
            plane.pause()
            await asyncio.sleep(3.0)  # a frozen API server has no sign that it is one
            plane.resume()
            await site.apply(tenant("beta", admin("bo@beta.test")))
            await site.ready("beta")
            await asyncio.to_thread(plane.restart_apiserver)
            await site.apply(tenant("acme", admin("anna@acme.test"), spaces("sales"), suspended()))
            await site.wait("acme", "Suspended", "True")
            await site.until(lambda: operator.health.failures() == {}, "the watch has caught up")
            assert outcomes(operator, "defect") == 0
            made_once(site)


# -- help --------------------------------------------------------------------------------


def outcomes(operator: Operator, outcome: str) -> float:
    """How many reconciles ended so."""
    labels = {"kind": "Tenant", "outcome": outcome}
    return operator.metrics.registry.get_sample_value("dezky_reconcile_total", labels) or 0.0


def made_once(site: Site) -> None:
    """Nothing of acme is there twice."""
    store, mail, files = site.workspace.authentik.store, site.workspace.stalwart.objects, site.workspace.ocis.store
    groups = sorted(one["name"] for one in store.objects["group"].values() if "acme" in one["name"])
    assert groups == ["dezky-acme-admins", "dezky-acme-users"]
    aliases = [space.alias for space in files.spaces.values() if "dezky-acme" in space.alias]
    assert len(aliases) == len(set(aliases)) == 2
    roles = [one["description"] for one in mail.by_type["Role"].values()]
    assert len(roles) == len(set(roles))
    assert [name for name in mail.names if name == "acme.test"] == ["acme.test"]


async def rests(site: Site, way: Way) -> None:
    """Asked to look again, it finds nothing to write but that it looked."""
    site.workspace.forget()
    way.calls.clear()
    await site.annotate("acme", "reconcile-requested-at", "again")
    for _ in range(600):
        if (await site.status("acme")).get("lastHandledReconcileAt") == "again":
            break
        await asyncio.sleep(0.05)
    assert site.workspace.writes() == {"authentik": 0, "stalwart": 0, "ocis": 0}
    assert len(way.times(STATUS)) == 1
