"""The tail of OCIS's audit log: every line once, whatever is done to the file (facts/audit-log.md 2.7, case 24).

A new file is first noted in the cursor and read at the next look: an event's id holds the file's number, so a crash in
between must not give it another one. Known and tested: a copy-and-truncate between the last look and the truncation
loses what was written in between, as with every tail; rotation by rename loses nothing.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import msgspec

from dezky_operator.audit.draft import OVERSIZED
from dezky_operator.audit.event import Event, Outcome
from dezky_operator.ingest.ocis.files import Held, opened, rotated
from dezky_operator.ingest.ocis.records import TYPE, allowed, event_of
from dezky_operator.ingest.ocis.secrets import without_tokens
from dezky_operator.ingest.source import Look, SourceError
from dezky_operator.ingest.tenants import Tenants
from dezky_operator.store.tables import CursorRow, Generation

LINES, BYTES = 1_000, 4 << 20
"""Of one look at most."""
LONGEST = 1 << 20
"""Bytes of a line that is still read as one."""
HEAD = 4_096
"""Bytes kept of a longer one."""
PREFIX = 1 << 20
"""Bytes by which a file is known again."""
KEPT = 16
"""Files that are gone, kept in the cursor: they may come back under another name."""
REWOUND = "ingest.rewound"
EMPTY = (
    "{path} has been empty for {hours:.0f} h. OCIS writes it only with OCIS_ADD_RUN_SERVICES=audit, "
    "AUDIT_LOG_TO_FILE=true and AUDIT_FILEPATH set to this file in its environment."
)


class OcisTail:
    """Reads one file and what it was renamed to."""

    def __init__(  # noqa: PLR0913 - each is one independent fact, all by keyword
        self,
        path: Path,
        *,
        src: str,
        allow: frozenset[str] | None,
        tenants: Callable[[], Tenants],
        token_key: bytes,
        now: Callable[[], str],
        empty_after: float = 14_400.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read ``path``.

        Args:
            path: the file as this process sees it.
            src: name of the AuditSource.
            allow: raw actions let into the log; None: whatever changes something.
            tenants: all tenants at this moment.
            token_key: keys the hashes that share tokens are replaced by.
            now: canonical time.
            empty_after: seconds after which an empty file is told of.
            clock: seconds that only go forward.
        """
        self._path, self._src, self._allow = path, src, allow
        self._tenants, self._token_key, self._now = tenants, token_key, now
        self._empty_after, self._clock = empty_after, clock
        self._empty_since: float | None = None
        self._held: list[Held] = []

    async def look(self, cursor: CursorRow | None) -> Look:
        """Read on. Raises SourceError where the file can not be read."""
        return await asyncio.to_thread(self._look, cursor)

    async def close(self) -> None:
        """Let go of the files."""
        while self._held:
            self._held.pop().close()

    def _look(self, cursor: CursorRow | None) -> Look:
        known = list(cursor.generations) if cursor else []
        files = self._files()
        mine = _matched(known, files)
        fresh = [_begun(file) for file in files if not file.uuid and _first_line(file)]
        if fresh:
            return self._noted(known, mine, fresh)
        events, filtered, more = list[Event](), 0, False
        for place, generation in enumerate(known):
            file = mine.get(generation.uuid)
            if file is None:
                continue
            read = _Budget(LINES - len(events) - filtered)
            for offset, line in self._lines(file, generation.read, read):
                action, event = self._event(generation.uuid, offset, line)
                if action and not allowed(action, self._allow):
                    filtered += 1
                else:
                    events.append(event)
            file.note(read.end)
            known[place] = _grown(generation, file)
            more = more or read.spent
        return Look(
            events=tuple(events),
            filtered=filtered,
            cursor=self._cursor(_kept(known, mine)),
            more=more,
            last_event=max((event.at for event in events), default=""),
            notice=self._notice(files),
        )

    # -- files ----------------------------------------------------------------------------

    def _files(self) -> list[Held]:
        """Every file there is, oldest first; before them those held open whose name is gone, until they are read."""
        try:
            current = opened(self._path)
            found = [file for path in rotated(self._path) if (file := opened(path))]
        except OSError as error:
            raise SourceError(
                "FileUnreadable",
                f"{self._path} can not be opened ({error.strerror}). Mount it, and let the operator's user read it.",
            ) from error
        if current is None and not found and not self._held:
            raise SourceError(
                "FileMissing",
                f"{self._path} is not there. OCIS makes it with its first record: set AUDIT_FILEPATH to it, and "
                "mount its directory here.",
            )
        self._held = _one_each([*found, *([current] if current else [])], self._held)
        return self._held

    def _noted(self, known: list[Generation], mine: dict[str, Held], fresh: list[Generation]) -> Look:
        """New files were found: they are noted first. A file that is gone without a trace was cut, and that is told."""
        newest = known[-1] if known else None
        events = (self._rewound(newest),) if newest and newest.uuid not in mine else ()
        return Look(events=events, cursor=self._cursor(_kept([*known, *fresh], mine)), more=True)

    def _rewound(self, lost: Generation) -> Event:
        return Event(
            src=self._src,
            source=TYPE,
            ext=f"rewound:{lost.uuid}:{lost.read}",
            action=REWOUND,
            outcome=Outcome.UNKNOWN,
            recv=self._now(),
            data={"generation": lost.uuid, "read": lost.read},
        )

    def _cursor(self, generations: list[Generation]) -> CursorRow:
        newest = generations[-1] if generations else None
        position = f"{newest.uuid}:{newest.read}" if newest else ""
        return CursorRow(self._src, position, self._now(), tuple(generations))

    def _notice(self, files: list[Held]) -> str:
        if any(file.size for file in files):
            self._empty_since = None
            return ""
        since = self._empty_since = self._clock() if self._empty_since is None else self._empty_since
        waited = self._clock() - since
        return EMPTY.format(path=self._path, hours=waited / 3600) if waited >= self._empty_after else ""

    # -- lines ----------------------------------------------------------------------------

    def _event(self, generation: str, offset: int, line: bytes | Event) -> tuple[str, Event]:
        if isinstance(line, Event):
            return "", line
        return event_of(
            line,
            src=self._src,
            ext=f"{generation}:{offset}",
            recv=self._now(),
            tenants=self._tenants(),
            token_key=self._token_key,
        )

    def _lines(self, file: Held, start: int, budget: _Budget) -> Iterator[tuple[int, bytes | Event]]:
        """Whole lines from ``start`` with their places, without LF; the last one may not be whole yet."""
        budget.end = start
        while budget.lines and budget.bytes > 0:
            chunk = file.bytes_at(budget.end, LONGEST)
            lines = chunk.split(b"\n")[:-1][: budget.lines]
            if not lines:
                if len(chunk) < LONGEST or (long := self._oversized(file, budget.end)) is None:
                    return
                yield budget.end, long[0]
                budget.take(long[1] - budget.end)
            for line in lines:
                place = budget.end
                budget.take(len(line) + 1)
                if line.strip():
                    yield place, line
        budget.spent = True

    def _oversized(self, file: Held, start: int) -> tuple[Event, int] | None:
        """A line that is too long, and where the next one begins; None while its end is not written."""
        digest, offset = sha256(), start
        while piece := file.bytes_at(offset, LONGEST):
            line, newline, _ = piece.partition(b"\n")
            digest.update(line)
            offset += len(line)
            if newline:
                break
        else:
            return None
        head = without_tokens(file.bytes_at(start, HEAD), self._token_key)
        event = Event(
            src=self._src,
            source=TYPE,
            ext=f"{file.uuid}:{start}",
            action=OVERSIZED,
            outcome=Outcome.UNKNOWN,
            recv=self._now(),
            data={"bytes": offset - start, "sha256": digest.hexdigest()},
            raw=head,
        )
        return event, offset + 1


class _Budget:
    """How much one look still reads, and how far it came."""

    def __init__(self, lines: int) -> None:
        self.lines, self.bytes = max(lines, 0), BYTES
        self.end, self.spent = 0, False

    def take(self, count: int) -> None:
        self.lines -= 1
        self.bytes -= count
        self.end += count


def _one_each(found: list[Held], held: list[Held]) -> list[Held]:
    """The files by content holder: one that is held open already stays held. Those whose name is gone come first."""
    by_inode = {file.inode: file for file in held}
    files = []
    for file in found:
        before = by_inode.pop(file.inode, None)
        if before is None:
            files.append(file)
        else:
            file.close()
            files.append(before)
    gone = []
    for file in by_inode.values():
        if file.uuid and file.is_what_it_was() and file.size > file.read:
            gone.append(file)
        else:
            file.close()
    return [*gone, *files]


def _matched(known: list[Generation], files: list[Held]) -> dict[str, Held]:
    """Which file is which generation. One that was cut, or is not where the cursor says, is looked at anew."""
    by_uuid = {generation.uuid: generation for generation in known}
    mine: dict[str, Held] = {}
    for file in files:
        generation = by_uuid.get(file.uuid)
        if generation is not None and file.is_what_it_was():
            mine[file.uuid] = file
        else:
            file.uuid = ""
    for generation in sorted(known, key=lambda one: one.length, reverse=True):
        if generation.uuid in mine:
            continue
        match = next((file for file in files if not file.uuid and file.begins_as(generation)), None)
        if match is not None:
            match.uuid = generation.uuid
            match.note(generation.read)
            mine[generation.uuid] = match
    return mine


def _first_line(file: Held) -> bytes:
    """The first line with its LF, or as much of a long one as tells it; empty while it is not whole."""
    head = file.bytes_at(0, PREFIX)
    line, newline, _ = head.partition(b"\n")
    return line + newline if newline or len(head) == PREFIX else b""


def _begun(file: Held) -> Generation:
    line = _first_line(file)
    return Generation(str(uuid.uuid4()), len(line), sha256(line).digest(), 0)


def _grown(generation: Generation, file: Held) -> Generation:
    """The generation as it is known from now on: by as much of it as was read."""
    if file.read == generation.read:
        return generation
    length = max(min(file.read, PREFIX), generation.length)
    digest = generation.prefix_sha256 if length == generation.length else file.digest(length)
    return msgspec.structs.replace(generation, length=length, prefix_sha256=digest, read=file.read)


def _kept(known: list[Generation], mine: dict[str, Held]) -> list[Generation]:
    """Those whose file is there, and of the others the newest."""
    gone = [generation.uuid for generation in known if generation.uuid not in mine]
    forgotten = set(gone[:-KEPT])
    return [generation for generation in known if generation.uuid not in forgotten]
