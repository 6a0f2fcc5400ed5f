"""How a later key of the log comes to count (facts/audit-log.md 2.4). Pure.

The key before it vouches for it: the line ``key.rotated`` names the new key, and the checkpoint over that line is
signed by both. It is the border between them: the last checkpoint of the one, the first of the other. What proves this
is a rotation: the line, and the proof that it is under the border (C2SP tlog-proof)::

    {"action":"key.rotated", ...}
    c2sp.org/tlog-proof@v1
    index 411
    <hashes>

    <the checkpoint on the border, signed by both keys>

``trust.txt`` is such rotations one after the other, oldest first. It is no root: without the first vkey, which comes
from outside, nothing of it counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256

import msgspec

from dezky_operator.audit.checkpoint import KeyChain, parse_text
from dezky_operator.audit.errors import KeyFormatError, LineError, NoteError, ProofError
from dezky_operator.audit.event import Datum
from dezky_operator.audit.keys import VerifyKey, parse_vkey
from dezky_operator.audit.line import decode
from dezky_operator.audit.log_proof import LogProof, parse_proof
from dezky_operator.audit.note import parse

ACTION = "key.rotated"
OWN = "operator"
_BEGINS = re.compile(rb"^(?=\{)", re.MULTILINE)
"""No line of a proof or of a note begins like a line of the log."""


class Rotation(msgspec.Struct, frozen=True):
    """The line that names a later key, and the proof that it is under the border."""

    line: bytes
    proof: LogProof

    def encode(self) -> bytes:
        """As it stands in ``trust.txt``."""
        return self.line + b"\n" + self.proof.encode()

    def extend(self, chain: KeyChain) -> KeyChain:
        """``chain`` with the key that this rotation brings. Raises ProofError when the newest key there does not."""
        key = named_key(self.line)
        try:
            border = parse_text(parse(self.proof.note).text).size
            longer = chain.with_next(key, border)
            self.proof.verify(self.line, longer)
        except (NoteError, KeyFormatError) as error:
            raise ProofError(str(error)) from None
        return longer


def naming(key: VerifyKey) -> dict[str, Datum]:
    """What the line ``key.rotated`` says of the new key."""
    return {"sha256": sha256(key.vkey.encode()).hexdigest(), "vkey": key.vkey}


def named_key(line: bytes) -> VerifyKey:
    """The key that a line ``key.rotated`` of the operator names. Raises ProofError for any other line."""
    try:
        found = decode(line)
        if (found.action, found.src, found.tenant) != (ACTION, OWN, ""):
            raise ProofError(f"a line {ACTION} of the operator was expected")
        key = parse_vkey(str(found.data.get("vkey", "")))
    except (LineError, KeyFormatError) as error:
        raise ProofError(str(error)) from None
    if found.data != naming(key):
        raise ProofError("the line does not hold the hash of the key it names")
    return key


def parse_trust(trust: bytes) -> list[Rotation]:
    """The rotations of a ``trust.txt``, oldest first; none in an empty one. Raises ProofError."""
    before, *blocks = _BEGINS.split(trust)
    if before:
        raise ProofError(f"it begins with a line {ACTION}")
    rotations = []
    for block in blocks:
        line, _, proof = block.partition(b"\n")
        rotations.append(Rotation(line, parse_proof(proof)))
    return rotations


def extended(chain: KeyChain, rotations: Iterable[Rotation]) -> KeyChain:
    """``chain`` with all keys that ``rotations`` bring, oldest first. Raises ProofError, which says which one fails."""
    for number, rotation in enumerate(rotations, 1):
        try:
            chain = rotation.extend(chain)
        except ProofError as error:
            raise ProofError(f"key rotation {number}: {error}") from None
    return chain


def trusting(chain: KeyChain, trust: bytes) -> KeyChain:
    """``chain`` with the keys of a ``trust.txt``. Raises ProofError."""
    try:
        return extended(chain, parse_trust(trust))
    except ProofError as error:
        raise ProofError(f"trust: {error}") from None
