"""From an event to a reconciled Tenant: queue, workers, and the writes to the API server around one reconcile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx2
import msgspec
import structlog
from lightkube import ApiError

from dezky_operator.config import Settings
from dezky_operator.crd.tenant import InvalidTenant, SuspensionStatus, Tenant
from dezky_operator.integrations.breaker import Caller, calling
from dezky_operator.kube import unreadable
from dezky_operator.kube.api import TenantApi
from dezky_operator.kube.cache import Seen, TenantCache
from dezky_operator.kube.chronicle import Journal
from dezky_operator.kube.events import EventPoster
from dezky_operator.kube.failure import Superseded, cause
from dezky_operator.kube.keeper import Keeper
from dezky_operator.kube.patch import as_json, merge_patch
from dezky_operator.kube.queue import Urgency, WorkQueue
from dezky_operator.kube.records import ForeignRecord, RecordBook
from dezky_operator.kube.resources import FINALIZER, is_status, retry_after
from dezky_operator.kube.tombstones import PREFIX, TombstoneController, key_of
from dezky_operator.telemetry.metrics import Metrics
from dezky_operator.tenant.brake import MassDeletion
from dezky_operator.tenant.life import TenantLife
from dezky_operator.tenant.outcome import Notice, Outcome
from dezky_operator.tenant.record import Record
from dezky_operator.tenant.settled import first_look, full_look, is_settled, may_rest
from dezky_operator.tenant.suspension import text_of
from dezky_operator.tenant.world import World

log = structlog.get_logger(__name__)
STUCK_AFTER = 900.0
"""Seconds after which a reconcile counts as stuck: far beyond every timeout on its way."""


class TenantController:
    """Works on Tenants: one at a time per name, as many side by side as there are workers."""

    def __init__(  # noqa: PLR0913 - each is one independent part, all by keyword
        self,
        *,
        installation_id: str,
        api: TenantApi,
        life: TenantLife,
        records: RecordBook,
        events: EventPoster,
        cache: TenantCache,
        queue: WorkQueue,
        settings: Settings,
        brake: MassDeletion,
        journal: Journal,
        metrics: Metrics,
        clock: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self._installation_id, self._brake, self._journal = installation_id, brake, journal
        self.tombstones: TombstoneController | None = None
        self._api, self._life, self._records, self._events = api, life, records, events
        self._cache, self._queue, self._settings = cache, queue, settings
        self.queue = queue
        self._metrics, self._clock, self._jitter = metrics, clock, jitter
        self._busy: dict[str, float] = {}
        self._first_seen: dict[str, float] = {}
        self._ready_after: dict[str, float] = {}
        self._warned: dict[str, str] = {}

    # -- events ---------------------------------------------------------------

    def on_event(self, kind: str, raw: dict[str, Any]) -> None:
        """Take in what the watch tells. Queues the Tenant when something changed that is a reason to reconcile."""
        self._metrics.watch_last_event.set_to_current_time()
        name = raw["metadata"]["name"]
        if kind == "DELETED":
            self._gone(name, raw["metadata"]["uid"])
            return
        before, now = self._cache.put(raw)
        self._journal.seen(before, now)
        if before is not None and before.uid != now.uid:
            self._forget(name)  # its deletion was not told, or not yet
        if before is None or before.uid != now.uid:
            self._first_seen[name] = self._clock()
        if before is None and not kind and isinstance(now.tenant, Tenant) and may_rest(now.tenant, FINALIZER):
            self._rest(name, now.tenant)
        elif before is None or before.trigger != now.trigger:
            self._queue.add(name, _urgency(now, listed=not kind))
            self._wake_rivals(before, now)

    def _rest(self, name: str, tenant: Tenant) -> None:
        """Found settled at the start: the first sweep looks at it with all others, its own look comes some day."""
        self._ready_after.setdefault(name, 0.0)
        wait = first_look(tenant, self._settings, datetime.now(UTC), self._jitter())
        self._queue.add_later(name, wait)

    def take_in(self, listed: Iterable[dict[str, Any]]) -> None:
        """Know every Tenant before the first is worked on: its rivals and neighbours decide with it."""
        for raw in listed:
            self.on_event("", raw)

    def observe(self, unfinished: Callable[[Iterable[str]], frozenset[str]]) -> None:
        """Have those looked at whose last steps an earlier process did not see the end of."""
        keys = {record.tenant_id: key_of(record.slug) for record in self._records.all}
        keys |= {self._journal.id_of(tenant): tenant.metadata.name for tenant in self._cache.tenants()}
        for tenant_id in unfinished(keys):
            self._queue.add(keys[tenant_id], Urgency.CHANGE)

    async def fetch(self, name: str) -> None:
        """Read one Tenant past the watch and treat it as told by it."""
        raw = await self._api.get(name)
        if raw is not None:
            self.on_event("MODIFIED", raw)
        elif known := self._cache.get(name):
            self._gone(name, known.uid)

    def add_all(self) -> None:
        """Have every Tenant looked at, for example since a credential changed."""
        for name in self._cache.names:
            self._queue.add(name, Urgency.CHANGE)

    def stuck(self) -> str | None:
        """Whether a reconcile hangs, for `/healthz`."""
        now = self._clock()
        hanging = [name for name, since in self._busy.items() if now - since > STUCK_AFTER]
        return f"the reconcile of {min(hanging)} hangs" if hanging else None

    def ready_after(self, name: str) -> float | None:
        """Seconds from the first sight of a Tenant to its being ready; None before that."""
        return self._ready_after.get(name)

    def all_ready(self, count: int) -> bool:
        """Whether ``count`` Tenants are known and every one of them was ready."""
        return len(self._cache) == count and all(name in self._ready_after for name in self._cache.names)

    # -- work -----------------------------------------------------------------

    async def work(self) -> None:
        """One worker: takes keys until the queue is closed."""
        while (name := await self._queue.take()) is not None:
            self._busy[name] = started = self._clock()
            with structlog.contextvars.bound_contextvars(tenant=name), calling(self._caller(name)):
                outcome = await self._one(name)
            del self._busy[name]
            self._metrics.reconciles.labels("Tenant", outcome).inc()
            self._metrics.reconcile_seconds.labels("Tenant").observe(self._clock() - started)
            self._queue.done(name)

    def _caller(self, name: str) -> Caller:
        """On whose behalf requests are sent; locks and deletions are held up by no pause."""
        return Caller(tenant=name.removeprefix(PREFIX), urgent=self._retried(name) is Urgency.LOCK)

    def _retried(self, name: str) -> Urgency:
        """What ``name`` goes before when it did not work out: a lock or a deletion never waits behind routine."""
        seen = self._cache.get(name)
        locks = name.startswith(PREFIX) or (seen is not None and _urgency(seen, listed=True) is Urgency.LOCK)
        return Urgency.LOCK if locks else Urgency.ROUTINE

    async def _one(self, name: str) -> str:
        """Reconcile one Tenant or tombstone; whatever happens, the worker goes on and the key comes back."""
        if name.startswith(PREFIX) and self.tombstones is not None:
            try:
                return await self.tombstones.reconcile(name.removeprefix(PREFIX))
            except Exception as error:  # noqa: BLE001 - see _failed
                return await self._failed(name, "", cause(error))
        seen = self._cache.get(name)
        if seen is None:
            self._queue.drop(name)
            return "gone"
        try:
            return await self._reconcile(name, seen)
        except Exception as error:  # noqa: BLE001 - see _failed: what is no known failure is logged with its place
            return await self._failed(name, seen.uid, cause(error))

    async def _failed(self, name: str, uid: str, error: BaseException) -> str:
        """What a reconcile that raised comes to."""
        match error:
            case Superseded():
                return "superseded"  # what took its place is queued already
            case ApiError(status=status) if status.code == 409:
                # Somebody changed the object meanwhile; the watch brings the new version, this is the belt to it.
                self._queue.add_later(name, 1.0, min(self._retried(name), Urgency.CHANGE))
                return "conflict"
            case ForeignRecord() if not uid:
                log.error("tombstone is not ours", error=str(error))
            case ForeignRecord():
                await self._warn(name, uid, Notice(reason="RecordConflict", message=str(error), warning=True))
            case httpx2.HTTPError():
                log.warning("api server did not do it", error=f"{type(error).__name__}: {error}")
            case _:
                # A defect of ours with one tenant must not stop the others: it is told, counted and tried again.
                log.error("reconcile broke", exc_info=error)
                self._queue.retry(name, urgency=self._retried(name))
                return "defect"
        self._queue.retry(name, at_least=retry_after(error), urgency=self._retried(name))
        return "api-error"

    async def _reconcile(self, name: str, seen: Seen) -> str:
        keeper = Keeper(self, name, seen.uid)
        if isinstance(seen.tenant, InvalidTenant):
            outcome = await self._unreadable(seen, seen.tenant, keeper)
        else:
            outcome = await self._life.reconcile(seen.tenant, self.world(name), keeper)
        await self._write(name, seen.uid, outcome)
        self._journalize(seen, outcome)
        for notice in outcome.notices:
            await self._tell(name, seen.uid, notice)
        self._note_ready(name, outcome)
        self._schedule(name, outcome)
        return "settled" if outcome.settled else "unsettled"

    def _journalize(self, seen: Seen, outcome: Outcome) -> None:
        """Have the audit log keep what became of it."""
        tenant = seen.outline
        tenant_id = self._journal.id_of(tenant)
        if outcome.status is not None:
            self._journal.proved(tenant_id, tenant.status.suspension, outcome.status.suspension)
        for notice in outcome.notices:
            self._journal.told(tenant_id, notice)

    async def _unreadable(self, seen: Seen, invalid: InvalidTenant, keeper: Keeper) -> Outcome:
        """Told and left alone; when it is deleted, what it may own is kept, and it goes."""
        tenant = seen.outline
        if not unreadable.may_go(tenant):
            return self._life.unreadable(seen.raw, invalid)
        if not seen.held:
            return Outcome(status=None)
        record = unreadable.retained(
            tenant, seen.raw.get("spec"), self._records.of(tenant.name), installation_id=self._installation_id
        )
        if record is not None:
            await keeper.keep(record)
        await keeper.release()
        return Outcome(status=None, notices=(unreadable.farewell(record),) if record else ())

    def world(self, name: str) -> World:
        """What is known beyond the Tenant ``name``."""
        others = tuple(tenant for tenant in self._cache.tenants() if tenant.metadata.name != name)
        return World(
            installation_id=self._installation_id,
            others=others,
            records=self._records.all,
            unreadable=self._records.unreadable,
        )

    def everybody(self) -> World:
        """All that is known of all Tenants."""
        return self.world("")

    async def _write(self, name: str, uid: str, outcome: Outcome) -> None:
        """Write the status, when it differs from what is there. Raises Superseded."""
        if outcome.status is None:
            return
        seen = self._same(name, uid)
        patch = merge_patch(seen.raw.get("status") or {}, as_json(outcome.status))
        if patch:
            log.debug("status changes", fields=sorted(patch))
            with self._gone_when_unknown(name, uid):
                self._cache.put(await self._api.patch_status(name, seen.version, patch))

    def _same(self, name: str, uid: str) -> Seen:
        """The newest version of the Tenant with this uid. Raises Superseded."""
        seen = self._cache.get(name)
        if seen is None or seen.uid != uid:
            raise Superseded(name)
        return seen

    @contextmanager
    def _gone_when_unknown(self, name: str, uid: str) -> Iterator[None]:
        """A 404 to a write on the Tenant itself: it is gone, and the watch has not told yet. Raises Superseded."""
        try:
            yield
        except ApiError as error:
            if not is_status(error, 404):
                raise
            self._gone(name, uid)
            raise Superseded(name) from error

    async def _warn(self, name: str, uid: str, notice: Notice) -> None:
        """Tell what stands in the way, once as long as it is the same."""
        if self._warned.get(name) != notice.message:
            self._warned[name] = notice.message
            await self._tell(name, uid, notice)

    async def _tell(self, name: str, uid: str, notice: Notice) -> None:
        log.info("told", reason=notice.reason, text=notice.message)
        await self._events.post(name=name, uid=uid, notice=notice)

    def _note_ready(self, name: str, outcome: Outcome) -> None:
        ready = outcome.status.condition("Ready") if outcome.status else None
        if ready is not None and ready.status == "True":
            self._ready_after.setdefault(name, self._clock() - self._first_seen.get(name, self._clock()))

    def _schedule(self, name: str, outcome: Outcome) -> None:
        seen = self._cache.get(name)
        if seen is None:
            self._queue.drop(name)
        elif outcome.settled:
            self._queue.forget(name)
            longest = self._settings.reconcile.resync_seconds
            if isinstance(seen.tenant, Tenant) and is_settled(seen.tenant):
                longest = full_look(seen.tenant, self._settings)  # the sweep sees it meanwhile
            pause = min(outcome.recheck or longest, longest)
            self._queue.add_later(name, pause * (0.9 + 0.2 * self._jitter()))
        else:
            self._queue.retry(name, at_least=outcome.not_before, urgency=self._retried(name))

    # -- what other tenants notice -----------------------------------------------

    def _gone(self, name: str, uid: str) -> None:
        gone = self._cache.remove(name, uid)
        if gone is None:
            return
        self._forget(name)
        self._wake_rivals(gone, None)

    def _forget(self, name: str) -> None:
        self._queue.drop(name)
        self._first_seen.pop(name, None)
        self._ready_after.pop(name, None)
        self._warned.pop(name, None)
        self._metrics.forget_tenant(name)

    def _wake_rivals(self, before: Seen | None, now: Seen | None) -> None:
        """Who lost a domain to this Tenant may get it now that the Tenant gave it up or is going."""
        freed = _claimed(before) - _claimed(now)
        if not freed:
            return
        for tenant in self._cache.tenants():
            if freed & set(tenant.spec.domains):
                self._queue.add(tenant.metadata.name)

    # -- writes on behalf of a reconcile --------------------------------------------

    async def hold(self, name: str, uid: str) -> None:
        """Put our finalizer on the Tenant before anything outside is made for it. Raises Superseded."""
        seen = self._same(name, uid)
        if not seen.held:
            with self._gone_when_unknown(name, uid):
                self._cache.put(await self._api.hold(seen.raw))

    async def release(self, name: str, uid: str) -> None:
        """Let the Tenant go."""
        seen = self._cache.get(name)
        if seen is None or seen.uid != uid:
            return
        raw = await self._api.release(seen.raw)
        if raw is None or not raw["metadata"].get("finalizers"):
            self._gone(name, seen.uid)
        else:
            self._cache.put(raw)

    async def write_ahead(self, name: str, uid: str, suspension: SuspensionStatus) -> None:
        """Write what undoing a lock needs to know, before the lock. Raises Superseded."""
        seen = self._same(name, uid)
        patch = {"suspension": msgspec.json.decode(msgspec.json.encode(suspension))}
        with self._gone_when_unknown(name, uid):
            self._cache.put(await self._api.patch_status(name, seen.version, patch))

    async def mass_deletion(self, name: str) -> str | None:
        """Why the deletion of ``name`` must wait for a person."""
        if await self._api.terminating():
            return "The Tenant resource itself is being removed, and every Tenant with it."
        return self._brake.why(text_of(datetime.now(UTC)), self.world(name))

    async def release_buried(self, slug: str) -> None:
        """Let the Tenant go that waited in Terminating for its purge."""
        seen = self._cache.get(slug)
        if seen is not None and seen.outline.metadata.deletion_timestamp:
            await self.release(slug, seen.uid)

    async def keep(self, name: str, uid: str, record: Record) -> None:
        """Write the record of a deleted or restored tenant. Raises Superseded."""
        seen = self._cache.get(name)
        # A Tenant that somebody pulled out from under its finalizer is worth a record, unless that says it lives.
        if (seen is not None and seen.uid != uid) or (seen is None and not record.standing):
            raise Superseded(name)
        await self._records.write(record)
        self._queue.add(key_of(record.slug), Urgency.LOCK)


def _urgency(seen: Seen, *, listed: bool) -> Urgency:
    tenant = seen.outline
    if tenant.metadata.deletion_timestamp or tenant.spec.suspended:
        return Urgency.LOCK
    return Urgency.ROUTINE if listed else Urgency.CHANGE


def _claimed(seen: Seen | None) -> set[str]:
    if seen is None or seen.outline.metadata.deletion_timestamp:
        return set()
    return set(seen.outline.spec.domains)
