"""How long both verifiers take for the same export, process to process, beside `auditchain verify` on the same events.

    python -m tests.perf.audit_verify [EVENTS]

Wall time of the whole process, start included, the best of some rounds. Each reads a file: ours the canonical lines,
the peer its own JSON lines with the same texts, sealed with HMAC as its documentation advises.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from auditchain import AuditLog, JsonlBackend

from dezky_operator.audit.checkpoint import Checkpoint
from dezky_operator.audit.merkle import Frontier, leaf_hash
from tests.audit.events import signers
from tests.audit.golden import ORIGIN, VKEY
from tests.perf.audit_accept import log_of, text_of
from tests.perf.figure import Figure

EVENTS, ROUNDS, TOGETHER = 50_000, 3, 1_000
SECOND = Path(__file__).resolve().parents[2] / "tools" / "verify_audit.py"


def figures(count: int = EVENTS) -> Iterator[Figure]:
    """The second verifier, and how it compares with the peer."""
    with tempfile.TemporaryDirectory() as folder:
        ours, peers, key = Path(folder) / "export", Path(folder) / "peer.jsonl", Path(folder) / "seal.key"
        texts = [text_of(number) for number in range(count)]
        size = write_ours(ours, texts)
        key.write_bytes(bytes(32))
        asyncio.run(write_peers(peers, texts, key.read_bytes()))
        second = taken([sys.executable, str(SECOND), str(ours), "--key", VKEY])
        peer = taken([sys.executable, "-m", "auditchain", "verify", str(peers), "--seal-key-file", str(key)])
    yield Figure(
        name=f"audit: second verifier, process, lines of {size // count} B",
        value=count / second,
        unit="1/s",
        budget=80_000,
        beside=f"auditchain verify, lines of {size // count} B beside its own",
        peer=count / peer,
        better="higher",
    )
    yield Figure(
        name="audit: second verifier, process to process",
        value=peer / second,
        unit="x auditchain",
        budget=3.0,
        beside="auditchain verify",
        peer=1.0,
        better="higher",
    )


def write_ours(directory: Path, texts: Sequence[bytes]) -> int:
    """A whole log with its checkpoint; the bytes of its lines."""
    directory.mkdir()
    tree, size = Frontier(), 0
    with (directory / "lines.jsonl").open("wb") as file:
        for line in log_of(texts, sealed=False):
            tree.append(leaf_hash(line))
            size += file.write(line + b"\n")
    note = signers().sign(Checkpoint(ORIGIN, tree.size, tree.root()), 1_795_492_900)
    (directory / "checkpoint.note").write_bytes(note)
    return size


async def write_peers(path: Path, texts: Sequence[bytes], key: bytes) -> None:
    """The same events in the peer's form."""
    async with AuditLog(JsonlBackend(path), seal_key=key) as log:
        for start in range(0, len(texts), TOGETHER):
            read = [msgspec.json.decode(text) for text in texts[start : start + TOGETHER]]
            await log.append_many([(one["user"]["email"], one["action"], one["pk"], one) for one in read])


def taken(command: Sequence[str]) -> float:
    """Seconds of the fastest round. Raises CalledProcessError when it does not find the log valid."""
    rounds = []
    for _ in range(ROUNDS):
        before = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONHASHSEED": "0"})
        rounds.append(time.perf_counter() - before)
    return min(rounds)


if __name__ == "__main__":
    for figure in figures(int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS):
        figure.show()
