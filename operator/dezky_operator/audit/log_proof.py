"""A proof that one line is in the log, in a file of its own (C2SP tlog-proof v1; facts/audit-log.md 6.3). Pure.

Whoever has the file, the line and the log's key checks it without the log.
"""

from __future__ import annotations

import re

import msgspec

from dezky_operator.audit.base64text import from_base64, to_base64
from dezky_operator.audit.checkpoint import KeyChain, Opened, open_checkpoint
from dezky_operator.audit.errors import LineError, ProofError
from dezky_operator.audit.event import LARGEST_INT
from dezky_operator.audit.line import decode
from dezky_operator.audit.merkle import HASH, leaf_hash, verify_inclusion

HEADER = "c2sp.org/tlog-proof@v1"
MOST_HASHES = 63
LONGEST = 80_000
"""Bytes: 63 hashes and the longest note."""
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,15})")


class LogProof(msgspec.Struct, frozen=True):
    """The place of a line, the hashes that lead from it to the root, and the checkpoint with that root, as signed."""

    index: int
    hashes: tuple[bytes, ...]
    note: bytes

    def encode(self) -> bytes:
        """The file's bytes. No `extra` line is written: it would be outside of everything that is signed."""
        lines = [HEADER, f"index {self.index}", *map(to_base64, self.hashes), ""]
        return "".join(f"{line}\n" for line in lines).encode() + self.note

    def verify(self, stored: bytes, chain: KeyChain) -> Opened:
        """Check that the line ``stored`` is at its place under the checkpoint.

        Raises:
            ProofError: the line is not this proof's, or not under this root.
            NoteError: the checkpoint is not signed as it must be.
        """
        opened = open_checkpoint(self.note, chain=chain)
        try:
            line = decode(stored)
        except LineError as error:
            raise ProofError(f"the line is {error}") from None
        if line.seq != self.index or line.origin != opened.checkpoint.origin:
            raise ProofError(f"the proof is of seq {self.index} of {opened.checkpoint.origin}, the line is another")
        verify_inclusion(
            leaf=leaf_hash(stored),
            index=self.index,
            size=opened.checkpoint.size,
            proof=self.hashes,
            root=opened.checkpoint.root,
        )
        return opened


def parse_proof(data: bytes) -> LogProof:
    """The proof of these bytes. Raises ProofError for anything that is not exactly its own encoding."""
    head, gap, note = data.partition(b"\n\n")
    try:
        lines = head.decode().split("\n")
    except UnicodeDecodeError:
        raise ProofError("a proof is text") from None
    index = _INDEX.fullmatch(lines[1]) if len(lines) > 1 else None
    if len(data) > LONGEST or not gap or lines[0] != HEADER or not index or int(index[1]) > LARGEST_INT:
        raise ProofError(f"a proof is '{HEADER}', 'index n', hashes, an empty line and a checkpoint")
    return LogProof(int(index[1]), _hashes(lines[2:]), note)


def _hashes(lines: list[str]) -> tuple[bytes, ...]:
    try:
        found = tuple(map(from_base64, lines))
    except ValueError as error:
        raise ProofError(f"a hash of the proof is {error}") from None
    if len(found) > MOST_HASHES or any(len(step) != HASH for step in found):
        raise ProofError(f"a proof has at most {MOST_HASHES} hashes of {HASH} bytes")
    return found
