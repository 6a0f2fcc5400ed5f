"""Whether the lines in the store are the log that its checkpoints say, and are searched by what they say.

What stands beside the lines (personal values, tiles, the guard outside of the store) is not looked at here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Protocol

from dezky_operator.audit import hot
from dezky_operator.audit.checkpoint import Checkpoint, KeyChain, open_checkpoint
from dezky_operator.audit.errors import LineError, NoteError
from dezky_operator.audit.findings import Finding, Report, Verdict
from dezky_operator.audit.indexed import differences
from dezky_operator.audit.line import decode, parse
from dezky_operator.audit.stored_trust import trust_in
from dezky_operator.audit.taking import DamagedError, ExportError, Readable, take_range
from dezky_operator.audit.verify import Walk, trusted_keys
from dezky_operator.audit.verify_export import Export, verify_export
from dezky_operator.store.interface import Reader, Span
from dezky_operator.store.tables import CHECKPOINTS, LOG, CheckpointRow, LogRow

AT_ONCE = 500


NOT_CHECKED = ("personal values and texts", "stored tiles", "anchors outside of the store")


class StoreVerifier(Protocol):
    """Verifies what is in a store."""

    async def __call__(
        self,
        store: Readable,
        *,
        chain: KeyChain,
        first: int | None = None,
        last: int | None = None,
        held: Sequence[bytes] = (),
        shallow: bool = False,
    ) -> Report:
        """Check the lines from ``first`` to ``last``, both included; None: from seq 0, to the end.

        Args:
            store: the log.
            chain: its first key, which comes from outside of it; what proves the others is in the store.
            first: the lowest seq asked for.
            last: the highest. A report over less than was asked for says INCOMPLETE.
            held: checkpoints that the asker has from elsewhere.
            shallow: leave out whether lines are in their one form, and say so.
        """


async def verify_store(
    store: Readable,
    *,
    chain: KeyChain,
    first: int | None = None,
    last: int | None = None,
    held: Sequence[bytes] = (),
    shallow: bool = False,
) -> Report:
    """As :class:`StoreVerifier` says. A range that does not begin with seq 0 is proved by the stored tree."""
    floor = (await store.read(hot.head_row)).hot_floor
    if first is None and last is None and not floor:
        return await _whole(store, chain, held, shallow=shallow)
    return await _part(store, chain, (first or 0, last), floor, held)


async def _whole(store: Readable, chain: KeyChain, held: Sequence[bytes], *, shallow: bool) -> Report:
    trusted = trusted_keys(chain, await trust_in(store))
    findings = list(trusted.findings)
    checkpoints = [found async for found in _checkpoints(store, trusted.chain, (*trusted.notes, *held), findings)]
    walk = Walk(checkpoints, chain.origin, parse if shallow else decode)
    wrong: list[Finding] = []
    async for row in _rows(store):
        walk.take(row.body)
        wrong += _index_findings(row)
    found = (*findings, *walk.finish(), *wrong)
    form = ("the canonical form of the lines",) if shallow else ()
    return Report(walk.size, found, (*form, *NOT_CHECKED))


async def _part(
    store: Readable, chain: KeyChain, asked: tuple[int, int | None], floor: int, held: Sequence[bytes]
) -> Report:
    first, last = asked
    findings: list[Finding] = []
    if first < floor:
        what = "archived: not in the store; verify the archive"
        findings.append(Finding(what, first, floor - 1, Verdict.INCOMPLETE))
        first = floor
    lines: list[bytes] = []
    try:
        taken = await take_range(store, first, last, line=lines.append, doubt=True)
    except DamagedError as error:
        return Report(0, (*findings, Finding(f"range: {error}")))
    except ExportError as error:
        return Report(0, (*findings, Finding(f"range: {error}", verdict=Verdict.INCOMPLETE)))
    export = Export(lines, b"", taken.proof.encode(), taken.note, trust=await trust_in(store))
    report = verify_export(export, chain=chain, held=held).report
    findings += report.findings
    async for row in _rows(store, Span(first, taken.proof.last + 1)):
        findings += _index_findings(row)
    return Report(report.lines, tuple(findings), (*report.unchecked, *NOT_CHECKED))


def _index_findings(row: LogRow) -> list[Finding]:
    try:
        wrong = differences(row, parse(row.body))
    except LineError:
        return []
    return [Finding(f"index: differs from the line in {', '.join(wrong)}", row.seq)] if wrong else []


async def _checkpoints(
    store: Readable, chain: KeyChain, held: Sequence[bytes], findings: list[Finding]
) -> AsyncIterator[Checkpoint]:
    """The checkpoints whose signatures hold; the others become findings, and so do two of one size."""
    roots: dict[int, bytes] = {}
    stored = [row.note.encode() async for row in _notes(store)]
    if not stored and not held:
        findings.append(Finding("checkpoint: the store has none and none was given", verdict=Verdict.INCOMPLETE))
    for note in (*stored, *held):
        try:
            found = open_checkpoint(note, chain=chain).checkpoint
        except NoteError as error:
            findings.append(Finding(f"checkpoint: {error}"))
            continue
        if roots.setdefault(found.size, found.root) != found.root:
            findings.append(Finding(f"split view: two roots at size {found.size}"))
        yield found


async def _notes(store: Readable) -> AsyncIterator[CheckpointRow]:
    after = 0
    while page := await store.read(partial(_some_notes, span=Span(after))):
        for row in page:
            yield row
        after = page[-1].counter + 1


async def _some_notes(rows: Reader, span: Span) -> list[CheckpointRow]:
    return await rows.scan(CHECKPOINTS, span, limit=AT_ONCE)


async def _rows(store: Readable, within: Span | None = None) -> AsyncIterator[LogRow]:
    span = within or Span(0)
    while page := await store.read(partial(_some_rows, span=span)):
        for row in page:
            yield row
        span = Span(page[-1].seq + 1, span.high)


async def _some_rows(rows: Reader, span: Span) -> list[LogRow]:
    return await rows.scan(LOG, span, limit=AT_ONCE)
