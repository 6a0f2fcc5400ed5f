"""Follows the audit file through everything that is done to it, one bounded look at a time. It blocks on the disk."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from math import inf
from pathlib import Path

from msgspec.structs import replace

from dezky_operator.ingest.ocis.files import ENVIRONMENT, Files, Place, look_around, missing, opened, unreadable
from dezky_operator.ingest.ocis.generations import KEPT, Beginning, Identities, begun, known
from dezky_operator.ingest.ocis.reading import Reading, RewoundError
from dezky_operator.ingest.ocis.told import Teller, Turn
from dezky_operator.ingest.source import Look
from dezky_operator.ingest.tenants import Tenants
from dezky_operator.store.tables import CursorRow, Generation

POLLS = 2
"""Looks in which nothing may come from a file that is no longer the live one, before its open end is taken as it is."""

EMPTY_AFTER = 6 * 3600.0
"""Seconds after which it is told that nothing was ever written, where nobody said how many."""


class Follower:
    """The state between two looks: open files, and what the last cursor said."""

    def __init__(
        self,
        path: Path,
        *,
        teller: Teller,
        identities: Identities,
        now: Callable[[], str],
        new_id: Callable[[], str],
        silent_after: float | None,
    ) -> None:
        self._path = path
        self._teller = teller
        self._identities = identities
        self._now = now
        self._new_id = new_id
        self._empty_after = silent_after or EMPTY_AFTER
        self._silent_after = silent_after or inf
        self._heard = now()
        # A look that was cancelled goes on in its thread; the next one waits for it.
        self._one_at_a_time = threading.Lock()
        self._generations: tuple[Generation, ...] = ()
        self._readings: dict[str, Reading] = {}
        self._idle: dict[str, int] = {}

    def look(self, cursor: CursorRow | None, tenants: Tenants) -> Look:
        """One look. Raises SourceError."""
        with self._one_at_a_time:
            recv = self._now()
            self._resume(cursor.generations if cursor else ())
            try:
                files = look_around(self._path)
                if files.is_bare and not self._generations:
                    raise missing(self._path)
                turn = self._turn(files, recv, tenants)
            except OSError as error:
                raise unreadable(str(self._path), error) from None
            if turn.events or turn.filtered:
                self._heard = recv
            newest = self._generations[-1] if self._generations else None
            return Look(
                events=turn.events,
                filtered=turn.filtered,
                cursor=CursorRow(
                    source=self._teller.src,
                    position=f"{newest.uuid}:{newest.length}" if newest else "",
                    heartbeat=recv,
                    generations=self._generations,
                ),
                more=turn.more,
                last_event=max((event.at for event in turn.events), default=""),
                notice=self._notice(files, recv),
            )

    def close(self) -> None:
        """Let go of all files."""
        with self._one_at_a_time:
            self._close_all()

    def _close_all(self) -> None:
        for reading in self._readings.values():
            reading.file.close()
        self._readings.clear()
        self._idle.clear()

    def _resume(self, generations: tuple[Generation, ...]) -> None:
        """Go on where the cursor says: another one than was handed out last means that that one was not stored.

        Open files stay open, as one of them may be deleted by now.
        """
        if generations == self._generations:
            return
        held, self._readings = self._readings, {}
        self._idle.clear()
        self._generations = generations
        for generation in generations:
            reading = held.get(generation.uuid)
            if reading and (again := self._identities.reading(generation, reading.file)):
                self._readings[generation.uuid] = again
                del held[generation.uuid]
        for reading in held.values():
            reading.file.close()

    def _turn(self, files: Files, recv: str, tenants: Tenants) -> Turn:
        places = self._places(files)
        live = next((uuid for uuid, place in places.items() if place == files.live), "")
        for generation in self._generations:
            place = places.get(generation.uuid)
            if generation.uuid != live and (reading := self._unread(generation, place)):
                return self._left(reading, recv, tenants, is_kept=place is not None)
        if live:
            reading = self._readings.get(live) or self._open(live, places[live])
            return self._read(reading, recv, tenants) if reading else Turn(more=True)
        newest = self._generations[-1] if self._generations else None
        # Where nothing is at all, the volume may be away: nothing is told of the file before there is another one.
        if newest and newest.uuid not in places and not newest.ended and not files.is_bare:
            return self._lost(newest, files.live.size if files.live else 0, recv)
        return self._begin(files, set(places.values()))

    def _places(self, files: Files) -> dict[str, Place]:
        """Where each generation is. An open file stands for itself, whatever its name is now."""
        by_file = {place.file: place for place in files.all}
        held = {uuid: by_file.get(reading.file.now().file) for uuid, reading in self._readings.items()}
        there = {uuid: place for uuid, place in held.items() if place}
        sought = [generation for generation in self._generations if generation.uuid not in held]
        return there | self._identities.match(sought, [one for one in files.all if one not in there.values()])

    def _unread(self, generation: Generation, place: Place | None) -> Reading | None:
        """One that is not the live one and was not read to its end, or has grown since."""
        if generation.uuid in self._readings:
            return self._readings[generation.uuid]
        if place is None or place.size <= generation.length:
            return None
        return self._open(generation.uuid, place)

    def _open(self, uuid: str, place: Place) -> Reading | None:
        """None when the file was exchanged or changed meanwhile: the next look sees what is there then."""
        generation = next(one for one in self._generations if one.uuid == uuid)
        file = opened(place)
        if file is None:
            return None
        reading = self._identities.reading(generation, file)
        if reading is None:
            self._identities.refute(place, generation)
            file.close()
            return None
        self._readings[uuid] = reading
        return reading

    def _read(self, reading: Reading, recv: str, tenants: Tenants) -> Turn:
        before = reading.generation
        self._idle[before.uuid] = 0
        try:
            pieces, more = reading.lines()
        except RewoundError:
            size = reading.file.now().size
            self._close(before.uuid)
            return self._lost(before, size, recv)
        self._generations = known(self._generations, reading.generation)
        return self._teller.lines(before, pieces, recv, tenants, more=more)

    def _left(self, reading: Reading, recv: str, tenants: Tenants, *, is_kept: bool) -> Turn:
        """Read on in a file that is no longer the live one. ``is_kept``: it can be found again when it grows."""
        uuid = reading.generation.uuid
        idle = self._idle.get(uuid, 0) + 1
        turn = self._read(reading, recv, tenants)
        if turn.events or turn.filtered or turn.more:
            return turn
        self._idle[uuid] = idle
        if idle < POLLS and not (is_kept and reading.is_at_end):
            return turn
        before = reading.generation
        rest = reading.rest()
        self._generations = known(self._generations, replace(reading.generation, ended=True))
        self._close(uuid)
        return self._teller.rest(before, rest, recv)

    def _close(self, uuid: str) -> None:
        self._readings.pop(uuid).file.close()
        self._idle.pop(uuid, None)

    def _lost(self, generation: Generation, size: int, recv: str) -> Turn:
        """What was read is not there any more. The cursor changes with it, so the event comes again with the cursor."""
        self._generations = known(self._generations, replace(generation, ended=True))
        return self._teller.rewound(generation, size, recv)

    def _begin(self, files: Files, taken: set[Place]) -> Turn:
        """A new generation, put into the cursor before anything is read of it."""
        for place in files.all:
            if place in taken or (start := self._identities.beginning(place)) is None:
                continue
            if place == files.live or self._is_unseen(place, start):
                self._generations = known(self._generations, begun(self._new_id(), start, place))
                return Turn(more=True)
        return Turn()

    def _is_unseen(self, place: Place, start: Beginning) -> bool:
        """Whether a rotated file that no generation is came after all of them, and is OCIS's.

        One that is as old as the newest may be forgotten already, once generations are.
        """
        last = max((generation.written for generation in self._generations), default=0)
        is_after = place.written > last or (place.written == last and len(self._generations) < KEPT)
        return is_after and start.is_record and not self._identities.is_cut_copy(place, self._generations)

    def _notice(self, files: Files, now: str) -> str:
        """The same sentence as long as the same is the matter."""
        if files.closed:
            return f"{', '.join(files.closed)} may not be read: what OCIS wrote there is not known if it was unread"
        silent = datetime.fromisoformat(now) - datetime.fromisoformat(self._heard)
        # Nights are quiet: where records came before it is told only if somebody said how long it may take.
        limit = self._silent_after if self._generations else self._empty_after
        if silent.total_seconds() < limit:
            return ""
        state = "is not there" if files.live is None else "gets nothing" if files.live.size else "is empty"
        return (
            f"{self._path} {state}, for {limit / 3600:g} hours by now: OCIS writes it only with "
            f"{ENVIRONMENT} in its environment"
        )
