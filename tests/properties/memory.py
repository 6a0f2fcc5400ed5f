"""The machine's ground without an API server: one process, one event loop that runs only while something is done."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, TypeVar

from dezky_operator.crd.tenant import Tenant
from dezky_operator.tenant.record import Record
from tests.builders import Manifest
from tests.faults import strangers
from tests.properties.life import Life, Office
from tests.properties.machine import Interruption, first_manifest
from tests.properties.others import SLUGS
from tests.properties.registry import Registry
from tests.properties.verdict import everything
from tests.sandbox.standin import Call, Fault

T = TypeVar("T")
ROUNDS = 20
"""Rounds until everything must have come to rest."""
QUIET = 2
HOUR = 3600.0


class Memory:
    """Stand-ins, an API server in memory, and the operator's rules between them."""

    def __init__(self, office: Office, runner: asyncio.Runner) -> None:
        self.workspace, self._office, self._runner = office.workspace, office, runner
        self.registry = Registry()
        strangers._into_authentik(self.workspace)
        strangers._into_stalwart(self.workspace)
        strangers._into_ocis(self.workspace)
        self.foreign = everything(self.workspace)
        self.restart()
        for slug in SLUGS:
            self.apply(first_manifest(slug))
        self.settle()
        self._first = self.workspace.snapshot(), self.registry.copy()
        self.looks = 0

    def reset(self) -> None:
        systems, registry = self._first
        self.workspace.restore(systems)
        self.registry = registry.copy()
        self.restart()

    def apply(self, manifest: Manifest) -> None:
        self.registry.apply(manifest)

    def delete(self, slug: str) -> None:
        self.registry.delete(slug)

    def confirm(self, slug: str) -> None:
        self.registry.annotate(slug, "confirm-purge")

    def hours_pass(self, hours: int) -> None:
        self.registry.let_pass(hours)

    def let_pause_pass(self, seconds: float) -> None:
        """No system is left alone any longer than that."""
        self._office.clock.ahead += seconds

    def restart(self) -> None:
        self.let_pause_pass(HOUR)
        self.life = Life(self._office, self.registry)

    def living(self) -> dict[str, Tenant]:
        return {slug: one.tenant for slug, one in self.registry.tenants.items()}

    def records(self) -> dict[str, Record]:
        return {slug: one.record for slug, one in self.registry.tombstones.items()}

    def look(self, slug: str, interruption: Interruption | None = None) -> None:
        self.let_pause_pass(1.0)
        self._do(self._look(slug, interruption))

    def settle(self) -> None:
        """Two quiet rounds, that planned nothing, wrote nothing, and told nothing new.

        The first of them may be quiet only because a system is still left alone: one request finds out that it is back.
        """
        quiet = 0
        for _ in range(ROUNDS):
            self.let_pause_pass(HOUR)
            self.workspace.forget()
            before = self.registry.number
            for slug in SLUGS:
                self._do(self._look(slug, None))
            still = self.registry.number == before and not any(self.workspace.writes().values())
            quiet = quiet + 1 if still else 0
            if quiet == QUIET:
                return
        written = [f"{call.method} {call.path} {call.label}" for one in self.workspace.systems for call in one.writes]
        raise AssertionError(f"after {ROUNDS} rounds it still writes: {written}, {self.living()}, {self.records()}")

    async def _look(self, slug: str, interruption: Interruption | None) -> None:
        task = asyncio.create_task(self.life.look(slug))
        with self._interrupting(task, interruption):
            try:
                await task
            except asyncio.CancelledError:
                self.restart()

    @contextmanager
    def _interrupting(self, task: asyncio.Task[None], interruption: Interruption | None) -> Iterator[None]:
        """After so many requests, whichever system they go to."""
        if interruption is None:
            yield
            return
        left = interruption.after

        def meet(_: Call) -> Fault | None:
            nonlocal left
            left -= 1
            return self._interrupt(task, interruption) if left == -1 else None

        for standin in self.workspace.systems:
            standin.ambush = meet
        try:
            yield
        finally:
            for standin in self.workspace.systems:
                standin.ambush = None

    def _interrupt(self, task: asyncio.Task[None], interruption: Interruption) -> Fault | None:
        if interruption.manifest is None:
            task.cancel()
            return Fault(lost=True) if interruption.done else Fault(refused=True)
        self.registry.apply(interruption.manifest)
        if interruption.told:
            self.life.watch()
        return None

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)


@contextmanager
def memory() -> Iterator[Memory]:
    """Prepared by bootstrap, with strangers in every system and both tenants ready."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            yield Memory(runner.run(Office.open(stack)), runner)
        finally:
            runner.run(stack.aclose())
