"""The operator process: what runs, in which order it starts, and how it stops.

Start: probes, Lease, records, the watch, workers. Stop: no new step begins, steps on the wire finish, the Lease is
given back. The main loop owns everything but the watch, which has a thread of its own (:mod:`watch`).
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import structlog
from aiohttp import web
from lightkube import ApiError
from lightkube.config.kubeconfig import SingleConfig

from dezky_operator.audit.recorder import NoRecorder
from dezky_operator.config import Settings
from dezky_operator.kube.api import TenantApi
from dezky_operator.kube.cache import TenantCache
from dezky_operator.kube.controller import TenantController
from dezky_operator.kube.credentials import SecretReader, check_secrets, secret_refs
from dezky_operator.kube.events import EventPoster
from dezky_operator.kube.lease import Fence, LeaseHolder
from dezky_operator.kube.queue import Urgency, WorkQueue
from dezky_operator.kube.records import RecordBook
from dezky_operator.kube.secrets import SecretStore
from dezky_operator.kube.sweep import FleetSweep
from dezky_operator.kube.systems import (
    Wire,
    Wiring,
    connect_canary,
    connect_clients,
    connect_systems,
    plain_wire,
)
from dezky_operator.kube.tombstones import Surroundings, TombstoneController
from dezky_operator.kube.transport import Wrap, connect
from dezky_operator.kube.watch import EventSource
from dezky_operator.kube.watchdog import Watchdog
from dezky_operator.telemetry.health import Health, application
from dezky_operator.telemetry.metrics import Metrics
from dezky_operator.tenant.brake import MassDeletion
from dezky_operator.tenant.life import TenantLife
from dezky_operator.tenant.proof import Proofs
from dezky_operator.tenant.retention import Retention, Waited
from dezky_operator.tenant.rounds import Rounds
from dezky_operator.tenant.sweep import Sweep

log = structlog.get_logger(__name__)
FINISH_WITHIN = 20.0
"""Seconds a reconcile may take to come to its next step boundary after a stop was asked for."""


class LostLease(Exception):  # noqa: N818 - it is what happened, and ends the process with status 1
    """Another process writes now, or nobody does. This one must not go on."""


class Operator:
    """One operator process. ``wire`` and ``wrap`` are seams to the network, for tests of faults."""

    def __init__(
        self,
        settings: Settings,
        config: SingleConfig,
        *,
        identity: str,
        wire: Wire = plain_wire,
        wrap: Wrap = lambda inner: inner,
    ) -> None:
        self.metrics, self.health, self.fence = Metrics(), Health(), Fence()
        self._settings, self._config = settings, config
        self._stop = asyncio.Event()
        self._role = "starting"
        clock = time.monotonic
        self._client = connect(config, fence=self.fence, metrics=self.metrics, wrap=wrap)
        self._api = TenantApi(self._client, config)
        self._reader = SecretReader(
            self._client, settings.namespace, clock=clock, freshness=settings.reconcile.credentials_check_seconds
        )
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="keys")
        self._records = RecordBook(self._client, settings.namespace)
        self._cache = TenantCache()
        self._queue = WorkQueue(
            metrics=self.metrics,
            clock=clock,
            first_backoff=settings.reconcile.backoff_first_seconds,
            longest_backoff=settings.reconcile.backoff_longest_seconds,
        )
        self._lease = LeaseHolder(
            client=self._client,
            namespace=settings.namespace,
            identity=identity,
            settings=settings.lease,
            fence=self.fence,
            metrics=self.metrics,
        )
        self._wiring = Wiring(
            reader=self._reader,
            fence=self.fence,
            metrics=self.metrics,
            clock=clock,
            executor=self._executor,
            wire=wire,
        )
        secrets, recorder = SecretStore(self._client, settings.secrets_namespace), NoRecorder()
        clients = connect_clients(settings, self._wiring)
        systems = connect_systems(settings, self._wiring, clients, secrets)
        rounds = Rounds(
            settings=settings,
            systems=systems,
            recorder=recorder,
            metrics=self.metrics,
            stopping=self._stop.is_set,
        )
        proofs = Proofs(
            connect_canary(settings, self._wiring, clients, systems, recorder),
            waiting=lambda: self._queue.waiting(Urgency.LOCK) / settings.reconcile.workers,
            clock=clock,
        )
        brake = MassDeletion(most=settings.deletion.brake)
        events = EventPoster(self._client)
        self.controller = TenantController(
            api=self._api,
            life=TenantLife(rounds, proofs, clock=clock),
            records=self._records,
            events=events,
            cache=self._cache,
            queue=self._queue,
            settings=settings,
            brake=brake,
            installation_id=str(settings.installation_id),
            metrics=self.metrics,
            clock=clock,
            jitter=random.random,
        )
        self._tombstones = self.controller.tombstones = TombstoneController(
            Retention(
                rounds,
                proofs,
                deletion=settings.deletion,
                purge=settings.purge,
                audit=Waited(settings.purge),
                brake=brake,
            ),
            Surroundings(
                api=self._api,
                records=self._records,
                events=events,
                queue=self._queue,
                settings=settings,
                world=self.controller.world,
                release_tenant=self.controller.release,
            ),
        )
        self.sweep = FleetSweep(
            Sweep(rounds),
            listed=self._api.versions,
            world=self.controller.everybody,
            cache=self._cache,
            queue=self._queue,
            interval=settings.reconcile.resync_seconds,
            jitter=random.random,
        )
        self._watchdog = Watchdog(
            versions=self._api.versions,
            cache=self._cache,
            fetch=self.controller.fetch,
            interval=settings.reconcile.watch_check_seconds,
            clock=clock,
        )
        self.health.role = lambda: self._role
        self.health.live |= {"watch": self._watchdog.check, "reconcile": self.controller.stuck}

    @property
    def idle(self) -> bool:
        """Nothing is being worked on and nothing is due."""
        return self._queue.idle

    def stop(self) -> None:
        """Ask the process to end: SIGTERM does."""
        self._stop.set()

    async def check(self) -> None:
        """Refuse to start without the Secrets the settings name. Raises SettingsError; nothing is left open then."""
        try:
            await check_secrets(self._settings, self._reader)
        except BaseException:
            await self._close()
            raise

    async def run(self, *, signals: bool = True) -> None:
        """Run until asked to stop. Raises LostLease."""
        if signals:
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, self.stop)
        probes = await self._serve_probes()
        try:
            if await self._while_running(self._take_over()):
                await self._lead()
        finally:
            self._role = "stopping"
            await self._lease.release()
            await probes.cleanup()
            await self._close()

    async def _close(self) -> None:
        await self._wiring.close()
        await self._api.close()
        await self._client.close()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _take_over(self) -> None:
        """Become the one that writes; a standby stays in here, and says so."""
        while not await self._served():  # noqa: ASYNC110 - what is waited for is in another process
            await asyncio.sleep(1.0)
        self._role = "standing by"
        await self._lease.acquire()
        await self._records.load()

    async def _served(self) -> bool:
        """Whether the API server knows Tenants; said once a second until it does, kopf would say it never."""
        try:
            if await self._api.served():
                return True
            log.warning("tenants not served", todo="install crds/tenant.yaml")
        except httpx2.HTTPError as error:
            log.warning("api server did not answer", error=type(error).__name__)
        return False

    async def _lead(self) -> None:
        watch = EventSource(self._config, self.controller.on_event)
        self.health.live["kopf"] = lambda: None if watch.alive else f"the watch ended: {watch.failure!r}"
        watch.start()
        workers = [
            asyncio.create_task(self.controller.work(), name=f"worker-{number}")
            for number in range(self._settings.reconcile.workers)
        ]
        self._tombstones.add_all()
        self._role = "working"
        keep = asyncio.create_task(self._lease.keep())
        chores = [
            asyncio.create_task(chore)
            for chore in (self._watchdog.run(), self._watch_credentials(), self._tombstones.watch(), self.sweep.run())
        ]
        try:
            await self._until_stopped(keep, watch)
        finally:
            self._stop.set()
            self._queue.close()
            self._role = "stopping"
            lost = keep.done()
            await self._finish(workers, at_once=lost)
            for task in (*chores, keep):
                task.cancel()
            await asyncio.gather(*chores, keep, return_exceptions=True)
            await watch.stop()
        if lost:
            raise LostLease("the Lease is lost; another process may write now")

    async def _until_stopped(self, keep: asyncio.Task[None], watch: EventSource) -> None:
        """Wait for a stop, a lost Lease or a dead watch: kopf never comes back once its thread ended."""
        stopped = asyncio.create_task(self._stop.wait())
        try:
            while not stopped.done() and not keep.done():
                await asyncio.wait({stopped, keep}, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
                if not watch.alive:
                    raise LostLease(f"the watch ended: {watch.failure!r}")
        finally:
            stopped.cancel()

    async def _finish(self, workers: list[asyncio.Task[None]], *, at_once: bool) -> None:
        """Let every reconcile come to a step boundary; after a lost Lease what is in flight is cut off."""
        if not at_once:
            await asyncio.wait(workers, timeout=FINISH_WITHIN)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    async def _while_running(self, work: Coroutine[Any, Any, None]) -> bool:
        """Whether ``work`` came to its end before a stop was asked for."""
        task, stopped = asyncio.create_task(work), asyncio.create_task(self._stop.wait())
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if task.done():
            task.result()
            return True
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return False

    async def _watch_credentials(self) -> None:
        """Have every Tenant looked at as soon as a credential changes: until then its system may be stopped."""
        known: dict[str, str] | None = None
        while True:
            await asyncio.sleep(self._settings.reconcile.credentials_check_seconds)
            versions = await self._credential_versions()
            if known is not None and versions != known:
                log.info("credentials changed")
                self.controller.add_all()
            known = versions or known

    async def _credential_versions(self) -> dict[str, str]:
        self._reader.expire()
        try:
            found = {key: await self._reader.read(ref) for key, ref in secret_refs(self._settings)}
        except (ApiError, httpx2.HTTPError) as error:
            log.warning("credentials not read", error=type(error).__name__)
            return {}
        return {key: value.version if value else "" for key, value in found.items()}

    async def _serve_probes(self) -> web.AppRunner:
        runner = web.AppRunner(application(self.health, self.metrics), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, self._settings.metrics.host, self._settings.metrics.port)
        await site.start()
        self.probe_addresses: list[Any] = list(runner.addresses)
        log.info("probes served", addresses=[f"{address[0]}:{address[1]}" for address in runner.addresses])
        return runner
