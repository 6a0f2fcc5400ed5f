"""Exports of a small log, whole and tampered with, and both verifiers over them."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType

import msgspec

from dezky_operator.audit.checkpoint import KeyChain, KeyRange
from dezky_operator.audit.findings import Verdict, worst
from dezky_operator.audit.heads import Head
from dezky_operator.audit.keys import parse_vkey
from dezky_operator.audit.line import decode, encode
from dezky_operator.audit.merkle import leaf_hash
from dezky_operator.audit.verify import verify_lines
from dezky_operator.audit.verify_export import Export, verify_export
from dezky_operator.cli.audit.directory import HEADS, LINES, NOTE, PROOF, TRUST, part
from tests.audit.events import log_of, login, note_of, own
from tests.audit.golden import TENANT, VKEY

TOOL = Path(__file__).parents[2] / "tools" / "verify_audit.py"
EXPORT_TOOL = TOOL.with_name("verify_export.py")
OTHER_TENANT = "33333333-3333-4333-8333-333333333333"
TENANTS = ("", TENANT, OTHER_TENANT)

Files = dict[str, bytes]


def second_verifier(path: Path) -> ModuleType:
    """One of the files in tools/, which no package holds."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SECOND = second_verifier(TOOL)
SECOND_OF_PARTS = second_verifier(EXPORT_TOOL)


def events_of(count: int) -> list[bytes]:
    """The lines of a log of ``count`` events of three tenants, with every kind of value."""
    return log_of(
        own(
            f"o-{n}",
            "step.done",
            tenant=TENANTS[n % 3],
            data={"ok": n % 2 == 0, "n": -n, "text": 'a"\\\n\x01\u00e9\U0001f600'},
        )
        if n % 2
        else login(f"l-{n}", tenant=TENANTS[n % 3], evt_id=f"e-{n}")
        for n in range(count)
    )


def rebuilt(lines: Sequence[bytes], change: Callable[[int, dict[str, object]], None]) -> list[bytes]:
    """The log with changed lines and every later hash made again, as somebody with our code would."""
    made: list[bytes] = []
    prev: dict[str | None, str] = {}
    for n, stored in enumerate(lines):
        fields = msgspec.json.decode(stored)
        change(n, fields)
        fields |= {"prev": prev.get(None, "0" * 64), "t_prev": prev.get(fields["tenant"], "0" * 64)}
        made.append(encode(decode(msgspec.json.encode(fields, order="sorted"))))
        prev[None] = prev[fields["tenant"]] = leaf_hash(made[-1]).hex()
    return made


def export(lines: Sequence[bytes], note: bytes | None = None) -> Files:
    """Lines and checkpoint as files; without ``note`` the one that belongs to the lines."""
    return {"000.jsonl": b"".join(line + b"\n" for line in lines), "log.note": note_of(lines) if note is None else note}


def written(directory: Path, files: Files) -> Path:
    """The files in a directory that holds nothing else."""
    directory.mkdir(exist_ok=True)
    for old in directory.iterdir():
        old.unlink()
    for name, data in files.items():
        (directory / name).write_bytes(data)
    return directory


def first(files: Files, vkey: str = VKEY) -> tuple[int, list[str]]:
    """Exit code and findings, up to their details, of the operator's verifier."""
    text = b"".join(data for name, data in sorted(files.items()) if name.endswith(".jsonl"))
    lines = text.split(b"\n")
    notes = [data for name, data in sorted(files.items()) if name.endswith(".note")]
    chain = KeyChain([KeyRange(parse_vkey(vkey))])
    report = verify_lines(lines if lines[-1] else lines[:-1], notes, chain=chain, trust=files.get(TRUST, b""))
    found = [str(finding) for finding in report.findings] + ([] if notes else ["checkpoint: none was given"])
    code = worst([report.verdict, *([] if notes else [Verdict.INCOMPLETE])])
    return code, [what.split(":")[0] for what in found]


def second(directory: Path, vkey: str = VKEY) -> tuple[int, list[str]]:
    """The same of the one that shares no code with it."""
    with redirect_stdout(io.StringIO()) as out:
        code = SECOND.main([str(directory), "--key", vkey])
    said = out.getvalue().splitlines()
    summary = next(n for n, what in enumerate(said) if what.endswith(" findings"))
    return code, [what.split(":")[0] for what in said[:summary]]


def written_part(directory: Path, export: Export) -> Path:
    """An export as files, in a directory that holds nothing else."""
    files = {
        LINES: b"".join(line + b"\n" for line in export.lines),
        HEADS: export.heads + b"\n",
        PROOF: export.proof,
        NOTE: export.note,
    }
    return written(directory, files)


def first_of_part(directory: Path, vkey: str = VKEY, earlier: Head | None = None) -> tuple[int, list[str]]:
    """Exit code and findings, up to their details, of the operator's verifier over a tenant's export or a range."""
    report = verify_export(part(directory), chain=KeyChain([KeyRange(parse_vkey(vkey))]), earlier=earlier).report
    return report.verdict, [str(finding).split(":")[0] for finding in report.findings]


def second_of_part(directory: Path, *more: str | Path, vkey: str = VKEY) -> tuple[int, list[str]]:
    """The same of the one that shares no code with it."""
    with redirect_stdout(io.StringIO()) as out:
        code = SECOND_OF_PARTS.main([str(directory), "--key", vkey, *map(str, more)])
    said = out.getvalue().splitlines()
    summary = next(n for n, what in enumerate(said) if " findings (" in what)
    return code, [what.split(":")[0] for what in said[:summary]]
