"""What may be erased, stored beside the lines that commit to it (table `audit_pii`, facts/audit-log.md 2.8)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress

import msgspec

from dezky_operator.audit.draft import INDEXED, Private
from dezky_operator.audit.erasures import Field, parse_ledger
from dezky_operator.audit.errors import LedgerError
from dezky_operator.audit.refusals import BrokenLogError
from dezky_operator.store.interface import ConflictError, Reader, Rows, Span
from dezky_operator.store.tables import ERASURES, PII, PiiRow

LEDGERS_AT_ONCE = 100


async def keep(rows: Rows, private: Mapping[int, Private]) -> None:
    """Store the values of lines that were just inserted, by seq; those that an earlier try stored are the same."""
    stored = list(_rows(private))
    try:
        await rows.insert(PII, stored)
    except ConflictError:
        await rows.put(PII, stored)


async def complete(rows: Rows, private: Mapping[int, Private]) -> None:
    """Store what is missing of lines that an earlier call inserted and perhaps did not finish, by seq.

    Nothing erased comes back: a row that is there stays as it is, and of one that is not there is stored what no ledger
    names.

    Raises:
        BrokenLogError: a ledger cannot be read, so that it is unknown what was erased.
    """
    there = await rows.get_many(PII, private) if private else {}
    missing = {seq: values for seq, values in private.items() if seq not in there}
    if not missing:
        return
    erased = await _erased(rows, min(missing))
    left = {seq: _without(values, {path for at, path in erased if at == seq}) for seq, values in missing.items()}
    for row in _rows(left):
        with suppress(ConflictError):  # another process completes the same line
            await rows.insert(PII, [row])


def _rows(private: Mapping[int, Private]) -> Iterator[PiiRow]:
    """A row for each line that has anything that may be erased."""
    for seq, values in private.items():
        if values.f or values.raw:
            yield PiiRow(seq, *msgspec.structs.astuple(values))


async def _erased(rows: Reader, lowest: int) -> set[Field]:
    """What the ledgers name of lines from ``lowest`` on. An erasure has a higher seq than the lines it speaks of."""
    fields: set[Field] = set()
    after = lowest
    while ledgers := await rows.scan(ERASURES, Span(low=after + 1), limit=LEDGERS_AT_ONCE):
        for one in ledgers:
            try:
                fields.update(field for field in parse_ledger(one.paths.encode()) if field[0] >= lowest)
            except LedgerError as error:
                raise BrokenLogError(
                    f"the ledger of the erasure at {one.seq} is damaged: restore it, nothing is appended"
                ) from error
        after = ledgers[-1].seq
    return fields


def _without(values: Private, gone: Collection[str]) -> Private:
    """The values but those at these paths, and nothing that only served them."""
    kept = {path: value for path, value in values.f.items() if path not in gone}
    bi = () if INDEXED in gone else values.bi
    if "raw" in gone:
        return Private(kept, bi=bi)
    return Private(kept, values.raw, values.raw_salt, bi, values.people)
