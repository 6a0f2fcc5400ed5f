"""An audit file, its tailer and a log that keeps each event once: `log.texts(await follower.drained())`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dezky_operator.audit.event import Event
from dezky_operator.ingest.ocis.recovery import rebuilt
from dezky_operator.ingest.ocis.tail import OcisTail
from dezky_operator.ingest.ocis.told import OPENED
from dezky_operator.ingest.source import Look
from dezky_operator.ingest.tenants import Tenants
from dezky_operator.store.tables import CursorRow
from tests.drafts import RECEIVED

SRC = "ocis-main"
KEY = b"k" * 32


class Followed:
    """A tailer with the cursor and the events that were stored; events by id, as the log keeps them."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.path = path
        self.time = RECEIVED
        self.log: dict[str, Event] = {}
        self.offered = 0
        self.cursor: CursorRow | None = None
        self._options = options
        self.tail = self._opened()

    def _opened(self) -> OcisTail:
        plain: dict[str, Any] = {"src": SRC, "allow": None, "tenants": Tenants, "token_key": KEY}
        return OcisTail(self.path, **(plain | self._options), now=lambda: self.time)

    async def look(self) -> Look:
        """One look; events are stored, then the cursor."""
        found = await self.tail.look(self.cursor)
        self.store(found.events)
        self.cursor = found.cursor
        return found

    def store(self, events: Iterable[Event]) -> None:
        for event in events:
            self.offered += 1
            self.log.setdefault(event.ext, event)

    async def drain(self) -> list[Event]:
        """Look until nothing comes any more; the events that are new in the log."""
        known, quiet = set(self.log), 0
        while quiet < 4:
            found = await self.look()
            quiet = 0 if found.events or found.more else quiet + 1
        return [event for ext, event in self.log.items() if ext not in known]

    async def restart(self, cursor: CursorRow | None) -> None:
        """A new process that finds ``cursor``."""
        await self.tail.close()
        self.cursor = cursor
        self.tail = self._opened()

    async def restart_without_cursor(self) -> None:
        """A new process that makes the cursor of what the log holds."""
        openings = [(event.ext, event.data) for event in self.log.values() if event.action == OPENED]
        await self.restart(rebuilt(SRC, openings, heartbeat=self.time))


def lines(events: Iterable[Event]) -> list[bytes]:
    """Texts of the records, with their LF."""
    return [event.raw + b"\n" for event in events if event.action.startswith("ocis.")]


def actions(events: Iterable[Event]) -> list[str]:
    """What else there is, in its order."""
    return [event.action for event in events if not event.action.startswith("ocis.")]
