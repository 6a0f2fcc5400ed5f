"""Whether a row is searched by what its line says (facts/audit-log.md 2.1). Pure.

Whoever changes only what is searched by leaves every hash right, and the search lies.
"""

from __future__ import annotations

from dezky_operator.audit.event import dedupe_key
from dezky_operator.audit.line import Line
from dezky_operator.audit.merkle import leaf_hash
from dezky_operator.store.tables import LogRow


def differences(row: LogRow, line: Line) -> tuple[str, ...]:
    """Names of the fields in which a row differs from its line."""
    indexed = (row.seq, row.rec, row.at, row.tenant, row.partner, row.t_seq)
    said = (line.seq, line.rec, line.at, line.tenant, line.partner, line.t_seq)
    named = (row.action, row.outcome, row.actor_ref, row.source, row.src)
    spoken = (line.action, line.outcome.value, line.actor.ref, line.source, line.src)
    made = (leaf_hash(row.body), dedupe_key(line.src, line.ext))
    if (indexed, named, (row.h, row.dk)) == (said, spoken, made):
        return ()
    names = ("seq", "rec", "at", "tenant", "partner", "t_seq", "action", "outcome", "actor_ref", "source", "src")
    pairs = zip((*names, "h", "dk"), (*indexed, *named, row.h, row.dk), (*said, *spoken, *made), strict=True)
    return tuple(name for name, stored, right in pairs if stored != right)
