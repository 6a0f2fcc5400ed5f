"""A process that writes to a store and says what was acknowledged: it is killed, starved and refused by tests.

    store_writer.py FILE FIRST STEP [batches=N] [file_limit=BYTES] [user=UID]

Writes batches of ten rows, numbered from FIRST by STEP. A line ``acked 0 1 2 … .`` is written after each.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401 - before the rights are given up, its file may be out of reach then
import os
import resource
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from dezky_operator.store.interface import Rows, StartError, UnavailableError
from dezky_operator.store.sqlite import SqliteStore
from dezky_operator.store.tables import LOG, LogRow

TEN = 10


def event(seq: int) -> LogRow:
    """A row that is told from every other one."""
    return LogRow(seq, b"h", b"dk-%d" % seq, "", "", "", "", 0, "", "", "", "", "", b"{}" * 300)


def batch(first: int, step: int) -> Callable[[Rows], Awaitable[None]]:
    """Ten rows as one piece of work, inserted one by one: a kill may come between any two."""

    async def work(rows: Rows) -> None:
        for number in range(TEN):
            await rows.insert(LOG, [event(first + number * step)])

    return work


def say(words: str) -> None:
    """Write a line at once."""
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


async def write(store: SqliteStore, first: int, step: int, batches: int) -> int:
    """Write batches until there are enough or the disk fails; return the number that comes next."""
    for _ in range(batches):
        try:
            await store.run(batch(first, step))
        except UnavailableError as error:
            say(f"unavailable {error}")
            return first
        say(" ".join(["acked", *(str(first + number * step) for number in range(TEN)), "."]))
        first += TEN * step
    return first


async def repaired(store: SqliteStore, first: int) -> None:
    """With the limit lifted the same store takes the rows it could not take before."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await store.run(batch(first, 1))
    say("acked after repair")


async def main(path: Path, first: int, step: int, options: dict[str, int]) -> None:
    """Do what the command line says."""
    if "user" in options:
        os.seteuid(options["user"])
    try:
        store = await SqliteStore.open(path)
    except StartError as error:
        say(f"refused {error}")
        return
    if "file_limit" in options:
        resource.setrlimit(resource.RLIMIT_FSIZE, (options["file_limit"], resource.RLIM_INFINITY))
    first = await write(store, first, step, options.get("batches", 10_000))
    if "file_limit" in options:
        await repaired(store, first)
    await store.close()


if __name__ == "__main__":
    given = dict(word.split("=") for word in sys.argv[4:])
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), {k: int(v) for k, v in given.items()}))
