"""Stored pieces of the tree: tiles of height 8 as in C2SP tlog-tiles (facts/audit-log.md 2.4, 6.1). Pure.

Tile ``(level, index)`` holds up to 256 hashes. The hash at place ``n`` of level ``L`` is the root of the perfect
subtree over the leaves ``n * 256**L`` up to ``(n + 1) * 256**L``; tile ``index`` begins at the place ``index * 256``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from dezky_operator.audit.errors import TileError
from dezky_operator.audit.merkle import HASH, Frontier, Node, root_of, subtrees

HEIGHT = 8
WIDTH = 1 << HEIGHT
"""Hashes of a full tile."""


class Tile(msgspec.Struct, frozen=True, order=True):
    """Which tile, and how many hashes of it a tree has."""

    level: int
    index: int
    width: int = WIDTH

    @property
    def id(self) -> str:
        """Its key in the store: a partial tile is overwritten by its longer self, so the width is no part of it."""
        return f"{self.level}/{self.index}"

    @property
    def path(self) -> str:
        """Its path in C2SP tlog-tiles: ``tile/0/x001/234``, partial ``tile/0/000.p/3``."""
        groups = f"{self.index:0{-(-len(str(self.index)) // 3) * 3}d}"
        parts = [groups[n : n + 3] for n in range(0, len(groups), 3)]
        name = "/".join([f"x{part}" for part in parts[:-1]] + parts[-1:])
        return f"tile/{self.level}/{name}" + ("" if self.width == WIDTH else f".p/{self.width}")


Reader = Callable[[Tile], bytes]
"""Gives the hashes of a tile, 32 bytes each; more than asked for is fine, as a partial tile may have grown."""


def tiles_between(old: int, new: int) -> Iterator[Tile]:
    """The tiles that a tree of ``new`` leaves has and one of ``old`` has not, or has with fewer hashes."""
    level = 0
    while (end := new >> (HEIGHT * level)) > 0:
        start = old >> (HEIGHT * level)
        if end > start:
            for index in range(start // WIDTH, (end - 1) // WIDTH + 1):
                yield Tile(level, index, min(WIDTH, end - index * WIDTH))
        level += 1


def tile_of(level: int, index: int, size: int) -> Tile:
    """The tile that holds a node of a tree of ``size`` leaves. Raises TileError when the tree has no such node."""
    step = level // HEIGHT
    place = index << (level % HEIGHT)
    tile = place // WIDTH
    width = min(WIDTH, (size >> (HEIGHT * step)) - tile * WIDTH)
    if (index + 1) << level > size or index < 0:
        raise TileError(f"a tree of {size} leaves has no node {index} at level {level}")
    return Tile(step, tile, width)


def nodes_in(read: Reader, size: int) -> Node:
    """A reader of nodes over stored tiles of a tree of ``size`` leaves. It keeps the tiles it read."""
    seen: dict[Tile, bytes] = {}

    def node(level: int, index: int) -> bytes:
        tile = tile_of(level, index, size)
        if tile not in seen:
            seen[tile] = _hashes(read, tile)
        start = (index << (level % HEIGHT)) % WIDTH
        count = 1 << (level % HEIGHT)
        held = seen[tile][start * HASH : (start + count) * HASH]
        return root_of([held[n : n + HASH] for n in range(0, len(held), HASH)])

    return node


def _hashes(read: Reader, tile: Tile) -> bytes:
    held = read(tile)
    if len(held) < tile.width * HASH or len(held) % HASH or len(held) > WIDTH * HASH:
        raise TileError(f"tile {tile.id} must hold {tile.width} hashes of {HASH} bytes, found {len(held)} bytes")
    return held[: tile.width * HASH]


def frontier_from(read: Reader, size: int) -> Frontier:
    """The append state of a tree of ``size`` leaves, from its stored tiles. Raises TileError."""
    node = nodes_in(read, size)
    return Frontier(size, [node(level, index) for level, index in subtrees(0, size)])


class TileBuilder:
    """Makes the tiles of a growing tree. It holds one unfinished tile for each level."""

    def __init__(self, size: int = 0, read: Reader = lambda _: b"") -> None:
        """Continue a tree of ``size`` leaves, whose unfinished tiles ``read`` gives. Raises TileError."""
        self.size = size
        self._saved = size
        self._open: list[bytearray] = []
        self._full: dict[Tile, bytes] = {}
        level = 0
        while (held := size >> (HEIGHT * level)) > 0:
            tile = Tile(level, held // WIDTH, held % WIDTH)
            self._open.append(bytearray(_hashes(read, tile) if tile.width else b""))
            level += 1

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add hashes of leaves."""
        for leaf in leaves:
            self._add(0, leaf)
            self.size += 1

    def _add(self, level: int, held: bytes) -> None:
        if level == len(self._open):
            self._open.append(bytearray())
        tile = self._open[level]
        tile += held
        if len(tile) == WIDTH * HASH:
            index = self.size >> (HEIGHT * (level + 1))
            self._full[Tile(level, index)] = bytes(tile)
            tile.clear()
            self._add(
                level + 1, root_of([self._full[Tile(level, index)][n : n + HASH] for n in range(0, WIDTH * HASH, HASH)])
            )

    def changed(self) -> dict[Tile, bytes]:
        """The tiles that are new or longer since the last call, full and partial. To be stored before rows go."""
        tiles = {
            tile: self._full.get(tile) or bytes(self._open[tile.level])
            for tile in tiles_between(self._saved, self.size)
        }
        self._full.clear()
        self._saved = self.size
        return tiles
