"""Many tenants at once: how fast they come, what a second look at them costs, and the memory they take."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator

from tests.apiserver import ApiServer
from tests.builders import admin, tenant
from tests.controlplane.cluster import Cluster
from tests.perf.figure import Figure
from tests.perf.process import OperatorProcess, bare_memory
from tests.perf.script import Script
from tests.site import Site

FLEET = int(os.environ.get("DEZKY_BENCH_FLEET", "200"))
AT_ONCE = 20
BY_HAND = 10


async def figures(cluster: Cluster) -> AsyncIterator[Figure]:
    """All of this subject."""
    async with Site(cluster) as site, ApiServer(site.config, site.namespace) as api:
        async with OperatorProcess(site) as operator:
            yield await _from_nothing(site, api, operator)
            memory, peak = operator.resident(), operator.peak()
        async for figure in _second_look(site):
            yield figure
        bare = await bare_memory(site)
    beside = "kopf and lightkube connected, nothing to do"
    of = f"at {FLEET} tenants, the operator's own process without the test client"
    yield Figure(name=f"resident memory {of}", value=memory, unit="MiB", budget=112.0, beside=beside, peer=bare)
    yield Figure(name=f"peak memory {of}", value=peak, unit="MiB", budget=112.0, beside=beside, peer=bare)


async def _from_nothing(site: Site, api: ApiServer, operator: OperatorProcess) -> Figure:
    by_hand = await _by_hand(site, api)
    started = time.monotonic()
    slots = asyncio.Semaphore(AT_ONCE)

    async def apply(number: int) -> None:
        async with slots:
            await api.apply(tenant(f"t{number:04}", admin(f"anna@t{number:04}.test")))

    await asyncio.gather(*(apply(number) for number in range(FLEET)))
    await operator.reaches("dezky_time_to_ready_seconds_count", FLEET)
    rate = FLEET / (time.monotonic() - started)
    return Figure(
        name=f"{FLEET} tenants from nothing, no latency, operator and stand-ins on the same cores",
        value=rate, unit="tenants/s", budget=20.0, better="higher",
        beside="a plain sequential script, one after the other", peer=by_hand,
    )  # fmt: skip


async def _by_hand(site: Site, api: ApiServer) -> float:
    """Tenants a second."""
    async with Script(site.workspace, api) as script:
        started = time.monotonic()
        for number in range(BY_HAND):
            await script.onboard(f"p{number:04}")
        return BY_HAND / (time.monotonic() - started)


async def _second_look(site: Site) -> AsyncIterator[Figure]:
    """A new process looks at every tenant once, and finds nothing to do."""
    site.workspace.forget()
    started = time.monotonic()
    async with OperatorProcess(site) as operator:
        await operator.reaches("dezky_reconcile_total", FLEET, labelled='outcome="settled"')
        seconds = time.monotonic() - started
        inside = sum(count for what, count in (await operator.api_writes()).items() if what != "leases")
    outside = float(sum(site.workspace.writes().values()))
    reads = sum(len(standin.calls) for standin in site.workspace.systems) - outside
    look = f"second reconcile of {FLEET} tenants by a new process"
    sent = "requests it sent, all of them reads"
    yield Figure(name=f"{look}: writes outside", value=outside, unit="writes", budget=0.0, beside=sent, peer=reads)
    yield Figure(
        name=f"{look}: writes to the API server, all resources but the Lease",
        value=inside, unit="writes", budget=0.0, beside="renewals of the Lease aside", peer=0.0,
    )  # fmt: skip
    yield Figure(
        name=f"{look}: from its start until all were looked at",
        value=seconds, unit="s", budget=30.0, beside="the budget for 1,000 tenants", peer=30.0,
    )  # fmt: skip
