"""Everything in the store verified: lines, what is searched by, personal values, tiles, and what is kept elsewhere.

What it can not compare it says: a sealed text whose keys are not at hand is only known to be there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from functools import partial

from dezky_operator.audit import hot
from dezky_operator.audit.checkpoint import KeyChain
from dezky_operator.audit.draft import Private
from dezky_operator.audit.erasures import Field, compare_plaintexts, ledger_digest, parse_ledger
from dezky_operator.audit.errors import LedgerError, LineError, TileError
from dezky_operator.audit.findings import Finding, Report, Verdict
from dezky_operator.audit.line import Line, parse
from dezky_operator.audit.stored_tiles import frontier, tiled
from dezky_operator.audit.taking import Readable
from dezky_operator.audit.verify_store import verify_store
from dezky_operator.store.interface import Reader, Span
from dezky_operator.store.tables import ERASURES, LOG, PII, ErasureRow, LogRow, PiiRow

AT_ONCE = 500
ERASED = "privacy.erased"
SEALED = "the sealed texts of sources"


async def verify_hot(
    store: Readable,
    *,
    chain: KeyChain,
    first: int | None = None,
    last: int | None = None,
    held: Sequence[bytes] = (),
    shallow: bool = False,
) -> Report:
    """As :class:`dezky_operator.audit.verify_store.StoreVerifier` says, and all that belongs to the lines with them."""
    report = await verify_store(store, chain=chain, first=first, last=last, held=held, shallow=shallow)
    span = Span(first or 0, last + 1 if last is not None else None)
    values = [finding async for finding in _values(store, span)]
    tiles = await store.read(_tiles)
    unchecked = [what for what in report.unchecked if not what.startswith(("personal values", "stored tiles"))]
    return Report(report.lines, (*report.findings, *values, *tiles), (*unchecked, SEALED))


async def _values(store: Readable, span: Span) -> AsyncIterator[Finding]:
    """Values that were changed, and that are gone without an erasure in this log."""
    erased, wrong = await _erasures(store)
    for finding in wrong:
        yield finding
    async for rows, private in _pairs(store, span):
        for row in rows:
            try:
                line = parse(row.body)
            except LineError:
                continue  # found with the lines
            beside = private.get(row.seq)
            found = compare_plaintexts(line, _private(beside), erased=erased)
            for finding in found.findings:
                yield finding
            if found.back:
                what = f"erased values are back: {', '.join(found.back)}; apply the erasures again"
                yield Finding(what, row.seq, verdict=Verdict.INCOMPLETE)


def _private(row: PiiRow | None) -> Private:
    return Private(row.f, row.raw, row.raw_salt, row.bi, row.people) if row else Private()


async def _pairs(store: Readable, span: Span) -> AsyncIterator[tuple[list[LogRow], dict[int, PiiRow]]]:
    floor = (await store.read(hot.head_row)).hot_floor
    begin = max(int(span.low or 0), floor)
    while rows := await store.read(partial(_rows, span=Span(begin, span.high))):
        private = await store.read(partial(_beside, seqs=[row.seq for row in rows]))
        yield rows, private
        begin = rows[-1].seq + 1


async def _rows(rows: Reader, *, span: Span) -> list[LogRow]:
    return await rows.scan(LOG, span, limit=AT_ONCE)


async def _beside(rows: Reader, *, seqs: Iterable[int]) -> dict[int, PiiRow]:
    return {row.seq: row for row in (await rows.get_many(PII, seqs)).values()}


async def _erasures(store: Readable) -> tuple[frozenset[Field], list[Finding]]:
    """What was erased: by lists whose hash stands in the ``privacy.erased`` of their seq. Others excuse nothing."""
    fields: set[Field] = set()
    wrong: list[Finding] = []
    for row, line in await store.read(_ledgers):
        data = row.paths.encode()
        said = line.data.get("list") if line is not None and line.action == ERASED else None
        try:
            listed = parse_ledger(data)
        except LedgerError as error:
            wrong.append(Finding(f"erasure: {error}", row.seq))
            continue
        if said == ledger_digest(data):
            fields.update(listed)
        else:
            wrong.append(Finding("erasure: the list is not the one that its event commits to", row.seq))
    return frozenset(fields), wrong


async def _ledgers(rows: Reader) -> list[tuple[ErasureRow, Line | None]]:
    ledgers = await rows.scan(ERASURES, limit=await rows.count(ERASURES) or 1)
    lines = {row.seq: row for row in (await rows.get_many(LOG, [found.seq for found in ledgers])).values()}
    return [(found, _parsed(lines.get(found.seq))) for found in ledgers]


def _parsed(row: LogRow | None) -> Line | None:
    try:
        return parse(row.body) if row else None
    except LineError:
        return None


async def _tiles(rows: Reader) -> list[Finding]:
    """Whether the stored tiles are those of the lines; they are derived, so others are made anew and prove nothing."""
    size = (await hot.tip(rows, await hot.head_row(rows))).size
    stored = min(await tiled(rows, size), size)
    try:
        await frontier(rows, stored)
    except TileError as error:
        return [Finding(f"tiles: {error}; proofs fail until they are made anew", verdict=Verdict.INCOMPLETE)]
    return []
