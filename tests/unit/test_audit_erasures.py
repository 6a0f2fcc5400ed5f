"""An erasure is told from a deletion, and a changed value from both."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dezky_operator.audit.draft import Draft, Place, Private, prepare, sequenced
from dezky_operator.audit.erasures import Plaintexts, compare_plaintexts, ledger, ledger_digest, parse_ledger
from dezky_operator.audit.errors import LedgerError
from dezky_operator.audit.event import PATHS
from dezky_operator.audit.findings import Verdict, worst
from dezky_operator.audit.line import GENESIS, Line
from tests.audit.events import AT, counting, login, ring
from tests.audit.golden import ORIGIN, RAW

FIELDS = st.sets(st.tuples(st.integers(0, 2**53 - 1), st.sampled_from(PATHS)))
ALL = frozenset((7, path) for path in ("actor.email", "actor.id", "raw", "tenant.slug"))


def stored() -> tuple[Line, Draft]:
    draft = prepare(login(), keys=ring(), random=counting())
    return sequenced(draft, Place(ORIGIN, 7, GENESIS, 0, GENESIS, AT)), draft


LINE, DRAFT = stored()


def without(*paths: str) -> Private:
    """The private row after these fields were deleted from it."""
    private = DRAFT.private
    kept = {path: opening for path, opening in private.f.items() if path not in paths}
    gone = {"raw": b"", "raw_salt": b""} if "raw" in paths else {}
    return msgspec.structs.replace(private, f=kept, **gone)


def said(found: Plaintexts) -> list[str]:
    return [str(finding) for finding in found.findings]


def test_what_is_there_is_what_the_line_committed_to() -> None:
    found = compare_plaintexts(LINE, DRAFT.private, erased=(), text=RAW)
    assert found == Plaintexts((), (), (), sealed=False)


def test_a_text_that_nobody_opened_is_not_compared() -> None:
    assert compare_plaintexts(LINE, DRAFT.private, erased=()) == Plaintexts((), (), (), sealed=True)


@pytest.mark.parametrize("path", ["actor.email", "actor.id", "raw", "tenant.slug"])
def test_a_value_that_is_gone_is_a_finding_unless_it_was_erased(path: str) -> None:
    text = None if path == "raw" else RAW
    deleted = compare_plaintexts(LINE, without(path), erased=(), text=text)
    assert said(deleted) == [f"seq 7 plaintext missing: {path}"]
    assert worst(finding.verdict for finding in deleted.findings) == Verdict.TAMPERED
    erased = compare_plaintexts(LINE, without(path), erased={(7, path)}, text=text)
    assert erased == Plaintexts((), (path,), (), sealed=False)
    elsewhere = compare_plaintexts(LINE, without(path), erased={(8, path)}, text=text)
    assert said(elsewhere) == said(deleted)


def test_with_everything_erased_the_line_is_still_valid() -> None:
    found = compare_plaintexts(LINE, Private(), erased=ALL)
    assert (found.findings, found.erased) == ((), tuple(sorted(path for _, path in ALL)))


def test_changed_values_salts_and_texts_are_findings() -> None:
    salt, value = DRAFT.private.f["actor.id"]
    for opening in ((salt, "43"), (b"\1" * 16, value)):
        private = msgspec.structs.replace(DRAFT.private, f=DRAFT.private.f | {"actor.id": opening})
        assert said(compare_plaintexts(LINE, private, erased=(), text=RAW)) == ["seq 7 plaintext changed: actor.id"]
    assert said(compare_plaintexts(LINE, DRAFT.private, erased=(), text=b"{}")) == ["seq 7 plaintext changed: raw"]


def test_a_value_nobody_committed_to_is_a_finding() -> None:
    private = msgspec.structs.replace(DRAFT.private, f=DRAFT.private.f | {"actor.ip": (bytes(16), "10.0.0.1")})
    found = compare_plaintexts(LINE, private, erased=(), text=RAW)
    assert said(found) == ["seq 7 plaintext without a commitment: actor.ip"]


def test_what_a_backup_brought_back_is_told() -> None:
    found = compare_plaintexts(LINE, DRAFT.private, erased={(7, "actor.email"), (7, "raw")})
    assert (found.findings, found.back, found.erased) == ((), ("actor.email", "raw"), ())


@given(fields=FIELDS)
def test_a_ledger_is_read_as_it_was_written(fields: set[tuple[int, str]]) -> None:
    data = ledger(fields)
    assert parse_ledger(data) == tuple(sorted(fields))
    assert len(ledger_digest(data)) == 64


def test_a_ledger_is_sorted_by_number_and_then_by_path() -> None:
    assert ledger([(10, "raw"), (9, "raw"), (9, "actor.id")]) == b"9 actor.id\n9 raw\n10 raw\n"


@pytest.mark.parametrize(
    "data",
    [
        b"9 raw",
        b"9 raw\n\n",
        b"\n",
        b"10 raw\n9 raw\n",
        b"9 raw\n9 raw\n",
        b"9 raw \n",
        b"09 raw\n",
        b"-1 raw\n",
        b"9 actor.phone\n",
        b"9007199254740992 raw\n",
        b"9 \xff\n",
        b"9\traw\n",
    ],
)
def test_a_ledger_has_one_form(data: bytes) -> None:
    with pytest.raises(LedgerError):
        parse_ledger(data)


def test_a_ledger_of_what_can_not_be_is_not_written() -> None:
    for fields in ([(1, "actor.phone")], [(-1, "raw")], [(2**53, "raw")], [(1, "raw"), (1, "raw")]):
        with pytest.raises(LedgerError):
            ledger(fields)
