"""From an event to a reconciled Tenant: queue, workers, and the writes to the API server around one reconcile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx2
import msgspec
import structlog
from lightkube import ApiError

from dezky_operator.config import Settings
from dezky_operator.crd.tenant import InvalidTenant, SuspensionStatus, Tenant, TenantStatus
from dezky_operator.kube.api import TenantApi
from dezky_operator.kube.cache import Seen, TenantCache
from dezky_operator.kube.events import EventPoster
from dezky_operator.kube.patch import merge_patch
from dezky_operator.kube.queue import Urgency, WorkQueue
from dezky_operator.kube.records import RecordBook
from dezky_operator.kube.resources import FINALIZER
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
        api: TenantApi,
        life: TenantLife,
        records: RecordBook,
        events: EventPoster,
        cache: TenantCache,
        queue: WorkQueue,
        settings: Settings,
        brake: MassDeletion,
        installation_id: str,
        metrics: Metrics,
        clock: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self._api, self._life, self._records, self._events = api, life, records, events
        self._cache, self._queue, self._settings = cache, queue, settings
        self._brake, self._installation_id = brake, installation_id
        self.tombstones: TombstoneController | None = None
        self._metrics, self._clock, self._jitter = metrics, clock, jitter
        self._busy: dict[str, float] = {}
        self._first_seen: dict[str, float] = {}
        self._ready_after: dict[str, float] = {}

    # -- events ---------------------------------------------------------------

    def on_event(self, kind: str, raw: dict[str, Any]) -> None:
        """Take in what the watch tells. Queues the Tenant when something changed that is a reason to reconcile."""
        self._metrics.watch_last_event.set_to_current_time()
        name = raw["metadata"]["name"]
        if kind == "DELETED":
            self._gone(name, raw["metadata"]["uid"])
            return
        before, now = self._cache.put(raw)
        if before is None:
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
            with structlog.contextvars.bound_contextvars(tenant=name):
                outcome = await self._one(name)
            del self._busy[name]
            self._metrics.reconciles.labels("Tenant", outcome).inc()
            self._metrics.reconcile_seconds.labels("Tenant").observe(self._clock() - started)
            self._queue.done(name)

    async def _one(self, name: str) -> str:
        """Reconcile one Tenant; whatever happens, the worker goes on and the key comes back."""
        try:
            return await self._reconcile(name)
        except ApiError as error:
            if error.status.code == 409:
                # Somebody changed the object meanwhile; the watch brings the new version, this is the belt to it.
                self._queue.add_later(name, 1.0, Urgency.CHANGE)
                return "conflict"
            log.warning("api server refused", error=str(error))
        except httpx2.HTTPError as error:
            log.warning("api server did not answer", error=f"{type(error).__name__}: {error}")
        except Exception:
            # A defect of ours with one tenant must not stop the others: it is told, counted and tried again.
            log.exception("reconcile broke")
            self._queue.retry(name)
            return "defect"
        self._queue.retry(name)
        return "api-error"

    async def _reconcile(self, name: str) -> str:
        if name.startswith(PREFIX) and self.tombstones is not None:
            return await self.tombstones.reconcile(name.removeprefix(PREFIX))
        seen = self._cache.get(name)
        if seen is None:
            self._queue.drop(name)
            return "gone"
        if isinstance(seen.tenant, InvalidTenant):
            outcome = self._life.unreadable(seen.raw, seen.tenant)
        else:
            outcome = await self._life.reconcile(seen.tenant, self.world(name), Keeper(self, name))
        await self._write(name, outcome)
        for notice in outcome.notices:
            await self._tell(name, seen.uid, notice)
        self._note_ready(name, outcome)
        self._schedule(name, outcome)
        return "settled" if outcome.settled else "unsettled"

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

    async def _write(self, name: str, outcome: Outcome) -> None:
        """Write the status, when it differs from what is there."""
        seen = self._cache.get(name)
        if seen is None or outcome.status is None:
            return
        patch = merge_patch(seen.raw.get("status") or {}, as_json(outcome.status))
        if patch:
            log.debug("status changes", fields=sorted(patch))
            self._cache.put(await self._api.patch_status(name, seen.version, patch))

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
            self._queue.retry(name, at_least=outcome.not_before)

    # -- what other tenants notice -----------------------------------------------

    def _gone(self, name: str, uid: str) -> None:
        gone = self._cache.remove(name, uid)
        if gone is None:
            return
        self._queue.drop(name)
        self._first_seen.pop(name, None)
        self._ready_after.pop(name, None)
        self._metrics.forget_tenant(name)
        self._wake_rivals(gone, None)

    def _wake_rivals(self, before: Seen | None, now: Seen | None) -> None:
        """Who lost a domain to this Tenant may get it now that the Tenant gave it up or is going."""
        freed = _claimed(before) - _claimed(now)
        if not freed:
            return
        for tenant in self._cache.tenants():
            if freed & set(tenant.spec.domains):
                self._queue.add(tenant.metadata.name)

    # -- writes on behalf of a reconcile --------------------------------------------

    async def hold(self, name: str) -> None:
        """Put our finalizer on the Tenant before anything outside is made for it."""
        seen = self._cache.get(name)
        if seen is not None and not seen.held:
            self._cache.put(await self._api.hold(seen.raw))

    async def release(self, name: str) -> None:
        """Let the Tenant go."""
        seen = self._cache.get(name)
        if seen is None:
            return
        raw = await self._api.release(seen.raw)
        if raw is None or not raw["metadata"].get("finalizers"):
            self._gone(name, seen.uid)
        else:
            self._cache.put(raw)

    async def write_ahead(self, name: str, suspension: SuspensionStatus) -> None:
        """Write what undoing a lock needs to know, before the lock; the rest of the status follows at the end."""
        seen = self._cache.get(name)
        if seen is None:
            return
        patch = {"suspension": msgspec.json.decode(msgspec.json.encode(suspension))}
        self._cache.put(await self._api.patch_status(name, seen.version, patch))

    async def mass_deletion(self, name: str) -> str | None:
        """Why the deletion of ``name`` must wait for a person."""
        if await self._api.terminating():
            return "The Tenant resource itself is being removed, and every Tenant with it."
        return self._brake.why(text_of(datetime.now(UTC)), self.world(name))

    async def keep(self, record: Record) -> None:
        """Write the record of a deleted or restored tenant, and look at it."""
        await self._records.write(record)
        self._queue.add(key_of(record.slug), Urgency.LOCK)

    async def forget(self, slug: str) -> None:
        """Remove the record of a purged tenant."""
        await self._records.remove(slug)


class Keeper:
    """The writes to the API server that one reconcile may need, bound to its Tenant."""

    def __init__(self, controller: TenantController, name: str) -> None:
        self._controller, self._name = controller, name

    async def hold(self) -> None:
        """Put our finalizer on the Tenant."""
        await self._controller.hold(self._name)

    async def release(self) -> None:
        """Take our finalizer off the Tenant."""
        await self._controller.release(self._name)

    async def write_ahead(self, suspension: SuspensionStatus) -> None:
        """Write `status.suspension` before the lock."""
        await self._controller.write_ahead(self._name, suspension)

    async def mass_deletion(self) -> str | None:
        """Why this deletion must wait for a person."""
        return await self._controller.mass_deletion(self._name)

    async def keep(self, record: Record) -> None:
        """Write a record."""
        await self._controller.keep(record)

    async def forget(self) -> None:
        """Remove the record of this Tenant's slug."""
        await self._controller.forget(self._name)


def as_json(status: TenantStatus) -> dict[str, Any]:
    """The status as the API server would show it: lists, not tuples, or every comparison would find a difference."""
    return dict(msgspec.json.decode(msgspec.json.encode(status)))


def _urgency(seen: Seen, *, listed: bool) -> Urgency:
    tenant = seen.tenant
    if isinstance(tenant, Tenant) and (tenant.metadata.deletion_timestamp or tenant.spec.suspended):
        return Urgency.LOCK
    return Urgency.ROUTINE if listed else Urgency.CHANGE


def _claimed(seen: Seen | None) -> set[str]:
    if seen is None or not isinstance(seen.tenant, Tenant) or seen.tenant.metadata.deletion_timestamp:
        return set()
    return set(seen.tenant.spec.domains)
