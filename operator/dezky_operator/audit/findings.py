"""What a verification found, in one line each, and what it is worth (facts/audit-log.md 6.3). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

import msgspec


class Verdict(IntEnum):
    """The exit code of a verification."""

    VALID = 0
    TAMPERED = 1
    USAGE = 2
    INCOMPLETE = 3
    """Less was given than asked for. No proof that anything was changed."""
    UNANCHORED = 4
    """Valid, but its newest part is under no checkpoint yet."""


_WORST_FIRST = (Verdict.USAGE, Verdict.TAMPERED, Verdict.INCOMPLETE, Verdict.UNANCHORED)


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not as it should be.

    Attributes:
        what: the kind of thing, then a colon and the details.
        first, last: the range of seq it is about, both ends included; None when it is about no line.
        verdict: what it makes of the whole.
    """

    what: str
    first: int | None = None
    last: int | None = None
    verdict: Verdict = Verdict.TAMPERED

    def __str__(self) -> str:
        """``seq 412..611 missing`` and the like."""
        if self.first is None:
            return self.what
        end = "" if self.last in {None, self.first} else f"..{self.last}"
        return f"seq {self.first}{end} {self.what}"


class Report(msgspec.Struct, frozen=True):
    """The end of a verification. ``unchecked`` names what nobody looked at."""

    lines: int
    findings: tuple[Finding, ...]
    unchecked: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst of all findings."""
        return worst(finding.verdict for finding in self.findings)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Tampered before incomplete before unanchored before valid; a usage error before all."""
    found = set(verdicts)
    return next((verdict for verdict in _WORST_FIRST if verdict in found), Verdict.VALID)
