"""How long an event of each source takes into the log, while all of them tell and the operator has other work, too.

    python -m tests.perf.audit_lag [SECONDS]

The operator is a process of its own over a real API server. For some seconds records are appended to OCIS's file,
signed batches are sent as Stalwart does, events happen in Authentik, and a Tenant is changed every second. The lag of
OCIS's and Authentik's events goes from the moment they are written to the time of recording in their lines, that of
Stalwart's to the answer, which comes once they are durable. At the end each has to be in the log, once.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

import httpx2

from dezky_operator.audit.line import Line
from dezky_operator.http.application import WEBHOOK
from dezky_operator.store.interface import Reader, Span
from dezky_operator.store.sqlite import SqliteStore
from dezky_operator.store.tables import LOG, LogRow
from tests.apiserver import ApiServer
from tests.builders import Manifest, admin, spec, tenant
from tests.controlplane.cluster import test_cluster
from tests.integration.test_audit_of_own_acts import lines
from tests.ocis_lines import numbered
from tests.perf.figure import Figure, percentile
from tests.perf.installation import on_disk
from tests.perf.process import OperatorProcess
from tests.sandbox.authentik.store import ANONYMOUS
from tests.site import Site
from tests.webhooks import batch, sent, signature

SECONDS = 30.0
TENANTS = 20
OCIS_INTERVAL, AUTHENTIK_INTERVAL = 5, 10
"""Seconds. OCIS has its default; Authentik's is 60, and 10 here, so that some looks fall into the run."""
RECORDS, RECORDS_EVERY = 10, 0.05
BATCH, BATCH_EVERY = 20, 0.2
EVENT_EVERY = 0.05
LOAD, OWN = "bench.load", "custom_load"
KEY = b"k" * 40
CHECKPOINT = 60.0


@dataclass
class Load:
    """What was told to the sources, and when (seconds since 1970).

    Attributes:
        records: by the byte at which the record begins in the file.
        events: by the id of the event in Authentik.
        batches: seconds each batch waited for its answer.
    """

    file: Path
    url: str
    records: dict[int, float] = field(default_factory=dict)
    events: dict[str, float] = field(default_factory=dict)
    batches: list[float] = field(default_factory=list)

    async def append(self) -> None:
        """Some records, written at once as OCIS's buffer is."""
        start, block = self.file.stat().st_size, b""
        now = time.time()
        for _ in range(RECORDS):
            self.records[start + len(block)] = now
            block += numbered(len(self.records))
        with self.file.open("ab") as file:
            file.write(block)

    async def deliver(self, http: httpx2.AsyncClient) -> None:
        """One batch of Stalwart's."""
        first = len(self.batches) * BATCH
        body = batch(*(sent(LOAD, spanId=first + number) for number in range(BATCH)))
        started = time.monotonic()
        answer = await http.post(self.url, content=body, headers={"X-Signature": signature(body, KEY)})
        answer.raise_for_status()
        self.batches.append(time.monotonic() - started)

    async def happen(self, site: Site) -> None:
        """One event in Authentik."""
        store = site.workspace.authentik.store
        now = time.time()
        store.event(OWN, ANONYMOUS)
        self.events[store.events[-1]["pk"]] = now


async def main(seconds: float) -> None:
    """Print the figures."""
    with on_disk() as directory, test_cluster() as cluster:
        port = _free_port()
        load = Load(directory / "ocis.log", f"http://127.0.0.1:{port}{WEBHOOK}")
        load.file.touch()
        webhook = {
            "host": "127.0.0.1",
            "port": port,
            "url": f"http://127.0.0.1:{port}",
            "secretRef": {"name": "stalwart-webhook", "key": "key"},
        }
        changes = {"audit": {"directory": str(directory), "webhook": webhook}}
        async with Site(cluster, changes) as site, ApiServer(site.config, site.namespace) as api:
            literal = f"--from-literal=key={KEY.decode()}"
            await site.kubectl("-n", site.namespace, "create", "secret", "generic", "stalwart-webhook", literal)
            async with OperatorProcess(site) as operator:
                await site.apply(*_sources(load.file), *(_tenant(number) for number in range(TENANTS)))
                await operator.reaches("dezky_time_to_ready_seconds_count", TENANTS)
                await operator.until(lambda: _listens(load.url), "Stalwart's way in is open", patience=120.0)
                slowest = await _under_load(load, site, api, operator, seconds)
                await operator.until(lambda: _all_in(load, directory), "everything is in the log", pause=0.5)
            await site.kubectl("delete", "auditsources", "--all", "--wait=false")
        told = await lines(directory)
    _show(load, told, slowest)


def _sources(file: Path) -> list[Manifest]:
    specs: dict[str, dict[str, object]] = {
        "ocis": {"ocis": {"path": str(file)}, "intervalSeconds": OCIS_INTERVAL},
        "authentik": {"intervalSeconds": AUTHENTIK_INTERVAL},
        "stalwart": {},
    }
    return [
        {
            "apiVersion": "dezky.eu/v1alpha1",
            "kind": "AuditSource",
            "metadata": {"name": f"{kind}-main"},
            "spec": {"type": kind, **more},
        }
        for kind, more in specs.items()
    ]


def _tenant(number: int, name: str = "Bench") -> Manifest:
    slug = f"t{number:03}"
    return tenant(slug, admin(f"anna@{slug}.test"), spec(displayName=name))


async def _listens(url: str) -> bool:
    """Whether a body without a signature is told so: before, nobody answers."""
    async with httpx2.AsyncClient(trust_env=False) as http:
        try:
            return (await http.post(url, content=b"{}")).status_code == 401
        except httpx2.TransportError:
            return False


async def _under_load(load: Load, site: Site, api: ApiServer, operator: OperatorProcess, seconds: float) -> float:
    """The load, for some seconds; the longest that any event was under no checkpoint meanwhile."""
    ends, changed = time.monotonic() + seconds, 0
    slowest = 0.0

    async def change() -> None:
        nonlocal changed, slowest
        changed += 1
        await api.apply(_tenant(changed % TENANTS, f"Bench {changed}"))
        slowest = max(slowest, *(await operator.samples("dezky_audit_anchor_lag_seconds")).values())

    async with httpx2.AsyncClient(trust_env=False, timeout=60) as http, asyncio.TaskGroup() as group:
        for every, act in (
            (RECORDS_EVERY, load.append),
            (BATCH_EVERY, lambda: load.deliver(http)),
            (EVENT_EVERY, lambda: load.happen(site)),
            (1.0, change),
        ):
            group.create_task(_paced(act, every, ends))
    return slowest


async def _paced(act: Callable[[], Awaitable[None]], every: float, ends: float) -> None:
    """Act at a rate; one that took longer is made up for, as those who tell do not wait for us."""
    due = time.monotonic()
    while due < ends:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        await act()
        due += every


async def _all_in(load: Load, directory: Path) -> bool:
    """Whether as many lines are there as were told; which ones is looked at later."""
    store = await SqliteStore.open(directory / "audit-1.db")
    try:
        actions = Counter[str]()
        start = 0
        while rows := await store.read(partial(_page, span=Span(start))):
            actions.update(row.action for row in rows)
            start = rows[-1].seq + 1
    finally:
        await store.close()
    wanted = {"ocis.file_create": len(load.records), f"authentik.{OWN}": len(load.events)}
    wanted[f"stalwart.{LOAD}"] = len(load.batches) * BATCH
    return all(actions[action] >= count for action, count in wanted.items())


async def _page(rows: Reader, *, span: Span) -> list[LogRow]:
    return await rows.scan(LOG, span, limit=5_000)


def _show(load: Load, told: list[Line], slowest: float) -> None:
    ocis = {int(line.ext.rpartition(":")[2]): line for line in told if line.action == "ocis.file_create"}
    authentik = {line.ext: line for line in told if line.action == f"authentik.{OWN}"}
    count = sum(line.action == f"stalwart.{LOAD}" for line in told)
    lags = {
        "OCIS's file": ([_seconds(ocis[at].rec) - then for at, then in load.records.items()], OCIS_INTERVAL),
        "Authentik's events": (
            [_seconds(authentik[pk].rec) - then for pk, then in load.events.items()],
            AUTHENTIK_INTERVAL,
        ),
        "Stalwart's batches": (load.batches, 1),
    }
    per_second = {"OCIS's file": RECORDS / RECORDS_EVERY, "Authentik's events": 1 / EVENT_EVERY}
    for name, (found, interval) in lags.items():
        rate = per_second.get(name, BATCH / BATCH_EVERY)
        beside = "the most that Stalwart lets a batch wait" if name.startswith("Stalwart") else "its interval"
        for what, share in (("p50", 0.5), ("p99", 0.99)):
            Figure(
                name=f"audit: ingest lag under load, {name}, {rate:.0f} events/s: {what}",
                value=percentile(found, share),
                unit="s",
                budget=interval + 1.0,
                beside=beside,
                peer=float(interval),
            ).show()
    extra = count - len(load.batches) * BATCH
    twice = sum(line.action == "ocis.file_create" for line in told) - len(load.records)
    Figure(
        name="audit: events that came twice or not at all under that load", value=float(abs(extra) + abs(twice)),
        unit="events", budget=0.0, beside="events told", peer=float(count + len(load.records) + len(load.events)),
    ).show()  # fmt: skip
    Figure(
        name="audit: longest that an event was under no checkpoint, under that load", value=slowest, unit="s",
        budget=CHECKPOINT, beside="the most there may be", peer=CHECKPOINT,
    ).show()  # fmt: skip


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS))
