"""Whether an export is what its checkpoint says: a tenant's lines, all of them, or a range of the log. Pure.

(facts/audit-log.md 6.3, 6.4.) What is proved: each line is in the log at its place; a range has no gap; of a tenant
nothing is left out up to the ``log.heads`` that commits to its newest line. What a whole log is, from seq 0 on, is for
:mod:`dezky_operator.audit.verify`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from dezky_operator.audit.checkpoint import Checkpoint, KeyChain, open_checkpoint
from dezky_operator.audit.commitments import commitment
from dezky_operator.audit.errors import AuditError, LineError, NoteError, ProofError
from dezky_operator.audit.export_proof import RangeProof, TenantProof, parse_export_proof
from dezky_operator.audit.findings import Finding, Report, Verdict
from dezky_operator.audit.heads import Head
from dezky_operator.audit.line import GENESIS, Line, decode
from dezky_operator.audit.merkle import leaf_hash
from dezky_operator.audit.multiproof import root_with
from dezky_operator.audit.rotation import OWN
from dezky_operator.audit.verify import trusted_keys

HEADS = "log.heads"


class Value(msgspec.Struct, frozen=True):
    """One value that a line commits to, as an export shows it. ``salt`` is hex."""

    seq: int
    path: str
    salt: str
    value: str


class Export(msgspec.Struct, frozen=True):
    """The files of an export, read.

    Attributes:
        lines: without LF, in order.
        heads: the line ``log.heads``; empty in the export of a range.
        proof, note: the files ``proof.txt`` and ``checkpoint.note``.
        values: the lines of ``values.ndjson``.
        trust: the file ``trust.txt``, which brings the log's later keys.
    """

    lines: Iterable[bytes]
    heads: bytes
    proof: bytes
    note: bytes
    values: Iterable[bytes] = ()
    trust: bytes = b""


class Checked(msgspec.Struct, frozen=True):
    """The end of a verification, and what it is about in words.

    Attributes:
        head: the tenant's newest line in the export, which the next export begins after.
    """

    report: Report
    says: str
    head: Head | None = None


def verify_export(
    export: Export,
    *,
    chain: KeyChain,
    tenant: str | None = None,
    earlier: Head | None = None,
    held: Sequence[bytes] = (),
) -> Checked:
    """Check an export.

    Args:
        export: what was handed over.
        chain: the log's first key, which comes from outside of it, or more of them.
        tenant: whose lines were asked for; None takes any.
        earlier: where the tenant's export before this one ended, for one that does not begin with the first line.
        held: checkpoints that the asker has from elsewhere.
    """
    trusted = trusted_keys(chain, export.trust)
    chain = trusted.chain
    try:
        opened = open_checkpoint(export.note, chain=chain)
        proof = parse_export_proof(export.proof)
    except ProofError as error:
        return Checked(Report(0, (*trusted.findings, Finding(f"proof: {error}"))), "no proof")
    except NoteError as error:
        return Checked(Report(0, (*trusted.findings, Finding(f"checkpoint: {error}"))), "no checkpoint")
    walk = Walk(opened.checkpoint)
    walk.findings += trusted.findings
    if isinstance(proof, TenantProof):
        says, head = _tenant(walk, export, proof, tenant, earlier)
    else:
        says, head = _range(walk, export, proof, tenant), None
    walk.findings += _values(export.values, walk.made)
    walk.findings += _held(held, opened.checkpoint, chain)
    unchecked = (*(f"signature of {name}" for name in opened.verified.unknown), *walk.unchecked)
    return Checked(Report(walk.count, tuple(walk.findings), unchecked), says, head)


class Walk:
    """Goes over the lines of an export. It keeps a hash for each line, since all of them lead to one root."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.findings: list[Finding] = []
        self.unchecked: tuple[str, ...] = ()
        self.leaves: dict[int, bytes] = {}
        self.made: dict[int, dict[str, str]] = {}
        self.count = 0

    def take(self, stored: bytes) -> tuple[Line | None, bytes]:
        """The next line and its leaf hash; no line where it is none."""
        leaf = leaf_hash(stored)
        self.count += 1
        try:
            line = decode(stored)
        except LineError as error:
            self.findings.append(Finding(f"line {self.count} {error}"))
            return None, leaf
        if line.origin != self.checkpoint.origin:
            self.found(f"origin: {self.checkpoint.origin} was expected", line.seq)
        self.leaves[line.seq] = leaf
        self.made[line.seq] = line.c
        return line, leaf

    def found(self, what: str, seq: int | None = None, verdict: Verdict = Verdict.TAMPERED) -> None:
        """One finding."""
        self.findings.append(Finding(what, seq, verdict=verdict))

    def compare_root(self, hashes: Sequence[bytes]) -> None:
        """All lines at once against the checkpoint."""
        size = self.checkpoint.size
        try:
            root = root_with(size, self.leaves, hashes)
        except ProofError as error:
            self.found(f"root: {error}")
            return
        if root != self.checkpoint.root:
            self.found(f"root: the lines are not those under the checkpoint of size {size}")


def _tenant(
    walk: Walk, export: Export, proof: TenantProof, asked: str | None, earlier: Head | None
) -> tuple[str, Head | None]:
    """A tenant's export: its chain from the first line to its head, the head in the map, the map in the log."""
    if asked is not None and proof.tenant != asked:
        walk.found(f"tenant: the export is of {proof.tenant or 'no tenant'}, {asked or 'no tenant'} was asked for")
    prev = _before(walk, proof, earlier)
    expected, newest = proof.first, -1
    for stored in export.lines:
        line, leaf = walk.take(stored)
        if line is not None:
            if line.seq <= newest:
                walk.found("out of order: after a later line", line.seq)
            expected, newest = _chained(walk, line, proof.tenant, expected, prev), max(newest, line.seq)
        prev, expected = leaf.hex(), expected + 1
    if expected <= proof.last:
        walk.found(f"missing: t_seq {_span(expected, proof.last)}")
    elif expected > proof.last + 1:
        walk.found(f"proof: the lines end with t_seq {expected - 1}, it says {proof.last}")
    head = Head(proof.tenant, max(expected - 1, 0), bytes.fromhex(prev)) if walk.count else None
    _heads(walk, export.heads, proof, head)
    walk.compare_root(proof.tree_hashes)
    whose = f"tenant {proof.tenant}" if proof.tenant else "events of no tenant"
    return f"{whose}: t_seq {_span(proof.first, proof.last)}, nothing left out up to seq {proof.heads - 1}", head


def _before(walk: Walk, proof: TenantProof, earlier: Head | None) -> str:
    """The hash the first line points back to; empty when nobody knows."""
    if earlier is not None and (earlier.tenant, earlier.t_seq + 1) == (proof.tenant, proof.first):
        return earlier.h.hex()
    if earlier is not None:
        walk.found(f"earlier: that export ends with t_seq {earlier.t_seq}, this one begins with {proof.first}")
    elif proof.first:
        what = f"earlier: t_seq {_span(0, proof.first - 1)} is in an export before this one, which was not given"
        walk.found(what, verdict=Verdict.INCOMPLETE)
    return "" if proof.first else GENESIS.hex()


def _chained(walk: Walk, line: Line, tenant: str, expected: int, prev: str) -> int:
    """Check a line's place among its tenant's; return the ``t_seq`` it has."""
    if line.tenant != tenant:
        walk.found("tenant: of another one", line.seq)
    if line.t_seq > expected:
        walk.found(f"missing: t_seq {_span(expected, line.t_seq - 1)}")
    elif line.t_seq < expected:
        walk.found(f"t_seq: {expected} was expected, found {line.t_seq}", line.seq)
    elif prev not in {"", line.t_prev}:
        walk.found("t_prev: not after the tenant's line before", line.seq)
    return line.t_seq


def _heads(walk: Walk, stored: bytes, proof: TenantProof, head: Head | None) -> None:
    """The line that commits to the map of tenants, and the tenant's head in it."""
    newest = max(walk.leaves, default=-1)
    line, _ = walk.take(stored.removesuffix(b"\n"))
    walk.count -= 1
    if line is None:
        return
    root, count = line.data.get("root"), line.data.get("count")
    if (line.action, line.src, line.seq) != (HEADS, OWN, proof.heads) or line.seq <= newest:
        walk.found(f"heads: a {HEADS} of the operator at seq {proof.heads} after all lines was expected", line.seq)
        return
    if line.seq < walk.checkpoint.size - 1:
        after = f"seq {_span(line.seq + 1, walk.checkpoint.size - 1)}"
        walk.found(f"unanchored: no map of tenants covers {after}", verdict=Verdict.UNANCHORED)
    if head is None or count != proof.tenants or not _in_map(head, proof, str(root)):
        walk.found("heads: the last line is not the newest one of the tenant", line.seq)


def _in_map(head: Head, proof: TenantProof, root: str) -> bool:
    try:
        return root_with(proof.tenants, {proof.place: head.leaf}, proof.map_hashes).hex() == root
    except ProofError:
        return False


def _range(walk: Walk, export: Export, proof: RangeProof, asked: str | None) -> str:
    """A range: every number, each line after the one before, and all of them in the tree."""
    if asked is not None:
        walk.found("tenant: this is a range of the log, no tenant's export", verdict=Verdict.INCOMPLETE)
    expected, prev = proof.first, "" if proof.first else GENESIS.hex()
    tenants: dict[str, tuple[int, str]] = {}
    for stored in export.lines:
        line, leaf = walk.take(stored)
        if line is not None:
            expected = _follows(walk, line, expected, prev)
            known = tenants.get(line.tenant, None if proof.first else (0, GENESIS.hex()))
            if known not in {None, (line.t_seq, line.t_prev)}:
                walk.found("t_prev: not after the tenant's line before", line.seq)
            tenants[line.tenant] = line.t_seq + 1, leaf.hex()
        prev, expected = leaf.hex(), expected + 1
    if expected <= proof.last:
        walk.findings.append(Finding("missing", expected, proof.last))
    elif expected > proof.last + 1:
        walk.found(f"proof: the lines end with seq {expected - 1}, it says {proof.last}")
    walk.compare_root(proof.tree_hashes)
    if proof.first:
        walk.unchecked = (f"what the lines before seq {proof.first} say",)
    return f"seq {_span(proof.first, proof.last)}"


def _follows(walk: Walk, line: Line, expected: int, prev: str) -> int:
    """Check a line's place in the log; return the seq it has."""
    if line.seq > expected:
        walk.findings.append(Finding("missing", expected, line.seq - 1))
    elif line.seq < expected:
        walk.found(f"out of order: {expected} was expected", line.seq)
    elif prev not in {"", line.prev}:
        walk.found("prev: not the hash of the line before", line.seq)
    return line.seq


def _values(values: Iterable[bytes], made: dict[int, dict[str, str]]) -> list[Finding]:
    """Values that are not those the lines commit to."""
    wrong = []
    for n, stored in enumerate(values, 1):
        try:
            value = msgspec.json.decode(stored, type=Value)
            committed = made.get(value.seq, {}).get(value.path)
            opens = commitment(bytes.fromhex(value.salt), value.path, value.value.encode())
        except (msgspec.MsgspecError, AuditError, ValueError) as error:
            wrong.append(Finding(f"value: line {n} of the values is none ({type(error).__name__})"))
            continue
        if committed != opens:
            what = "plaintext changed" if committed else "plaintext without a commitment"
            wrong.append(Finding(f"{what}: {value.path}", value.seq))
    return wrong


def _held(notes: Sequence[bytes], own: Checkpoint, chain: KeyChain) -> list[Finding]:
    """What checkpoints from elsewhere say of the export's."""
    found = []
    for note in notes:
        try:
            other = open_checkpoint(note, chain=chain).checkpoint
        except NoteError as error:
            found.append(Finding(f"checkpoint: the one that was given: {error}"))
            continue
        if other.size == own.size and other.root != own.root:
            found.append(Finding(f"split view: two roots at size {own.size}"))
        elif other.size > own.size:
            what = f"checkpoint: one of size {other.size} was given, the export ends at {own.size}"
            found.append(Finding(what, verdict=Verdict.INCOMPLETE))
    return found


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}..{last}"
