"""One installation, used again and again: every run of a scenario starts from the state right after bootstrap."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.apiserver import ApiServer
from tests.controlplane.cluster import Cluster
from tests.faults import strangers
from tests.faults.lives import PATIENCE, MemoryLife, ProcessLife, written
from tests.faults.picture import Picture, picture
from tests.faults.scenarios import Scenario, Stage
from tests.faults.writes import Place, Point, Tripwire, Write
from tests.sandbox.standin import Snapshot
from tests.site import Site


@dataclass(frozen=True)
class Course:
    """How a scenario goes when nothing interrupts it. ``received`` are the writes as the three systems counted them."""

    writes: tuple[Write, ...]
    received: Counter[Place]
    end: Picture

    @property
    def points(self) -> list[Point]:
        """Every write in both forms."""
        return [Point(write, done) for write in self.writes for done in (False, True)]


class Sweep:
    """Start with ``async with``."""

    def __init__(self, cluster: Cluster) -> None:
        self._site = Site(cluster)
        self._courses: dict[str, Course] = {}
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

    async def bury(self) -> None:
        """Wait for what ended lives still hold. No run has to: they can reach nothing any more."""
        await asyncio.gather(*(life.bury() for life in self._ended))
        self._ended.clear()

    async def undisturbed(self, name: str, scenario: Scenario) -> Course:
        """The scenario's course; it is run once."""
        if name not in self._courses:
            await self._reset()
            wire = Tripwire(armed=scenario.prepare is None)
            async with self._life(wire) as life:
                await self._prepare(scenario, life, wire)
                await scenario.change(self._stage)
                await self._settle(life)
                wire.armed = False  # how it gives its Lease back is no part of the scenario
            received = Counter(
                Place(standin.name)
                for standin in self._site.workspace.systems
                for call in standin.writes
                for _ in written(Place(standin.name), call)
            )
            self._courses[name] = Course(tuple(wire.seen), received, await self._picture())
        return self._courses[name]

    async def in_memory(self, scenario: Scenario, point: Point) -> Picture:
        """The end of a run whose first process, in memory, ended at ``point``."""
        await self._reset()
        wire = Tripwire(point, armed=scenario.prepare is None)
        async with self._life(wire) as life:
            await self._prepare(scenario, life, wire)
            return await self._taken_up(scenario, life)

    async def with_sigkill(self, scenario: Scenario, point: Point) -> Picture:
        """The same with a real process and a real SIGKILL."""
        await self._reset()
        if scenario.prepare is not None:
            async with self._life(Tripwire()) as first:
                await self._prepare(scenario, first, Tripwire())
        with tempfile.TemporaryDirectory() as folder:
            life = ProcessLife(self._site, Path(folder), Tripwire(point))
            try:
                await life.begin()
                return await self._taken_up(scenario, life)
            finally:
                await life.end()

    async def _taken_up(self, scenario: Scenario, life: MemoryLife | ProcessLife) -> Picture:
        """A person does what they want to do; the process ends meanwhile, and the next one takes it up."""
        person = asyncio.ensure_future(scenario.change(self._stage))
        try:
            await life.crashed()
            await life.end()  # of a process its gateway; of a life in memory nothing is left that could act
            async with self._life(Tripwire()) as successor:
                await asyncio.wait_for(person, PATIENCE)
                await self._settle(successor)
        finally:
            person.cancel()
        return await self._picture()

    @asynccontextmanager
    async def _life(self, wire: Tripwire) -> AsyncIterator[MemoryLife]:
        life = MemoryLife(self._site.settings, self._site.config, wire)
        await life.begin()
        self._ended.append(life)
        try:
            yield life
        finally:
            await life.end()

    async def _prepare(self, scenario: Scenario, life: MemoryLife, wire: Tripwire) -> None:
        if scenario.prepare is not None:
            await scenario.prepare(self._stage)
            await self._settle(life)
            self._site.workspace.forget()
            wire.armed = True

    async def _settle(self, life: MemoryLife) -> None:
        await life.settled(len(await self._api.tenants()))

    async def _reset(self) -> None:
        await self._api.clear(apart=(strangers.NEIGHBOUR,))
        self._site.workspace.restore(self._fresh)

    async def _picture(self) -> Picture:
        """What is there now. Raises AssertionError when anything of somebody else's was touched."""
        found = await strangers.bytes_of(self._site.workspace, self._api)
        touched = [name for name, content in self._strangers.items() if found.get(name) != content]
        assert not touched, f"touched, though not the tenant's: {touched}"
        return await picture(self._site.workspace, self._api, apart=self._strangers.keys())
