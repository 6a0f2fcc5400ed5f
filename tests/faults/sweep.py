"""One installation, used again and again: every run of a scenario starts from the state right after bootstrap."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, Secret

from dezky_operator.tenant.record import RecordState
from tests.apiserver import ApiServer
from tests.builders import Manifest
from tests.controlplane.cluster import Cluster
from tests.faults import strangers
from tests.faults.book import Book
from tests.faults.lives import PATIENCE, MemoryLife, ProcessLife, written
from tests.faults.picture import Picture, picture
from tests.faults.receipts import judge, proven, shut_without_receipt, suspensions
from tests.faults.scenarios import NAME, Act, Scenario, Stage
from tests.faults.writes import Place, Point, Tripwire, Write
from tests.sandbox.standin import Snapshot
from tests.sandbox.workspace import Workspace
from tests.site import Site

AT_ONCE = {
    "deletion": {"graceSeconds": 0, "lookSeconds": 0.2},
    "purge": {"auditWaitSeconds": 0, "waitSeconds": 0.3, "lookSeconds": 0.2},
}
"""Nothing waits longer than a test can."""


@dataclass(frozen=True)
class Course:
    """How a scenario goes when nothing interrupts it. ``received`` are the writes as the three systems counted them.

    ``proven``: no lock that is told of at the end is without its proof.
    """

    writes: tuple[Write, ...]
    received: Counter[Place]
    end: Picture
    proven: bool

    @property
    def points(self) -> list[Point]:
        """Every write in both forms."""
        return _both(self.writes)

    @property
    def destroying(self) -> list[Point]:
        """Those from where the tombstone says that it can not be restored any more."""
        begins = (number for number, write in enumerate(self.writes) if write.what.endswith(f" {RecordState.PURGING}"))
        return _both(self.writes[next(begins, len(self.writes)) :])


@dataclass(frozen=True)
class Prepared:
    """What a lasting preparation left, outside and in the API server."""

    outside: tuple[Snapshot, ...]
    records: list[Manifest]
    secrets: list[Manifest]


class Sweep:
    """Start with ``async with``."""

    def __init__(self, cluster: Cluster) -> None:
        # Two shares on a busy machine: an answer of DNS that came too late would be a difference at the end.
        self._folder = tempfile.TemporaryDirectory(prefix="dezky-audit-")
        self._book = Book(Path(self._folder.name))
        audit = {"audit": {"directory": self._folder.name}}
        self._site = Site(cluster, changes={**AT_ONCE, **audit}, workspace=Workspace(dns_timeout=10.0))
        self._courses: dict[str, Course] = {}
        self._prepared: dict[Act, Prepared] = {}
        self._fresh: tuple[Snapshot, ...] = ()
        self._ended: list[MemoryLife] = []

    async def __aenter__(self) -> Self:
        await self._site.__aenter__()
        self._api = ApiServer(self._site.config, self._site.namespace)
        self._stage = Stage(self._api, self._site.workspace)
        await strangers.move_in(self._site.workspace, self._api)
        async with self._life(Tripwire()) as life:
            await self._settle(life)  # it says once that the paused Tenant is paused
        self._fresh = self._site.workspace.snapshot()
        self._strangers = await strangers.bytes_of(self._site.workspace, self._api)
        return self

    async def __aexit__(self, *details: object) -> None:
        await self.bury()
        async with self._api:
            await self._api.clear()
        await self._site.__aexit__(*details)
        self._folder.cleanup()

    async def bury(self) -> None:
        """Wait for what ended lives still hold. No run has to: they can reach nothing any more."""
        await asyncio.gather(*(life.bury() for life in self._ended))
        self._ended.clear()

    async def undisturbed(self, name: str, scenario: Scenario) -> Course:
        """The scenario's course; it is run once."""
        if name not in self._courses:
            wire = Tripwire(armed=scenario.prepare is None)
            async with self._begun(scenario, wire) as life:
                await scenario.change(self._stage)
                await self._settle(life)
                wire.armed = False  # how it gives its Lease back is no part of the scenario
            received = Counter(
                Place(standin.name)
                for standin in self._site.workspace.systems
                for call in standin.writes
                for _ in written(Place(standin.name), call)
            )
            end, told = await self._end(scenario), suspensions(await self._told())
            self._courses[name] = Course(tuple(wire.seen), received, end, proven=all(map(proven, told)))
        return self._courses[name]

    async def in_memory(self, scenario: Scenario, point: Point) -> Picture:
        """The end of a run whose first process, in memory, ended at ``point``."""
        async with self._begun(scenario, Tripwire(point, armed=scenario.prepare is None)) as life:
            return await self._taken_up(scenario, life, point)

    async def with_sigkill(self, scenario: Scenario, point: Point) -> Picture:
        """The same with a real process and a real SIGKILL."""
        await self._reset(scenario)
        if scenario.prepare is not None and not scenario.lasting:
            async with self._life(Tripwire()) as first:
                await self._act(scenario.prepare, first)
        with tempfile.TemporaryDirectory() as folder:
            life = ProcessLife(self._site, Path(folder), Tripwire(point))
            try:
                await life.begin()
                return await self._taken_up(scenario, life, point)
            finally:
                await life.end()

    async def _taken_up(self, scenario: Scenario, life: MemoryLife | ProcessLife, point: Point) -> Picture:
        """A person does what they want to do; the process ends meanwhile, and the next one takes it up."""
        person = asyncio.ensure_future(scenario.change(self._stage))
        try:
            await life.crashed()
            await life.end()  # of a process its gateway; of a life in memory nothing is left that could act
            await self._book.check_at(point)
            unproven = shut_without_receipt(self._site.workspace, NAME, await self._told())
            async with self._life(Tripwire()) as successor:
                await asyncio.wait_for(person, PATIENCE)
                await self._settle(successor)
                await self._book.check_end()
        finally:
            person.cancel()
        return await self._end(scenario, unproven)

    @asynccontextmanager
    async def _life(self, wire: Tripwire) -> AsyncIterator[MemoryLife]:
        life = MemoryLife(self._site.settings, self._site.config, wire)
        await life.begin()
        self._ended.append(life)
        try:
            yield life
        finally:
            await life.end()

    @asynccontextmanager
    async def _begun(self, scenario: Scenario, wire: Tripwire) -> AsyncIterator[MemoryLife]:
        """A life in which everything is prepared, and counted from here."""
        await self._reset(scenario)
        async with self._life(wire) as life:
            if scenario.prepare is not None:
                await (self._settle(life) if scenario.lasting else self._act(scenario.prepare, life))
                self._site.workspace.forget()
                await self._book.turn_over()
                wire.arm()
            yield life

    async def _act(self, act: Act, life: MemoryLife) -> None:
        await act(self._stage)
        await self._settle(life)

    async def _settle(self, life: MemoryLife) -> None:
        await life.settled(len(await self._api.tenants()))

    async def _reset(self, scenario: Scenario) -> None:
        """Everything as at the start, or as the scenario finds it where that can be put back."""
        if scenario.prepare is None or not scenario.lasting:
            return await self._put_back(Prepared(self._fresh, [], []))
        if scenario.prepare not in self._prepared:
            await self._put_back(Prepared(self._fresh, [], []))
            async with self._life(Tripwire()) as life:
                await self._act(scenario.prepare, life)
            kept = Prepared(self._site.workspace.snapshot(), await self._api.records(), await self._api.secrets())
            self._prepared[scenario.prepare] = kept
        return await self._put_back(self._prepared[scenario.prepare])

    async def _put_back(self, prepared: Prepared) -> None:
        await self._api.clear(apart=(strangers.NEIGHBOUR,))
        self._site.workspace.restore(prepared.outside)
        for record in prepared.records:
            await self._api.create(ConfigMap(metadata=_anew(record), data=record["data"]))
        for secret in prepared.secrets:
            await self._api.create(Secret(metadata=_anew(secret), data=secret["data"]))

    async def _told(self) -> list[Manifest]:
        """The Tenants, and what the tombstones say."""
        return [*await self._api.tenants(), *await self._api.tombstones()]

    async def _end(self, scenario: Scenario, unproven: Collection[str] = ()) -> Picture:
        """What is there now. Raises AssertionError when it must not be so, or anything of another's was touched."""
        found = await strangers.bytes_of(self._site.workspace, self._api)
        touched = [name for name, content in self._strangers.items() if found.get(name) != content]
        assert not touched, f"touched, though not the tenant's: {touched}"
        judge(await self._told(), unproven)
        if scenario.end is not None:
            await scenario.end(self._site.workspace, self._api)
        return await picture(self._site.workspace, self._api, apart=self._strangers.keys())


def _both(writes: Sequence[Write]) -> list[Point]:
    return [Point(write, done) for write in writes for done in (False, True)]


def _anew(item: Manifest) -> ObjectMeta:
    """Whose an object of the API server is, for one that takes its place."""
    metadata = item["metadata"]
    return ObjectMeta(
        name=metadata["name"],
        labels=metadata.get("labels"),
        annotations=metadata.get("annotations"),
        finalizers=metadata.get("finalizers"),
    )
