"""Whether lines are the log that its checkpoints say (facts/audit-log.md 2.2, 6.3). Pure: lines come from an iterator.

Every leaf is hashed again, never a stored hash taken; after a finding it goes on with what the next line says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from dezky_operator.audit.checkpoint import Checkpoint, KeyChain, open_checkpoint
from dezky_operator.audit.errors import LineError, NoteError, ProofError
from dezky_operator.audit.findings import Finding, Report, Verdict
from dezky_operator.audit.keys import HmacKey, VerifyKey
from dezky_operator.audit.line import GENESIS, Line, decode
from dezky_operator.audit.merkle import Frontier, leaf_hash
from dezky_operator.audit.rotation import extended, parse_trust

_ZEROS = GENESIS.hex()


class Walk:
    """Goes over the lines of a log from seq 0, one at a time. Its memory grows with the tenants, not with the lines."""

    def __init__(self, checkpoints: Sequence[Checkpoint], origin: str, read: Callable[[bytes], Line] = decode) -> None:
        """``checkpoints`` are of this log and their signatures hold. ``read`` gives a line or raises LineError."""
        self._read = read
        self.findings: list[Finding] = []
        self._origin = origin
        self._roots = {checkpoint.size: checkpoint.root for checkpoint in reversed(checkpoints)}
        self._tree = Frontier()
        self._next = 0
        self._prev = _ZEROS
        self._rec = ""
        self._tenants: dict[str, tuple[int, str]] = {}
        self._compare_root()

    @property
    def size(self) -> int:
        """Lines taken."""
        return self._tree.size

    def take(self, stored: bytes) -> None:
        """The next line, without LF."""
        leaf = leaf_hash(stored)
        try:
            line = self._read(stored)
        except LineError as error:
            self._found(str(error), self._next)
            self._next += 1
        else:
            self._check(line)
            self._next = line.seq + 1
            self._rec = line.rec
            self._tenants[line.tenant] = (line.t_seq + 1, leaf.hex())
        self._prev = leaf.hex()
        self._tree.append(leaf)
        self._compare_root()

    def _check(self, line: Line) -> None:
        if line.origin != self._origin:
            self._found(f"origin: {self._origin} was expected", line.seq)
        if line.seq > self._next:
            self._found("missing", self._next, line.seq - 1)
        elif line.seq < self._next:
            self._found(f"out of order: {self._next} was expected", line.seq)
        elif line.prev != self._prev:
            self._found("prev: not the hash of the line before", line.seq)
        if (line.t_seq, line.t_prev) != self._tenants.get(line.tenant, (0, _ZEROS)):
            self._found("t_prev: not after the tenant's line before", line.seq)
        if line.rec < self._rec:
            self._found("rec: before that of the line before", line.seq)

    def _compare_root(self) -> None:
        size = self._tree.size
        if size in self._roots and self._tree.root() != self._roots[size]:
            self._found(f"root: not that of the checkpoint at size {size}", None)

    def finish(self) -> tuple[Finding, ...]:
        """All findings, once the last line was taken."""
        anchored = max(self._roots, default=0)
        if self._next < anchored:
            self._found("missing: the log ends before its checkpoint", self._next, anchored - 1)
        elif self._tree.size < anchored:
            self._found(f"root: {anchored} lines are under the checkpoint, found {self._tree.size}", None)
        elif self._tree.size > anchored:
            self._found("unanchored", anchored, self._tree.size - 1, Verdict.UNANCHORED)
        if not self._tree.size and not anchored:
            self._found("nothing to verify", None, verdict=Verdict.INCOMPLETE)
        return tuple(self.findings)

    def _found(
        self, what: str, first: int | None, last: int | None = None, verdict: Verdict = Verdict.TAMPERED
    ) -> None:
        self.findings.append(Finding(what, first, last, verdict))


class Trusted(msgspec.Struct, frozen=True):
    """All keys of a log, the checkpoints on the borders between them, and what is wrong with them."""

    chain: KeyChain
    notes: tuple[bytes, ...] = ()
    findings: tuple[Finding, ...] = ()


def trusted_keys(chain: KeyChain, trust: bytes) -> Trusted:
    """The keys that ``trust``, as in ``trust.txt``, adds to ``chain``; none when one of them does not count."""
    try:
        rotations = parse_trust(trust)
        longer = extended(chain, rotations)
    except ProofError as error:
        return Trusted(chain, findings=(Finding(f"trust: {error}"),))
    return Trusted(longer, tuple(rotation.proof.note for rotation in rotations))


def verify_lines(
    lines: Iterable[bytes],
    notes: Sequence[bytes],
    *,
    chain: KeyChain,
    trust: bytes = b"",
    cosigners: Sequence[VerifyKey] = (),
    hmacs: Sequence[HmacKey] = (),
) -> Report:
    """Check a whole log from seq 0 against its checkpoints.

    Args:
        lines: canonical lines without LF, in order.
        notes: checkpoints. Two of one size with other roots are a split view and found as such.
        chain: the log's first key, which must come from outside the evidence, or more of them.
        trust: the key rotations that bring the others, as in ``trust.txt``.
        cosigners: keys of time and witnesses, if known.
        hmacs: symmetric keys, if known.
    """
    trusted = trusted_keys(chain, trust)
    findings = list(trusted.findings)
    checkpoints: list[Checkpoint] = []
    strangers: dict[str, None] = {}
    for note in (*notes, *trusted.notes):
        try:
            opened = open_checkpoint(note, chain=trusted.chain, cosigners=cosigners, hmacs=hmacs)
        except NoteError as error:
            findings.append(Finding(f"checkpoint: {error}"))
        else:
            checkpoints.append(opened.checkpoint)
            strangers |= dict.fromkeys(opened.verified.unknown)
    findings += _split_views(checkpoints)
    walk = Walk(checkpoints, chain.origin)
    for line in lines:
        walk.take(line)
    findings += walk.finish()
    unchecked = tuple(f"signature of {name}" for name in strangers)
    return Report(walk.size, tuple(findings), unchecked)


def _split_views(checkpoints: Sequence[Checkpoint]) -> list[Finding]:
    roots: dict[int, bytes] = {}
    sizes = [known.size for known in checkpoints if roots.setdefault(known.size, known.root) != known.root]
    return [Finding(f"split view: two roots at size {size}") for size in sizes]
