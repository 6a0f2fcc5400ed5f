"""How long a page of a hundred events and a tenant's export take, in a log of 100,000 events of 200 tenants.

    python -m tests.perf.audit_query [EVENTS]

Wall time, the median of some rounds, in milliseconds. Beside a page stands the same hundred rows read by one statement
of SQLite, with what is beside them; beside the export the second verifier's time for it, as a process.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import apsw

from dezky_operator.audit.checkpoint import KeyChain, KeyRange
from dezky_operator.audit.draft import prepare
from dezky_operator.audit.head_list import encode_heads
from dezky_operator.audit.keys import parse_vkey
from dezky_operator.audit.query import Query, search
from dezky_operator.audit.randomness import Randomness
from dezky_operator.audit.reading import views
from dezky_operator.audit.taking import take_tenant
from dezky_operator.audit.verify_export import Export, verify_export
from dezky_operator.store.interface import Store
from dezky_operator.store.sqlite import SqliteStore
from tests.audit.corpus import EXPORT_TOOL, written_part
from tests.audit.filled import KEYS, appender, checkpoint
from tests.audit.golden import VKEY
from tests.perf.audit_accept import UIDS, events, text_of
from tests.perf.figure import Figure

EVENTS, ROUNDS, BATCH = 100_000, 7, 5_000
PAGE_BUDGET, SCAN_BUDGET, EXPORT_BUDGET = 50.0, 1_000.0, 1_000.0
"""Milliseconds. Set here: the design has none."""
CHAIN = KeyChain([KeyRange(parse_vkey(VKEY))])
TENANT = UIDS[7]
QUERIES = {
    "newest": Query(),
    "deep page": Query(cursor="2026-11-24T04:00:20.000000Z.19000"),
    "tenant": Query(tenant=TENANT),
    "action, every event": Query(action="authentik."),
    "action, no event": Query(action="tenant."),
    "address, by index": Query(tenant=TENANT, email="person7@acme.test"),
    "address, gone through": Query(email="nobody@acme.test"),
    "free text, gone through": Query(text="needle"),
}


async def main(count: int) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "audit.db"
        store = await SqliteStore.open(path)
        await fill(store, count)
        peer = bare(path)
        for name, query in QUERIES.items():
            taken = await median(partial(page, store, query))
            budget = SCAN_BUDGET if "gone through" in name else PAGE_BUDGET
            show(f"audit query: {name}", taken, budget, "one statement of SQLite for the newest hundred", peer)
        export = await tenant_export(store)
        taken = await median(partial(tenant_export, store))
        verified = await median(partial(both_ends, export))
        second = process(written_part(Path(folder) / "export", export))
        show(
            f"audit export: a tenant's {count // len(UIDS)} lines", taken, EXPORT_BUDGET, "its second verifier", second
        )
        show("audit export: its verification", verified, EXPORT_BUDGET, "its second verifier", second)
        await store.close()


async def fill(store: Store, count: int) -> None:
    """The log, its heads and a checkpoint."""
    log, random = appender(store), Randomness(os.urandom)
    texts = [text_of(n) for n in range(count)]
    for start in range(0, count, BATCH):
        made = events(texts[start : start + BATCH], sealed=True)
        await log.append([prepare(event, keys=KEYS, random=random) for event in made])
    await checkpoint(store, log, encode_heads, counter=0)


async def page(store: Store, query: Query) -> None:
    """A page as it is shown."""
    found = await store.read(partial(search, query=query, keys=KEYS if query.tenant else None))
    await store.read(partial(views, found=found.found))


async def tenant_export(store: Store) -> Export:
    """A tenant's lines and what proves them."""
    lines: list[bytes] = []
    taken = await take_tenant(store, TENANT, line=lines.append)
    return Export(lines, taken.heads, taken.proof.encode(), taken.note)


async def both_ends(export: Export) -> None:
    """The operator's verifier over it."""
    if verify_export(export, chain=CHAIN, tenant=TENANT).report.findings:
        raise RuntimeError("the export is not valid")


async def median(work: Callable[[], Awaitable[object]]) -> float:
    """Milliseconds."""
    taken = []
    for _ in range(ROUNDS):
        before = time.perf_counter()
        await work()
        taken.append(time.perf_counter() - before)
    return statistics.median(taken) * 1000


def bare(path: Path) -> float:
    """Milliseconds of the least there can be for the newest hundred."""
    statement = "SELECT * FROM audit_log LEFT JOIN audit_pii USING (seq) ORDER BY at DESC, seq DESC LIMIT 100"
    connection = apsw.Connection(str(path), apsw.SQLITE_OPEN_READONLY)
    taken = []
    for _ in range(ROUNDS):
        before = time.perf_counter()
        list(connection.execute(statement))
        taken.append(time.perf_counter() - before)
    connection.close()
    return statistics.median(taken) * 1000


def process(directory: Path) -> float:
    """Milliseconds of the second verifier, start and all."""
    before = time.perf_counter()
    command = [sys.executable, "-I", "-S", str(EXPORT_TOOL), str(directory), "--key", VKEY]
    subprocess.run(command, check=True, capture_output=True)
    return (time.perf_counter() - before) * 1000


def show(name: str, value: float, budget: float, beside: str, peer: float) -> None:
    """One figure of which less is better."""
    Figure(name=name, value=value, unit="ms", budget=budget, beside=beside, peer=peer).show()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS))
