"""What docs/audit.md tells an auditor to type, typed."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from dezky_operator.audit.head_list import encode_heads
from dezky_operator.store.sqlite import SqliteStore
from tests.audit.command import audit
from tests.audit.events import login
from tests.audit.filled import append, appender, checkpoint
from tests.audit.golden import VKEY
from tests.audit.guards import Memory
from tests.audit.rotated import KEYS, rotated_twice

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "audit.md").read_text()
SIGNATURE, ROOT, LATER = re.findall(r"```\n(python3 .*?)```", PAGE, re.DOTALL)[:3]


@pytest.fixture
async def export(tmp_path: Path) -> Path:
    store = await SqliteStore.open(tmp_path / "audit.db")
    log = appender(store)
    await append(log, [login(f"l-{number}") for number in range(21)])
    await checkpoint(store, log, encode_heads, counter=0)
    await store.close()
    taken = audit("export", "--store", tmp_path / "audit.db", "--key", VKEY, "--out", tmp_path / "export")
    assert taken.returncode == 0, taken.stderr
    return tmp_path / "export"


def typed(block: str, where: Path, vkey: str = VKEY, note: str = "checkpoint.note") -> str:
    """What a shell says to it."""
    environment = {"PATH": os.environ["PATH"], "VKEY": vkey, "NOTE": note}
    done = subprocess.run(
        ["bash", "-c", block], cwd=where, env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_the_checkpoint_and_the_lines_hold(export: Path) -> None:
    assert "Signature Verified Successfully" in typed(SIGNATURE, export)
    assert typed(ROOT, export) == "True\n"


async def test_later_keys_are_taken_one_after_the_other(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "audit.db")
    await rotated_twice(store, Memory())
    await store.close()
    export = tmp_path / "export"
    assert audit("export", "--store", tmp_path / "audit.db", "--out", export).returncode == 0
    good = "Signature Verified Successfully"
    assert good not in typed(SIGNATURE, export)
    said = [line.split() for line in typed(LATER, export).splitlines()]
    assert said == [[f"key-{n}.note", "True", KEYS[n - 1].verify_key.vkey] for n in (2, 3)]
    vkeys = [VKEY, *(vkey for *_, vkey in said)]
    for n, (border, _, vkey) in enumerate(said):
        assert good in typed(SIGNATURE, export, vkeys[n], border)
        assert good in typed(SIGNATURE, export, vkey, border)
    assert good in typed(SIGNATURE, export, vkeys[-1])
    trust = export / "trust.txt"
    trust.write_bytes(trust.read_bytes().replace(b'"key.rotated"', b'"key.rotatee"', 1))
    assert "False" in typed(LATER, export)


def test_a_changed_checkpoint_and_a_changed_line_do_not(export: Path) -> None:
    note = export / "checkpoint.note"
    note.write_bytes(note.read_bytes().replace(b"\n22\n", b"\n21\n", 1))
    assert "Verified Successfully" not in typed(SIGNATURE, export)
    note.write_bytes(note.read_bytes().replace(b"\n21\n", b"\n22\n", 1))
    lines = export / "lines.jsonl"
    lines.write_bytes(lines.read_bytes().replace(b'"l-7"', b'"l-8"', 1))
    assert typed(ROOT, export) == "False\n"
