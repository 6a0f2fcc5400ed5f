"""The tailer of OCIS's audit file: one look reads a bounded part of it, oldest first, and says how far it came.

OCIS opens the file for each record and appends one line (facts/ocis.md 4.4), so a rotation by rename needs no signal.
A *generation* is one file's life, whatever it is called; its uuid and a line's offset are the line's id. A new
generation is put into the cursor by a look that brings no events, so no event exists under a uuid that a crash could
take away. Then come, in this order: what is unread of generations that are no longer live, files that were rotated
without ever having been seen, the live file.

============================================ ========================================================================
renamed, moved back, copied                  known again by what was read of it
truncated, copied and truncated, rewritten   ``ingest.rewound``; read on in a copy if there is one, then from 0
deleted                                      read to its end, it is still open
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
from collections.abc import Callable, Collection
from pathlib import Path

from dezky_operator.ingest.ocis.follower import Follower
from dezky_operator.ingest.ocis.generations import Identities
from dezky_operator.ingest.ocis.owner import Names, unknown
from dezky_operator.ingest.ocis.records import Records
from dezky_operator.ingest.ocis.told import Teller
from dezky_operator.ingest.source import Look
from dezky_operator.ingest.tenants import Tenants
from dezky_operator.store.tables import CursorRow

SILENT_AFTER = 6 * 3600.0


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
        new_id: a fresh uuid.
        silent_after: seconds without a record after which a look has a notice.
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
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        silent_after: float = SILENT_AFTER,
    ) -> None:
        self._tenants = tenants
        self._follower = Follower(
            path,
            teller=Teller(src, Records(src=src, allow=allow, token_key=token_key, names=names)),
            identities=Identities(token_key),
            now=now,
            new_id=new_id,
            silent_after=silent_after,
        )

    async def look(self, cursor: CursorRow | None) -> Look:
        """Read on from ``cursor``; None: nothing was ever read. In a thread: a disk may be slow. Raises SourceError."""
        return await asyncio.to_thread(self._follower.look, cursor, self._tenants())

    async def close(self) -> None:
        """Let go of the files."""
        await asyncio.to_thread(self._follower.close)
