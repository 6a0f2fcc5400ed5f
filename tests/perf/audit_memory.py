"""What memory a process has more after a million events than after a hundred thousand.

    python -m tests.perf.audit_memory [EVENTS]

Through everything a source's events go through: keys from the store, commitments, sealing, lines, the file, the tree.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from dezky_operator.audit.keystore import KeyStore
from dezky_operator.audit.log import AuditLog
from dezky_operator.audit.randomness import Randomness
from dezky_operator.audit.sequencer import Sequencer
from dezky_operator.audit.stored_tiles import grow
from dezky_operator.store.sqlite import SqliteStore
from tests.audit.golden import ORIGIN
from tests.perf.audit_accept import events, text_of
from tests.perf.figure import Figure
from tests.perf.installation import on_disk

EVENTS, TOGETHER, BUDGET = 1_000_000, 500, 16.0


async def main(count: int) -> None:
    """Print the figure."""
    with on_disk() as folder:
        store = await SqliteStore.open(folder / "audit.db")
        sequencer = Sequencer(store, origin=ORIGIN, clock=time.time_ns, clock_difference=lambda: 0.0)
        log = AuditLog(sequencer, KeyStore(store, bytes(32)), Randomness(os.urandom))
        before = 0.0
        started = time.perf_counter()
        for first in range(0, count, TOGETHER):
            await log.accept(list(events([text_of(first + number) for number in range(TOGETHER)], sealed=True)))
            if first % 10_000 == 0:
                await grow(store)
            if first + TOGETHER == count // 10:
                before = resident()
        taken = time.perf_counter() - started
        await store.close()
    Figure(
        name=f"audit: memory from {count // 10} events to {count}",
        value=resident() - before,
        unit="MiB more",
        budget=BUDGET,
        beside=f"all of it, MiB; {count / taken:.0f} events/s, durable",
        peer=resident(),
    ).show()


def resident() -> float:
    """MiB in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS))
