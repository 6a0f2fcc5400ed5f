"""Drafts made into rows of the log: each line holds the hash of the one before it, also of its tenant. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from dezky_operator.audit.draft import Draft, Place, sequenced
from dezky_operator.audit.errors import LineError
from dezky_operator.audit.event import LARGEST_INT
from dezky_operator.audit.line import GENESIS, decode, encode
from dezky_operator.audit.merkle import leaf_hash
from dezky_operator.audit.refusals import FullLogError
from dezky_operator.store.tables import LogRow, TenantRow


class Tip(msgspec.Struct, frozen=True, gc=False):
    """Where the log ends: lines so far, leaf hash of the last, and its time of recording (empty before the first)."""

    size: int
    h: bytes
    rec: str


EMPTY = Tip(0, GENESIS, "")


class Links(msgspec.Struct, frozen=True):
    """Rows that follow each other, the hash the first one points back to, and the tenants' newest lines after them."""

    prev: bytes
    rows: tuple[LogRow, ...]
    heads: dict[str, TenantRow]

    @property
    def tip(self) -> Tip:
        """Where the log ends after these rows, of which there is at least one."""
        last = self.rows[-1]
        return Tip(last.seq + 1, last.h, last.rec)


def linked(drafts: Iterable[Draft], *, tip: Tip, heads: Mapping[str, TenantRow], origin: str, now: str) -> Links:
    """The rows of ``drafts`` after ``tip``.

    Args:
        drafts: in the order they are to stand in.
        tip: the end of the log.
        heads: the newest line of each tenant that has one.
        origin: name of the log.
        now: time of recording. A clock that was set back does not reorder: ``rec`` never falls.

    Raises:
        FullLogError: the numbers are used up.
    """
    rec = max(now, tip.rec)
    seq, prev = tip.size, tip.h
    rows: list[LogRow] = []
    newest: dict[str, TenantRow] = {}
    for draft in drafts:
        tenant = draft.tenant
        last = newest.get(tenant) or heads.get(tenant)
        t_seq, t_prev = (last.t_seq + 1, last.h) if last else (0, GENESIS)
        row = _row(draft, Place(origin, seq, prev, t_seq, t_prev, rec))
        rows.append(row)
        prev = row.h
        newest[tenant] = TenantRow(tenant, t_seq, prev, seq)
        seq += 1
    if seq > LARGEST_INT:
        raise FullLogError(f"{origin}: lines are numbered up to {LARGEST_INT}; start a new epoch")
    return Links(tip.h, tuple(rows), newest)


def says(body: bytes, draft: Draft) -> bool:
    """Whether a line is that of ``draft``, its place aside. The salts in its commitments tell it from a like one."""
    try:
        line = decode(body)
    except LineError:
        return False
    prev, t_prev = bytes.fromhex(line.prev), bytes.fromhex(line.t_prev)
    return body == encode(sequenced(draft, Place(line.origin, line.seq, prev, line.t_seq, t_prev, line.rec)))


def _row(draft: Draft, place: Place) -> LogRow:
    body = encode(sequenced(draft, place))
    return LogRow(
        place.seq,
        leaf_hash(body),
        draft.dk,
        place.rec,
        draft.at or place.rec,
        draft.tenant,
        draft.partner,
        place.t_seq,
        draft.action,
        draft.outcome.value,
        draft.actor.ref,
        draft.source,
        draft.src,
        body,
    )
