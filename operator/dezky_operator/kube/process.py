"""The operator process: what runs, in which order it starts, and how it stops.

Start: probes, Lease, records, all Tenants, whose installation it is, the watch, workers. Stop: no new step begins,
steps on the wire finish, the Lease is given back. The main loop owns everything but the watch, which has a thread of
its own (:mod:`watch`). What it is made of: :mod:`assembly`.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import httpx2
import structlog
from aiohttp import web
from lightkube.config.kubeconfig import SingleConfig

from dezky_operator.audit.guard import GuardError
from dezky_operator.config import Settings, SettingsError
from dezky_operator.kube.assembly import Frame, assemble
from dezky_operator.kube.audit import WrapStore
from dezky_operator.kube.chores import tended
from dezky_operator.kube.credentials import check_secrets
from dezky_operator.kube.lease import Fence
from dezky_operator.kube.systems import Wire, plain_wire
from dezky_operator.kube.transport import Wrap
from dezky_operator.kube.watch import EventSource
from dezky_operator.telemetry.health import Health, application
from dezky_operator.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)
T = TypeVar("T")
FINISH_WITHIN = 20.0
"""Seconds a reconcile may take to come to its next step boundary after a stop was asked for."""
AGAIN = 1.0
"""Seconds between two questions to an API server that does not answer."""


class LostLease(Exception):  # noqa: N818 - it is what happened, and ends the process with status 1
    """Another process writes now, or nobody does. This one must not go on."""


class Operator:
    """One operator process. ``wire``, ``wrap`` and ``wrap_store`` are seams to network and disk, for faults."""

    def __init__(
        self,
        settings: Settings,
        config: SingleConfig,
        *,
        identity: str,
        wire: Wire = plain_wire,
        wrap: Wrap = lambda inner: inner,
        wrap_store: WrapStore = lambda inner: inner,
    ) -> None:
        self.metrics, self.health, self.fence = Metrics(), Health(), Fence()
        self._settings, self._config = settings, config
        self._stop = asyncio.Event()
        self._role = "starting"
        self.probe_addresses: list[Any] = []
        frame = Frame(
            settings=settings,
            config=config,
            identity=identity,
            fence=self.fence,
            metrics=self.metrics,
            stopping=self._stop.is_set,
            wire=wire,
            wrap=wrap,
            wrap_store=wrap_store,
        )
        self._parts = assemble(frame)
        self.controller, self.sweep = self._parts.controller, self._parts.sweep
        self.health.role = lambda: self._role
        self.health.live |= {"watch": self._parts.watchdog.check, "reconcile": self.controller.stuck}

    @property
    def _wanted(self) -> set[str]:
        return {"tenants"} if self._parts.recording.sources is None else {"tenants", "auditsources"}

    @property
    def idle(self) -> bool:
        """Nothing is being worked on and nothing is due."""
        return self._parts.queue.idle

    def stop(self) -> None:
        """Ask the process to end: SIGTERM does."""
        self._stop.set()

    async def check(self) -> None:
        """Refuse to start without the Secrets the settings name. Raises SettingsError; nothing is left open then."""
        try:
            await check_secrets(self._settings, self._parts.wiring.reader)
        except BaseException:
            await self._parts.close()
            raise

    async def run(self, *, signals: bool = True) -> None:
        """Run until asked to stop. Raises LostLease, and SettingsError when this is another's installation."""
        if signals:
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, self.stop)
        try:
            probes = await self._serve_probes()
            try:
                if await self._while_running(self._take_over()):
                    await self._lead()
            finally:
                self._role = "stopping"
                await self._parts.lease.release()
                await probes.cleanup()
        finally:
            await self._parts.close()

    # -- start ------------------------------------------------------------------

    async def _take_over(self) -> None:
        """Become the one that writes; a standby stays in here, and says so."""
        while not await self._served():  # noqa: ASYNC110 - what is waited for is in another process
            await asyncio.sleep(AGAIN)
        self._role = "standing by"
        await self._parts.lease.acquire()

    async def _served(self) -> bool:
        """Whether the API server knows our resources; said once a second until it does, kopf would say it never."""
        try:
            missing = self._wanted - await self._parts.api.served()
            if not missing:
                return True
            log.warning("resources not served", missing=sorted(missing), todo="install what is in crds/")
        except httpx2.HTTPStatusError as error:
            log.warning("api server refused", status=error.response.status_code, todo="look at the operator's role")
        except httpx2.HTTPError as error:
            log.warning("api server did not answer", error=type(error).__name__)
        return False

    async def _prepare(self) -> None:
        """Know everything that decides between tenants before the first of them is worked on."""
        await _until_answered(self._parts.recording.chronicle.open)
        await _until_answered(self._parts.records.load)
        self.controller.take_in(await _until_answered(self._parts.api.all))
        self.controller.observe(self._parts.recording.chronicle.unfinished)
        await self._parts.installation.look()

    # -- work -------------------------------------------------------------------

    async def _lead(self) -> None:
        lease = asyncio.create_task(self._parts.lease.keep(), name="lease")
        try:
            if await self._while_running(self._prepare(), lease):
                await self._work(lease)
            lost = lease.done()
        finally:
            await self._parts.recording.chronicle.close()
            lease.cancel()
            await asyncio.gather(lease, return_exceptions=True)
        if lost:
            broken = lease.exception()
            why = f"is no longer renewed: {broken!r}" if broken else "is lost"
            raise LostLease(f"the Lease {why}; another process may write now")

    async def _work(self, lease: asyncio.Task[None]) -> None:
        """Reconcile until something ends it. Raises LostLease without a watch, SettingsError as :meth:`run`."""
        watch = EventSource(self._config, self.controller.on_event, self._parts.recording.sources)
        self.health.live["kopf"] = lambda: None if watch.alive else f"the watch ended: {watch.failure!r}"
        watch.start()
        workers = [
            asyncio.create_task(self.controller.work(), name=f"worker-{number}")
            for number in range(self._settings.reconcile.workers)
        ]
        confirmed = asyncio.create_task(self._parts.installation.confirm(), name="installation")
        chores = [
            asyncio.create_task(tended("watchdog", self._parts.watchdog.run)),
            asyncio.create_task(tended("credentials", self._parts.credentials.run)),
            asyncio.create_task(tended("tombstones", self._parts.tombstones.watch)),
            asyncio.create_task(tended("sweep", self._parts.sweep.run)),
            asyncio.create_task(tended("audit log", self._parts.recording.chronicle.run)),
        ]
        self.health.live["workers"] = lambda: _ended(workers) if self._role == "working" else None
        self._parts.tombstones.add_all()
        self._role = "working"
        try:
            await self._until_ended(lease, watch, confirmed)
        finally:
            at_once = lease.done() or _failed(confirmed)
            self._stop.set()
            self._parts.queue.close()
            self._role = "stopping"
            await self._finish(workers, at_once=at_once)
            for task in (*chores, confirmed):
                task.cancel()
            await asyncio.gather(*chores, confirmed, return_exceptions=True)
            await watch.stop()

    async def _until_ended(self, lease: asyncio.Task[None], watch: EventSource, confirmed: asyncio.Task[None]) -> None:
        """Wait for a stop, a lost Lease, another installation or a dead watch: kopf never comes back once it ended."""
        stopped = asyncio.create_task(self._stop.wait())
        try:
            while not stopped.done() and not lease.done():
                pending = {task for task in (stopped, lease, confirmed) if not task.done()}
                await asyncio.wait(pending, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
                if confirmed.done():
                    confirmed.result()
                if not watch.alive:
                    raise LostLease(f"the watch ended: {watch.failure!r}")
        finally:
            stopped.cancel()

    async def _finish(self, workers: list[asyncio.Task[None]], *, at_once: bool) -> None:
        """Let every reconcile come to a step boundary; where nothing may be written what is in flight is cut off."""
        if not at_once:
            await asyncio.wait(workers, timeout=FINISH_WITHIN)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    async def _while_running(self, work: Coroutine[Any, Any, None], *ends: asyncio.Task[None]) -> bool:
        """Whether ``work`` came to its end before a stop was asked for, or one of ``ends``."""
        task, stopped = asyncio.create_task(work), asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({task, stopped, *ends}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            finished = task.done()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if finished:
            task.result()
        return finished

    async def _serve_probes(self) -> web.AppRunner:
        """Raises SettingsError when the address can not be listened on."""
        host, port = self._settings.metrics.host, self._settings.metrics.port
        runner = web.AppRunner(application(self.health, self.metrics), access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            await runner.cleanup()
            raise SettingsError(
                f"metrics.port: {host}:{port} can not be listened on ({error.strerror}). Free it or set another one."
            ) from error
        self.probe_addresses = list(runner.addresses)
        log.info("probes served", addresses=[f"{address[0]}:{address[1]}" for address in runner.addresses])
        return runner


async def _until_answered(ask: Callable[[], Awaitable[T]]) -> T:
    """The API server's answer, asked for until there is one: at the start nothing goes without."""
    while True:
        try:
            return await ask()
        except (httpx2.HTTPError, GuardError) as error:
            log.warning("api server did not do it", error=str(error) or type(error).__name__)
            await asyncio.sleep(AGAIN)


def _ended(workers: list[asyncio.Task[None]]) -> str | None:
    """Workers go on until the queue is closed; one that does not has met what it can not survive."""
    ended = [worker for worker in workers if worker.done()]
    return f"{len(ended)} of {len(workers)} workers ended, the first {ended[0]!r}" if ended else None


def _failed(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is not None
