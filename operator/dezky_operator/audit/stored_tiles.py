"""The tiles of the log's tree in the store: brought up to the end of the log after the rows (facts/audit-log.md §2.4).

They are derived: written anew they are the same, and nothing is judged by them. But without them a proof takes all of
the log, and once rows are pruned they are all that is left of these, so archiving waits until they are stored.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from dezky_operator.audit import hot
from dezky_operator.audit.errors import TileError
from dezky_operator.audit.merkle import Frontier, leaf_hash
from dezky_operator.audit.tiles import HEIGHT, WIDTH, Tile, TileBuilder, frontier_from
from dezky_operator.audit.tiles import Reader as TileReader
from dezky_operator.store.interface import ConflictError, Reader, Rows, Span, Store
from dezky_operator.store.tables import LOG, TILES, LogRow, TileRow

AT_ONCE = 8 * WIDTH
"""Rows of one step: a few milliseconds of the write lock."""
HASH = 32


class Grown(msgspec.Struct, frozen=True, gc=False):
    """A tree whose tiles are all stored."""

    size: int
    root: bytes


async def grow(store: Store) -> Grown:
    """Store the tiles of every line there is; return the tree over them.

    Raises:
        TileError: a line is missing or does not give its hash, or a tile that must be there is not.
        UnavailableError: the store; call again.
    """
    while True:
        done, grown = await store.run(_step)
        if done:
            return grown


async def frontier(rows: Reader, size: int) -> Frontier:
    """The append state of a tree of ``size`` lines, from stored tiles. Raises TileError."""
    return frontier_from(await _reader(rows, size), size)


async def tiled(rows: Reader, size: int) -> int:
    """How many of ``size`` lines have their hashes in stored tiles: found in a few looks, as there are no holes."""
    low, high = 0, size // WIDTH + 1
    while low < high:
        middle = (low + high) // 2
        if await rows.get(TILES, Tile(0, middle).id) is None:
            high = middle
        else:
            low = middle + 1
    last = await rows.get(TILES, Tile(0, low - 1).id) if low else None
    return (low - 1) * WIDTH + len(last.hashes) // HASH if last else 0


async def _step(rows: Rows) -> tuple[bool, Grown]:
    """Add the tiles of the next lines; say whether that was all."""
    tip = await hot.tip(rows, await hot.head_row(rows))
    start = await tiled(rows, tip.size)
    if start > tip.size:
        raise TileError(f"the log has {tip.size} lines and tiles of {start}: its end is missing")
    added = await rows.scan(LOG, Span(start, tip.size), limit=AT_ONCE)
    tree = await frontier(rows, start)
    builder = TileBuilder(start, await _reader(rows, start))
    leaves = _leaves(added, start, min(tip.size - start, AT_ONCE))
    builder.extend(leaves)
    for leaf in leaves:
        tree.append(leaf)
    # The lowest level last: how far the tiles go is read from there.
    for tile, hashes in sorted(builder.changed().items(), reverse=True):
        await _keep(rows, TileRow(tile.id, hashes))
    return builder.size == tip.size, Grown(tree.size, tree.root())


def _leaves(added: Sequence[LogRow], start: int, count: int) -> list[bytes]:
    """The leaf hashes, computed from the lines: a stored hash proves nothing."""
    for seq, row in enumerate(added, start):
        if row.seq != seq:
            raise TileError(f"line {seq} is missing")
        if leaf_hash(row.body) != row.h:
            raise TileError(f"line {seq} does not give its hash: it was changed")
    if len(added) != count:
        raise TileError(f"line {start + len(added)} is missing")
    return [row.h for row in added]


async def _keep(rows: Rows, tile: TileRow) -> None:
    """Store a tile unless a longer one is there: another writer of the same log may be further."""
    while (there := await rows.get(TILES, tile.place)) is None or len(there.hashes) < len(tile.hashes):
        if there is not None:
            await rows.swap(TILES, there, tile)
            continue
        try:
            await rows.insert(TILES, [tile])
        except ConflictError:
            continue


async def _reader(rows: Reader, size: int) -> TileReader:
    """What gives the unfinished tiles of a tree of ``size`` lines and, for its frontier, their neighbours."""
    wanted = []
    level = 0
    while (held := size >> (HEIGHT * level)) > 0:
        wanted.append(Tile(level, held // WIDTH).id)
        level += 1
    there = await rows.get_many(TILES, wanted)
    hashes = {row.place: row.hashes for row in there.values()}
    return lambda tile: hashes.get(tile.id, b"")
