"""What stands beside the lines, verified with them: personal values, erasures, tiles (cases 25 and 35)."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from dezky_operator.audit.checkpoint import KeyChain, KeyRange
from dezky_operator.audit.erasures import ledger, ledger_digest
from dezky_operator.audit.findings import Report, Verdict
from dezky_operator.audit.head_list import encode_heads
from dezky_operator.audit.keys import parse_vkey
from dezky_operator.audit.verify_hot import verify_hot
from dezky_operator.store.interface import Rows, Span
from dezky_operator.store.sqlite import SqliteStore
from dezky_operator.store.tables import ERASURES, PII, TILES, ErasureRow, PiiRow
from tests.audit.events import login, own
from tests.audit.filled import append, appender, checkpoint
from tests.audit.golden import VKEY

CHAIN = KeyChain([KeyRange(parse_vkey(VKEY))])
ERASED = ledger([(1, "actor.email"), (1, "raw")])


@pytest.fixture(scope="module")
async def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sign-ins, an erasure of something of the second, and a checkpoint over all."""
    path = tmp_path_factory.mktemp("log") / "audit.db"
    store = await SqliteStore.open(path)
    log = appender(store)
    await append(log, [login(f"l-{number}") for number in range(3)])
    await append(log, [own("e-1", "privacy.erased", data={"list": ledger_digest(ERASED)})])
    await checkpoint(store, log, encode_heads, counter=0)
    await store.close()
    return path


async def after(original: Path, directory: Path, *changes: object) -> Report:
    """The report over a copy to which ``changes`` were done."""
    store = await SqliteStore.open(Path(shutil.copy(original, directory / "audit.db")))
    try:
        for change in changes:
            await store.run(change)  # type: ignore[arg-type]
        return await verify_hot(store, chain=CHAIN)
    finally:
        await store.close()


def said(report: Report) -> list[str]:
    return [str(finding) for finding in report.findings]


async def changed(rows: Rows, seq: int, **fields: object) -> None:
    row = await rows.get(PII, seq)
    assert row is not None
    await rows.put(PII, [msgspec.structs.replace(row, **fields)])


async def erase(rows: Rows) -> None:
    """As an erasure does: the values and their salts go, and the list says which."""
    row = await rows.get(PII, 1)
    assert row is not None
    left = {path: value for path, value in row.f.items() if path != "actor.email"}
    await rows.put(PII, [PiiRow(1, left, b"", b"", (), ())])
    await rows.put(ERASURES, [ErasureRow(3, ERASED.decode())])


async def test_untouched_it_is_valid_and_says_what_was_not_opened(original: Path, tmp_path: Path) -> None:
    report = await after(original, tmp_path)
    assert (report.verdict, said(report)) == (Verdict.VALID, [])
    assert "the sealed texts of sources" in report.unchecked
    assert not [what for what in report.unchecked if "personal values" in what]


async def test_case_35_a_value_that_is_gone_without_an_erasure_is_found(original: Path, tmp_path: Path) -> None:
    async def delete(rows: Rows) -> None:
        row = await rows.get(PII, 2)
        assert row is not None
        await changed(rows, 2, f={path: value for path, value in row.f.items() if path != "actor.email"})

    report = await after(original, tmp_path, delete)
    assert (report.verdict, said(report)) == (Verdict.TAMPERED, ["seq 2 plaintext missing: actor.email"])


async def test_a_row_of_values_that_is_gone_is_found_value_by_value(original: Path, tmp_path: Path) -> None:
    async def delete(rows: Rows) -> None:
        await rows.delete(PII, Span(0, 1), limit=1)

    found = said(await after(original, tmp_path, delete))
    assert "seq 0 plaintext missing: raw" in found
    assert len(found) == 4


async def test_a_changed_value_fails_its_commitment(original: Path, tmp_path: Path) -> None:
    async def rename(rows: Rows) -> None:
        row = await rows.get(PII, 0)
        assert row is not None
        salt, _ = row.f["actor.email"]
        await changed(rows, 0, f={**row.f, "actor.email": (salt, "ben@acme.test")})

    assert said(await after(original, tmp_path, rename)) == ["seq 0 plaintext changed: actor.email"]


async def test_case_25_an_erasure_that_its_event_commits_to_is_none_of_it(original: Path, tmp_path: Path) -> None:
    report = await after(original, tmp_path, erase)
    assert (report.verdict, said(report)) == (Verdict.VALID, [])


async def test_an_erasure_that_no_event_commits_to_excuses_nothing(original: Path, tmp_path: Path) -> None:
    async def forge(rows: Rows) -> None:
        await rows.put(ERASURES, [ErasureRow(2, ledger([(1, "actor.email"), (1, "raw")]).decode())])
        await rows.delete(ERASURES, Span(3, 4), limit=1)

    report = await after(original, tmp_path, erase, forge)
    assert report.verdict is Verdict.TAMPERED
    assert "seq 2 erasure: the list is not the one that its event commits to" in said(report)
    assert "seq 1 plaintext missing: actor.email" in said(report)


async def test_a_backup_that_brings_erased_values_back_is_told(original: Path, tmp_path: Path) -> None:
    async def listed(rows: Rows) -> None:
        await rows.put(ERASURES, [ErasureRow(3, ERASED.decode())])

    report = await after(original, tmp_path, listed)
    assert report.verdict is Verdict.INCOMPLETE
    assert said(report) == ["seq 1 erased values are back: actor.email, raw; apply the erasures again"]


async def test_tiles_that_are_cut_short_are_told_and_prove_nothing(original: Path, tmp_path: Path) -> None:
    async def cut(rows: Rows) -> None:
        (tile,) = await rows.scan(TILES, limit=2)
        await rows.put(TILES, [msgspec.structs.replace(tile, hashes=tile.hashes[:-1])])

    report = await after(original, tmp_path, cut)
    assert report.verdict is not Verdict.TAMPERED
