"""The map of tenants' newest lines, committed to by `log.heads` (facts/audit-log.md 2.4, 6.4). Pure.

With it a tenant's export proves that nothing of that tenant was left out, and shows nothing of the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

import msgspec

from dezky_operator.audit.errors import ProofError
from dezky_operator.audit.merkle import Node, nodes_of, root_of


class Head(msgspec.Struct, frozen=True, gc=False):
    """The newest line of a tenant: its ``t_seq`` and leaf hash. ``""`` (no tenant) is a tenant like any other."""

    tenant: str
    t_seq: int
    h: bytes

    @property
    def leaf(self) -> bytes:
        """SHA-256(0x03, tenant, 0x00, u64 big-endian t_seq, h)."""
        return sha256(b"\x03" + self.tenant.encode() + b"\0" + self.t_seq.to_bytes(8, "big") + self.h).digest()


class TenantMap:
    """All heads at one moment, sorted by the tenants' bytes. Raises ProofError when a tenant comes twice."""

    def __init__(self, heads: Iterable[Head]) -> None:
        self.heads = sorted(heads, key=lambda head: head.tenant.encode())
        self._leaves = [head.leaf for head in self.heads]
        self._places = {head.tenant: place for place, head in enumerate(self.heads)}
        if len(self._places) != len(self.heads):
            raise ProofError("a tenant has one head, found two")

    def __len__(self) -> int:
        """How many tenants."""
        return len(self.heads)

    @property
    def root(self) -> bytes:
        """Their root, by RFC 6962."""
        return root_of(self._leaves)

    @property
    def node(self) -> Node:
        """Its nodes, for proofs."""
        return nodes_of(self._leaves)

    def place(self, tenant: str) -> int:
        """The leaf index of a tenant. Raises ProofError when it has no line."""
        if tenant not in self._places:
            raise ProofError(f"tenant {tenant!r} has no line in the log")
        return self._places[tenant]
