"""Taking an export out of the store: lines, and what proves them to somebody who sees nothing else (C116).

Everything taken is below a checkpoint and never changes, so it is read page by page and writers come in between. The
result is checked before it is handed out: one that proves nothing is an error here, not at the auditor's desk.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from itertools import islice
from typing import Protocol

import msgspec

from dezky_operator.audit import hot
from dezky_operator.audit.checkpoint import Checkpoint, parse_text
from dezky_operator.audit.errors import AuditError, LineError, NoteError, ProofError, TileError
from dezky_operator.audit.export_proof import RangeProof, TenantProof
from dezky_operator.audit.head_list import decode_heads
from dezky_operator.audit.heads import Head, TenantMap
from dezky_operator.audit.line import decode
from dezky_operator.audit.log_proof import LogProof
from dezky_operator.audit.merkle import inclusion_proof, leaf_hash, range_root, subtrees, verify_inclusion
from dezky_operator.audit.multiproof import gaps, root_with
from dezky_operator.audit.note import parse
from dezky_operator.audit.tiles import Tile, nodes_in, tile_of
from dezky_operator.audit.verify_export import HEADS, Value
from dezky_operator.store.interface import Reader, Result, Span
from dezky_operator.store.tables import CHECKPOINTS, LOG, PII, TILES, CheckpointRow, LogRow

AT_ONCE = 500
"""Rows of one look."""
GAPS_AT_ONCE = 256


class ExportError(AuditError):
    """What was asked for can not be taken. The text says why and what to do."""


class DamagedError(ExportError):
    """What is stored is not what was signed."""


class Readable(Protocol):
    """The part of a store that is needed."""

    async def read(self, work: Callable[[Reader], Awaitable[Result]]) -> Result:
        """Run reads over one state of the store."""


class Signed(msgspec.Struct, frozen=True):
    """A checkpoint of the store."""

    row: CheckpointRow
    checkpoint: Checkpoint

    @property
    def note(self) -> bytes:
        """As it was signed."""
        return self.row.note.encode()


class Taken(msgspec.Struct, frozen=True):
    """What an export holds beside its lines. ``heads`` is the line `log.heads`, empty for a range."""

    proof: TenantProof | RangeProof
    note: bytes
    lines: int
    heads: bytes = b""


Line = Callable[[bytes], None]
"""Gets each line without LF."""
Values = Callable[[Value], None]
"""Gets each value that is still there."""


async def newest_checkpoint(store: Readable) -> Signed:
    """The newest checkpoint. Raises ExportError when there is none."""
    rows = await store.read(lambda rows: rows.scan(CHECKPOINTS, limit=1, newest_first=True))
    if not rows:
        raise ExportError("the log has no checkpoint yet: nothing can be proved; wait for the first one")
    return _signed(rows[0])


def _signed(row: CheckpointRow) -> Signed:
    try:
        return Signed(row, parse_text(parse(row.note.encode()).text))
    except NoteError as error:
        raise DamagedError(f"checkpoint {row.counter} of the store is damaged ({error}): run `audit verify`") from None


async def take_tenant(
    store: Readable, tenant: str, *, line: Line, value: Values | None = None, after: Head | None = None
) -> Taken:
    """Take all lines of a tenant up to the newest `log.heads`.

    Args:
        store: the log.
        tenant: its id.
        line: gets each line.
        value: gets each personal value that the lines commit to and the store still has; None: none is taken.
        after: where the export before this one ended.

    Raises:
        ExportError: there is nothing to take, or lines of it are in the archive.
    """
    signed = await newest_checkpoint(store)
    heads = await _heads_line(store, signed.checkpoint.size)
    known, head = await _map(store, signed.row, heads, tenant)
    first = after.t_seq + 1 if after else 0
    if first > head.t_seq:
        raise ExportError(f"tenant {tenant!r} has no line after t_seq {first - 1} under a checkpoint")
    leaves: dict[int, bytes] = {}
    async for row in _lines_of(store, tenant, heads.seq):
        if row.t_seq < first:
            continue
        if row.t_seq != first + len(leaves):
            raise ExportError(_absent(tenant, first + len(leaves), row.t_seq))
        line(row.body)
        leaves[row.seq] = leaf_hash(row.body)
        if value is not None:
            await _hand_out(store, row.seq, value)
    if len(leaves) != head.t_seq - first + 1:
        raise ExportError(_absent(tenant, first + len(leaves), head.t_seq + 1))
    count = len(leaves)
    leaves[heads.seq] = leaf_hash(heads.body)
    hashes = await _tree_hashes(store, signed.checkpoint, leaves)
    place = known.place(tenant)
    mapped = tuple(range_root(*gap, known.node) for gap in gaps(len(known), [place]))
    proof = TenantProof(tenant, first, head.t_seq, heads.seq, place, len(known), mapped, hashes)
    return Taken(proof, signed.note, count, heads.body)


async def take_range(store: Readable, first: int, last: int | None, *, line: Line, doubt: bool = False) -> Taken:
    """Take the lines from ``first`` to ``last``, both included; None: to the newest checkpoint.

    Args:
        store: the log.
        first: the lowest seq.
        last: the highest.
        line: gets each line.
        doubt: take what is there, whether it proves anything or not, for somebody who verifies it next.

    Raises:
        ExportError: a line of them is not under a checkpoint, or is in the archive.
    """
    signed = await newest_checkpoint(store)
    last = signed.checkpoint.size - 1 if last is None else last
    if not 0 <= first <= last < signed.checkpoint.size:
        raise ExportError(f"seq {first}..{last}: the newest checkpoint is over 0..{signed.checkpoint.size - 1}")
    leaves: dict[int, bytes] = {}
    for start in range(first, last + 1, AT_ONCE):
        for row in await store.read(partial(_range, span=Span(start, min(start + AT_ONCE, last + 1)))):
            line(row.body)
            leaves[row.seq] = leaf_hash(row.body)
    if not doubt and list(leaves) != list(range(first, last + 1)):
        gone = next(seq for seq in range(first, last + 1) if seq not in leaves)
        raise DamagedError(f"seq {gone} is not in the store: archived, or gone; run `audit verify`")
    hashes = await _tree_hashes(store, signed.checkpoint, leaves, doubt=doubt)
    return Taken(RangeProof(first, last, hashes), signed.note, len(leaves))


def _absent(tenant: str, first: int, next_there: int) -> str:
    return (
        f"tenant {tenant!r}: t_seq {first}..{next_there - 1} is not in the store. If it is in the archive, name the "
        "export before this one; if not, run `audit verify`"
    )


async def _heads_line(store: Readable, size: int) -> LogRow:
    """The newest `log.heads` under a checkpoint of ``size`` lines."""

    async def look(rows: Reader) -> list[LogRow]:
        lowest = hot.hot((await hot.head_row(rows)).hot_floor).low
        return await rows.find(LOG, "action", HEADS, Span(lowest, size), limit=1, newest_first=True)

    if not (found := await store.read(look)):
        raise ExportError(f"no {HEADS} is under the newest checkpoint: wait for the next one")
    return found[0]


async def _map(store: Readable, newest: CheckpointRow, heads: LogRow, tenant: str) -> tuple[TenantMap, Head]:
    """The map that a `log.heads` commits to, and the tenant's head in it."""
    row: CheckpointRow | None = newest
    try:
        root = decode(heads.body).data.get("root")
        while row is not None and row.size > heads.seq:
            known = decode_heads(row.heads)
            if known.root.hex() == root:
                return known, known.heads[known.place(tenant)]
            row = await store.read(partial(_before, counter=row.counter))
    except (LineError, ProofError) as error:
        raise ExportError(str(error)) from None
    raise DamagedError(f"no checkpoint of the store holds the map of tenants of seq {heads.seq}: run `audit verify`")


async def _before(rows: Reader, counter: int) -> CheckpointRow | None:
    found = await rows.scan(CHECKPOINTS, Span(high=counter), limit=1, newest_first=True)
    return found[0] if found else None


async def _lines_of(store: Readable, tenant: str, end: int) -> AsyncIterator[LogRow]:
    after = 0
    while page := await store.read(partial(_page, tenant=tenant, span=Span(after, end))):
        for row in page:
            yield row
        after = page[-1].seq + 1


async def _page(rows: Reader, tenant: str, span: Span) -> list[LogRow]:
    return await rows.find(LOG, "tenant", tenant, span, limit=AT_ONCE)


async def _range(rows: Reader, span: Span) -> list[LogRow]:
    return await rows.scan(LOG, span, limit=AT_ONCE)


async def _hand_out(store: Readable, seq: int, value: Values) -> None:
    private = await store.read(lambda rows: rows.get(PII, seq))
    for path, (salt, text) in sorted(private.f.items()) if private else ():
        value(Value(seq, path, salt.hex(), text))


async def _tree_hashes(
    store: Readable, checkpoint: Checkpoint, leaves: dict[int, bytes], *, doubt: bool = False
) -> tuple[bytes, ...]:
    """The hashes that lead from the lines to the checkpoint's root. Raises ExportError when they do not."""
    found: list[bytes] = []
    rest = gaps(checkpoint.size, sorted(leaves))
    try:
        while part := list(islice(rest, GAPS_AT_ONCE)):
            found += await store.read(partial(_hashes, size=checkpoint.size, part=part))
        proved = doubt or root_with(checkpoint.size, leaves, found) == checkpoint.root
    except (TileError, ProofError) as error:
        raise DamagedError(f"the stored tree is damaged ({error}): run `audit verify`") from None
    if not proved:
        raise DamagedError("the lines and the stored tree do not give the checkpoint's root: run `audit verify`")
    return tuple(found)


async def _hashes(rows: Reader, size: int, part: list[tuple[int, int]]) -> list[bytes]:
    tiles = await rows.get_many(TILES, {tile.id for gap in part for tile in _tiles(gap, size)})
    held = {row.place: row.hashes for row in tiles.values()}
    node = nodes_in(lambda tile: held.get(tile.id, b""), size)
    return [range_root(*gap, node) for gap in part]


def _tiles(gap: tuple[int, int], size: int) -> Iterator[Tile]:
    return (tile_of(level, index, size) for level, index in subtrees(*gap))


async def prove(store: Readable, seq: int) -> tuple[bytes, LogProof]:
    """The line at ``seq`` and what proves it on its own (C2SP tlog-proof). Raises ExportError."""
    signed = await newest_checkpoint(store)
    return await prove_under(store, seq, signed.checkpoint, signed.note)


async def prove_under(store: Readable, seq: int, checkpoint: Checkpoint, note: bytes) -> tuple[bytes, LogProof]:
    """As :func:`prove`, under a checkpoint that ``note`` holds. Raises ExportError."""
    size = checkpoint.size
    row = await store.read(lambda rows: rows.get(LOG, seq))
    if row is None or not seq < size:
        raise ExportError(f"seq {seq} is not in the store, or not among the {size} lines under the checkpoint")
    tiles = [tile.id for gap in gaps(size, [seq]) for tile in _tiles(gap, size)]
    held = await store.read(lambda rows: rows.get_many(TILES, tiles))
    node = nodes_in(lambda tile: held[tile.id].hashes if tile.id in held else b"", size)
    try:
        proof = LogProof(seq, inclusion_proof(seq, size, node), note)
        verify_inclusion(leaf=leaf_hash(row.body), index=seq, size=size, proof=proof.hashes, root=checkpoint.root)
    except (TileError, ProofError) as error:
        raise DamagedError(f"seq {seq} can not be proved ({error}): run `audit verify`") from None
    return row.body, proof
