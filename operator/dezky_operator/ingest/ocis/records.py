"""A line of OCIS's audit file as an event. Pure.

What is kept of a line is its text with the tokens replaced (:mod:`dezky_operator.ingest.ocis.tokens`); everything else
is read from that text, so no token is anywhere in an event. ``raw`` and the line's ``raw_len`` are of that text too.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

import msgspec

from dezky_operator.audit.draft import OVERSIZED
from dezky_operator.audit.event import Event, Outcome
from dezky_operator.audit.times import TimeSource, from_source
from dezky_operator.ingest.malformed import malformed
from dezky_operator.ingest.ocis.actions import ACTIONS, MUTATIONS, UNCOMMON, Told, action_of, logged_as
from dezky_operator.ingest.ocis.owner import Names, actor_of, owner_of, unknown
from dezky_operator.ingest.ocis.schema import Record, decode
from dezky_operator.ingest.ocis.tokens import without_tokens
from dezky_operator.ingest.tenants import KnownTenant, Tenants

SOURCE = "ocis"
LONGEST_TIME = 40
"""Characters. A longer text is no time."""


class Records:
    """Makes events of lines.

    Args:
        src: name of the AuditSource.
        allow: the actions that are kept, by OCIS's names; None: all that change something. Actions this version does
            not know are always kept: nobody can have decided about them.
        token_key: of the hashes that stand in the place of tokens.
        names: of users and groups, as far as anybody knows them.
    """

    def __init__(self, *, src: str, allow: Collection[str] | None, token_key: bytes, names: Names = unknown) -> None:
        self._src = src
        self._left_out = ACTIONS.keys() - (MUTATIONS if allow is None else set(allow))
        self._token_key = token_key
        self._names = names

    def event(self, line: bytes, *, ext: str, recv: str, tenants: Tenants) -> Event | None:
        """The event of one line without its LF; None when the allow list leaves it out.

        A line that is no record becomes ``ingest.malformed``.
        """
        text = without_tokens(line, self._token_key)
        try:
            record = decode(text)
        except ValueError as error:
            return self._malformed(text, ext, recv, str(error))
        if action_of(record) in self._left_out:
            return None
        return self._made(record, text, ext, recv, tenants)

    def again(self, event: Event, tenants: Tenants) -> Event:
        """An event of a line anew, with the names that are known by now; every other event as it is."""
        if not event.action.startswith(f"{SOURCE}."):
            return event
        return self._made(decode(event.raw), event.raw, event.ext, event.recv, tenants)

    def _made(self, record: Record, text: bytes, ext: str, recv: str, tenants: Tenants) -> Event:
        name = action_of(record)
        told = ACTIONS.get(name, UNCOMMON).told(record)
        actor = actor_of(record, name)
        tenant = owner_of(record, actor, tenants, self._names)
        at, time_source = _time(record.time) if len(record.time) <= LONGEST_TIME else ("", TimeSource.REC)
        return Event(
            src=self._src,
            source=SOURCE,
            ext=ext,
            action=logged_as(name),
            outcome=told.outcome,
            recv=recv,
            at=at,
            time_source=time_source,
            actor_type="user" if actor else "",
            resource_type=told.kind,
            tenant=tenant.tenant_id if tenant else "",
            partner=tenant.partner if tenant else "",
            data=told.data,
            values=self._values(told, actor, tenant),
            raw=text,
            people=_people(record, actor, told),
        )

    def malformed(self, line: bytes, *, ext: str, recv: str, reason: str) -> Event:
        """The event of a line that is no record, or only a part of one."""
        return self._malformed(without_tokens(line, self._token_key), ext, recv, reason)

    def oversized(self, head: bytes, *, ext: str, recv: str, length: int, sha256: str) -> Event:
        """The event of a line that is too long to be read: its beginning, its length in bytes and its hash."""
        return Event(
            src=self._src,
            source=SOURCE,
            ext=ext,
            action=OVERSIZED,
            outcome=Outcome.UNKNOWN,
            recv=recv,
            data={"bytes": length, "sha256": sha256},
            raw=without_tokens(head, self._token_key),
        )

    def _malformed(self, text: bytes, ext: str, recv: str, reason: str) -> Event:
        return malformed(src=self._src, source=SOURCE, ext=ext, recv=recv, reason=reason, raw=text)

    def _values(self, told: Told, actor: str, tenant: KnownTenant | None) -> dict[str, str]:
        values = {"actor.id": actor, "resource.id": told.id, "resource.name": told.name}
        if told.before or told.after:
            values |= {"before": told.before, "after": told.after}
        if tenant:
            values |= {"tenant.slug": tenant.slug, "partner.slug": tenant.partner_slug}
        if "@" in (name := self._names(actor)):
            values["actor.email"] = name
        return {path: value for path, value in values.items() if value}


@lru_cache(maxsize=1_024)
def _time(text: str) -> tuple[str, TimeSource]:
    """Records have whole seconds only, so many have the same."""
    return from_source(text)


def _people(record: Record, actor: str, told: Told) -> tuple[str, ...]:
    """Everybody else in the text: erasing one of them erases it."""
    named = {
        record.user,
        record.owner,
        record.share_owner,
        record.grantee_user_id,
        record.user_id,
        record.recipient_mail,
    }
    if record.share_type == "user":
        named.add(record.share_with)
    if record.opaque and "grants" in record.opaque:
        named |= _grantees(record.opaque["grants"])
    return tuple(sorted(named - {"", actor, told.id}))


def _grantees(grants: str) -> set[str]:
    """Ids that stand as keys in a space's list of grants."""
    try:
        return set(msgspec.json.decode(grants, type=dict[str, msgspec.Raw]))
    except (msgspec.MsgspecError, RecursionError):
        return set()
