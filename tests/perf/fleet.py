"""Many tenants at once: how fast they come, what a second look at them costs, and the memory they take."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from tests.apiserver import ApiServer
from tests.builders import Manifest, admin, spec, tenant
from tests.controlplane.cluster import Cluster
from tests.perf.figure import Figure
from tests.perf.installation import installation
from tests.perf.process import OperatorProcess, bare_memory
from tests.perf.script import Script
from tests.site import Site

FLEET = int(os.environ.get("DEZKY_BENCH_FLEET", "1000"))
AT_ONCE = 20
PEOPLE = 3
LOOK = {"authentik": 8, "stalwart": 4, "ocis": 2}
"""Requests of one look at one tenant."""
BY_HAND = 10


async def figures(cluster: Cluster) -> AsyncIterator[Figure]:
    """All of this subject."""
    async with installation(cluster) as (site, api):
        async with OperatorProcess(site) as operator:
            yield await _from_nothing(site, api, operator)
            memory, peak = operator.resident(), operator.peak()
            _people(site)
            # Members come by other hands; the next sweep finds them and gives them their mailboxes.
            await _in_parallel(lambda number: api.annotate(f"t{number:04}", reconcile_requested_at="people"))
            await operator.until(lambda: _answered(api, "people"), "everybody was looked at", patience=600.0, pause=1.0)
        async for figure in _restart(site):
            yield figure
        async with OperatorProcess(site) as operator:
            async for figure in _suspend_all(api, operator):
                yield figure
        bare = await bare_memory(site)
    beside = "kopf and lightkube connected, nothing to do"
    of = f"at {FLEET} tenants, the operator's own process without the test client"
    yield Figure(name=f"resident memory {of}", value=memory, unit="MiB", budget=112.0, beside=beside, peer=bare)
    yield Figure(name=f"peak memory {of}", value=peak, unit="MiB", budget=112.0, beside=beside, peer=bare)


async def _answered(api: ApiServer, request: str) -> bool:
    return all(found["status"].get("lastHandledReconcileAt") == request for found in await api.tenants())


async def _from_nothing(site: Site, api: ApiServer, operator: OperatorProcess) -> Figure:
    by_hand = await _by_hand(site, api)
    started = time.monotonic()
    await _in_parallel(lambda number: api.apply(_manifest(number)))
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


async def _restart(site: Site) -> AsyncIterator[Figure]:
    """A new process over settled tenants: one sweep looks at all of them, and finds nothing to do."""
    site.workspace.forget()
    started = time.monotonic()
    async with OperatorProcess(site) as operator:
        await operator.reaches("dezky_sweeps_total", 1)
        seconds = time.monotonic() - started
        written = await operator.api_writes()
        own = {"leases", "configmaps"}
        inside = sum(count for what, count in written.items() if what not in own)
        memory = operator.resident()
    over = f"restart over {FLEET} ready tenants"
    outside = float(sum(site.workspace.writes().values()))
    reads = {standin.name: len(standin.calls) - len(standin.writes) for standin in site.workspace.systems}
    yield Figure(
        name=f"{over}: writes outside", value=outside, unit="writes", budget=0.0,
        beside="requests it sent, all of them reads", peer=float(sum(reads.values())),
    )  # fmt: skip
    yield Figure(
        name=f"{over}: writes to the API server, all but the Lease and the log's checkpoint",
        value=inside, unit="writes", budget=0.0, beside="checkpoints of the audit log in their ConfigMap",
        peer=written.get("configmaps", 0.0),
    )  # fmt: skip
    yield Figure(
        name=f"{over}: from its start until the sweep over all is done and nothing is due",
        value=seconds, unit="s", budget=30.0, beside="the budget for 1,000 tenants", peer=30.0,
    )  # fmt: skip
    yield Figure(
        name=f"{over}: resident memory", value=memory, unit="MiB", budget=112.0,
        beside="the budget for 1,000 tenants", peer=112.0,
    )  # fmt: skip
    budgets = {"authentik": 150 + math.ceil(FLEET / 20), "stalwart": 20, "ocis": 5}
    for system, most in budgets.items():
        yield Figure(
            name=f"drift sweep over {FLEET} tenants, {PEOPLE} users each: reads of {system}",
            value=float(reads[system]), unit="requests", budget=float(most),
            beside="one look tenant by tenant, at least", peer=float(FLEET * LOOK[system]),
        )  # fmt: skip


async def _suspend_all(api: ApiServer, operator: OperatorProcess) -> AsyncIterator[Figure]:
    """Everybody locked at once: how long until every lock is in place, and until every one is proven."""
    before = await operator.api_writes()
    started = time.monotonic()
    await _in_parallel(lambda number: api.apply(_manifest(number, suspended=True)))
    await operator.reaches("dezky_time_to_lockout_seconds_count", FLEET)
    locked = time.monotonic() - started
    after = await operator.api_writes()
    written = sum(after[what] - before.get(what, 0.0) for what in ("tenants", "tenants/status") if what in after)
    proven = sum(map(_proven, await api.tenants()))
    at_once = f"suspend {FLEET} tenants at once"
    yield Figure(
        name=f"{at_once}: every lock in place and observed, with its proof", value=locked, unit="s", budget=120.0,
        beside="the budget for the proofs of all", peer=600.0,
    )  # fmt: skip
    yield Figure(
        name=f"{at_once}: tenants with three receipts Refused", value=float(proven), unit="tenants",
        budget=float(FLEET), better="higher", beside="tenants", peer=float(FLEET),
    )  # fmt: skip
    yield Figure(
        name=f"{at_once}: writes to the API server for each", value=written / FLEET, unit="writes", budget=2.0,
        beside="ahead of the first lock, and the status", peer=2.0,
    )  # fmt: skip


def _proven(found: Manifest) -> bool:
    receipts = found["status"].get("suspension", {}).get("receipts", [])
    return [receipt["result"] for receipt in receipts] == ["Refused"] * 3


async def _in_parallel(act: Callable[[int], Awaitable[object]]) -> None:
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with slots:
            await act(number)

    await asyncio.gather(*(one(number) for number in range(FLEET)))


def _manifest(number: int, *, suspended: bool = False) -> Manifest:
    return tenant(f"t{number:04}", admin(f"anna@t{number:04}.test"), spec(suspended=suspended))


def _people(site: Site) -> None:
    """Further members, by another hand."""
    store = site.workspace.authentik.store
    for number in range(FLEET):
        group = store.find("group", "name", f"dezky-t{number:04}-users")
        assert group is not None
        for name in ("bob", "eve")[: PEOPLE - 1]:
            store.join(store.insert("user", {"username": f"{name}@t{number:04}.test", "name": name}), group["pk"])
