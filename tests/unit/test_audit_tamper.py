"""What somebody with all rights on the store or an export can do to it, and what is said then (facts/audit-log.md 4).

A store is a real file that is edited behind the program's back. Exports are verified by both verifiers, as processes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import apsw
import pytest

from dezky_operator.audit import rotation
from dezky_operator.audit.checkpoint import Checkpoint, KeyChain, KeyRange, Signers
from dezky_operator.audit.event import dedupe_key
from dezky_operator.audit.findings import Report, Verdict
from dezky_operator.audit.head_list import encode_heads
from dezky_operator.audit.heads import Head, TenantMap
from dezky_operator.audit.keys import SigningKey, hmac_key, log_key, parse_vkey, time_key
from dezky_operator.audit.line import Line, decode
from dezky_operator.audit.log_proof import LogProof
from dezky_operator.audit.merkle import leaf_hash, root_of
from dezky_operator.audit.note import Note, hmac_signed
from dezky_operator.audit.verify_store import verify_store
from dezky_operator.store.interface import Rows, Span
from dezky_operator.store.sqlite import SqliteStore
from dezky_operator.store.tables import LOG, LogRow
from tests.archiving import prune
from tests.audit.command import audit, second
from tests.audit.corpus import EXPORT_TOOL, OTHER_TENANT, rebuilt
from tests.audit.events import log_of, login, note_of, own
from tests.audit.filled import append, appender, checkpoint, rows_of
from tests.audit.golden import LOG_SEED, ORIGIN, SECRET, TENANT, TIME_SEED, VKEY

CHAIN = KeyChain([KeyRange(parse_vkey(VKEY))])
SIZE = 22
"""Lines under the checkpoint; two more are not yet."""
OTHER = log_key(ORIGIN, b"\x77" * 32)


@pytest.fixture(scope="module")
async def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """21 events of two tenants and of nobody, their heads, a checkpoint, and two events after it."""
    path = tmp_path_factory.mktemp("log") / "audit.db"
    store = await SqliteStore.open(path)
    log = appender(store)
    await append(log, [login(f"l-{n}", tenant=(TENANT, OTHER_TENANT, "")[n % 3]) for n in range(21)])
    await checkpoint(store, log, encode_heads, counter=0)
    await append(log, [own("new-1", "step.intent"), own("new-2", "step.done")])
    await store.close()
    return path


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(original, tmp_path / "audit.db"))


def edited(path: Path, *statements: tuple[str, Sequence[object]]) -> None:
    """Change the file as somebody would who has it: not through the program."""
    connection = apsw.Connection(str(path))
    for statement, bound in statements:
        connection.execute(statement, bound)
        assert connection.changes()
    connection.close()


async def verified(path: Path, chain: KeyChain = CHAIN, held: Sequence[bytes] = (), **asked: int) -> Report:
    store = await SqliteStore.open(path)
    try:
        return await verify_store(store, chain=chain, held=held, first=asked.get("first"), last=asked.get("last"))
    finally:
        await store.close()


def said(report: Report) -> list[str]:
    return [str(finding) for finding in report.findings if finding.verdict is not Verdict.UNANCHORED]


async def lines_in(path: Path) -> list[bytes]:
    store = await SqliteStore.open(path)
    lines = [row.body for row in await rows_of(store)]
    await store.close()
    return lines


async def test_case_00_untouched_it_is_valid_up_to_its_checkpoint(path: Path) -> None:
    report = await verified(path)
    assert (report.verdict, [str(one) for one in report.findings]) == (Verdict.UNANCHORED, ["seq 22..23 unanchored"])
    assert (await verified(path, first=0, last=SIZE - 1)).verdict is Verdict.VALID


async def test_case_01_a_flipped_byte_of_a_body_is_found_at_the_next_line_and_at_the_root(path: Path) -> None:
    lines = await lines_in(path)
    edited(path, ("UPDATE audit_log SET body = ? WHERE seq = 7", [lines[7].replace(b'"l-7"', b'"l-6"')]))
    report = await verified(path)
    assert report.verdict is Verdict.TAMPERED
    assert "seq 8 prev: not the hash of the line before" in said(report)
    assert "seq 7 index: differs from the line in h, dk" in said(report)
    assert f"root: not that of the checkpoint at size {SIZE}" in said(report)
    assert (await verified(path, first=5, last=9)).verdict is Verdict.TAMPERED


@pytest.mark.parametrize(
    ("field", "value"), [("tenant", OTHER_TENANT), ("at", "2020-01-01T00:00:00.000000Z"), ("actor_ref", "0" * 16)]
)
async def test_case_02_a_changed_index_field_alone_is_found(path: Path, field: str, value: str) -> None:
    edited(path, (f"UPDATE audit_log SET {field} = ? WHERE seq = 6", [value]))  # noqa: S608 - our own names
    assert said(await verified(path)) == [f"seq 6 index: differs from the line in {field}"]
    assert said(await verified(path, first=5, last=9)) == [f"seq 6 index: differs from the line in {field}"]


async def test_case_03_a_line_that_was_deleted_is_a_gap(path: Path) -> None:
    edited(path, ("DELETE FROM audit_log WHERE seq = 7", []))
    assert "seq 7 missing" in said(await verified(path))
    assert said(await verified(path, first=5, last=9)) == ["seq 7 missing"]


async def test_case_03_below_the_hot_floor_no_line_is_asked_for(path: Path) -> None:
    store = await SqliteStore.open(path)
    await prune(store, end=9)
    await store.close()
    edited(path, ("DELETE FROM audit_log WHERE seq = 9", []))
    report = await verified(path, first=10, last=SIZE - 1)
    assert (report.verdict, said(report)) == (Verdict.VALID, [])


async def test_case_05_swapped_bodies_are_found_at_both_lines(path: Path) -> None:
    lines = await lines_in(path)
    edited(
        path,
        ("UPDATE audit_log SET body = ? WHERE seq = 7", [lines[8]]),
        ("UPDATE audit_log SET body = ? WHERE seq = 8", [lines[7]]),
    )
    report = await verified(path)
    found = said(report)
    assert [text.split(",")[0] for text in found if " index: " in text] == [
        "seq 7 index: differs from the line in seq",
        "seq 8 index: differs from the line in seq",
    ]
    assert "seq 7 missing" in found
    assert any(text.startswith("seq 7 out of order") for text in found)
    assert report.verdict is Verdict.TAMPERED


async def test_case_05_lines_that_changed_places_with_their_numbers_are_found(path: Path) -> None:
    """The numbers in lines and rows are those of their new places, and all later hashes are made anew."""
    lines = await lines_in(path)
    order = [*lines[:7], lines[10], *lines[8:10], lines[7], *lines[11:]]
    await rewritten(path, rebuilt(order, lambda n, line: line.update(seq=n, t_seq=n // 3 if n < 21 else line["t_seq"])))
    assert said(await verified(path)) == [f"root: not that of the checkpoint at size {SIZE}"]


async def rewritten(path: Path, lines: Sequence[bytes]) -> None:
    """The store with these lines, and rows that fit them in everything."""

    async def work(rows: Rows) -> None:
        await rows.delete(LOG, Span(), limit=100)
        await rows.insert(LOG, [row_of(decode(line), line) for line in lines])

    store = await SqliteStore.open(path)
    await store.run(work)
    await store.close()


def row_of(line: Line, stored: bytes) -> LogRow:
    indexed = (line.rec, line.at, line.tenant, line.partner, line.t_seq)
    named = (line.action, line.outcome.value, line.actor.ref, line.source, line.src)
    return LogRow(line.seq, leaf_hash(stored), dedupe_key(line.src, line.ext), *indexed, *named, stored)


async def test_case_06_a_forged_line_with_everything_after_it_made_anew_is_not_under_the_checkpoint(path: Path) -> None:
    lines = await lines_in(path)
    counts: dict[str, int] = {}

    def change(n: int, line: dict[str, object]) -> None:
        tenant = str(line["tenant"])
        line |= {"seq": n, "t_seq": counts.get(tenant, 0)} | ({"ext": "forged"} if n == 8 else {})
        counts[tenant] = counts.get(tenant, 0) + 1

    await rewritten(path, rebuilt([*lines[:8], lines[7], *lines[8:]], change))
    assert said(await verified(path)) == [f"root: not that of the checkpoint at size {SIZE}"]


async def test_case_07_a_tail_that_was_cut_below_the_checkpoint_is_missing(path: Path) -> None:
    edited(path, ("DELETE FROM audit_log WHERE seq >= 20", []))
    assert said(await verified(path)) == ["seq 20..21 missing: the log ends before its checkpoint"]


async def test_case_07_with_the_checkpoint_gone_as_well_one_from_elsewhere_shows_it(path: Path) -> None:
    note = note_of((await lines_in(path))[:SIZE])
    edited(path, ("DELETE FROM audit_log WHERE seq >= 20", []), ("DELETE FROM audit_checkpoints", []))
    assert said(await verified(path)) == ["checkpoint: the store has none and none was given"]
    assert (await verified(path)).verdict is Verdict.INCOMPLETE
    report = await verified(path, held=[note])
    assert (report.verdict, said(report)) == (
        Verdict.TAMPERED,
        ["seq 20..21 missing: the log ends before its checkpoint"],
    )


async def test_case_08_a_tail_that_was_cut_above_the_checkpoint_is_not_seen_and_nothing_else_is_said(
    path: Path,
) -> None:
    """The limit of a log on its own: what no checkpoint covers can be taken away; sources give it again."""
    edited(path, ("DELETE FROM audit_log WHERE seq = 23", []))
    report = await verified(path)
    assert (report.verdict, [str(one) for one in report.findings]) == (Verdict.UNANCHORED, ["seq 22 unanchored"])


def exported(path: Path, directory: Path, *arguments: str) -> Path:
    ran = audit("export", "--store", path, "--out", directory, *arguments)
    assert ran.returncode == 0, ran.stderr
    return directory


def both(directory: Path, vkey: str = VKEY) -> tuple[int, list[str]]:
    """Exit code and the kinds of finding, which must be the same of both."""
    ran = audit("verify", "--export", directory, "--key", vkey)
    part = (directory / "proof.txt").exists()
    other = second(directory, "--key", vkey, tool=EXPORT_TOOL) if part else second(directory, "--key", vkey)
    assert ran.returncode == other.returncode, ran.stdout + other.stdout
    kinds = [[line.split(":")[0] for line in one.stdout.splitlines() if _finding(line)] for one in (ran, other)]
    assert kinds[0] == kinds[1]
    return ran.returncode, kinds[0]


def _finding(line: str) -> bool:
    return not line.startswith(("VALID", "INVALID", "INCOMPLETE", "not checked"))


def rewrite(directory: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    file = directory / name
    file.write_bytes(change(file.read_bytes()))


@pytest.fixture
def whole(path: Path, tmp_path: Path) -> Path:
    return exported(path, tmp_path / "whole")


@pytest.fixture
def part(path: Path, tmp_path: Path) -> Path:
    return exported(path, tmp_path / "part", "--tenant", TENANT)


def test_case_00_exports_are_valid_to_both(whole: Path, part: Path) -> None:
    assert both(whole) == (0, [])
    assert both(part) == (0, [])


def test_each_second_verifier_refuses_what_is_for_the_other(whole: Path, part: Path) -> None:
    for ran in (second(part, "--key", VKEY), second(whole, "--key", VKEY, tool=EXPORT_TOOL)):
        assert (ran.returncode, "proof.txt" in ran.stderr) == (2, True)


def test_case_04_two_segments_that_are_gone_are_named_with_their_exact_range(whole: Path) -> None:
    lines = (whole / "lines.jsonl").read_bytes().splitlines(keepends=True)
    (whole / "lines.jsonl").unlink()
    for n in range(0, SIZE, 4):
        (whole / f"{n:03d}.jsonl").write_bytes(b"".join(lines[n : n + 4]))
    assert both(whole) == (0, [])
    for n in (8, 12):
        (whole / f"{n:03d}.jsonl").unlink()
    code, found = both(whole)
    assert (code, found[0]) == (1, "seq 8..15 missing")


def signed_by(log: tuple[SigningKey, ...], lines: Sequence[bytes]) -> bytes:
    tree = Checkpoint(ORIGIN, len(lines), root_of([leaf_hash(line) for line in lines]))
    return Signers(log, time_key(ORIGIN, TIME_SEED), hmac_key(ORIGIN, 1, SECRET)).sign(tree, 0)


async def test_case_20_a_key_signs_only_in_its_range(path: Path) -> None:
    lines = (await lines_in(path))[:SIZE]
    first = log_key(ORIGIN, LOG_SEED)
    chain = KeyChain([KeyRange(first.verify_key, 0, 10), KeyRange(OTHER.verify_key, 10)])
    retired, future = signed_by((first,), lines), signed_by((OTHER,), lines[:5])
    border, good = signed_by((first, OTHER), lines[:10]), signed_by((OTHER,), lines)
    edited(path, ("DELETE FROM audit_checkpoints", []))
    assert said(await verified(path, chain, [border, good])) == []
    for note in (retired, future):
        found = said(await verified(path, chain, [border, good, note]))
        assert [text.split(":")[1].strip() for text in found] == ["key out of range"]


def test_case_20_an_hmac_is_never_enough(whole: Path, part: Path) -> None:
    def downgraded(note: bytes) -> bytes:
        text = note.decode().split("\n\n")[0] + "\n"
        return Note(text, (hmac_signed(text, hmac_key(ORIGIN, 1, SECRET)),)).encode()

    for directory in (whole, part):
        rewrite(directory, "checkpoint.note", downgraded)
        code, found = both(directory)
        assert (code, found[0]) == (1, "checkpoint")


def test_case_21_a_checkpoint_of_another_log_is_refused(whole: Path, part: Path) -> None:
    staging = ORIGIN[:-1] + "2"
    tree = Checkpoint(staging, SIZE, bytes(32))
    note = Signers((log_key(staging, LOG_SEED),), time_key(staging, TIME_SEED)).sign(tree, 0)
    for directory in (whole, part):
        rewrite(directory, "checkpoint.note", lambda _: note)
        code, found = both(directory)
        assert (code, found[0]) == (1, "checkpoint")


async def test_case_21_two_checkpoints_of_one_size_are_a_split_view(path: Path, whole: Path, part: Path) -> None:
    other = signed_by((log_key(ORIGIN, LOG_SEED),), (await lines_in(path))[:SIZE][::-1])
    assert f"split view: two roots at size {SIZE}" in said(await verified(path, held=[other]))
    (whole / "other.note").write_bytes(other)
    assert both(whole) == (1, ["split view"])
    held = whole / "other.note"
    for ran in (
        audit("verify", "--export", part, "--key", VKEY, "--checkpoint", held),
        second(part, "--key", VKEY, "--checkpoint", held, tool=EXPORT_TOOL),
    ):
        assert (ran.returncode, ran.stdout.split(":")[0]) == (1, "split view")


ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def slack(line: bytes) -> bytes:
    """The same bytes in base64 that no encoder writes: the unused bits of the last digit are set."""
    place = len(line.rstrip(b"=")) - 1
    assert line.endswith(b"=")
    return line[:place] + bytes([ALPHABET[ALPHABET.index(line[place]) | 1]]) + line[place + 1 :]


@pytest.mark.parametrize("line", [2, 4])
def test_case_32_a_slack_bit_of_a_root_or_signature_is_not_canonical(whole: Path, part: Path, line: int) -> None:
    def change(note: bytes) -> bytes:
        lines = note.split(b"\n")
        lines[line] = slack(lines[line])
        return b"\n".join(lines)

    for directory in (whole, part):
        rewrite(directory, "checkpoint.note", change)
        code, found = both(directory)
        assert (code, found[0]) == (1, "checkpoint")


def test_case_32_a_slack_bit_of_a_proof_or_a_key_is_not_canonical(part: Path) -> None:
    lines = (part / "proof.txt").read_bytes().split(b"\n")
    hashes = [n for n, line in enumerate(lines) if line.endswith(b"=")]
    for n in (hashes[0], hashes[-1]):
        (part / "proof.txt").write_bytes(b"\n".join([*lines[:n], slack(lines[n]), *lines[n + 1 :]]))
        assert both(part) == (1, ["proof"])
    vkey = f"{VKEY[:-1]}5"
    assert audit("verify", "--export", part, "--key", vkey).returncode == 2
    assert second(part, "--key", vkey, tool=EXPORT_TOOL).returncode == 2


@pytest.mark.parametrize(
    "data",
    [
        b'"data":{"method":"password","method":"password"}',
        b'"data":{"method":NaN}',
        b'"data":{"method":123456789012345678901234567890}',
        b'"data":{"method":"\\ud800"}',
        b'\xef\xbb\xbf"data":{"method":"password"}',
    ],
)
def test_case_33_what_readers_of_json_disagree_on_is_not_canonical_anywhere(
    path: Path, whole: Path, part: Path, data: bytes
) -> None:
    def change(text: bytes) -> bytes:
        lines = text.split(b"\n")
        return b"\n".join([lines[0].replace(b'"data":{"method":"password"}', data), *lines[1:]])

    for directory, first in ((whole, "seq 0 not canonical"), (part, "line 1 not canonical")):
        rewrite(directory, "lines.jsonl", change)
        code, found = both(directory)
        assert (code, found[0]) == (1, first)
    edited(
        path, ("UPDATE audit_log SET body = ? WHERE seq = 0", [(whole / "lines.jsonl").read_bytes().split(b"\n")[0]])
    )
    ran = audit("verify", "--store", path, "--key", VKEY)
    assert (ran.returncode, ran.stdout.startswith("seq 0 not canonical")) == (1, True)


def test_case_35_a_value_that_is_gone_without_an_erasure_is_shown_as_missing(path: Path) -> None:
    """Here only that it is not shown as erased or empty; the verification of what stands beside the lines finds it."""
    edited(path, ("DELETE FROM audit_pii WHERE seq = 3", []))
    ran = audit("show", "3", "--store", path)
    assert [line.split() for line in ran.stdout.splitlines() if line.startswith("actorEmail")] == [
        ["actorEmail", "missing"]
    ]


def test_case_37_what_is_beside_the_evidence_is_no_root_of_trust(whole: Path, part: Path) -> None:
    """Everything replaced together, with a key of one's own named beside it, and with a border that only it signed."""
    lines = (whole / "lines.jsonl").read_bytes().splitlines()
    named = own("key", rotation.ACTION, data=rotation.naming(OTHER.verify_key))
    forged = log_of([named])
    border = rotation.Rotation(forged[0], LogProof(0, (), signed_by((OTHER,), forged)))
    for directory in (whole, part):
        (directory / "checkpoint.note").write_bytes(signed_by((OTHER,), lines))
        assert both(directory)[1][0] == "checkpoint"
        for trust in (f"{OTHER.verify_key.vkey}\n".encode(), border.encode()):
            (directory / "trust.txt").write_bytes(trust)
            code, found = both(directory)
            assert (code, found[:2]) == (1, ["trust", "checkpoint"])
        for ran in (audit("verify", "--export", directory), second(directory)):
            assert ran.returncode == 2
            assert "--key" in ran.stderr


async def test_a_tenants_lines_can_not_be_left_out_by_whoever_makes_the_export(path: Path, part: Path) -> None:
    """The lie of a provider: a shorter export with a proof that fits it, under the true checkpoint."""
    lines = await lines_in(path)
    mine = [line for line in lines[:SIZE] if decode(line).tenant == TENANT]
    rewrite(part, "lines.jsonl", lambda _: b"".join(line + b"\n" for line in mine[:-1]))
    rewrite(part, "proof.txt", lambda text: text.replace(b"lines 0 6", b"lines 0 5"))
    code, found = both(part)
    assert (code, found[0]) == (1, "seq 21 heads")
    shorter = TenantMap([Head(TENANT, 5, leaf_hash(mine[-2]))])
    heads = rebuilt(
        lines[:SIZE], lambda n, line: line.update(data={"count": 1, "root": shorter.root.hex()}) if n == 21 else None
    )
    rewrite(part, "heads.line", lambda _: heads[-1] + b"\n")
    assert both(part) == (1, ["seq 21 heads", "root"])
