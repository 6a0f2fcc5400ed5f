"""The key rotations of a log as they are kept in its store: what proves its later keys (facts/audit-log.md 2.4)."""

from __future__ import annotations

from dezky_operator.audit.checkpoint import KeyChain, parse_text
from dezky_operator.audit.errors import ProofError
from dezky_operator.audit.keys import VerifyKey
from dezky_operator.audit.note import parse
from dezky_operator.audit.rotation import ACTION, Rotation, named_key, trusting
from dezky_operator.audit.taking import DamagedError, Readable, prove_under
from dezky_operator.store.interface import Reader
from dezky_operator.store.tables import CHECKPOINTS, LOG, ROTATIONS, LogRow

MOST = 1_000
"""Rotations of one log: one a day for years."""


async def trust_in(store: Readable) -> bytes:
    """All rotations, oldest first, as ``trust.txt`` holds them; empty while the log has its first key."""

    async def look(rows: Reader) -> bytes:
        return b"".join(row.proof for row in await rows.scan(ROTATIONS, limit=MOST))

    return await store.read(look)


async def chain_in(store: Readable, chain: KeyChain) -> KeyChain:
    """``chain``, which has the log's first key, with all later ones. Raises ProofError."""
    return trusting(chain, await trust_in(store))


async def first_note(store: Readable) -> bytes | None:
    """The log's first checkpoint: which of the keys it began with. None before there is one."""
    rows = await store.read(lambda rows: rows.scan(CHECKPOINTS, limit=1))
    return rows[0].note.encode() if rows else None


async def rotation_to(store: Readable, key: VerifyKey, note: bytes) -> Rotation:
    """What proves that ``key`` counts from the checkpoint ``note`` on.

    Raises:
        DamagedError: no line under the checkpoint names it.
    """
    lines = await store.read(lambda rows: rows.find(LOG, "action", ACTION, limit=MOST, newest_first=True))
    row = next((row for row in lines if _names(row, key)), None)
    if row is None:
        raise DamagedError(f"no line {ACTION} names the key {key.id.hex()}: run `audit verify`")
    _, proof = await prove_under(store, row.seq, parse_text(parse(note).text), note)
    return Rotation(row.body, proof)


def _names(row: LogRow, key: VerifyKey) -> bool:
    try:
        return named_key(row.body) == key
    except ProofError:
        return False
