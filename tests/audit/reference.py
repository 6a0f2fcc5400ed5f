"""RFC 6962's definitions as they stand there, recursive and slow: what the tree's code is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256

LEAVES: tuple[bytes, ...] = tuple(sha256(n.to_bytes(4, "big")).digest() for n in range(70_000))
"""Hashes of leaves that no two tests need to agree on."""


def split(count: int) -> int:
    """The largest power of two smaller than ``count``."""
    power = 1
    while power * 2 < count:
        power *= 2
    return power


@lru_cache(maxsize=200_000)
def mth(start: int, end: int) -> bytes:
    """MTH(D[start:end]) over LEAVES."""
    if start == end:
        return sha256(b"").digest()
    if end - start == 1:
        return LEAVES[start]
    middle = start + split(end - start)
    return sha256(b"\x01" + mth(start, middle) + mth(middle, end)).digest()


def path(index: int, start: int, end: int) -> list[bytes]:
    """PATH(m, D[start:end]) of RFC 6962 2.1.1."""
    if end - start == 1:
        return []
    middle = start + split(end - start)
    if index < middle - start:
        return [*path(index, start, middle), mth(middle, end)]
    return [*path(index - (middle - start), middle, end), mth(start, middle)]


def subproof(first: int, start: int, end: int, *, known: bool) -> list[bytes]:
    """SUBPROOF(m, D[start:end], b) of RFC 6962 2.1.2."""
    if first == end - start:
        return [] if known else [mth(start, end)]
    middle = start + split(end - start)
    if first <= middle - start:
        return [*subproof(first, start, middle, known=known), mth(middle, end)]
    return [*subproof(first - (middle - start), middle, end, known=False), mth(start, middle)]


def flipped(proof: Sequence[bytes], step: int, bit: int) -> list[bytes]:
    """The proof with one bit changed."""
    changed = bytearray(proof[step])
    changed[bit // 8] ^= 1 << bit % 8
    return [*proof[:step], bytes(changed), *proof[step + 1 :]]
