"""What an export carries beside its lines: whose they are, and the hashes that lead from them to a checkpoint. Pure.

::

    dezky.eu/audit-export/v1             dezky.eu/audit-export/v1
    tenant <tenantId>                    range 512 767
    lines <first t_seq> <last t_seq>
    heads <seq> <place> <tenants>        <hashes of the tree>

    <hashes of the map of tenants>

    <hashes of the tree>

Each hash is a line of base64, in the order of :mod:`dezky_operator.audit.multiproof`. Those of the map lead from the
tenant's head (facts/audit-log.md 2.4) to the root in the line ``log.heads`` at that seq, those of the tree from the
lines of the export and, of a tenant's, that line to the checkpoint. No number here is believed: they decide only where
the lines are looked for.
"""

from __future__ import annotations

import re

import msgspec

from dezky_operator.audit.base64text import from_base64, to_base64
from dezky_operator.audit.errors import ProofError
from dezky_operator.audit.event import LARGEST_INT
from dezky_operator.audit.merkle import HASH

HEADER = "dezky.eu/audit-export/v1"
_NUMBER = "(0|[1-9][0-9]{0,15})"
_UID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_TENANT = re.compile(
    f"{re.escape(HEADER)}\ntenant ((?:{_UID})?)\nlines {_NUMBER} {_NUMBER}\n"
    f"heads {_NUMBER} {_NUMBER} {_NUMBER}\n\n((?:[^\n]+\n)*)\n((?:[^\n]+\n)*)"
)
_RANGE = re.compile(f"{re.escape(HEADER)}\nrange {_NUMBER} {_NUMBER}\n\n((?:[^\n]+\n)*)")


class TenantProof(msgspec.Struct, frozen=True):
    """That lines are all of one tenant's.

    Attributes:
        tenant: its id, empty for the events of no tenant.
        first, last: ``t_seq`` of the first and last line.
        heads: seq of the ``log.heads`` that commits to the map of tenants.
        place, tenants: of the tenant in the map, and how many there are.
        map_hashes, tree_hashes: see the module.
    """

    tenant: str
    first: int
    last: int
    heads: int
    place: int
    tenants: int
    map_hashes: tuple[bytes, ...]
    tree_hashes: tuple[bytes, ...]

    def encode(self) -> bytes:
        """The file's bytes."""
        about = f"{HEADER}\ntenant {self.tenant}\nlines {self.first} {self.last}\n"
        heads = f"heads {self.heads} {self.place} {self.tenants}\n"
        return f"{about}{heads}\n{_written(self.map_hashes)}\n{_written(self.tree_hashes)}".encode()


class RangeProof(msgspec.Struct, frozen=True):
    """That lines are all from ``first`` to ``last``, both included."""

    first: int
    last: int
    tree_hashes: tuple[bytes, ...]

    def encode(self) -> bytes:
        """The file's bytes."""
        return f"{HEADER}\nrange {self.first} {self.last}\n\n{_written(self.tree_hashes)}".encode()


def parse_export_proof(data: bytes) -> TenantProof | RangeProof:
    """The proof of these bytes. Raises ProofError for anything that is not exactly its own encoding."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ProofError("the proof of an export is text") from None
    if found := _TENANT.fullmatch(text):
        numbers = [int(found[n]) for n in range(2, 7)]
        _check(numbers)
        first, last, heads, place, tenants = numbers
        return TenantProof(found[1], first, last, heads, place, tenants, _read(found[7]), _read(found[8]))
    if found := _RANGE.fullmatch(text):
        first, last = int(found[1]), int(found[2])
        _check([first, last])
        return RangeProof(first, last, _read(found[3]))
    raise ProofError(f"the proof of an export is '{HEADER}', what it proves, and hashes")


def _check(numbers: list[int]) -> None:
    if numbers[0] > numbers[1] or max(numbers) > LARGEST_INT:
        raise ProofError(f"lines {numbers[0]} to {numbers[1]} are none")


def _written(hashes: tuple[bytes, ...]) -> str:
    return "".join(f"{to_base64(step)}\n" for step in hashes)


def _read(text: str) -> tuple[bytes, ...]:
    try:
        found = tuple(from_base64(line) for line in text.split("\n")[:-1])
    except ValueError as error:
        raise ProofError(f"a hash of the proof is {error}") from None
    if any(len(step) != HASH for step in found):
        raise ProofError(f"the hashes of a proof have {HASH} bytes")
    return found
