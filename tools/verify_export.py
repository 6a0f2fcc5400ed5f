#!/usr/bin/env python3
"""Check a part of the audit log of dezky-operator, a tenant's lines or a range, with nothing but the standard library.

    verify_export.py DIRECTORY --key VKEY [--tenant ID] [--earlier DIRECTORY ...] [--checkpoint FILE ...]

DIRECTORY is an export with proof.txt, as its README.txt says. VKEY is the log's first public key; it must come from
somewhere else than the export; trust.txt proves later ones. An export of a tenant that goes on after others is checked
with all of them, oldest first. FILE is a checkpoint from elsewhere: it shows an export that is older, or of a log that
was told in two ways.

Proves that each line is in the log at its place, that a range has no gap, and that nothing of a tenant was left out up
to the line log.heads that commits to its newest line.
Prints a line for each finding and a summary. Exit code: 0 valid, 1 tampered, 2 usage, 3 incomplete (less was given
than asked for), 4 valid but no map of tenants covers the newest lines.
It shares no code with the operator, on purpose; lines, keys and checkpoints are read by verify_audit.py beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

# Isolated from everything that is installed (python -I), the folder of this file is not searched by itself.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from verify_audit import (
    COUNT,
    INCOMPLETE,
    LARGEST,
    TAMPERED,
    UNANCHORED,
    UUID,
    VALID,
    ZEROS,
    Bad,
    Key,
    Range,
    checkpoint_of,
    fields_of,
    key_of,
    keys_of,
    lines_of,
    unbase64,
)

NOT_CHECKED = (
    "signature lines of other keys (HMAC, time, witnesses)",
    "values behind commitments (values.ndjson), sealed texts, erasures",
    "lines of others: for these the whole log has to be verified",
)
PROOF = re.compile(
    rf"dezky\.eu/audit-export/v1\n(?:tenant (?P<tenant>(?:{UUID})?)\nlines|range)"
    rf" (?P<first>{COUNT}) (?P<last>{COUNT})\n"
    rf"(?:heads (?P<heads>{COUNT}) (?P<place>{COUNT}) (?P<count>{COUNT})\n\n(?P<map>(?:[^\n]+\n)*))?\n"
    r"(?P<tree>(?:[^\n]+\n)*)"
)
# Of a line that is canonical: what is quoted in a text has a backslash before its quotes, so nothing else fits.
HEADS = re.compile(
    r'\{"action":"log\.heads",.*"c":\{\},"data":\{(?:[^{}]*,)?"count":([0-9]+),(?:[^{}]*,)?"root":"([0-9a-f]{64})"[^{}]*\},'
    r'.*"src":"operator","t_prev":"[0-9a-f]{64}","t_seq":[0-9]+,"tenant":"","time_source":"[a-z]+","v":1\}'
)
Head = tuple[str, int, str]


def hashes_of(text: str) -> list[bytes]:
    """The hashes of a block."""
    try:
        found = [unbase64(line) for line in text.split("\n")[:-1]]
    except Bad as bad:
        raise Bad(f"proof: {bad}") from None
    if any(len(one) != 32 for one in found):
        raise Bad("proof: a hash has 32 bytes")
    return found


def root_of(size: int, leaves: dict[int, bytes], hashes: list[bytes]) -> bytes:
    """The root of a tree of which some leaves are known, and of every largest part without any its root, in order."""
    places, rest = sorted(leaves), iter(hashes)

    def root(start: int, end: int) -> bytes:
        first = bisect_left(places, start)
        if first == len(places) or places[first] >= end:
            return next(rest)
        if end - start == 1:
            return leaves[start]
        middle = start + (1 << (end - start - 1).bit_length() - 1)
        left = root(start, middle)
        return hashlib.sha256(b"\x01" + left + root(middle, end)).digest()

    try:
        found = root(0, size) if size else b""
    except StopIteration:
        return b""
    return b"" if next(rest, None) is not None or max(places, default=0) >= size else found


class Part:
    """A tenant's lines or a range: what proof.txt says they are, under one checkpoint."""

    def __init__(self, directory: Path, keys: list[Range], findings: list[tuple[int, str]]) -> None:
        self.origin, self.directory = keys[0][2][0], directory
        self.keys, self.findings = keys, findings
        self.size, self.root, self.others = checkpoint_of(read(directory / "checkpoint.note"), self.keys)
        said = PROOF.fullmatch(read(directory / "proof.txt").decode(errors="replace"))
        if not said or (said["tenant"] is None) != (said["heads"] is None):
            raise Bad("proof: not what it has to be")
        numbers = [int(said[name] or 0) for name in ("first", "last", "heads", "place", "count")]
        if numbers[0] > numbers[1] or max(numbers) > LARGEST:
            raise Bad("proof: its numbers are none of lines")
        self.said, self.map, self.tree = said, hashes_of(said["map"] or ""), hashes_of(said["tree"])
        self.tenant, self.first, self.last = said["tenant"], int(said["first"]), int(said["last"])
        self.expected, self.prev = self.first, "" if self.first else ZEROS
        self.count, self.newest = 0, -1
        self.leaves: dict[int, bytes] = {}
        self.tenants: dict[str, tuple[int, str]] = {}

    def follow(self, before: Head | None) -> None:
        """Begin after an earlier export of the tenant."""
        if before and before[:2] == (self.tenant, self.first - 1):
            self.prev = before[2]
        elif before:
            self.found(TAMPERED, "earlier: that export does not end where this one begins")
        elif self.first and self.tenant is not None:
            self.found(INCOMPLETE, f"earlier: t_seq 0..{self.first - 1} is in an export that was not given")

    def found(self, verdict: int, what: str, seq: int | None = None) -> None:
        """One line for a person."""
        self.findings.append((verdict, what if seq is None else f"seq {seq} {what}"))

    def walk(self) -> None:
        """All lines, then what only the end shows."""
        for stored in lines_of(self.directory / "lines.jsonl") if (self.directory / "lines.jsonl").exists() else ():
            self.count += 1
            leaf = hashlib.sha256(b"\x00" + stored).digest()
            try:
                self.check(stored, leaf)
            except Bad as bad:
                self.found(TAMPERED, f"line {self.count} not canonical: {bad}")
            self.prev, self.expected = leaf.hex(), self.expected + 1
        if self.expected <= self.last:
            self.missing(self.last)
        elif self.expected > self.last + 1:
            self.found(TAMPERED, "proof: there are lines after the last one")
        if self.tenant is not None:
            self.check_heads(read(self.directory / "heads.line").removesuffix(b"\n"))
        if root_of(self.size, self.leaves, self.tree) != self.root:
            self.found(TAMPERED, f"root: not that of the checkpoint at size {self.size}")

    def check(self, stored: bytes, leaf: bytes) -> None:
        """The line's place among those before it."""
        origin, seq, prev, _, tenant, t_seq, t_prev = fields_of(stored)
        self.leaves[seq] = leaf
        if origin != self.origin:
            self.found(TAMPERED, f"origin: {self.origin} was expected", seq)
        if self.tenant is None:
            self.follows(seq, prev, ("out of order", "prev"), seq)
            if self.tenants.get(tenant, (t_seq, t_prev) if self.first else (0, ZEROS)) != (t_seq, t_prev):
                self.found(TAMPERED, "t_prev: not after the tenant's line before", seq)
            self.tenants[tenant] = t_seq + 1, leaf.hex()
        else:
            if seq <= self.newest:
                self.found(TAMPERED, "out of order: after a later line", seq)
            if tenant != self.tenant:
                self.found(TAMPERED, "tenant: of another one", seq)
            self.follows(t_seq, t_prev, ("t_seq", "t_prev"), seq)
        self.newest = max(self.newest, seq)

    def follows(self, number: int, link: str, names: tuple[str, str], seq: int) -> None:
        """Whether a line's number and link are those after the line before."""
        if number > self.expected:
            self.missing(number - 1)
        elif number < self.expected:
            self.found(TAMPERED, f"{names[0]}: {self.expected} was expected", seq)
        elif self.prev not in {"", link}:
            self.found(TAMPERED, f"{names[1]}: not the hash of the line before", seq)
        self.expected = number

    def missing(self, last: int) -> None:
        """Everything from the number that was expected."""
        span = str(last) if last == self.expected else f"{self.expected}..{last}"
        self.found(TAMPERED, f"seq {span} missing" if self.tenant is None else f"missing: t_seq {span}")

    def check_heads(self, stored: bytes) -> None:
        """The line log.heads: it is in the log, and in its map the tenant's newest line is the last one here."""
        try:
            origin, seq, *_ = fields_of(stored)
        except Bad as bad:
            self.found(TAMPERED, f"line {self.count + 1} not canonical: {bad}")
            return
        if origin != self.origin:
            self.found(TAMPERED, f"origin: {self.origin} was expected", seq)
        self.leaves[seq] = hashlib.sha256(b"\x00" + stored).digest()
        made = HEADS.fullmatch(stored.decode())
        if not made or seq != int(self.said["heads"]) or seq <= self.newest:
            self.found(TAMPERED, "heads: no log.heads of the operator after all lines", seq)
            return
        if seq < self.size - 1:
            span = str(seq + 1) if seq + 2 == self.size else f"{seq + 1}..{self.size - 1}"
            self.found(UNANCHORED, f"unanchored: no map of tenants covers seq {span}")
        place, count = int(self.said["place"]), int(self.said["count"])
        head = f"\x03{self.tenant}\0".encode() + max(self.expected - 1, 0).to_bytes(8, "big") + bytes.fromhex(self.prev)
        root = root_of(count, {place: hashlib.sha256(head).digest()}, self.map)
        if not self.count or (int(made[1]), made[2]) != (count, root.hex()):
            self.found(TAMPERED, "heads: the last line is not the newest one of the tenant", seq)

    @property
    def head(self) -> Head:
        """Where a tenant's export ends."""
        return self.tenant or "", self.expected - 1, self.prev


def read(path: Path) -> bytes:
    """A file, empty if it is not there."""
    return path.read_bytes() if path.is_file() else b""


def held(notes: list[Path], part: Part) -> Iterator[tuple[int, str]]:
    """What checkpoints from elsewhere say of the export's."""
    for path in notes:
        try:
            size, root, _ = checkpoint_of(read(path), part.keys)
        except Bad as bad:
            yield TAMPERED, f"checkpoint: {path.name}: {bad}"
            continue
        if size == part.size and root != part.root:
            yield TAMPERED, f"split view: two roots at size {size}"
        elif size > part.size:
            yield INCOMPLETE, f"checkpoint: one of size {size} was given, the export ends at {part.size}"


def verified(directory: Path, key: Key, before: Head | None) -> Part | list[tuple[int, str]]:
    """An export, gone over; or what stands in the way of that."""
    findings: list[tuple[int, str]] = []
    try:
        part = Part(directory, keys_of(key, directory / "trust.txt", findings), findings)
        part.follow(before)
        part.walk()
    except Bad as bad:
        text = str(bad)
        return [*findings, (TAMPERED, text if text.startswith("proof:") else f"checkpoint: {text}")]
    return part


def main(arguments: list[str] | None = None) -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--key", required=True, metavar="VKEY")
    parser.add_argument("--tenant", metavar="ID")
    parser.add_argument("--earlier", type=Path, action="append", metavar="DIRECTORY", default=[])
    parser.add_argument("--checkpoint", type=Path, action="append", metavar="FILE", default=[])
    given = parser.parse_args(arguments)
    try:
        key = key_of(given.key)
    except Bad as error:
        parser.error(f"--key: {error}")
    before: Head | None = None
    for directory in given.earlier:
        earlier = verified(directory, key, before)
        if not isinstance(earlier, Part) or any(verdict != UNANCHORED for verdict, _ in earlier.findings):
            parser.error(f"--earlier {directory}: is not valid; verify it first")
        before = earlier.head
    if not (given.directory / "proof.txt").is_file():
        parser.error(f"{given.directory}: holds no proof.txt; a whole log is for verify_audit.py")
    return say(verified(given.directory, key, before), given.tenant, given.checkpoint)


def say(part: Part | list[tuple[int, str]], tenant: str | None, notes: list[Path]) -> int:
    """Print findings and summary; returns the exit code."""
    if isinstance(part, Part):
        asked = [] if tenant is None or part.tenant == tenant else [(TAMPERED, "tenant: another one was asked for")]
        findings = [*asked, *part.findings, *held(notes, part)]
        count, whose = part.count, "a range" if part.tenant is None else f"tenant {part.tenant or '(none)'}"
        others = part.others
    else:
        findings, count, whose, others = part, 0, "nothing to go over", []
    verdicts = {verdict for verdict, _ in findings}
    code = next((code for code in (TAMPERED, INCOMPLETE, UNANCHORED) if code in verdicts), VALID)
    word = ("VALID", "INVALID", "", "INCOMPLETE", "VALID, newest lines not covered")[code]
    said = [what for _, what in findings] + [f"{word}: {count} lines, {len(findings)} findings ({whose})"]
    said += [f"not checked: {what}" for what in (*(f"the signature line of {name}" for name in others), *NOT_CHECKED)]
    sys.stdout.write("\n".join(said) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
