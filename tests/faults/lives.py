"""Lives of the operator: in memory, where a crash stops its event loop for good, and as a real process, killed."""

from __future__ import annotations

import asyncio
import ssl
import threading
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path

import httpx2
from lightkube.config.kubeconfig import SingleConfig

from dezky_operator.config import Settings
from dezky_operator.integrations.steps import System
from dezky_operator.kube.process import Operator
from dezky_operator.store.interface import Result, Rows, Store
from tests import lean
from tests.controlplane.cluster import child_env
from tests.faults.gateway import Gateway
from tests.faults.writes import Mined, Place, Tripwire, place_of, sets
from tests.sandbox.standin import Call, Fault, StandIn
from tests.site import Site
from tests.stores import Around

IDENTITY = "crash-sweep"
"""Every life holds the Lease under it: the next one takes it back at once."""
PATIENCE = 30.0
Condition = Callable[[], bool]
Ambush = Callable[[Call], Fault | None]


class EndedError(Exception):
    """The process has ended: what still runs of it in memory reaches nothing any more."""


class Mortal(Around):
    """A store that nobody reaches from a process that has ended."""

    def __init__(self, store: Store, ended: Condition) -> None:
        super().__init__(store)
        self._ended = ended

    async def run(self, work: Callable[[Rows], Awaitable[Result]]) -> Result:
        """As the store does, in life."""
        if self._ended():
            raise EndedError
        return await super().run(work)


class MemoryLife:
    """The whole operator in a thread and an event loop of its own.

    At the point the loop is stopped in the middle of what it does: no ``except``, no ``finally`` runs, the Lease stays
    held. Only afterwards are its tasks cancelled to give sockets and threads back, with every transport shut.
    """

    def __init__(self, settings: Settings, config: SingleConfig, wire: Tripwire) -> None:
        self._settings, self._config, self._wire = settings, config, wire
        self._thread = threading.Thread(target=self._live, name="operator", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failure: BaseException | None = None
        self.operator: Operator | None = None

    async def begin(self) -> None:
        """Start the thread; everything else follows by itself."""
        self._thread.start()

    async def crashed(self) -> None:
        """Until the loop stands still."""
        await self._until(self._wire.struck.is_set, "the point is reached")

    async def settled(self, tenants: int) -> None:
        """Until it has nothing left to do, having been satisfied as often as there are Tenants."""
        await self._until(lambda: self._settled(tenants), "the operator is satisfied")

    async def end(self) -> None:
        """End it as a crash would, wherever it stands. Raises what ended it too early."""
        if self._loop is not None and self._failure is None and not self._wire.struck.is_set():
            self._loop.call_soon_threadsafe(self._strike)
            await self.crashed()
        if self._failure is not None:
            raise self._failure

    async def bury(self) -> None:
        """Wait until its sockets and threads are given back: kopf takes 5 s where it was stopped while it starts."""
        await asyncio.to_thread(self._thread.join, PATIENCE)

    def _live(self) -> None:
        try:
            with asyncio.Runner() as runner:
                self._loop = runner.get_loop()
                runner.run(self._operate())
        except BaseException as error:  # noqa: BLE001 - the thread's last words; a crash stops the loop, which is none
            self._failure = None if self._wire.struck.is_set() else error

    async def _operate(self) -> None:
        self.operator = Operator(
            self._settings,
            self._config,
            identity=IDENTITY,
            wire=self._system,
            wrap=lambda inner: Mined(inner, Place.KUBERNETES, self._wire, self._strike),
            wrap_store=lambda inner: Mortal(inner, self._wire.struck.is_set),
        )
        await self.operator.check()
        await self.operator.run(signals=False)

    def _system(self, system: System) -> httpx2.AsyncBaseTransport:
        # The certificates of the world are read once, not four times a life: the stand-ins speak plain HTTP.
        return Mined(httpx2.AsyncHTTPTransport(verify=_tls()), place_of(system), self._wire, self._strike)

    def _strike(self) -> None:
        if not self._wire.struck.is_set():
            self._wire.struck.set()
            asyncio.get_running_loop().stop()

    def _settled(self, tenants: int) -> bool:
        if self._failure is not None:
            raise self._failure
        operator = self.operator
        if operator is None or not operator.idle:
            return False
        samples = next(iter(operator.metrics.reconciles.collect())).samples
        return tenants <= sum(found.value for found in samples if found.labels.get("outcome") == "settled")

    async def _until(self, condition: Condition, what: str) -> None:
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while not condition():
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"never came about: {what}")
            await asyncio.sleep(0.005)


class ProcessLife:
    """A real ``dezky-operator run``, ended by SIGKILL at the moment its write arrives or was done.

    It reaches the API server through a gateway in the test's process, the stand-ins as always: both see a write before
    it is acted on, so the kill comes at exactly that write.
    """

    def __init__(self, site: Site, folder: Path, wire: Tripwire) -> None:
        self._site, self._folder, self._wire = site, folder, wire
        self._gateway = Gateway(site.config, self._meets)
        self._process: Process | None = None

    async def begin(self) -> None:
        """Start the process."""
        await self._gateway.start()
        for standin in self._site.workspace.systems:
            standin.ambush = self._ambush(standin)
        settings = self._site.workspace.write_settings(
            self._folder / "settings.yaml", namespace=self._site.namespace, **self._site.changes
        )
        kubeconfig = self._gateway.write_kubeconfig(self._folder / "kubeconfig")
        command = [*lean.COMMAND, "run", "--config", str(settings)]
        command += ["--kubeconfig", str(kubeconfig), "--identity", IDENTITY]
        self._process = await asyncio.create_subprocess_exec(
            *command, stdout=DEVNULL, stderr=PIPE, cwd=lean.ROOT, env={**child_env(), **lean.ENVIRONMENT}
        )

    async def crashed(self) -> None:
        """Until the process is gone. Raises AssertionError when it ended by itself."""
        assert self._process is not None
        _, told = await asyncio.wait_for(self._process.communicate(), PATIENCE)
        assert self._wire.struck.is_set(), f"the process ended by itself, {self._process.returncode}: {told.decode()}"

    async def end(self) -> None:
        """Clear away what is left."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await asyncio.wait_for(self._process.communicate(), PATIENCE)
        for standin in self._site.workspace.systems:
            standin.ambush = None
        await self._gateway.stop()

    def _ambush(self, standin: StandIn) -> Ambush:
        place = Place(standin.name)

        def meet(call: Call) -> Fault | None:
            return self._meets(place, written(place, call)) if call.write else None

        return meet

    def _meets(self, place: Place, writes: list[str]) -> Fault | None:
        """At the point: SIGKILL, and what becomes of the write whose sender is gone."""
        if self._wire.struck.is_set():
            return Fault(refused=True)  # on the wire when the process ended: here, it does not arrive any more
        if not self._wire.meets(place, *writes):
            return None
        assert self._process is not None
        self._process.kill()
        self._wire.struck.set()
        done = self._wire.point is not None and self._wire.point.done
        return Fault(lost=True) if done else Fault(refused=True)


def written(place: Place, call: Call) -> list[str]:
    """What a call that writes sets, as the operator's own transport counts it."""
    if place is Place.STALWART:
        return sets(method.split()[0] for method in call.label.split(";"))
    return [f"{call.method} {call.path}"]


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
