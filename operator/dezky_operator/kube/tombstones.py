"""Work on tombstones: each is a key of the work queue, looked at when it changed and when its time may have come."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx2
import structlog
from lightkube import ApiError

from dezky_operator.config import Settings
from dezky_operator.kube.api import TenantApi
from dezky_operator.kube.chronicle import Journal
from dezky_operator.kube.events import EventPoster
from dezky_operator.kube.lease import boottime
from dezky_operator.kube.queue import Urgency, WorkQueue
from dezky_operator.kube.records import (
    ANNOTATION_CONFIRM_PURGE,
    ANNOTATION_RELEASE,
    ChangedMeanwhile,
    Kept,
    RecordBook,
    name_of,
)
from dezky_operator.tenant.record import Record, RecordState
from dezky_operator.tenant.retention import Clocks, Retention, Wishes
from dezky_operator.tenant.world import World

log = structlog.get_logger(__name__)
PREFIX = "tombstone/"
"""Of a tombstone's key in the work queue; no slug has a slash."""
HOUR = 3600.0


def key_of(slug: str) -> str:
    """The key of a tombstone in the work queue."""
    return f"{PREFIX}{slug}"


def slug_of(key: str) -> str:
    """Whose a key of the work queue is: the Tenant's own name, or its tombstone's."""
    return key.removeprefix(PREFIX)


class PurgePace:
    """How many purges an hour may begin that no person confirmed."""

    def __init__(self, per_hour: int, clock: Callable[[], float]) -> None:
        self._per_hour, self._clock = per_hour, clock
        self._begun: deque[float] = deque()

    def take(self) -> bool:
        """Whether one more may begin now; counts it when it may."""
        while self._begun and self._clock() - self._begun[0] >= HOUR:
            self._begun.popleft()
        if len(self._begun) >= self._per_hour:
            return False
        self._begun.append(self._clock())
        return True


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the work on tombstones shares with that on Tenants."""

    api: TenantApi
    records: RecordBook
    events: EventPoster
    queue: WorkQueue
    settings: Settings
    world: Callable[[str], World]
    release_tenant: Callable[[str], Awaitable[None]]
    journal: Journal


class TombstoneController:
    """Works on one tombstone at a time per slug."""

    def __init__(
        self,
        retention: Retention,
        around: Surroundings,
        *,
        boot: Callable[[], float] = boottime,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._retention, self._around = retention, around
        self._boot, self._now = boot, now
        self.pace = PurgePace(around.settings.purge.per_hour, boot)

    async def reconcile(self, slug: str) -> str:
        """One look at the tombstone of ``slug``; the outcome, for metrics. Raises ApiError and httpx2's errors."""
        key, queue, kept = key_of(slug), self._around.queue, self._around.records.kept(slug)
        if kept is None:
            queue.drop(key)
            return "gone"
        burier = Burier(self, slug, kept.version)
        try:
            rest = await self._retention.reconcile(kept.record, _wishes(kept), self._around.world(slug), burier)
        except ChangedMeanwhile:
            queue.add(key, Urgency.LOCK)
            return "conflict"
        for notice in rest.notices:
            self._around.journal.told(kept.record.tenant_id, notice)
            log.info("told", reason=notice.reason, text=notice.message)
            await self._around.events.post_about_record(self._around.records.namespace, name_of(slug), kept.uid, notice)
        if not rest.settled:
            queue.retry(key, urgency=Urgency.LOCK)
            return "unsettled"
        queue.forget(key)
        pause = rest.again if rest.again is not None else self._around.settings.reconcile.full_look_seconds
        if pause > 0:
            queue.add_later(key, pause)
        else:
            queue.add(key, Urgency.LOCK)
        return "settled"

    def add_all(self) -> None:
        """Have every tombstone looked at, as after a start."""
        for record in self._around.records.all:
            if record.state is not RecordState.RESTORED:
                self._around.queue.add(key_of(record.slug), Urgency.LOCK)

    async def watch(self) -> None:
        """Notice what changed in tombstones, for ever: annotations, and what was repaired by hand."""
        while True:
            await asyncio.sleep(self._around.settings.deletion.look_seconds)
            try:
                changed = await self._around.records.load()
            except (ApiError, httpx2.HTTPError) as error:
                log.warning("tombstones not read", error=type(error).__name__)
                continue
            for slug in sorted(changed):
                self._around.queue.add(key_of(slug), Urgency.LOCK)
                self._around.queue.add(slug)  # a Tenant of that name may wait for it, or may be free to begin

    async def clocks(self) -> Clocks:
        """What time it is here, at the API server, and since boot."""
        server = await self._around.api.time()
        return Clocks(local=self._now(), server=server, boot=self._boot())

    @property
    def around(self) -> Surroundings:
        """What the work shares with that on Tenants."""
        return self._around


class Burier:
    """The writes to the API server that one look at a tombstone may need."""

    def __init__(self, controller: TombstoneController, slug: str, version: str) -> None:
        self._controller, self._slug, self._version = controller, slug, version

    async def keep(self, record: Record) -> None:
        """Write the record, and wake the Tenant that may wait for it."""
        around = self._controller.around
        before = around.records.of(self._slug)
        self._version = (await around.records.write(record, over=self._version)).version
        around.journal.proved(record.tenant_id, before.suspension if before else None, record.suspension)
        if before is None or (before.state, before.blocked) != (record.state, record.blocked):
            log.info("tombstone", state=record.state, blocked=record.blocked.reason if record.blocked else None)
            around.queue.add(self._slug)

    async def forget(self) -> None:
        """Remove the record."""
        await self._controller.around.records.remove(self._slug)
        self._controller.around.queue.add(self._slug)

    async def release_tenant(self) -> None:
        """Let the Tenant go that waited for its purge."""
        await self._controller.around.release_tenant(self._slug)

    async def clocks(self) -> Clocks:
        """What time it is."""
        return await self._controller.clocks()

    def may_purge_now(self) -> bool:
        """Whether one more unconfirmed purge fits into this hour."""
        return self._controller.pace.take()


def _wishes(kept: Kept) -> Wishes:
    return Wishes(
        purge=kept.annotations.get(ANNOTATION_CONFIRM_PURGE) == kept.record.slug,
        release=bool(kept.annotations.get(ANNOTATION_RELEASE)),
    )
