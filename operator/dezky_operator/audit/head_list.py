"""The map of tenants as it is kept with its checkpoint: a line ``tenant t_seq h`` for each head. Pure."""

from __future__ import annotations

import re

from dezky_operator.audit.errors import ProofError
from dezky_operator.audit.heads import Head, TenantMap

_HEAD = re.compile(r"([0-9a-f-]*) (0|[1-9][0-9]{0,15}) ([0-9a-f]{64})")


def encode_heads(heads: TenantMap) -> bytes:
    """The list, in the order of the map."""
    return "".join(f"{head.tenant} {head.t_seq} {head.h.hex()}\n" for head in heads.heads).encode()


def decode_heads(data: bytes) -> TenantMap:
    """The map of a list. Raises ProofError for anything that is not exactly its own encoding."""
    found = [_HEAD.fullmatch(line) for line in data.decode(errors="replace").split("\n")[:-1]]
    heads = TenantMap(Head(line[1], int(line[2]), bytes.fromhex(line[3])) for line in found if line)
    if encode_heads(heads) != data:
        raise ProofError("the heads of a checkpoint are sorted lines of tenant, t_seq and hash")
    return heads
