"""Applied steps in the log: an intent before the write, one end after it, none left open (C082, C083, case 26)."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dezky_operator.audit.draft import prepare
from dezky_operator.audit.event import Event
from dezky_operator.audit.fates import Appended
from dezky_operator.audit.line import Line
from dezky_operator.ingest.own import unfinished
from dezky_operator.ingest.own.acts import Actor, Whose
from dezky_operator.ingest.own.keeping import Keeping
from dezky_operator.ingest.own.spool import Spool
from dezky_operator.ingest.own.steps import Trail
from dezky_operator.ingest.own.unfinished import open_intents
from dezky_operator.integrations.apply import Applied, apply
from dezky_operator.integrations.errors import NoPermission, Unreachable, Unrecorded
from dezky_operator.integrations.steps import Plan, Step, System, Verb
from dezky_operator.store.interface import UnavailableError
from dezky_operator.store.sqlite import SqliteStore
from tests.audit.events import ring
from tests.drafts import ACME, NORD
from tests.logs import Clock, lines_of, sequencer

NOW = "2026-11-24T04:00:00.000000Z"
SECRET = b"k" * 32


def step(key: str = "users", *, verb: Verb = Verb.CREATE, privileged: bool = True, after: tuple[str, ...] = ()) -> Step:
    return Step(
        system=System.AUTHENTIK,
        kind="group",
        key=key,
        verb=verb,
        name="dezky-acme-users",
        reason="The tenant's people.",
        body={"name": "dezky-acme-users", "secret": "s3cr3t-text"},
        fields=("name", "members/ann@acme.test"),
        after=after,
        privileged=privileged,
    )


@dataclass
class Performer:
    """Does what it is told, and looks what the log holds while it does."""

    store: SqliteStore
    error: Exception | None = None
    seen: list[list[str]] = field(default_factory=list)

    async def perform(self, step: Step) -> dict[str, str]:  # noqa: ARG002
        self.seen.append([line.action for line in await lines_of(self.store)])
        if self.error is not None:
            raise self.error
        return {"id": "pk-1"}


class Disk(Spool):
    """A spool whose disk is full while it says so."""

    full = False

    def append(self, events: Sequence[Event]) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().append(events)


@dataclass
class Scene:
    """A log in a file, and a process that records its steps in it."""

    store: SqliteStore
    keeping: Keeping
    spool: Disk
    trail: Trail
    fails: list[Exception] = field(default_factory=list)
    seen: list[list[str]] = field(default_factory=list)

    def down(self) -> None:
        """Neither the log nor the disk takes anything."""
        self.fails.append(UnavailableError("the store is down"))
        self.spool.full = True

    def up(self) -> None:
        """Both do again."""
        self.fails.clear()
        self.spool.full = False

    async def apply(self, *steps: Step, tenant: str = ACME, error: Exception | None = None) -> Applied:
        performer = Performer(self.store, error)
        plan = Plan(steps)
        applied = await apply(plan, {System.AUTHENTIK: performer}, self.trail.of(tenant, "Active"))
        self.seen = performer.seen
        await self.keeping.settled()
        return applied

    async def lines(self) -> list[Line]:
        await self.keeping.settled()
        return await lines_of(self.store)


def whose(tenant: str) -> Whose:
    return Whose(tenant=tenant, slug="acme", actor=Actor("ann@acme.test"))


@asynccontextmanager
async def process(directory: Path) -> AsyncIterator[Scene]:
    """One life of the process over the log in ``directory``."""
    store = await SqliteStore.open(directory / "audit.db")
    log, keys = sequencer(store, Clock()), ring()

    async def accept(events: Sequence[Event]) -> Appended:
        if scene.fails:
            raise scene.fails[0]
        return await log.append([prepare(event, keys=keys, random=bytes) for event in events])

    spool = Disk(directory / "spool")
    keeping = Keeping(accept, spool)
    trail = Trail(keeping, whose, secret=SECRET, now=lambda: NOW, open_=await store.read(open_intents))
    scene = Scene(store, keeping, spool, trail)
    task = asyncio.create_task(keeping.run())
    try:
        yield scene
        await keeping.settled()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await store.close()


async def test_an_intent_is_in_the_log_before_the_write_and_its_end_after_it(tmp_path: Path) -> None:
    async with process(tmp_path) as scene:
        await scene.apply(step())
        assert scene.seen == [["step.intent"]]
        intent, done = await scene.lines()
    assert [(line.action, line.outcome) for line in (intent, done)] == [
        ("step.intent", "unknown"),
        ("step.done", "success"),
    ]
    assert intent.data["step"] == done.data["step"]
    assert (intent.tenant, intent.actor.type, intent.resource.type) == (ACME, "user", "group")
    assert intent.data["fields"] == "name"


async def test_nothing_that_names_anybody_nor_a_secret_stands_in_the_line(tmp_path: Path) -> None:
    async with process(tmp_path) as scene:
        await scene.apply(step("ann@acme.test"))
    stored = _file(tmp_path)
    async with process(tmp_path) as scene:
        for line in await scene.lines():
            assert "acme" not in str(line.data)
            assert set(line.c) >= {"after", "resource.name", "tenant.slug", "actor.email"}
    assert b"s3cr3t-text" not in stored


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(Unreachable(System.AUTHENTIK, "no answer"), "failure"), (NoPermission(System.AUTHENTIK, "no right"), "denied")],
)
async def test_a_step_that_fails_says_how(tmp_path: Path, error: Exception, outcome: str) -> None:
    async with process(tmp_path) as scene:
        await scene.apply(step(), error=error)
        ends = [line for line in await scene.lines() if line.action == "step.failed"]
    assert [(line.outcome, line.data["error"]) for line in ends] == [(outcome, type(error).__name__)]


async def test_a_step_that_can_not_be_recorded_is_not_done_and_says_so(tmp_path: Path) -> None:
    async with process(tmp_path) as scene:
        scene.down()
        applied = await scene.apply(step(), step("other", after=("authentik/group/users",)))
        assert isinstance(applied.failed["authentik/group/users"], Unrecorded)
        assert [skipped.key for skipped in applied.skipped] == ["other"]
        assert scene.seen == []
        scene.up()
        await scene.apply(step())
        assert [line.action for line in await scene.lines()] == ["step.intent", "step.done"]


async def test_a_lock_is_done_all_the_same_and_recorded_as_soon_as_it_can_be(tmp_path: Path) -> None:
    async with process(tmp_path) as scene:
        scene.down()
        applied = await scene.apply(step(privileged=False))
        assert (len(applied.done), scene.seen) == (1, [[]])
        assert [event.action for event in scene.keeping.unwritten] == ["step.intent", "step.done"]
        scene.up()
        await scene.apply(step("later"))
        actions = [line.action for line in await scene.lines()]
    assert actions == ["step.intent", "step.done", "step.intent", "step.done"]


async def test_a_crash_after_the_write_is_ended_by_what_is_observed(tmp_path: Path) -> None:
    async with process(tmp_path) as scene:
        await scene.trail.of(ACME, "Active").intent(step())
    async with process(tmp_path) as scene:
        assert scene.trail.unfinished == {ACME}
        scene.trail.of(NORD, "Active").observed(System.AUTHENTIK, Plan())
        scene.trail.of(ACME, "Active").observed(System.OCIS, Plan())
        assert len(await scene.lines()) == 1
        scene.trail.of(ACME, "Active").observed(System.AUTHENTIK, Plan())
        intent, end = await scene.lines()
        assert (end.action, end.outcome, end.data["observed"]) == ("step.done", "success", True)
        assert (end.data["step"], end.data["key"]) == (intent.data["step"], intent.data["key"])
    async with process(tmp_path) as scene:
        assert scene.trail.unfinished == frozenset()


async def test_a_crash_before_the_write_leaves_a_step_of_which_nobody_knows(tmp_path: Path) -> None:
    async with process(tmp_path) as scene:
        await scene.trail.of(ACME, "Active").intent(step())
        await scene.trail.of(ACME, "Active").intent(step("admins"))
    async with process(tmp_path) as scene:
        scene.trail.of(ACME, "Active").observed(System.AUTHENTIK, Plan((step("admins"),)))
        ends = (await scene.lines())[2:]
    assert sorted((line.action, line.outcome) for line in ends) == [
        ("step.done", "success"),
        ("step.unknown", "unknown"),
    ]


@pytest.mark.parametrize("phase", ["Suspended", "Proof"])
async def test_another_phase_tells_nothing_of_a_step(tmp_path: Path, phase: str) -> None:
    """To lock a tenant nothing is planned that was to be made for it: that it is not planned proves nothing."""
    async with process(tmp_path) as scene:
        await scene.trail.of(ACME, phase).intent(step())
    async with process(tmp_path) as scene:
        scene.trail.of(ACME, "Active").observed(System.AUTHENTIK, Plan())
        assert [line.action for line in await scene.lines()] == ["step.intent", "step.unknown"]


async def test_a_tenants_secret_is_observed_with_its_sign_in(tmp_path: Path) -> None:
    secret = dataclasses.replace(step(), system=System.KUBERNETES, kind="secret")
    async with process(tmp_path) as scene:
        await scene.trail.of(ACME, "Active").intent(secret)
    async with process(tmp_path) as scene:
        scene.trail.of(ACME, "Active").observed(System.AUTHENTIK, Plan())
        assert [line.action for line in await scene.lines()] == ["step.intent", "step.done"]


async def test_of_a_tenant_that_is_gone_nobody_knows(tmp_path: Path) -> None:
    async with process(tmp_path) as scene:
        await scene.trail.of(ACME, "Active").intent(step())
    async with process(tmp_path) as scene:
        scene.trail.give_up([ACME])
        assert [line.action for line in await scene.lines()] == ["step.intent", "step.unknown"]


async def test_an_end_that_is_recorded_twice_is_one_event(tmp_path: Path) -> None:
    """Two processes may both find it open: the second one's end is the same event."""
    async with process(tmp_path) as scene:
        await scene.trail.of(ACME, "Active").intent(step())
    async with process(tmp_path) as first:
        late = Trail(first.keeping, whose, secret=SECRET, now=lambda: NOW, open_=await first.store.read(open_intents))
        first.trail.of(ACME, "Active").observed(System.AUTHENTIK, Plan())
        await first.keeping.settled()
        late.of(ACME, "Active").observed(System.AUTHENTIK, Plan())
        assert [line.action for line in await first.lines()] == ["step.intent", "step.done"]


async def test_more_open_steps_than_fit_in_one_page_are_all_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfinished, "AT_ONCE", 3)
    async with process(tmp_path) as scene:
        for number in range(8):
            recorder = scene.trail.of(ACME, "Active")
            await recorder.intent(step(f"group-{number}"))
            if number % 2:
                await recorder.done(step(f"group-{number}"))
    async with process(tmp_path) as scene:
        found = await scene.store.read(open_intents)
        assert len({intent.step for intent in found}) == 4


def _file(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.glob("audit.db*"))
