"""What was erased, and whether what is left is what the lines committed to (facts/audit-log.md 2.8). Pure.

The ledger of an erasure is a list of ``seq path`` lines. It names nobody, its SHA-256 stands in the chained
`privacy.erased`, and it is what tells an erasure from somebody's deletion.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from hashlib import sha256

import msgspec

from dezky_operator.audit.commitments import commitment
from dezky_operator.audit.draft import Private
from dezky_operator.audit.errors import LedgerError
from dezky_operator.audit.event import LARGEST_INT, PATHS
from dezky_operator.audit.findings import Finding
from dezky_operator.audit.line import Line

Field = tuple[int, str]
"""One erased value: the seq of its line and its commitment path."""
_LINE = re.compile(r"(0|[1-9][0-9]{0,15}) ([a-z.]+)")


def ledger(fields: Iterable[Field]) -> bytes:
    """The list of an erasure, sorted by seq and path. Raises LedgerError for an impossible field or one twice."""
    ordered = sorted(fields)
    if len(set(ordered)) != len(ordered):
        raise LedgerError("a field is erased once, found one twice")
    for seq, path in ordered:
        if path not in PATHS or not 0 <= seq <= LARGEST_INT:
            raise LedgerError(f"a ledger holds seq and commitment path, found {seq} {path[:64]!r}")
    return "".join(f"{seq} {path}\n" for seq, path in ordered).encode()


def parse_ledger(data: bytes) -> tuple[Field, ...]:
    """The fields of a list. Raises LedgerError for anything that is not exactly its own encoding."""
    try:
        found = [_LINE.fullmatch(line) for line in data.decode().split("\n")[:-1]]
        fields = tuple((int(line[1]), line[2]) for line in found if line)
    except UnicodeDecodeError:
        raise LedgerError("a ledger is text") from None
    if ledger(fields) != data:
        raise LedgerError("a ledger is sorted lines of seq and path, each with LF")
    return fields


def ledger_digest(data: bytes) -> str:
    """What `privacy.erased` holds of the list."""
    return sha256(data).hexdigest()


class Plaintexts(msgspec.Struct, frozen=True):
    """What became of the values a line commits to.

    Attributes:
        findings: values that were changed, or are missing without an erasure.
        erased: paths that are gone by an erasure.
        back: paths that were erased and are there again, from a backup; the ledger has to be applied again.
        sealed: whether the source's text is there and nobody opened it, so that it was not compared.
    """

    findings: tuple[Finding, ...]
    erased: tuple[str, ...]
    back: tuple[str, ...]
    sealed: bool


def compare_plaintexts(
    line: Line, private: Private, *, erased: Collection[Field], text: bytes | None = None
) -> Plaintexts:
    """Compare what may be erased with what the line committed to.

    Args:
        line: a canonical line.
        private: its row beside the log; an empty one when there is none.
        erased: all fields of all ledgers whose digest a `privacy.erased` in this log holds.
        text: the opened text of the source, where its keys are at hand.
    """
    left = {path: commitment(salt, path, value.encode()) for path, (salt, value) in private.f.items()}
    if text is not None:
        left["raw"] = commitment(private.raw_salt, "raw", text)
    sealed = text is None and bool(private.raw)
    present = left.keys() | ({"raw"} if sealed else set())
    gone = {path for path in line.c if (line.seq, path) in erased}
    wrong = [(path, "plaintext changed") for path, made in left.items() if line.c.get(path, made) != made]
    wrong += [(path, "plaintext missing") for path in line.c.keys() - present - gone]
    wrong += [(path, "plaintext without a commitment") for path in present - line.c.keys()]
    return Plaintexts(
        tuple(Finding(f"{what}: {path}", line.seq) for path, what in sorted(wrong)),
        tuple(sorted(gone - present)),
        tuple(sorted(gone & present)),
        sealed,
    )
