"""A fault at every single write of a tenant's creation: the next start ends in the same state, with nothing doubled.

Two forms: the write never arrived (refused), and the write was done but its answer lost. The points are generated from
the writes of an undisturbed run. For every point the whole in-memory operator is thrown away and a new one started.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import Any

import httpx2
import pytest

from dezky_operator.integrations.steps import System
from tests.builders import Manifest, admin, spaces, spec, tenant
from tests.controlplane.cluster import Cluster
from tests.sandbox.workspace import Workspace
from tests.site import Site

ACME = tenant("acme", admin("anna@acme.test"), spaces("sales"), spec(brand={"title": "Acme"}))
EVERY = int(os.environ.get("DEZKY_FAULTS_EVERY", "3"))
"""Every how manieth point is tried: 3 in `make test`, 1 in full."""


class FaultyWire(httpx2.AsyncBaseTransport):
    """Counts writes and, at one of them, cuts the connection: before it arrives, or after it was done."""

    def __init__(self, counter: WriteCounter) -> None:
        self._inner = httpx2.AsyncHTTPTransport()
        self._counter = counter

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send, or fail in one of the two forms."""
        if not _writes(request):
            return await self._inner.handle_async_request(request)
        hit = self._counter.next(request)
        if hit and not self._counter.done:
            raise httpx2.ConnectError("refused", request=request)
        answer = await self._inner.handle_async_request(request)
        if hit:
            await answer.aread()
            raise httpx2.ReadError("lost", request=request)
        return answer

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


class WriteCounter:
    """Which write is hit. From that one on everything fails: the process is as good as gone."""

    def __init__(self, *, at: int | None = None, done: bool = False) -> None:
        self.at, self.done, self.seen = at, done, 0

    def next(self, _: httpx2.Request) -> bool:
        """Whether this write fails."""
        self.seen += 1
        return self.at is not None and self.seen >= self.at

    def wire(self, _: System) -> httpx2.AsyncBaseTransport:
        """The seam of one system."""
        return FaultyWire(self)


def _writes(request: httpx2.Request) -> bool:
    if request.method in {"GET", "HEAD"} or request.url.path.startswith("/application/o/"):
        return False
    return request.url.path != "/jmap" or b'/set"' in request.content


async def _points(cluster: Cluster) -> int:
    """How many writes an undisturbed creation has."""
    async with Site(cluster) as site:
        counter = WriteCounter()
        await site.start(wire=counter.wire)
        await site.apply(ACME)
        await site.ready("acme")
        await site.idle()
        return counter.seen


@pytest.mark.parametrize("done", [False, True], ids=["never-arrived", "answer-lost"])
async def test_a_process_that_ends_at_any_write_is_taken_up_by_the_next(cluster: Cluster, *, done: bool) -> None:
    points = await _points(cluster)
    assert points > 15
    expected: Counter[str] | None = None
    for at in range(1, points + 1, EVERY):
        async with Site(cluster) as site:
            await _interrupted(site, ACME, WriteCounter(at=at, done=done))
            await site.start()
            await site.ready("acme")
            await site.idle()
            found = _objects(site.workspace)
        expected = expected or found
        assert found == expected, f"a fault at write {at} of {points} left something else behind"
        assert max(found.values()) == 1, f"a fault at write {at} of {points} doubled {found.most_common(1)}"


async def _interrupted(site: Site, manifest: Manifest, counter: WriteCounter) -> None:
    """Run an operator into the fault and throw it away."""
    operator = await site.start(wire=counter.wire)
    await site.apply(manifest)
    await site.until(lambda: counter.seen >= (counter.at or 0), "the fault is reached")
    assert operator is site.operator
    await site.stop()


def _objects(workspace: Workspace) -> Counter[str]:
    """Every object of the tenant in all three systems, by what tells it apart."""
    store, mail, files = workspace.authentik.store, workspace.stalwart.objects, workspace.ocis.store
    names = [f"authentik/{kind}/{_name(found)}" for kind in ("group", "user", "oauth2provider", "application", "brand")
             for found in store.objects[kind].values()]  # fmt: skip
    applications = {found["pk"]: found["slug"] for found in store.objects["application"].values()}
    names += [
        f"binding/{applications[found['target']]}/{'group' if found['group'] else 'policy'}"
        for found in store.objects["policybinding"].values()
    ]
    names += [f"domain/{found['name']}" for found in mail.by_type["Domain"].values()]
    names += [f"role/{found['description']}" for found in mail.by_type["Role"].values()]
    names += [f"dkim/{found['domainId']}/{found['selector']}" for found in mail.by_type["DkimSignature"].values()]
    names += [f"account/{mail.address(found)}" for found in mail.by_type["Account"].values()]
    names += [f"space/{space.alias}" for space in files.spaces.values()]
    names += [f"group/{name}" for name in files.groups.values()]
    # The tenant's id differs from run to run; everything else has the same name every time.
    return Counter(re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "<id>", name) for name in names)


def _name(found: dict[str, Any]) -> str:
    return str(found.get("name") or found.get("domain"))
