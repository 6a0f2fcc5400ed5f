"""The audit log as its writers see it: events go in, and are durable when that returns."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Protocol

import msgspec

from dezky_operator.audit.draft import Draft, prepare
from dezky_operator.audit.errors import EventError
from dezky_operator.audit.event import Event, Outcome
from dezky_operator.audit.fates import Appended
from dezky_operator.audit.keystore import KeyStore, Named

INVALID = "ingest.invalid"
"""An event that was none: of it only its text and its id are kept."""


NOBODY: Named = ("", "")


class Way(Protocol):
    """What brings prepared events into the store: the sequencer, or an inbox before it."""

    async def append(self, drafts: Sequence[Draft]) -> Appended:
        """Return once they are durable, with what became of each."""


class AuditLog:
    """Takes events of all sources."""

    def __init__(self, way: Way, keys: KeyStore, random: Callable[[int], bytes]) -> None:
        """``random`` gives bytes for salts and nonces, each once."""
        self._way, self._keys, self._random = way, keys, random

    async def accept(self, events: Sequence[Event]) -> Appended:
        """Keep ``events`` in their order; what became of each.

        One that breaks a rule of the line is kept as ``ingest.invalid``: it takes no other with it, and nothing of a
        source is lost because our reading of it was wrong.

        Raises:
            NotAppendedError: the log takes nothing now.
            UnavailableError: it is unknown what was kept; the same events may be offered again.
        """
        await self._keys.ensure({NOBODY, *(one for event in events for one in _named(event))})
        return await self._way.append([self._prepared(event) for event in events])

    def _prepared(self, event: Event) -> Draft:
        try:
            return prepare(event, keys=self._keys.ring, random=self._random)
        except EventError as error:
            return prepare(_invalid(event, error), keys=self._keys.ring, random=self._random)


def _named(event: Event) -> list[Named]:
    """Everybody whose key the event needs. The tenant's own is among them for an event that names nobody."""
    ids = (event.values.get("actor.id", ""), event.values.get("resource.id", ""), *event.people)
    return [(event.tenant, subject) for subject in ("", *ids)]


def _invalid(event: Event, error: EventError) -> Event:
    """What can be kept of an event that breaks a rule: everything, as text."""
    # Half a surrogate pair may be what was wrong with it: this encoder writes it as an escape.
    text = event.raw or json.dumps(msgspec.to_builtins(event), sort_keys=True).encode()
    digest = sha256(text).hexdigest()
    return Event(
        src=event.src,
        source=event.source,
        ext=event.ext if 0 < len(event.ext) <= _LONGEST_EXT else f"sha256:{digest}",
        action=INVALID,
        outcome=Outcome.UNKNOWN,
        recv=event.recv,
        data={"reason": str(error)[:_LONGEST_REASON], "bytes": len(text), "sha256": digest},
        raw=text,
    )


_LONGEST_EXT = 1_024
_LONGEST_REASON = 256
