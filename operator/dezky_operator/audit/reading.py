"""What was found, made readable: erasures looked up, texts opened where keys are given, tenants by their names."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from dezky_operator.audit.errors import LineError, SealError
from dezky_operator.audit.line import decode
from dezky_operator.audit.query import Found
from dezky_operator.audit.sealing import unseal
from dezky_operator.audit.view import View, gone, viewed
from dezky_operator.store.interface import Reader, Span
from dezky_operator.store.tables import ERASURES, LOG, PII, TENANTS, TenantRow

AT_ONCE = 100
LINES_TRIED = 20
"""Newest lines of a tenant among which one with its name is looked for."""
SLUG = "tenant.slug"


class Opening(Protocol):
    """What opens sealed texts (:class:`dezky_operator.audit.keyring.KeyRing`)."""

    def text_key(self, dk: bytes, tenant: str, named: Collection[str]) -> bytes:
        """The key of the text of an event that names these ids. Raises SealError."""


async def views(rows: Reader, found: Sequence[Found], keys: Opening | None = None) -> list[View]:
    """The events of a page. With ``keys`` the source's texts are opened; one that does not open stays sealed."""
    lost = {one.row.seq: paths for one in found if (paths := _gone(one))}
    erased = await _erased(rows, lost.keys()) if lost else {}
    return [
        viewed(
            one.row,
            one.private,
            erased=erased.get(one.row.seq, ()),
            text=opened(one, keys) if keys is not None else None,
        )
        for one in found
    ]


def opened(found: Found, keys: Opening) -> bytes | None:
    """The source's text, None where there is none or it does not open under these keys."""
    private = found.private
    if private is None or not private.raw:
        return None
    try:
        key = keys.text_key(found.row.dk, found.row.tenant, [name for _, name in named_in(found) if name])
        return unseal(private.raw, key=key)
    except SealError:
        return None


def named_in(found: Found) -> list[tuple[str, str]]:
    """Whose keys seal the text of an event: tenant and id of each, and of the tenant itself with an empty id."""
    tenant, private = found.row.tenant, found.private
    if private is None or not private.raw:
        return []
    ids = [private.f[path][1] for path in ("actor.id", "resource.id") if path in private.f]
    return [(tenant, name) for name in ("", *ids, *private.people)]


def _gone(found: Found) -> frozenset[str]:
    try:
        return gone(decode(found.row.body), found.private)
    except LineError:
        return frozenset()


async def _erased(rows: Reader, wanted: Collection[int]) -> dict[int, list[str]]:
    """What the ledgers of all erasures say of some lines."""
    told: dict[int, list[str]] = {}
    after = Span()
    while ledgers := await rows.scan(ERASURES, after, limit=AT_ONCE):
        for entry in (line.split(" ") for ledger in ledgers for line in ledger.paths.splitlines()):
            if len(entry) == 2 and entry[0].isdecimal() and int(entry[0]) in wanted:
                told.setdefault(int(entry[0]), []).append(entry[1])
        after = Span(low=ledgers[-1].seq + 1)
    return told


async def slugs(rows: Reader) -> dict[str, tuple[str, ...]]:
    """Ids of tenants by the names that the values beside their newest lines give them.

    A name that was given away and given anew has several. Tenants whose names were erased have none.
    """
    found: dict[str, tuple[str, ...]] = {}
    after = Span()
    while heads := await rows.scan(TENANTS, after, limit=AT_ONCE):
        for head in heads:
            if head.tenant and (slug := await _slug(rows, head)):
                found[slug] = (*found.get(slug, ()), head.tenant)
        after = Span(low=heads[-1].tenant + "\0")
    return found


async def _slug(rows: Reader, head: TenantRow) -> str:
    newest = await rows.get(PII, head.seq)
    if newest is not None and SLUG in newest.f:
        return newest.f[SLUG][1]
    lines = await rows.find(LOG, "tenant", head.tenant, limit=LINES_TRIED, newest_first=True)
    private = await rows.get_many(PII, [line.seq for line in lines])
    named = (private[line.seq].f for line in lines if line.seq in private)
    return next((values[SLUG][1] for values in named if SLUG in values), "")
