"""What is kept of the log outside its store, and whether the store still holds it (facts/audit-log.md 2.4).

Delete the end of a log, or bring back last week's copy of its file, and everything left verifies. Only a checkpoint
kept elsewhere tells. The guard is asked before the first line is appended; one that says no is not argued with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from dezky_operator.audit.checkpoint import Checkpoint, KeyChain, open_checkpoint
from dezky_operator.audit.draft import Draft
from dezky_operator.audit.errors import NoteError, TileError
from dezky_operator.audit.fates import Appended
from dezky_operator.audit.log import Way
from dezky_operator.audit.note import Note, parse
from dezky_operator.audit.refusals import RollbackError
from dezky_operator.audit.stored_tiles import Grown, frontier
from dezky_operator.store.interface import Reader, Store


def supersedes(kept: bytes, note: bytes) -> bool:
    """Whether ``note`` may take the place of ``kept``: the newest key of the log that signed the one is the oldest that
    signed the other. A process that slept through a key rotation finds out here, before anybody relies on its note; and
    of two checkpoints on the border of two keys only the first one is.
    """
    old, new = parse(kept), parse(note)
    return old.text == new.text or _log_keys(old)[-1:] == _log_keys(new)[:1]


def _log_keys(note: Note) -> list[bytes]:
    """Ids of the log's own keys on a note, the older one first."""
    origin = note.text.partition("\n")[0]
    return [signature.id for signature in note.signatures if signature.name == origin]


class GuardError(Exception):
    """A place outside the store could not be read or written. The text says which and what to do."""


class Guard(Protocol):
    """A place outside the store that keeps the newest checkpoint."""

    @property
    def name(self) -> str:
        """Where it is, for messages."""

    async def newest(self) -> bytes | None:
        """The newest note kept there; None when there never was one. Raises GuardError."""

    async def keep(self, checkpoint: Checkpoint, note: bytes, heads: bytes, seconds: int) -> None:
        """Keep this one, signed at ``seconds`` since 1970, unless a larger one is there. Raises GuardError."""


class Barrier:
    """A way into the log that is closed once the log turned out not to be the one that was signed."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self.refusal: RollbackError | None = None

    async def append(self, drafts: Sequence[Draft]) -> Appended:
        """As the way does. Raises RollbackError when it is closed."""
        if self.refusal is not None:
            raise self.refusal
        return await self._way.append(drafts)


async def check(store: Store, grown: Grown, guards: Iterable[Guard], chain: KeyChain) -> bytes | None:
    """Compare the log with what is kept of it elsewhere; the newest note found there.

    Args:
        store: of the log.
        grown: its tree, with all tiles stored.
        guards: places that must answer.
        chain: the log's keys.

    Raises:
        RollbackError: the log is shorter than a kept checkpoint, or has another root at its size.
        GuardError: a place does not answer: what is not known to be whole is not appended to.
    """
    newest: tuple[int, bytes] | None = None
    for guard in guards:
        note = await guard.newest()
        if note is None:
            continue
        checkpoint = _opened(guard, note, chain)
        await _compare(store, grown, checkpoint, guard)
        if newest is None or checkpoint.size > newest[0]:
            newest = checkpoint.size, note
    return newest[1] if newest else None


def _opened(guard: Guard, note: bytes, chain: KeyChain) -> Checkpoint:
    try:
        return open_checkpoint(note, chain=chain).checkpoint
    except NoteError as error:
        raise RollbackError(
            f"{guard.name} holds a checkpoint that this log's key did not sign ({error}): nothing is appended until a "
            "person has found out which of the two is right"
        ) from None


async def _compare(store: Store, grown: Grown, kept: Checkpoint, guard: Guard) -> None:
    if kept.size > grown.size:
        raise RollbackError(
            f"truncated: the log has {grown.size} lines, {guard.name} holds a checkpoint of {kept.size}. The store was "
            "cut or set back: restore it, or begin a new epoch; nothing is appended"
        )
    if await root_at(store, kept.size) != kept.root:
        raise RollbackError(
            f"the first {kept.size} lines are not those that were signed: {guard.name} holds another root. The log was "
            "changed: keep it as evidence and begin a new epoch; nothing is appended"
        )


async def root_at(store: Store, size: int) -> bytes:
    """The root over the first ``size`` lines, from stored tiles; empty where they do not give one."""

    async def look(rows: Reader) -> bytes:
        try:
            return (await frontier(rows, size)).root()
        except TileError:
            return b""

    return await store.read(look)
