"""How many lines a second the tailer of OCIS's audit file makes into events, on one core.

    python -m tests.perf.audit_tail [LINES]

CPU time of whole looks, threads included, the best of some rounds: read, cut, hash the prefix, take tokens out, decode,
find actor and tenant. Beside it a loop that only cuts and decodes the same lines. The last figure is a restart, which
hashes what was read once.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from dezky_operator.ingest.tenants import KnownTenant, Tenants
from dezky_operator.store.tables import CursorRow
from tests.ocis_lines import EVERY, LINK_CREATED, SPACE, numbered
from tests.perf.figure import Figure
from tests.tails import Followed

LINES, ROUNDS, TENANTS = 40_000, 5, 200
BUDGET = 20_000
COMMON = ("file_create", "container_create", "file_rename", "space_shared", "group_member_added", "file_delete")


def main(count: int) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "audit.log"
        size = write(path, count)
        rounds = [asyncio.run(tailed(path, count)) for _ in range(ROUNDS)]
        bare = max(count / decoded(path) for _ in range(ROUNDS))
    lines = f"lines of {size // count} B"
    show(
        f"audit: tail OCIS's file, {lines}",
        max(count / read for read, _ in rounds),
        BUDGET,
        "bare cut and decode",
        bare,
    )
    restart = max(size / again / 1e6 for _, again in rounds)
    show(
        "audit: known again after a restart",
        restart,
        200,
        "tailed",
        max(size / read / 1e6 for read, _ in rounds),
        "MB/s",
    )


def show(name: str, value: float, budget: float, beside: str, peer: float, unit: str = "1/s") -> None:
    """One figure of which more is better."""
    Figure(name=name, value=value, unit=unit, budget=budget, beside=beside, peer=peer, better="higher").show()


def write(path: Path, count: int) -> int:
    """A file as it comes: mostly files, one line in fifty with a token. Its size in bytes."""
    with path.open("wb") as file:
        for n in range(count):
            line = numbered(n) if n % 3 else EVERY[COMMON[n // 3 % len(COMMON)]] + b"\n"
            file.write(LINK_CREATED + b"\n" if n % 50 == 0 else line)
        return file.tell()


async def tailed(path: Path, count: int) -> tuple[float, float]:
    """Seconds of CPU for all lines, and for knowing the file again after a restart."""
    drives = [SPACE, *(f"space-{n}" for n in range(TENANTS - 1))]
    known = Tenants(
        KnownTenant(tenant_id=f"5e298916-14cb-5616-8a85-{n:012x}", slug=f"tenant-{n}", drives=(drive,))
        for n, drive in enumerate(drives)
    )
    followed = Followed(path, tenants=lambda: known)
    cursor: CursorRow | None = None
    found, before = 0, time.process_time()
    while found < count + 1:  # and one about the file
        look = await followed.tail.look(cursor)
        found, cursor = found + len(look.events), look.cursor
    middle = time.process_time()
    await followed.restart(cursor)
    await followed.look()
    await followed.tail.close()
    return middle - before, time.process_time() - middle


def decoded(path: Path) -> float:
    """Seconds of CPU for the least that anybody does who reads these lines."""
    before = time.process_time()
    for line in path.read_bytes().split(b"\n")[:-1]:
        msgspec.json.decode(line)
    return time.process_time() - before


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else LINES)
