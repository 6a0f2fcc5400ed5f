"""A line as people ask for it: the original system's names, with the values that the line only commits to. Pure.

What was erased is shown as erased and what is missing as missing; an empty value is one that never was
(facts/audit-log.md 6.1, query view).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from dezky_operator.audit.errors import LineError
from dezky_operator.audit.event import Datum
from dezky_operator.audit.indexed import differences
from dezky_operator.audit.line import Line, decode
from dezky_operator.audit.merkle import leaf_hash
from dezky_operator.store.tables import LogRow, PiiRow

NAMES: Mapping[str, str] = {
    "actor.id": "actorId",
    "actor.email": "actorEmail",
    "actor.ip": "actorIp",
    "resource.id": "resourceId",
    "resource.name": "resourceName",
    "tenant.slug": "tenantSlug",
    "partner.slug": "partnerSlug",
    "before": "before",
    "after": "after",
    "raw": "metadata",
}
"""The name of each commitment path in the view."""


class View(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One event. A value that is None was there and is no more: ``erased`` or ``missing`` names it.

    Attributes:
        metadata: the source's own text; None unless it was asked for and could be opened.
        data: the fields of the line itself, which hold nothing personal.
        sealed: there is a source text that was not opened.
        problem: why the row is not to be trusted, empty if nothing was seen; only a verification looks at everything.
    """

    seq: int
    at: str
    action: str
    outcome: str
    source: str
    external_id: str
    actor_type: str = ""
    actor_id: str | None = ""
    actor_email: str | None = ""
    actor_ip: str | None = ""
    resource_type: str = ""
    resource_id: str | None = ""
    resource_name: str | None = ""
    tenant_id: str = ""
    tenant_slug: str | None = ""
    partner_id: str = ""
    partner_slug: str | None = ""
    before: str | None = ""
    after: str | None = ""
    metadata: str | None = ""
    data: dict[str, Datum] = {}
    src: str = ""
    received: str = ""
    recorded: str = ""
    prev_hash: str = ""
    hash: str = ""
    erased: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    sealed: bool = False
    problem: str = ""


def gone(line: Line, private: PiiRow | None) -> frozenset[str]:
    """The commitment paths of a line whose values are not in the store any more."""
    there = set(private.f) | ({"raw"} if private.raw else set()) if private else set()
    return frozenset(line.c.keys() - there)


def viewed(row: LogRow, private: PiiRow | None, *, erased: Collection[str] = (), text: bytes | None = None) -> View:
    """A row as people read it.

    Args:
        row: of the log.
        private: what may be erased of it.
        erased: commitment paths of this line that a ledger of erasures names.
        text: the opened source text, if it was asked for and its keys are at hand.
    """
    try:
        line = decode(row.body)
    except LineError as error:
        return _untrusted(row, str(error))
    lost, wrong = gone(line, private), differences(row, line)
    kept = private.f if private else {}
    values = {_field(path): kept[path][1] if path in kept else None for path in line.c if path != "raw"}
    return View(
        seq=row.seq,
        at=line.at,
        action=line.action,
        outcome=line.outcome.value,
        source=line.source,
        external_id=line.ext,
        actor_type=line.actor.type,
        resource_type=line.resource.type,
        tenant_id=line.tenant,
        partner_id=line.partner,
        data=line.data,
        src=line.src,
        received=line.recv,
        recorded=line.rec,
        prev_hash=line.prev,
        hash=leaf_hash(row.body).hex(),
        erased=_named(lost & set(erased)),
        missing=_named(lost - set(erased)),
        sealed=bool(private and private.raw) and text is None,
        problem=f"index differs from the line: {', '.join(wrong)}" if wrong else "",
        metadata=_metadata(line, text),
        **values,
    )


def _metadata(line: Line, text: bytes | None) -> str | None:
    if "raw" not in line.c:
        return ""
    return None if text is None else text.decode(errors="backslashreplace")


def _field(path: str) -> str:
    return path.replace(".", "_")


def _named(paths: Collection[str]) -> tuple[str, ...]:
    return tuple(NAMES[path] for path in sorted(paths))


def _untrusted(row: LogRow, problem: str) -> View:
    """What is left to show of a row whose line is none: what it was searched by, and that it proves nothing."""
    return View(
        seq=row.seq,
        at=row.at,
        action=row.action,
        outcome=row.outcome,
        source=row.source,
        external_id="",
        tenant_id=row.tenant,
        partner_id=row.partner,
        src=row.src,
        recorded=row.rec,
        hash=leaf_hash(row.body).hex(),
        problem=problem,
    )
