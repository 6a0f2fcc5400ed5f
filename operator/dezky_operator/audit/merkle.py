"""The Merkle tree of RFC 6962 and RFC 9162: hashes, the append state, proofs and their verification. Pure.

Proofs are made from *nodes*: the node ``(level, index)`` is the root of the perfect subtree over the leaves
``index * 2**level`` up to ``(index + 1) * 2**level``. Where it comes from (a list, tiles) is the reader's matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256

from dezky_operator.audit.errors import ProofError

HASH = 32
EMPTY_ROOT = sha256().digest()

Node = Callable[[int, int], bytes]
"""Gives the hash of a node by level and index."""


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00, data): of a line, its chain link and its leaf in one."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01, left, right)."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The append state: the roots of the perfect subtrees that make up the tree, one for each bit set in its size."""

    __slots__ = ("_peaks", "size")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        """``peaks`` are the roots from the largest, leftmost subtree to the smallest."""
        if len(peaks) != size.bit_count():
            raise ProofError(f"a tree of {size} leaves has {size.bit_count()} peaks, found {len(peaks)}")
        self.size = size
        self._peaks = list(peaks)

    def append(self, leaf: bytes) -> None:
        """Add the hash of one leaf."""
        size = self.size
        peaks = self._peaks
        while size & 1:
            leaf = sha256(b"\x01" + peaks.pop() + leaf).digest()
            size >>= 1
        peaks.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """The root over all leaves so far."""
        return _folded(self._peaks) if self._peaks else EMPTY_ROOT

    @property
    def peaks(self) -> tuple[bytes, ...]:
        """What a Frontier of the same size is made from again."""
        return tuple(self._peaks)

    def copy(self) -> Frontier:
        """Another one that appends without changing this one."""
        return Frontier(self.size, self._peaks)


def _folded(peaks: Sequence[bytes]) -> bytes:
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over the hashes of leaves, in order."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


def nodes_of(leaves: Sequence[bytes]) -> Node:
    """A reader of nodes over a list of leaf hashes, for trees that fit into memory."""
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([node_hash(below[n], below[n + 1]) for n in range(0, len(below) - 1, 2)])
    return lambda level, index: levels[level][index]


def subtrees(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The nodes, as (level, index), that make up the leaves from ``start`` up to ``end``, left to right.

    ``start`` is a multiple of a power of two not smaller than ``end - start``, as every range of a proof is.
    """
    while start < end:
        level = (end - start).bit_length() - 1
        yield level, start >> level
        start += 1 << level


def range_root(start: int, end: int, node: Node) -> bytes:
    """The root over the leaves from ``start`` up to ``end``, under the same condition as :func:`subtrees`."""
    peaks = [node(level, index) for level, index in subtrees(start, end)]
    return _folded(peaks) if peaks else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node: Node) -> tuple[bytes, ...]:
    """The hashes that lead from leaf ``index`` to the root of ``size`` leaves (RFC 9162 2.1.3.1), leaf side first."""
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} is not in a tree of {size} leaves")
    start, end, ranges = 0, size, []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    return tuple(range_root(*span, node) for span in reversed(ranges))


def consistency_proof(first: int, second: int, node: Node) -> tuple[bytes, ...]:
    """The hashes that show the tree of ``second`` leaves to begin with that of ``first`` (RFC 9162 2.1.4.1).

    Empty for ``first`` 0, where there is nothing to show, and for equal sizes.
    """
    if not 0 <= first <= second:
        raise ProofError(f"a tree of {second} leaves can not begin with one of {first}")
    if first in {0, second}:
        return ()
    start, end, ranges, known = 0, second, [], True
    while end != first:
        middle = start + _split(end - start)
        if first <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start, known = middle, False
    if not known:
        ranges.append((start, end))
    return tuple(range_root(*span, node) for span in reversed(ranges))


def _split(count: int) -> int:
    """The largest power of two below ``count``."""
    return 1 << ((count - 1).bit_length() - 1)


def verify_inclusion(*, leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check a proof by RFC 9162 2.1.3.2. Raises ProofError unless it leads from ``leaf`` to exactly ``root``."""
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} is not in a tree of {size} leaves")
    place, last, found = index, size - 1, leaf
    for step in proof:
        if last == 0:
            raise ProofError("the inclusion proof is too long")
        if place & 1 or place == last:
            found = node_hash(step, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, step)
        place, last = place >> 1, last >> 1
    if last or found != root or not _whole(proof):
        raise ProofError(f"the inclusion proof of leaf {index} does not lead to the root of {size} leaves")


def verify_consistency(
    *, first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check a proof by RFC 9162 2.1.4.2. Raises ProofError unless it joins exactly these two roots."""
    if not 0 <= first <= second:
        raise ProofError(f"a tree of {second} leaves can not begin with one of {first}")
    if first in {0, second}:
        begins = first_root == (second_root if first == second else EMPTY_ROOT)
        if proof or not begins:
            raise ProofError(f"the roots of {first} and {second} leaves are not joined by an empty proof")
        return
    path = [first_root, *proof] if first & (first - 1) == 0 else list(proof)
    if not path or not _whole(proof) or _joined(path, first, second) != (first_root, second_root):
        raise ProofError(f"the consistency proof does not join the trees of {first} and {second} leaves")


def _joined(path: Sequence[bytes], first: int, second: int) -> tuple[bytes, bytes] | None:
    """The two roots a consistency proof leads to; None when its length is wrong."""
    place, last = first - 1, second - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old = new = path[0]
    for step in path[1:]:
        if last == 0:
            return None
        if place & 1 or place == last:
            old, new = node_hash(step, old), node_hash(step, new)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            new = node_hash(new, step)
        place, last = place >> 1, last >> 1
    return None if last else (old, new)


def _whole(proof: Sequence[bytes]) -> bool:
    return all(len(step) == HASH for step in proof)
