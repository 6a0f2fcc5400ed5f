"""The tailer of OCIS's audit file: one look reads a bounded part of it, oldest first, and says how far it came.

OCIS opens the file for each record and appends one line (facts/ocis.md 4.4), so a rotation by rename needs no signal.
A *generation* is one file's life, whatever it is called; its uuid and a line's offset are the line's id. A new
generation is put into the cursor by a look that brings no events, so no event exists under a uuid that a crash could
take away. Then come, in this order: what is unread of generations that are no longer live, files that were rotated
without ever having been seen, the live file.

============================================ ========================================================================
renamed, moved back, copied                  known again by what was read of it
truncated, copied and truncated, rewritten   ``ingest.rewound``; read on in a copy if there is one, then from 0
deleted                                      read to its end, it is still open, also while the log takes nothing
gone with all the others                     an error before anything was read; later its volume may be away: waited
last line without an end                     waited for; taken as malformed once the file is no longer the live one
line of more than 1 MiB                      ``ingest.oversized``, read in pieces
no JSON, another type, not a record          ``ingest.malformed``, with its text
============================================ ========================================================================

What cannot be known and is lost:

* what was written between the last look and a truncation, unless a copy has it, and between a copy and the truncation:
  rotate by rename (`nocopytruncate`);
* a file that was rotated and then packed or removed while nobody looked: pack one rotation later (`delaycompress`);
* a file that was rotated while its one and only line had no end;
* a truncated file that is written anew with the very bytes it had, as far as it has the same;
* a file that was rotated unseen, when it begins with the first line of another one and is not longer than what was read
  of that one: it is taken for a copy.

What is read twice: a file that was forgotten after sixteen rotations and is written to or copied after that.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

from msgspec.structs import replace

from dezky_operator.ingest.ocis.follower import Follower
from dezky_operator.ingest.ocis.generations import Identities
from dezky_operator.ingest.ocis.owner import Names, unknown
from dezky_operator.ingest.ocis.records import Records
from dezky_operator.ingest.ocis.told import Teller
from dezky_operator.ingest.source import Look
from dezky_operator.ingest.tenants import Tenants
from dezky_operator.store.tables import CursorRow


async def _no_names() -> bool:
    """Nobody is asked."""
    return False


async def _no_cursor() -> None:
    """No log to make a cursor of."""


class OcisTail:
    """A source (:class:`dezky_operator.ingest.source.Source`).

    Args:
        path: the file OCIS writes to, as mounted here, read-only.
        src: name of the AuditSource.
        allow: the actions that are kept, by OCIS's names; None: all that change something.
        tenants: the tenants there are.
        token_key: of the hashes that stand in the place of tokens and of first lines; the same for ever.
        now: the time (canonical).
        names: of users and groups by their ids in OCIS.
        ask: finds out names that were missing, and says whether it found any.
        lost: the cursor as far as the log tells it, for when the store has none.
        new_id: a fresh uuid.
        silent_after: seconds without a record after which a look has a notice; None: a file without any has one
            after some hours, one with records has none.
    """

    def __init__(  # noqa: PLR0913 - all it touches comes from outside
        self,
        path: Path,
        *,
        src: str,
        allow: Collection[str] | None,
        tenants: Callable[[], Tenants],
        token_key: bytes,
        now: Callable[[], str],
        names: Names = unknown,
        ask: Callable[[], Awaitable[bool]] = _no_names,
        lost: Callable[[], Awaitable[CursorRow | None]] = _no_cursor,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        silent_after: float | None = None,
    ) -> None:
        self._tenants, self._ask, self._lost = tenants, ask, lost
        self._records = Records(src=src, allow=allow, token_key=token_key, names=names)
        self._follower = Follower(
            path,
            teller=Teller(src, self._records),
            identities=Identities(token_key),
            now=now,
            new_id=new_id,
            silent_after=silent_after,
        )

    async def look(self, cursor: CursorRow | None) -> Look:
        """Read on from ``cursor``; None: nothing was ever read, or it was lost. Raises SourceError, StoreError."""
        if cursor is None:
            cursor = await self._lost()
        tenants = self._tenants()
        # In a thread: a disk may be slow.
        look = await asyncio.to_thread(self._follower.look, cursor, tenants)
        if not await self._ask():
            return look
        return replace(look, events=tuple(self._records.again(event, tenants) for event in look.events))

    async def close(self) -> None:
        """Let go of the files."""
        await asyncio.to_thread(self._follower.close)
