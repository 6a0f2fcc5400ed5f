"""The stored tree gives what the whole one gives."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dezky_operator.audit.errors import TileError
from dezky_operator.audit.merkle import consistency_proof, inclusion_proof, nodes_of, range_root
from dezky_operator.audit.tiles import Tile, TileBuilder, frontier_from, nodes_in, tile_of, tiles_between
from tests.audit.reference import LEAVES, mth, path, subproof


class Shelf:
    """Tiles by their key in the store, as a database keeps them; counts what is read."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.reads: list[Tile] = []

    def put(self, tiles: dict[Tile, bytes]) -> None:
        for tile, hashes in tiles.items():
            assert len(hashes) == tile.width * 32
            self.kept[tile.id] = hashes

    def read(self, tile: Tile) -> bytes:
        self.reads.append(tile)
        return self.kept.get(tile.id, b"")


def shelf_of(size: int, *, every: int = 10**9) -> Shelf:
    shelf, builder = Shelf(), TileBuilder()
    for start in range(0, size, every):
        builder.extend(LEAVES[start : min(size, start + every)])
        shelf.put(builder.changed())
    return shelf


BIG = shelf_of(len(LEAVES))


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 0, 3), "tile/0/000.p/3"),
        (Tile(1, 999), "tile/1/999"),
        (Tile(0, 1_234_067), "tile/0/x001/x234/067"),
        (Tile(2, 1_000, 17), "tile/2/x001/000.p/17"),
    ],
)
def test_paths_are_those_of_tlog_tiles(tile: Tile, path: str) -> None:
    assert tile.path == path


def test_a_tree_of_70000_leaves_has_these_tiles() -> None:
    tiles = list(tiles_between(0, 70_000))
    assert [tile for tile in tiles if tile.width < 256] == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert len(tiles) == 274 + 2 + 1
    assert sorted(BIG.kept) == sorted(tile.id for tile in tiles)


def test_a_tile_holds_the_roots_of_its_subtrees() -> None:
    assert BIG.kept["0/1"] == b"".join(LEAVES[256:512])
    assert BIG.kept["1/0"][:64] == mth(0, 256) + mth(256, 512)
    assert BIG.kept["2/0"] == mth(0, 65_536)


@given(old=st.integers(0, 70_000), more=st.integers(0, 3_000))
def test_only_tiles_that_grew_are_written_again(old: int, more: int) -> None:
    before = {tile.id: tile for tile in tiles_between(0, old)}
    after = {tile.id: tile for tile in tiles_between(0, old + more)}
    assert set(tiles_between(old, old + more)) == {tile for tile in after.values() if before.get(tile.id) != tile}


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 1_500), max_size=5))
def test_tiles_do_not_depend_on_how_often_the_log_was_restarted(cuts: list[int]) -> None:
    shelf, size = Shelf(), 0
    for cut in [*sorted(cuts), 1_500]:
        builder = TileBuilder(size, shelf.read)
        builder.extend(LEAVES[size:cut])
        shelf.put(builder.changed())
        assert builder.changed() == {}
        size = cut
    assert shelf.kept == shelf_of(1_500).kept == shelf_of(1_500, every=100).kept


@given(size=st.integers(0, len(LEAVES)))
def test_the_append_state_comes_back_from_tiles(size: int) -> None:
    frontier = frontier_from(BIG.read, size)
    assert (frontier.size, frontier.root()) == (size, mth(0, size))


@given(size=st.integers(1, len(LEAVES)), data=st.data())
def test_proofs_from_tiles_are_those_of_the_definition(size: int, data: st.DataObject) -> None:
    node = nodes_in(BIG.read, size)
    index, first = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    assert list(inclusion_proof(index, size, node)) == path(index, 0, size)
    assert list(consistency_proof(first, size, node)) == subproof(first, 0, size, known=True)


@given(size=st.integers(1, 600), data=st.data())
def test_proofs_from_tiles_equal_those_from_a_list(size: int, data: st.DataObject) -> None:
    index, first = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    listed, stored = nodes_of(LEAVES[:size]), nodes_in(shelf_of(size).read, size)
    assert inclusion_proof(index, size, stored) == inclusion_proof(index, size, listed)
    assert consistency_proof(first, size, stored) == consistency_proof(first, size, listed)


def test_a_proof_reads_a_tile_once_and_few_of_them() -> None:
    shelf = Shelf()
    shelf.kept = BIG.kept
    inclusion_proof(12_345, 70_000, nodes_in(shelf.read, 70_000))
    assert len(shelf.reads) == len(set(shelf.reads)) <= 5


def test_a_tile_that_is_missing_short_or_torn_is_named() -> None:
    for held in (b"", bytes(32 * 255), bytes(32 * 256 + 1), bytes(32 * 257)):
        with pytest.raises(TileError, match="tile 0/0 must hold 256 hashes"):
            range_root(0, 128, nodes_in(lambda _, held=held: held, 300))  # type: ignore[misc]  # bound on purpose


def test_any_flipped_bit_of_a_tile_that_is_read_gives_another_root() -> None:
    shelf = shelf_of(300)
    for name in ("0/1", "1/0"):
        for place in range(0, len(shelf.kept[name]), 7):
            changed = bytearray(shelf.kept[name])
            changed[place] ^= 1
            kept = shelf.kept | {name: bytes(changed)}
            assert frontier_from(lambda tile, kept=kept: kept[tile.id], 300).root() != mth(0, 300)  # type: ignore[misc]  # bound on purpose


@pytest.mark.parametrize(("level", "index", "size"), [(0, 300, 300), (8, 1, 300), (9, 0, 300), (0, -1, 300), (0, 0, 0)])
def test_a_node_that_a_tree_has_not_is_refused(level: int, index: int, size: int) -> None:
    with pytest.raises(TileError, match="has no node"):
        tile_of(level, index, size)


def test_a_restart_without_its_unfinished_tiles_is_refused() -> None:
    with pytest.raises(TileError, match="tile 0/1 must hold 44 hashes"):
        TileBuilder(300)
