"""Names of OCIS's users and groups: asked for when they are missing, kept when their owners are gone (C111)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dezky_operator.ingest.ocis.people import AT_ONCE, MISSES, PAUSE, People
from dezky_operator.ingest.tenants import KnownTenant, Tenants
from dezky_operator.integrations.errors import Unreachable
from dezky_operator.integrations.ocis.model import Group, User
from dezky_operator.integrations.steps import System
from tests.drafts import ACME, NORD
from tests.ocis_lines import ALICE, BOB, EVERY, GROUP
from tests.tails import Followed

STRANGER = "00000000-0000-4000-8000-000000000000"


@dataclass
class Graph:
    """OCIS's users and groups by id, and what it was asked."""

    users_by_id: dict[str, str] = field(default_factory=dict)
    groups_by_id: dict[str, str] = field(default_factory=dict)
    is_down: bool = False
    asked: list[str] = field(default_factory=list)

    def answer(self, what: str) -> None:
        self.asked.append(what)
        if self.is_down:
            raise Unreachable(System.OCIS, "OCIS did not answer.")

    async def users(self) -> list[User]:
        self.answer("users")
        return [User(id=key, on_premises_sam_account_name=name) for key, name in self.users_by_id.items()]

    async def groups(self) -> list[Group]:
        self.answer("groups")
        return [Group(id=key, display_name=name) for key, name in self.groups_by_id.items()]

    async def user(self, name: str) -> User | None:
        self.answer(name)
        found = self.users_by_id.get(name)
        return User(id=name, on_premises_sam_account_name=found) if found else None

    async def group(self, name: str) -> Group | None:
        self.answer(name)
        found = self.groups_by_id.get(name)
        return Group(id=name, display_name=found) if found else None


@dataclass
class Scene:
    graph: Graph = field(default_factory=Graph)
    time: float = 0.0

    def __post_init__(self) -> None:
        self.people = People(self.graph, clock=lambda: self.time)

    async def names(self, *keys: str) -> list[str]:
        """As looks do: what is missing is asked for, and looked up again."""
        for key in keys:
            self.people(key)
        await self.people.ask()
        return [self.people(key) for key in keys]


@pytest.fixture
async def scene() -> Scene:
    """Everybody there is was listed."""
    found = Scene(Graph({ALICE: "alice@acme.test"}, {GROUP: "dezky-acme-users"}))
    await found.people.ask()
    found.graph.asked.clear()
    return found


async def test_everybody_there_is_is_known_by_two_lists(scene: Scene) -> None:
    assert await scene.names(ALICE, GROUP) == ["alice@acme.test", "dezky-acme-users"]
    assert scene.graph.asked == []


async def test_who_comes_later_is_asked_for_once(scene: Scene) -> None:
    scene.graph.users_by_id[BOB] = "bob@acme.test"
    assert await scene.names(BOB) == ["bob@acme.test"]
    assert await scene.names(BOB) == ["bob@acme.test"]
    assert scene.graph.asked == [BOB]


async def test_a_group_that_comes_later_is_asked_for_too(scene: Scene) -> None:
    scene.graph.groups_by_id[STRANGER] = "dezky-nord-users"
    assert await scene.names(STRANGER) == ["dezky-nord-users"]


async def test_who_is_gone_keeps_the_name(scene: Scene) -> None:
    scene.graph.users_by_id.clear()
    assert await scene.names(ALICE) == ["alice@acme.test"]


async def test_nobody_is_asked_for_again_whom_ocis_does_not_know(scene: Scene) -> None:
    assert await scene.names(STRANGER) == [""]
    assert scene.graph.asked == [STRANGER, STRANGER]  # as a user, as a group
    await scene.names(STRANGER)
    assert len(scene.graph.asked) == 2


@pytest.mark.parametrize("key", ["", "alice@acme.test", "../me", ALICE.upper(), f"{ALICE}\n", "x" * 100_000])
async def test_what_is_no_id_is_not_asked_for(scene: Scene, key: str) -> None:
    """The text of a message is written by whoever names a file."""
    assert await scene.names(key) == [""]
    assert scene.graph.asked == []


async def test_many_at_once_are_asked_for_in_parts(scene: Scene) -> None:
    keys = [f"00000000-0000-4000-8000-{number:012}" for number in range(AT_ONCE + 1)]
    await scene.names(*keys)
    assert set(scene.graph.asked) == set(keys[:AT_ONCE])


async def test_what_is_remembered_of_strangers_is_bounded(scene: Scene) -> None:
    keys = [f"00000000-0000-4000-8000-{number:012}" for number in range(MISSES + 1)]
    for start in range(0, len(keys), AT_ONCE):
        await scene.names(*keys[start : start + AT_ONCE])
    scene.graph.asked.clear()
    await scene.names(keys[0], keys[-1])
    assert scene.graph.asked == [keys[0], keys[0]]


async def test_while_ocis_is_down_nothing_waits_and_it_is_left_alone_for_a_while() -> None:
    scene = Scene(Graph({ALICE: "alice@acme.test"}, is_down=True))
    assert await scene.names(ALICE) == [""]
    scene.graph.is_down = False
    assert await scene.names(ALICE) == [""]
    assert scene.graph.asked == ["users"]
    scene.time = PAUSE
    assert await scene.names(ALICE) == ["alice@acme.test"]


@pytest.fixture
async def followed(tmp_path: Path, scene: Scene) -> AsyncIterator[Followed]:
    known = Tenants(
        [
            KnownTenant(tenant_id=ACME, slug="acme", domains=("acme.test",)),
            KnownTenant(tenant_id=NORD, slug="nord", domains=("nord.test",)),
        ]
    )
    found = Followed(tmp_path / "audit.log", names=scene.people, ask=scene.people.ask, tenants=lambda: known)
    yield found
    await found.tail.close()


async def test_a_record_of_somebody_new_has_a_tenant_at_once(followed: Followed, scene: Scene) -> None:
    scene.graph.users_by_id[BOB] = "bob@nord.test"
    followed.path.write_bytes(EVERY["user_created"] + b"\n" + EVERY["file_shared"] + b"\n")
    created, shared = (await followed.drain())[1:]
    assert (created.tenant, shared.tenant) == (NORD, ACME)
    assert shared.values["actor.email"] == "alice@acme.test"


async def test_names_that_come_late_change_nothing_else_of_an_event(followed: Followed, scene: Scene) -> None:
    scene.graph.users_by_id[BOB] = "bob@nord.test"
    every = [line + b"\n" for line in EVERY.values()]
    followed.path.write_bytes(b"".join([*every, b"no record\n"]))
    late = await followed.drain()
    followed.log.clear()
    await followed.restart_without_cursor()
    followed.path.write_bytes(b"".join([*every, b"no record\n"]))
    early = await followed.drain()
    assert [(event.action, event.tenant, event.values, event.data, event.raw) for event in late] == [
        (event.action, event.tenant, event.values, event.data, event.raw) for event in early
    ]
