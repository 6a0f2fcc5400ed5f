"""The notary: signs the log as it grows, and has every checkpoint kept outside the store before anybody relies on it.

One checkpoint is made in this order, each step safe to repeat: the tenants' heads as an event; tiles up to the end; the
root compared with what was signed before; the note, into the guard first, then into the store, then into the anchors.
A note that reached the guard only is found there at the next start.

When another key follows, the line that names it comes first, and the checkpoint over it is signed by both keys. Once
the guard has that one, only the new key signs, in this process and in the next.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
import structlog

from dezky_operator.audit import hot
from dezky_operator.audit.checkpoint import Checkpoint, KeyChain, Signers, open_checkpoint
from dezky_operator.audit.draft import Draft
from dezky_operator.audit.errors import AuditError, NoteError, ProofError, TileError
from dezky_operator.audit.guard import Guard, GuardError, check, root_at
from dezky_operator.audit.head_list import encode_heads
from dezky_operator.audit.heads import TenantMap
from dezky_operator.audit.keys import SigningKey, VerifyKey
from dezky_operator.audit.pace import BOOKKEEPING, Due, Pace, due
from dezky_operator.audit.refusals import RollbackError
from dezky_operator.audit.rotation import Rotation
from dezky_operator.audit.sequencer import Sequencer
from dezky_operator.audit.stored_tiles import Grown, grow
from dezky_operator.audit.stored_trust import chain_in, rotation_to
from dezky_operator.store.interface import ConflictError, Reader, Rows, Span, Store, StoreError
from dezky_operator.store.tables import CHECKPOINTS, LOG, ROTATIONS, CheckpointRow, RotationRow

log = structlog.get_logger(__name__)
LOOK_EVERY = 1.0
"""Seconds between two looks for events under no checkpoint."""
FEW = 64
"""So many lines are looked at for whether one of them is news; more always are."""


class Signed(msgspec.Struct, frozen=True):
    """The newest checkpoint: its number among all, and what it says."""

    counter: int
    checkpoint: Checkpoint


class Notary:
    """Signs one log.

    Attributes:
        signers: the keys at hand. Those that come after the log's newest one follow it, one with each look.
        chain: the log's keys as a verifier knows them.
        signed: the newest checkpoint in the store; None before the first.
        anchored: whether every anchor has it.
        news: how many events were under no checkpoint at the last look.
    """

    def __init__(  # noqa: PLR0913 - each is one independent part, all by keyword
        self,
        store: Store,
        sequencer: Sequencer,
        *,
        signers: Signers,
        chain: KeyChain,
        guard: Guard,
        anchors: Sequence[Guard],
        pace: Pace,
        heads: Callable[[int, TenantMap], Draft],
        rotated: Callable[[VerifyKey], Draft],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Sign the log in ``store``.

        Args:
            store: of the log.
            sequencer: appends ``log.heads`` to it.
            signers: the keys at hand.
            chain: the log's first key. What the store has of later ones is added at the start.
            guard: must have every checkpoint before it counts.
            anchors: have it as soon as they can.
            pace: when a checkpoint is due.
            heads: makes the event ``log.heads`` over so many lines.
            rotated: makes the event ``key.rotated`` that names a new key; its id names the key.
            clock: seconds that only go forward.
            now: seconds since 1970.
        """
        self._store, self._sequencer = store, sequencer
        self.signers, self.chain = signers, chain
        self._first = chain
        self._guard, self._anchors = guard, anchors
        self._pace, self._heads, self._rotated, self._clock, self._now = pace, heads, rotated, clock, now
        self._signed_at = self._news_since = clock()
        self.signed: Signed | None = None
        self.anchored = True
        self.news = 0
        self._headed: tuple[int, bytes] = (0, b"")
        """Size of the log right after the newest ``log.heads``, and the heads it commits to."""
        self._turned: RotationRow | None = None
        """A rotation that the guard knows of and the store does not yet."""

    async def start(self) -> None:
        """Compare the log with what was signed of it, and take up what the last process did not finish.

        Raises:
            RollbackError: the store is not what was signed.
            GuardError: the guard does not answer.
            UnavailableError: the store does not.
        """
        await self._learn()
        grown = await self._grown()
        newest = await check(self._store, grown, [self._guard], self.chain)
        await self._check_anchors(grown)
        self.signed = await self._stored()
        if newest is not None:
            await self._adopt(newest)

    @property
    def lag(self) -> float:
        """Seconds since the oldest event that is under no checkpoint was seen."""
        return self._clock() - self._news_since if self.news else 0.0

    async def run(self) -> None:
        """Look for what is to be signed, for ever. Raises RollbackError: nothing more is signed then."""
        while True:
            try:
                await self.look()
            except RollbackError:
                raise
            except (StoreError, AuditError, GuardError) as error:
                log.warning("no checkpoint", error=str(error))
            await asyncio.sleep(LOOK_EVERY)

    async def finish(self) -> None:
        """Sign what is not signed yet, before the process ends; one that can not be signed now is at the next start."""
        try:
            self.news = await self._store.read(self._news)
            if self.news:
                await self.sign(news=True)
        except (StoreError, AuditError, GuardError) as error:
            log.warning("no last checkpoint", error=str(error))

    async def look(self) -> Due:
        """Sign, if it is time to. Raises RollbackError, GuardError, UnavailableError, and as :meth:`sign`."""
        await self.rotate()
        self.news = await self._store.read(self._news)
        now = self._clock()
        if not self.news:
            self._news_since = now
        what = due(self._pace, now=now, signed_at=self._signed_at, news=self.news, news_since=self._news_since)
        if what is Due.NEW:
            # One that fails is tried again no sooner than the next would be: each try may add a line.
            self._signed_at = now
        if what is not Due.NOTHING:
            await self.sign(news=what is Due.NEW)
            # What is under no checkpoint now came after this look. Where events never cease no look finds none, and
            # the wait of the first one of all would be told, and acted on, for ever.
            self._news_since = now
        return what

    async def sign(self, *, news: bool) -> Signed | None:
        """Make a checkpoint now; None over an empty log. ``news``: the tenants' heads go before it.

        Raises:
            RollbackError: what was signed before is not in the store any more.
            GuardError: the guard did not take it: nobody may rely on it.
            UnavailableError: the store.
            KeyFormatError: the key that signs now is not at hand.
        """
        await self._learn()
        heads = b""
        if news:
            heads = await self._committed()
        grown = await self._grown()
        if not grown.size:
            return None
        await self._still_there()
        checkpoint = Checkpoint(self.chain.origin, grown.size, grown.root)
        seconds = int(self._now())
        note = self.signers.at(checkpoint.size, self.chain).sign(checkpoint, seconds)
        await self._guard.keep(checkpoint, note, heads, seconds)
        await self._publish(checkpoint, note, heads, seconds)
        return self.signed

    async def rotate(self) -> VerifyKey | None:
        """Have the key that follows sign from now on; None when none does. May be repeated after any error.

        Raises:
            as :meth:`sign`.
        """
        await self._learn()
        if (key := self._follower()) is None:
            return None
        if (kept := await self._guard.newest()) is not None and await self._adopt(kept):
            return key.verify_key
        await self._sequencer.append([self._rotated(key.verify_key)])
        heads = await self._committed()
        grown = await self._grown()
        await self._still_there()
        checkpoint = Checkpoint(self.chain.origin, grown.size, grown.root)
        seconds = int(self._now())
        chain = self.chain.with_next(key.verify_key, checkpoint.size)
        note = self.signers.at(checkpoint.size, chain).sign(checkpoint, seconds)
        rotation = await rotation_to(self._store, key.verify_key, note)
        await self._guard.keep(checkpoint, note, heads, seconds)
        await self._turn(rotation)
        await self._publish(checkpoint, note, heads, seconds)
        log.warning("audit log signed by a new key", vkey=key.verify_key.vkey, from_size=checkpoint.size)
        return key.verify_key

    def _follower(self) -> SigningKey | None:
        return self.signers.after(self.chain.ranges[-1].key)

    async def _turn(self, rotation: Rotation) -> None:
        """The guard has the border: only the new key signs after it."""
        self._turned = RotationRow(len(self.chain.ranges), rotation.encode())
        await self._learn()

    async def _learn(self) -> None:
        """Have the log's keys as the store knows them: what this process has of a rotation goes in before anything is
        signed after it, and what another process did is taken over.
        """
        if self._turned is not None:
            await self._store.run(partial(_put_rotation, row=self._turned))
            self._turned = None
        if await self._store.read(lambda rows: rows.count(ROTATIONS)) != len(self.chain.ranges) - 1:
            try:
                self.chain = await chain_in(self._store, self._first)
            except ProofError as error:
                raise RollbackError(f"{error}: the store's proof of the log's keys is not what it was") from None

    async def _committed(self) -> bytes:
        """The tenants' heads, committed to by ``log.heads``; by the one there is, where the log still ends with it: a
        guard that does not answer for hours must not fill the log.
        """
        if await self._store.read(_size) != self._headed[0]:
            about = await self._sequencer.append_about(self._heads)
            self._headed = (about.placed.seq + 1, encode_heads(about.heads))
        return self._headed[1]

    async def _publish(self, checkpoint: Checkpoint, note: bytes, heads: bytes, seconds: int) -> None:
        """The guard has it: into the store and the anchors."""
        kept = []
        for anchor in self._anchors:
            try:
                await anchor.keep(checkpoint, note, heads, seconds)
                kept.append(anchor.name)
            except GuardError as error:
                log.warning("checkpoint not anchored", error=str(error))
        self.anchored = len(kept) == len(self._anchors)
        await self._insert(checkpoint, note, heads, tuple(kept))
        self._signed_at = self._clock()

    async def _insert(self, checkpoint: Checkpoint, note: bytes, heads: bytes, kept: tuple[str, ...]) -> None:
        """Store it under the next number; where another process was first, under the one after."""
        while True:
            counter = self.signed.counter + 1 if self.signed else 0
            row = CheckpointRow(counter, checkpoint.size, note.decode(), heads, kept)
            try:
                await self._store.run(partial(_insert, row=row))
            except ConflictError:
                self.signed = await self._stored()
                continue
            self.signed = Signed(counter, checkpoint)
            return

    # -- what was signed before --------------------------------------------------------

    async def _adopt(self, note: bytes) -> bool:
        """A note that the guard has and the store has not: a process ended, or heard no answer, in between. Whether the
        key that follows signed it, too: then it is the border between the two.
        """
        checkpoint = open_checkpoint(note, chain=self.chain).checkpoint
        if self.signed is not None and self.signed.checkpoint.size >= checkpoint.size:
            return False
        turned = await self._adopt_key(checkpoint, note)
        await self._publish(checkpoint, note, b"", int(self._now()))
        return turned

    async def _adopt_key(self, checkpoint: Checkpoint, note: bytes) -> bool:
        if (key := self._follower()) is None:
            return False
        longer = self.chain.with_next(key.verify_key, checkpoint.size)
        try:
            open_checkpoint(note, chain=longer)
        except NoteError:
            return False
        await self._turn(await rotation_to(self._store, key.verify_key, note))
        return True

    async def _check_anchors(self, grown: Grown) -> None:
        """An anchor that does not answer stops nothing; one that knows better does."""
        for anchor in self._anchors:
            try:
                await check(self._store, grown, [anchor], self.chain)
            except GuardError as error:
                log.warning("anchor not compared", error=str(error))

    async def _still_there(self) -> None:
        signed = self.signed.checkpoint if self.signed else None
        if signed is not None and await root_at(self._store, signed.size) != signed.root:
            raise RollbackError(
                f"the first {signed.size} lines are not those that were signed: the store changed under this process. "
                "Nothing more is signed; keep it as evidence"
            )

    async def _grown(self) -> Grown:
        try:
            return await grow(self._store)
        except TileError as error:
            raise RollbackError(
                f"{error}: the store is not what it was. Nothing is signed; keep it as evidence"
            ) from error

    async def _stored(self) -> Signed | None:
        """The newest checkpoint in the store. Raises RollbackError when the log's key did not sign it."""

        async def look(rows: Reader) -> list[CheckpointRow]:
            return await rows.scan(CHECKPOINTS, limit=1, newest_first=True)

        rows = await self._store.read(look)
        if not rows:
            return None
        try:
            return Signed(rows[0].counter, open_checkpoint(rows[0].note.encode(), chain=self.chain).checkpoint)
        except NoteError as error:
            raise RollbackError(
                f"checkpoint {rows[0].counter} of the store is not as the log's key signed it ({error}): the store was "
                "changed. Nothing is appended; keep it as evidence"
            ) from None

    async def _news(self, rows: Reader) -> int:
        """How many lines are under no checkpoint, if any of them is more than bookkeeping."""
        size = await _size(rows)
        signed = self.signed.checkpoint.size if self.signed else 0
        if size - signed > FEW:
            return size - signed
        lines = await rows.scan(LOG, Span(low=signed), limit=FEW)
        return size - signed if any(row.action not in BOOKKEEPING for row in lines) else 0


async def _size(rows: Reader) -> int:
    return (await hot.tip(rows, await hot.head_row(rows))).size


async def _insert(rows: Rows, *, row: CheckpointRow) -> None:
    await rows.insert(CHECKPOINTS, [row])


async def _put_rotation(rows: Rows, *, row: RotationRow) -> None:
    await rows.put(ROTATIONS, [row])
