"""Two verifiers that share no code agree on what is evidence and what was done to it."""

from __future__ import annotations

import ast
import gzip
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from dezky_operator.audit.checkpoint import Checkpoint, KeyChain, KeyRange, Signers
from dezky_operator.audit.findings import Finding, Report, Verdict
from dezky_operator.audit.keys import log_key, parse_vkey, time_key
from dezky_operator.audit.line import LONGEST
from dezky_operator.audit.verify import verify_lines
from tests.audit.corpus import OTHER_TENANT, SECOND, TOOL, Files, events_of, export, first, rebuilt, second, written
from tests.audit.events import note_of
from tests.audit.golden import LINES, LOG_SEED, NOTE, ORIGIN, TENANT, TIME_SEED, VKEY

LOG = events_of(12)
WHOLE = export(LOG)
GOLDEN = export(LINES, NOTE)
OTHER = log_key(ORIGIN, b"\x77" * 32)


def both(directory: Path, files: Files, vkey: str = VKEY) -> tuple[int, list[str]]:
    """What both say; they must say the same."""
    one, other = first(files, vkey), second(written(directory, files), vkey)
    assert one == other
    return one


def swapped(lines: list[bytes], a: int, b: int) -> list[bytes]:
    changed = list(lines)
    changed[a], changed[b] = changed[b], changed[a]
    return changed


def replaced(n: int, old: bytes, new: bytes) -> list[bytes]:
    assert LOG[n].count(old) == 1
    return [*LOG[:n], LOG[n].replace(old, new), *LOG[n + 1 :]]


def fields(n: int, **new: object) -> Callable[[int, dict[str, Any]], None]:
    return lambda seq, line: line.update(new) if seq == n else None


def test_a_whole_log_is_valid(tmp_path: Path) -> None:
    assert both(tmp_path, WHOLE) == (Verdict.VALID, [])
    assert both(tmp_path, GOLDEN) == (Verdict.VALID, [])


CASES: list[tuple[str, Files, int, list[str]]] = [
    ("one byte", export(replaced(4, b'"e-4"', b'"e-5"'), note_of(LOG)), 1, ["seq 5 prev", "seq 7 t_prev", "root"]),
    ("a tenant", export(replaced(4, TENANT.encode(), OTHER_TENANT.encode()), note_of(LOG)), 1, []),
    ("one gone", export(LOG[:5] + LOG[6:], note_of(LOG)), 1, ["seq 5 missing", "seq 8 t_prev", "root"]),
    (
        "two gone",
        export(LOG[:5] + LOG[7:], note_of(LOG)),
        1,
        ["seq 5..6 missing", "seq 8 t_prev", "seq 9 t_prev", "root"],
    ),
    ("the first gone", export(LOG[1:], note_of(LOG)), 1, ["seq 0 missing", "seq 3 t_prev", "root"]),
    ("all gone", export([], note_of(LOG)), 1, ["seq 0..11 missing"]),
    ("the tail gone", export(LOG[:9], note_of(LOG)), 1, ["seq 9..11 missing"]),
    ("two swapped", export(swapped(LOG, 5, 6), note_of(LOG)), 1, []),
    ("one twice", export([*LOG[:6], LOG[5], *LOG[6:]], note_of(LOG)), 1, []),
    ("made again", export(rebuilt(LOG, fields(4, action="a.b")), note_of(LOG)), 1, ["root"]),
    ("time runs back", export(rebuilt(LOG, fields(4, rec="2026-11-24T04:00:00.000000Z"))), 1, ["seq 4 rec"]),
    ("a chain begins again", export(rebuilt(LOG, fields(9, t_seq=0))), 1, ["seq 9 t_prev"]),
    ("another log", export(rebuilt(LOG, fields(4, origin=ORIGIN[:-1] + "2"))), 1, ["seq 4 origin"]),
    ("newest lines", export(LOG, note_of(LOG[:9])), 4, ["seq 9..11 unanchored"]),
    ("one new line", export(LOG, note_of(LOG[:11])), 4, ["seq 11 unanchored"]),
    ("no checkpoint", {"000.jsonl": WHOLE["000.jsonl"]}, 3, ["seq 0..11 unanchored", "checkpoint"]),
    ("nothing", {}, 3, ["nothing to verify", "checkpoint"]),
    ("an empty log", export([]), 3, ["nothing to verify"]),
    ("several checkpoints", WHOLE | {"a.note": note_of(LOG[:3]), "b.note": note_of([])}, 0, []),
    ("a rewritten start", WHOLE | {"a.note": note_of(events_of(3)[::-1])}, 1, ["root"]),
    ("a split view", WHOLE | {"a.note": note_of(LOG[::-1])}, 1, ["split view", "root"]),
    ("a note of nobody", WHOLE | {"a.note": b"hello\n"}, 1, ["checkpoint"]),
    ("an empty line", export([*LOG[:5], b"", *LOG[5:]], note_of(LOG)), 1, []),
    ("no last LF", WHOLE | {"000.jsonl": WHOLE["000.jsonl"][:-1]}, 0, []),
    ("CR LF", WHOLE | {"000.jsonl": WHOLE["000.jsonl"].replace(b"\n", b"\r\n")}, 1, []),
    (
        "two files",
        WHOLE | {"000.jsonl": LOG[0] + b"\n", "001.jsonl": b"".join(line + b"\n" for line in LOG[1:])},
        0,
        [],
    ),
]


@pytest.mark.parametrize(("files", "code", "found"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_was_done_is_found_by_both(tmp_path: Path, files: Files, code: int, found: list[str]) -> None:
    verdict, said = both(tmp_path, files)
    assert verdict == code
    if found or not code:
        assert said == found


DATA = b'"data":{"evt_id":"e-4","method":"password"}'


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":1}',
        b'{"b":1,"a":1}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":123456789012345678901234567890}',
        b'{"a":9007199254740992}',
        b'{"a":1.0}',
        b'{"a":1e16}',
        b'{"a":-0}',
        b'{"a":-0.0}',
        b'{"a":01}',
        b'{"a":null}',
        b'{"a":[]}',
        b'{"a":{}}',
        b'{"A":1}',
        b'{"":1}',
        b'{"a": 1}',
        b'{"a":1,}',
        b'{"a":True}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\\u0041"}',
        b'{"a":"\\u000a"}',
        b'{"a":"\\u001F"}',
        b'{"a":"\\/"}',
        b'{"a":"\x01"}',
        b'{"a":"\xff"}',
        b'{"a":"' + b"x" * LONGEST + b'"}',
        b'{"' + b"a" * 129 + b'":1}',
        b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    ],
)
def test_what_readers_of_json_disagree_on_is_not_canonical_to_both(tmp_path: Path, data: bytes) -> None:
    code, found = both(tmp_path, export(replaced(4, DATA, b'"data":' + data)))
    assert code == Verdict.TAMPERED
    assert found[0] == "seq 4 not canonical"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'{"action"', b'\xef\xbb\xbf{"action"'),
        (b'"v":1}', b'"v":1} '),
        (b'"v":1}', b'"v":2}'),
        (b'"v":1}', b'"v":1,"w":1}'),
        (b'"seq":4', b'"seq":4.0'),
        (b'"seq":4', b'"seq":9007199254740992'),
        (b'"ext":"l-4"', b'"ext":""'),
        (b'"ext":"l-4"', b'"ext":"' + b"e" * 1_025 + b'"'),
        (b'"ext":"l-4"', b'"ext":"' + b"\\u0000" * 1_025 + b'"'),
        (b'"time_source":"source"', b'"time_source":"rec"'),
        (b'"time_source":"source"', b'"time_source":"clamped"'),
        (b'"time_source":"source"', b'"time_source":"guess"'),
        (b'"outcome":"success"', b'"outcome":"ok"'),
        (b'"at":"2026-11-24', b'"at":"2026-02-29'),
        (b'"at":"2026-11-24', b'"at":"0000-11-24'),
        (b'"at":"2026-11-24T03', b'"at":"2026-11-24T24'),
        (b'"raw_len":69', b'"raw_len":0'),
        (b'"src":"authentik-main"', b'"src":"-"'),
        (b'"source":"authentik"', b'"source":""'),
        (b'"action":"authentik.login"', b'"action":""'),
        (b"/audit/1", b"/audit/0"),
        (b'"c":{"actor.email"', b'"c":{"zctor.email"'),
    ],
)
def test_a_field_that_line_v1_forbids_is_not_canonical_to_both(tmp_path: Path, old: bytes, new: bytes) -> None:
    code, found = both(tmp_path, export(replaced(4, old, new)))
    assert (code, found[0]) == (Verdict.TAMPERED, "seq 4 not canonical")


@pytest.mark.parametrize("value", [b"e" * 1_024, b"\\u0000" * 1_024, "\u00e9".encode() * 1_024, b'\\"\\\\\\n\x7f'])
def test_an_unusual_id_is_canonical_to_both(tmp_path: Path, value: bytes) -> None:
    _, found = both(tmp_path, export(replaced(11, b'"ext":"o-11"', b'"ext":"' + value + b'"')))
    assert found == []


def test_commitments_out_of_order_are_not_canonical_to_both(tmp_path: Path) -> None:
    made = re.search(rb'("actor.email":"[0-9a-f]{64}"),("actor.id":"[0-9a-f]{64}")', LOG[4])
    assert made
    for changed in (made[2] + b"," + made[1], made[1] + b"," + made[1] + b"," + made[2]):
        code, found = both(tmp_path, export(replaced(4, made[0], changed)))
        assert (code, found[0]) == (Verdict.TAMPERED, "seq 4 not canonical")


@pytest.mark.parametrize("name", ["000.jsonl", "log.note"])
@pytest.mark.parametrize("bit", [1, 0x20, 0x80])
def test_any_other_byte_of_the_example_is_judged_alike(tmp_path: Path, name: str, bit: int) -> None:
    data = GOLDEN[name]
    end = data.index(b"/hmac-1") if name == "log.note" else len(data) - 1
    places = range(bit % 7, end, 1 if name == "log.note" else 9)
    for place in places:
        changed = data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :]
        code, found = both(tmp_path, GOLDEN | {name: changed})
        own = name == "000.jsonl" or place < data.rindex(b"\n", 0, end)
        assert code == (Verdict.TAMPERED if own else code), (place, found)


SPLICES = [
    b"",
    b'"',
    b"\\",
    b"\\u0000",
    b"\\u001f",
    b"\\n",
    b"\x7f",
    b"\x01",
    b"{}",
    b"0",
    b"-",
    b"60",
    b"29",
    b".",
    b",",
    b":",
    b"ffff",
]
SPLICES += [
    b"9007199254740991",
    b"9007199254740993",
    b"true",
    b"null",
    b'"a":1',
    b"\xc3\xa9",
    b"\xed\xa0\x80",
    b"A",
    b" ",
]


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_mix_of_lines_and_bytes_is_judged_alike(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lines = list(LOG)
    for _ in range(data.draw(st.integers(1, 3))):
        n = data.draw(st.integers(0, len(lines) - 1))
        match data.draw(st.sampled_from(["drop", "twice", "move", "byte", "cut", "splice"])):
            case "drop" if len(lines) > 1:
                del lines[n]
            case "twice":
                lines.insert(data.draw(st.integers(0, len(lines))), lines[n])
            case "move":
                lines.insert(data.draw(st.integers(0, len(lines) - 1)), lines.pop(n))
            case "byte" if lines[n]:
                place = data.draw(st.integers(0, len(lines[n]) - 1))
                byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != 10))
                lines[n] = lines[n][:place] + bytes([byte]) + lines[n][place + 1 :]
            case "splice":
                place = data.draw(st.integers(0, len(lines[n])))
                end = place + data.draw(st.integers(0, 5))
                lines[n] = lines[n][:place] + data.draw(st.sampled_from(SPLICES)) + lines[n][end:]
            case _:
                lines[n] = lines[n][: data.draw(st.integers(0, len(lines[n])))]
    code, _ = both(tmp_path_factory.getbasetemp() / "mix", export(lines, note_of(LOG)))
    assert code == (Verdict.VALID if lines == LOG else Verdict.TAMPERED)


def test_the_key_comes_from_outside(tmp_path: Path) -> None:
    forged = Signers((OTHER,), time_key(ORIGIN, TIME_SEED)).sign(Checkpoint(ORIGIN, 12, bytes(32)), 0)
    assert both(tmp_path, export(LOG, forged))[0] == Verdict.TAMPERED
    assert both(tmp_path, WHOLE, OTHER.verify_key.vkey) == (1, ["checkpoint", "seq 0..11 unanchored"])


@pytest.mark.parametrize("vkey", ["", "a+b", VKEY[:-1] + "5", VKEY.replace("TG4", "TG"), VKEY + "="])
def test_a_vkey_that_is_none_is_a_usage_error(tmp_path: Path, vkey: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        second(written(tmp_path, WHOLE), vkey)
    assert ended.value.code == Verdict.USAGE
    assert "--key" in capsys.readouterr().err


def test_other_signatures_are_named_as_not_checked(tmp_path: Path) -> None:
    report = verify_lines(LINES, [NOTE], chain=KeyChain([KeyRange(parse_vkey(VKEY))]))
    assert report.unchecked == (f"signature of {ORIGIN}/hmac-1", f"signature of {ORIGIN}/time")
    ran = run(written(tmp_path, GOLDEN), "--key", VKEY)
    assert ran.returncode == Verdict.VALID
    assert ran.stdout.splitlines()[:3] == [
        "VALID: 3 lines, 0 findings",
        f"not checked: the signature line of {ORIGIN}/hmac-1",
        f"not checked: the signature line of {ORIGIN}/time",
    ]
    assert "not checked: values behind commitments" in ran.stdout


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The second verifier as somebody would start it: isolated from everything that is installed."""
    command = [sys.executable, "-I", "-S", str(TOOL), str(directory), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_second_verifier_runs_alone_and_says_where(tmp_path: Path) -> None:
    ran = run(written(tmp_path, export(LOG[:5] + LOG[7:], note_of(LOG))), "--key", VKEY)
    assert ran.returncode == Verdict.TAMPERED
    assert ran.stdout.splitlines()[0] == "seq 5..6 missing"
    assert run(tmp_path).returncode == Verdict.USAGE
    assert run(tmp_path / "absent", "--key", VKEY).returncode == Verdict.USAGE
    absent = run(tmp_path, "--key", VKEY, "--checkpoint", str(tmp_path / "absent.note"))
    assert "checkpoint: absent.note is not there" in absent.stdout
    assert absent.returncode == Verdict.TAMPERED


def test_the_second_verifier_is_one_short_file_of_the_standard_library() -> None:
    text = TOOL.read_text()
    assert len(text.splitlines()) < 400
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {
        name
        for node in imports
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert {str(name).split(".")[0] for name in names} <= sys.stdlib_module_names


@pytest.mark.parametrize(
    ("packed", "code", "words"),
    [
        (gzip.compress(WHOLE["000.jsonl"]), 0, "VALID: 12 lines"),
        (gzip.compress(WHOLE["000.jsonl"]) + gzip.compress(LOG[0] + b"\n"), 1, "trailing data"),
        (gzip.compress(WHOLE["000.jsonl"]) + bytes(8), 1, "trailing data"),
        (gzip.compress(WHOLE["000.jsonl"])[:-3], 1, "cut off"),
        (WHOLE["000.jsonl"], 1, "not gzip"),
    ],
)
def test_a_packed_export_has_one_member(tmp_path: Path, packed: bytes, code: int, words: str) -> None:
    ran = run(written(tmp_path, {"000.jsonl.gz": packed, "log.note": WHOLE["log.note"]}), "--key", VKEY)
    assert ran.returncode == code
    assert words in ran.stdout


def test_what_follows_a_member_that_ends_with_a_read_is_trailing_data(tmp_path: Path) -> None:
    packed = gzip.compress(WHOLE["000.jsonl"], mtime=0)
    header, body = packed[:3] + b"\x08" + packed[4:10], packed[10:]
    # A file name in the header fills the member up to what the reader takes at once.
    whole = header + b"n" * ((1 << 20) - len(header) - 1 - len(body)) + b"\0" + body
    for data, code in ((whole, Verdict.VALID), (whole + bytes(1), Verdict.TAMPERED)):
        ran = run(written(tmp_path, {"000.jsonl.gz": data, "log.note": WHOLE["log.note"]}), "--key", VKEY)
        assert (ran.returncode, "trailing data" in ran.stdout) == (code, code == Verdict.TAMPERED)


def test_a_codec_it_can_not_read_is_incomplete_and_not_valid(tmp_path: Path) -> None:
    ran = run(written(tmp_path, WHOLE | {"001.jsonl.zst": b"\x28\xb5\x2f\xfd"}), "--key", VKEY)
    assert ran.returncode == Verdict.INCOMPLETE
    assert "codec: 001.jsonl.zst" in ran.stdout


@settings(max_examples=25, deadline=None)
@given(seed=st.binary(min_size=32, max_size=32), message=st.binary(max_size=80), place=st.integers(0, 511))
def test_its_own_ed25519_agrees_with_the_library(seed: bytes, message: bytes, place: int) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    signature = bytearray(key.sign(message))
    assert SECOND.signed(public, message, bytes(signature))
    signature[place // 8] ^= 1 << place % 8
    assert not SECOND.signed(public, message, bytes(signature))


def test_its_own_ed25519_refuses_a_signature_that_was_stretched() -> None:
    key = log_key(ORIGIN, LOG_SEED)
    signature = key.sign(b"x")
    larger = int.from_bytes(signature[32:], "little") + SECOND.L
    assert SECOND.signed(key.verify_key.public, b"x", signature)
    assert not SECOND.signed(key.verify_key.public, b"x", signature[:32] + larger.to_bytes(32, "little"))
    assert not SECOND.signed(b"\xff" * 32, b"x", signature)


def test_findings_are_written_for_a_person() -> None:
    assert str(Finding("missing", 412, 611)) == "seq 412..611 missing"
    assert str(Finding("prev: not the hash of the line before", 5)) == "seq 5 prev: not the hash of the line before"
    assert str(Finding("root: other")) == "root: other"
    mixed = (Finding("a", verdict=Verdict.UNANCHORED), Finding("b"), Finding("c", verdict=Verdict.INCOMPLETE))
    assert Report(0, mixed).verdict == Verdict.TAMPERED
    assert Report(0, mixed[::2]).verdict == Verdict.INCOMPLETE
