"""One tenant after the other, 50 ms at every external call: how long until Ready, and what it costs the API server."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import AsyncIterator

from tests.apiserver import ApiServer
from tests.builders import admin, tenant
from tests.controlplane.cluster import Cluster
from tests.perf.figure import Figure, percentile
from tests.perf.installation import installation
from tests.perf.process import OperatorProcess
from tests.perf.script import Script
from tests.sandbox.standin import Fault
from tests.site import Site

LATENCY = 0.05
TENANTS = int(os.environ.get("DEZKY_BENCH_TENANTS", "30"))
BY_HAND = 5
"""Onboardings by the plain script: each takes as long as its calls."""


async def figures(cluster: Cluster) -> AsyncIterator[Figure]:
    """All of this subject."""
    async with installation(cluster) as (site, api):
        _slow_down(site)
        async with OperatorProcess(site) as operator:
            before = await operator.api_writes()  # the Secret with the audit log's keys, once
            seconds = [await _until_ready(api, number) for number in range(TENANTS)]
            after = await operator.api_writes()
            writes = {what: count - before.get(what, 0.0) for what, count in after.items()}
        by_hand, calls = await _by_hand(site, api)
    peer = f"a plain sequential script, {calls} calls"
    for share, name, budget in ((0.5, "p50", 1.0), (0.99, "p99", 3.0)):
        yield Figure(
            name=f"apply to Ready as a client sees it, 50 ms latency, {name} of {TENANTS}",
            value=percentile(seconds, share), unit="s", budget=budget, beside=peer, peer=percentile(by_hand, share),
        )  # fmt: skip
    for figure in _writes(writes):
        yield figure


def _writes(writes: dict[str, float]) -> list[Figure]:
    """Writes for each new tenant: on the object and its status, and beside it Secrets and Events (design 4)."""
    of_object = writes.get("tenants", 0.0) + writes.get("tenants/status", 0.0)
    counted = (
        ("PATCH and PUT on the object and its status", of_object, 2.0, "finalizer and one status"),
        ("Secrets", writes.get("secrets", 0.0), 1.0, "credentials and recovery link together"),
        ("Events", writes.get("events", 0.0), 1.0, "one for each phase change"),
    )
    return [
        Figure(
            name=f"writes to the API server for a new tenant: {what}",
            value=value / TENANTS, unit="writes", budget=budget, beside=limit, peer=budget,
        )
        for what, value, budget, limit in counted
    ]  # fmt: skip


async def _until_ready(api: ApiServer, number: int) -> float:
    started = time.monotonic()
    name = f"t{number:04}"
    await api.apply(tenant(name, admin(f"anna@{name}.test")))
    await api.ready(name)
    return time.monotonic() - started


async def _by_hand(site: Site, api: ApiServer) -> tuple[list[float], int]:
    seconds = []
    async with Script(site.workspace, api) as script:
        for number in range(BY_HAND):
            started = time.monotonic()
            await script.onboard(f"p{number:04}")
            seconds.append(time.monotonic() - started)
    assert statistics.median(seconds) > LATENCY * script.calls * 0.9, "the script was not slowed down"
    return seconds, script.calls


def _slow_down(site: Site) -> None:
    for standin in site.workspace.systems:
        standin.faults.append(Fault(latency=LATENCY))
