"""Addresses of Stalwart's accounts: asked for when they are missing, once for those that are nobody's (C101)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from dezky_operator.ingest.stalwart.accounts import AGAIN, AT_ONCE, MISSES, PAUSE, Accounts
from dezky_operator.integrations.errors import Unreachable
from dezky_operator.integrations.stalwart.ids import as_id
from dezky_operator.integrations.steps import System

CANARY, ANNA, LATER = as_id(80), as_id(81), as_id(82)


@dataclass
class Scene:
    """Stalwart's accounts, and what it was asked."""

    known: dict[str, str] = field(default_factory=dict)
    is_down: bool = False
    hangs: bool = False
    asked: list[Sequence[str] | None] = field(default_factory=list)
    time: float = 0.0

    def __post_init__(self) -> None:
        self.accounts = Accounts(self.answer, clock=lambda: self.time, within=0.5)

    async def answer(self, ids: Sequence[str] | None) -> dict[str, str]:
        self.asked.append(ids)
        if self.is_down:
            raise Unreachable(System.STALWART, "Stalwart did not answer.")
        if self.hangs:
            await asyncio.Event().wait()
        return dict(self.known) if ids is None else {key: self.known[key] for key in ids if key in self.known}

    async def look(self, *ids: str) -> list[str]:
        """As a body does: what is missing is asked for, and looked up again."""
        for key in ids:
            self.accounts(key)
        await self.accounts.ask()
        return [self.accounts(key) for key in ids]


@pytest.fixture
def scene() -> Scene:
    return Scene({CANARY: "canary@acme.test", ANNA: "anna@acme.test"})


async def test_all_are_asked_for_at_first_and_then_only_who_is_missing(scene: Scene) -> None:
    assert await scene.look(CANARY) == ["canary@acme.test"]
    assert await scene.look(ANNA) == ["anna@acme.test"]
    assert scene.asked == [None]
    scene.known[LATER] = "later@acme.test"
    assert await scene.look(LATER) == ["later@acme.test"]
    assert scene.asked == [None, [LATER]]


async def test_who_is_nobody_is_asked_for_once(scene: Scene) -> None:
    assert await scene.look(LATER) == [""]
    assert await scene.look(LATER) == [""]
    assert scene.asked == [None, [LATER]]
    assert not await scene.accounts.ask()


async def test_an_account_that_is_gone_keeps_its_address_and_one_that_was_renamed_gets_another(scene: Scene) -> None:
    await scene.look(CANARY)
    scene.known = {ANNA: "anna@acme.eu"}
    scene.time += AGAIN
    await scene.accounts.ask()
    assert await scene.look(CANARY, ANNA) == ["canary@acme.test", "anna@acme.eu"]


async def test_while_stalwart_is_down_nothing_waits_and_it_is_not_asked_for_every_event(scene: Scene) -> None:
    scene.is_down = True
    assert await scene.look(CANARY) == [""]
    assert await scene.look(CANARY) == [""]
    assert len(scene.asked) == 1
    scene.is_down, scene.time = False, PAUSE
    assert await scene.look(CANARY) == ["canary@acme.test"]


async def test_an_answer_that_does_not_come_holds_events_up_for_a_moment_only(
    scene: Scene,
) -> None:
    scene.hangs = True
    assert await scene.look(CANARY) == [""]
    assert await scene.look(CANARY) == [""]
    assert len(scene.asked) == 1


async def test_what_is_no_id_is_asked_of_nobody(scene: Scene) -> None:
    assert await scene.look("'; DROP", "", "8", "a" * 14) == ["", "", "", ""]
    assert scene.asked == [None]


async def test_memory_and_questions_are_bounded(scene: Scene) -> None:
    await scene.look(*map(as_id, range(1_000, 1_000 + 3 * AT_ONCE)))
    assert all(len(ids) <= AT_ONCE for ids in scene.asked if ids)
    for start in range(0, MISSES + 2 * AT_ONCE, AT_ONCE):
        await scene.look(*map(as_id, range(10_000 + start, 10_000 + start + AT_ONCE)))
    assert len(scene.accounts._nobody) <= MISSES
