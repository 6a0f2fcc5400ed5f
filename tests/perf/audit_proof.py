"""How long the proof of one line takes in a log of a million.

    python -m tests.perf.audit_proof [LINES]

From stored tiles, checkpoint and its own verification included: what `audit prove` does.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

from dezky_operator.audit.checkpoint import Checkpoint
from dezky_operator.audit.merkle import Frontier, leaf_hash
from dezky_operator.audit.taking import prove
from dezky_operator.audit.tiles import TileBuilder
from dezky_operator.store.interface import Rows
from dezky_operator.store.sqlite import SqliteStore
from dezky_operator.store.tables import CHECKPOINTS, LOG, TILES, CheckpointRow, LogRow, TileRow
from tests.audit.events import log_of, login, signers
from tests.audit.golden import ORIGIN
from tests.perf.figure import Figure

LINES, ROUNDS, BUDGET = 1_000_000, 50, 10.0


async def main(count: int) -> None:
    """Print the figure."""
    with tempfile.TemporaryDirectory() as folder:
        store = await SqliteStore.open(Path(folder) / "audit.db")
        seq = count * 7 // 9
        await filled(store, count, seq)
        taken = []
        for _ in range(ROUNDS):
            before = time.perf_counter()
            _, proof = await prove(store, seq)
            taken.append((time.perf_counter() - before) * 1_000)
        await store.close()
    Figure(
        name=f"audit: inclusion proof at {count} lines, slowest of {ROUNDS}",
        value=max(taken),
        unit="ms",
        budget=BUDGET,
        beside=f"the limit of 63 hashes; it has {len(proof.hashes)}",
        peer=63.0,
    ).show()


async def filled(store: SqliteStore, count: int, seq: int) -> None:
    """Tiles of so many leaves, of which one is of a line that is there, and a checkpoint over all."""
    body = log_of([login()])[0]
    builder, tree = TileBuilder(), Frontier()
    leaves = [
        leaf_hash(body) if number == seq else sha256(number.to_bytes(8, "big")).digest() for number in range(count)
    ]
    builder.extend(leaves)
    for leaf in leaves:
        tree.append(leaf)
    tiles = [TileRow(tile.id, hashes) for tile, hashes in builder.changed().items()]
    note = signers().sign(Checkpoint(ORIGIN, count, tree.root()), 1)
    row = LogRow(seq, leaf_hash(body), bytes(32), "", "", "", "", 0, "", "", "", "", "", body)

    async def keep(rows: Rows) -> None:
        await rows.put(TILES, tiles)
        await rows.put(LOG, [row])
        await rows.put(CHECKPOINTS, [CheckpointRow(0, count, note.decode(), b"", ())])

    await store.run(keep)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else LINES))
