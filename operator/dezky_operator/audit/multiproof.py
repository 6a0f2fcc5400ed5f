"""One proof that many leaves are in one tree: the roots of the largest subtrees that hold none of them. Pure.

They are listed from left to right. Whoever has the leaves and their places goes down the tree of RFC 6962: where a
subtree holds no leaf of his he takes the next hash, where it is one leaf he takes the leaf. So the list has one form
only, and the root is that of the checkpoint only if every leaf is the one at its place.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

from dezky_operator.audit.errors import ProofError
from dezky_operator.audit.merkle import EMPTY_ROOT, HASH, node_hash


def gaps(size: int, held: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The subtrees, as (start, end), of a tree of ``size`` leaves that hold none of ``held``, which is sorted."""
    waiting = [(0, size)] if size else []
    while waiting:
        start, end = waiting.pop()
        if not _holds(held, start, end):
            yield start, end
        elif end - start > 1:
            middle = start + _split(end - start)
            waiting += [(middle, end), (start, middle)]


def root_with(size: int, leaves: Mapping[int, bytes], hashes: Sequence[bytes]) -> bytes:
    """The root of ``size`` leaves of which some are known by place, the rest by the hashes of :func:`gaps`.

    Raises:
        ProofError: there are more or fewer hashes than subtrees, or a leaf lies outside of the tree.
    """
    places = sorted(leaves)
    if places and not 0 <= places[0] <= places[-1] < size:
        raise ProofError(f"leaves {places[0]} to {places[-1]} are not all in a tree of {size} leaves")
    if any(len(step) != HASH for step in hashes):
        raise ProofError(f"the hashes of a proof have {HASH} bytes")
    rest = iter(hashes)

    def root(start: int, end: int) -> bytes:
        if not _holds(places, start, end):
            found = next(rest, None)
            if found is None:
                raise ProofError(f"the proof has {len(hashes)} hashes, more are needed")
            return found
        if end - start == 1:
            return leaves[start]
        middle = start + _split(end - start)
        left = root(start, middle)
        return node_hash(left, root(middle, end))

    whole = root(0, size) if size else EMPTY_ROOT
    if next(rest, None) is not None:
        raise ProofError(f"the proof has {len(hashes)} hashes, fewer are needed")
    return whole


def _holds(places: Sequence[int], start: int, end: int) -> bool:
    first = bisect_left(places, start)
    return first < len(places) and places[first] < end


def _split(count: int) -> int:
    """The largest power of two below ``count``."""
    return 1 << ((count - 1).bit_length() - 1)
