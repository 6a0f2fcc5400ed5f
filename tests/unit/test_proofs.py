"""The proof of a lock never holds up a lock: what is given up for it, and what a receipt then says."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import pytest

from dezky_operator.crd.tenant import SuspensionStatus
from dezky_operator.integrations.canary.model import Attempt, Rehearsal
from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.steps import System
from dezky_operator.tenant.proof import CONTROL_WITHIN, LOCKS_WITHIN, Proofs
from tests.virtual_time import virtually

Clock = Callable[[], float]
SYSTEMS = (System.AUTHENTIK, System.STALWART, System.OCIS)
BEGUN = SuspensionStatus(since="2026-11-25T12:00:00Z", source="Spec")
AT = "2026-11-25T12:00:05Z"


@dataclass(frozen=True)
class Someone:
    """All that is asked of an intent here."""

    tenant_id: uuid.UUID = field(default_factory=uuid.uuid4)


def someone() -> TenantIntent:
    return cast("TenantIntent", Someone())


@dataclass
class Canary:
    """Takes ``seconds`` for each control; counts them."""

    seconds: float = 0.0
    controls: int = 0
    refused: bool | None = True

    async def rehearse(self, _: TenantIntent) -> Rehearsal:
        self.controls += 1
        await asyncio.sleep(self.seconds)
        return Rehearsal(controls=dict.fromkeys(SYSTEMS, "got in"), failures={}, keys=None)

    async def attempt(self, _: Rehearsal, __: TenantIntent, ___: System) -> Attempt:
        return Attempt(tried=("sign-in",), after="refused", refused=self.refused)


async def results(proofs: Proofs, intent: TenantIntent) -> dict[str, str]:
    return {found.system: found.result for found in await proofs.receipts(intent, BEGUN, SYSTEMS, at=AT)}


def test_of_a_mass_suspension_every_lock_is_asked_for_in_time_and_the_controls_give_way() -> None:
    """Forty at once for one worker, each control taking ten seconds: four hundred seconds nobody waits."""

    async def work(clock: Clock) -> tuple[float, Canary, list[dict[str, str]]]:
        waiting, canary = 40, Canary(seconds=10.0)
        proofs, begun = Proofs(canary, waiting=lambda: waiting, clock=clock), clock()
        told = []
        for _ in range(40):
            waiting -= 1
            intent = someone()
            await proofs.control(intent)
            told.append(await results(proofs, intent))
        return clock() - begun, canary, told

    took, canary, told = virtually(work)
    assert took <= LOCKS_WITHIN + CONTROL_WITHIN
    assert 1 <= canary.controls < 40
    assert sum(set(each.values()) == {"Refused"} for each in told) == canary.controls
    assert sum(set(each.values()) == {"Inconclusive"} for each in told) == 40 - canary.controls


def test_forty_quick_controls_are_all_made() -> None:
    async def work(clock: Clock) -> Canary:
        canary, waiting = Canary(seconds=0.5), 40
        proofs = Proofs(canary, waiting=lambda: waiting, clock=clock)
        for _ in range(40):
            await proofs.control(someone())
        return canary

    assert virtually(work).controls == 40


def test_a_control_left_out_for_the_crowd_says_so_in_its_receipt() -> None:
    async def work(clock: Clock) -> list[str]:
        waiting = 0
        proofs = Proofs(Canary(seconds=14.0), waiting=lambda: waiting, clock=clock)
        await proofs.control(someone())
        waiting, late = 1000, someone()
        await proofs.control(late)
        return [found.after or "" for found in await proofs.receipts(late, BEGUN, SYSTEMS, at=AT)]

    for said in virtually(work):
        assert "Too many tenants were suspended at once: the locks came first." in said


def test_after_the_crowd_controls_are_made_again() -> None:
    async def work(clock: Clock) -> int:
        waiting, canary = 0, Canary(seconds=14.0)
        proofs = Proofs(canary, waiting=lambda: waiting, clock=clock)
        await proofs.control(someone())
        waiting = 1000
        await proofs.control(someone())
        waiting = 3
        await proofs.control(someone())
        return canary.controls

    assert virtually(work) == 2


def test_a_silent_system_costs_the_proof_and_never_the_lock() -> None:
    async def work(clock: Clock) -> tuple[float, dict[str, str]]:
        proofs, begun, intent = Proofs(Canary(seconds=3600.0), waiting=lambda: 0.0, clock=clock), clock(), someone()
        await proofs.control(intent)
        return clock() - begun, await results(proofs, intent)

    took, told = virtually(work)
    assert took == pytest.approx(CONTROL_WITHIN)
    assert set(told.values()) == {"Inconclusive"}


def test_one_control_serves_a_suspension_however_often_its_lock_is_tried() -> None:
    async def work(clock: Clock) -> int:
        canary, intent = Canary(), someone()
        proofs = Proofs(canary, waiting=lambda: 0.0, clock=clock)
        for _ in range(5):
            await proofs.control(intent)
        proofs.forget(intent.tenant_id)
        await proofs.control(intent)
        return canary.controls

    assert virtually(work) == 2


@pytest.mark.parametrize(("refused", "result"), [(True, "Refused"), (False, "Open"), (None, "Inconclusive")])
def test_a_receipt_says_what_the_same_tokens_were_answered(refused: bool | None, result: str) -> None:  # noqa: FBT001
    async def work(clock: Clock) -> dict[str, str]:
        proofs, intent = Proofs(Canary(refused=refused), waiting=lambda: 0.0, clock=clock), someone()
        await proofs.control(intent)
        return await results(proofs, intent)

    assert set(virtually(work).values()) == {result}


def test_without_a_control_nothing_is_proven() -> None:
    """As after a restart in the middle."""

    async def work(clock: Clock) -> dict[str, str]:
        return await results(Proofs(Canary(), waiting=lambda: 0.0, clock=clock), someone())

    assert set(virtually(work).values()) == {"Inconclusive"}
