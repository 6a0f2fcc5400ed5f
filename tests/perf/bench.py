"""`make bench`: the budgets, one JSON line for each figure. A missed budget is printed as missed, not raised."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from dezky_operator.config import LogSettings
from dezky_operator.kube.process import Operator
from dezky_operator.telemetry import logging
from tests.builders import Manifest, admin, tenant
from tests.controlplane.cluster import test_cluster
from tests.sandbox.standin import Fault
from tests.site import Site

LATENCY = 0.05
ONE_BY_ONE = int(os.environ.get("DEZKY_BENCH_TENANTS", "30"))
FLEET = int(os.environ.get("DEZKY_BENCH_FLEET", "200"))


def figure(
    name: str, value: float, unit: str, budget: float, *, better: str = "lower", beside: str, limit: float
) -> None:
    """Print one figure beside its budget and a peer or limit."""
    ok = value <= budget if better == "lower" else value >= budget
    line: dict[str, Any] = {"figure": name, "value": round(value, 3), "unit": unit, "budget": budget, "better": better}
    print(json.dumps({**line, "beside": {"name": beside, "value": round(limit, 3)}, "ok": ok}), flush=True)


async def main() -> None:
    """All figures."""
    logging.configure(LogSettings(level="error"))
    with test_cluster() as cluster:
        async with Site(cluster) as site:
            await _one_tenant(site)
        async with Site(cluster) as site:
            await _fleet(site)


async def _one_tenant(site: Site) -> None:
    """Apply to Ready with 50 ms at every call, the request counted in; one tenant after the other."""
    for standin in site.workspace.systems:
        standin.faults.append(Fault(latency=LATENCY))
    operator = await site.start()
    seconds = [await _ready_after(operator, site, _manifest(number)) for number in range(ONE_BY_ONE)]
    seconds.sort()
    rounds = LATENCY * 7
    p99 = seconds[min(len(seconds) - 1, round(0.99 * len(seconds)))]
    figure(
        "apply to Ready, 50 ms latency, p50",
        statistics.median(seconds),
        "s",
        1.0,
        beside="seven rounds of 50 ms",
        limit=rounds,
    )
    figure("apply to Ready, 50 ms latency, p99", p99, "s", 3.0, beside="seven rounds of 50 ms", limit=rounds)
    writes = _object_writes(operator) / ONE_BY_ONE
    figure("writes to the API server per new tenant", writes, "writes", 2.0, beside="finalizer and status", limit=2.0)


async def _fleet(site: Site) -> None:
    """Many tenants at once, a second look at all of them, and the memory they take."""
    operator = await site.start()
    before = _memory()
    started = time.monotonic()
    await site.apply(*(_manifest(number) for number in range(FLEET)))
    await site.until(lambda: operator.controller.all_ready(FLEET), f"{FLEET} tenants are ready", patience=300.0)
    rate = FLEET / (time.monotonic() - started)
    figure(
        f"{FLEET} tenants from nothing",
        rate,
        "tenants/s",
        20.0,
        better="higher",
        beside="kubectl apply included",
        limit=rate,
    )
    await site.idle()
    site.workspace.forget()
    object_writes = _object_writes(operator)
    operator.controller.add_all()
    await site.idle()
    outside = float(sum(site.workspace.writes().values()))
    figure(f"second reconcile of {FLEET} tenants, writes outside", outside, "writes", 0.0, beside="none", limit=0.0)
    again = _object_writes(operator) - object_writes
    figure(
        f"second reconcile of {FLEET} tenants, writes to the API server", again, "writes", 0.0, beside="none", limit=0.0
    )
    name = f"resident memory at {FLEET} tenants, stand-ins and test client in the same process"
    figure(name, _memory(), "MiB", 112.0, beside="the same process before the first tenant", limit=before)


async def _ready_after(operator: Operator, site: Site, manifest: Manifest) -> float:
    """Seconds from the moment the API server has the object; kubectl's own start is not the operator's."""
    await site.apply(manifest)
    name = manifest["metadata"]["name"]
    await site.until(lambda: operator.controller.ready_after(name) is not None, f"{name} is ready")
    return operator.controller.ready_after(name) or 0.0


def _manifest(number: int) -> Manifest:
    return tenant(f"t{number:04}", admin(f"anna@t{number:04}.test"))


def _object_writes(operator: Operator) -> float:
    samples = next(iter(operator.metrics.kube_writes.collect())).samples
    return float(sum(sample.value for sample in samples if sample.labels["what"] in {"tenants", "tenants/status"}))


def _memory() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
