"""Gates: what has to be settled before a plan is applied.

One gate stands before each reconcile. It is asked with every plan, and told when a system is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from dezky_operator.crd.tenant import SuspensionStatus
from dezky_operator.integrations.steps import Obstacle, Plan, System
from dezky_operator.tenant.suspension import Hold, closing, with_drives

LOOK_WITHIN = 5.0
"""Seconds mail and files wait for the first look at the sign-in; a silent Authentik does not hold them up longer."""
TOGETHER_WITHIN = 2.0
"""Seconds the hold of mail waits for files, so that one write tells of both."""


class Gate(Protocol):
    """Asked with every plan, also with one that has no steps, before anything of it is applied."""

    async def __call__(self, system: System, plan: Plan, /) -> Plan:
        """What of ``plan`` may be applied."""

    def over(self, system: System) -> None:
        """Nothing more comes from this system."""


class Closed:
    """The gate of a preview: nothing is applied."""

    async def __call__(self, system: System, plan: Plan, /) -> Plan:  # noqa: ARG002 - whatever it is
        """Nothing."""
        return Plan()

    def over(self, system: System) -> None:
        """Of no interest."""


class Opened:
    """The gate of a purge: the finalizer is there already, and whose the objects are is checked object by object."""

    async def __call__(self, system: System, plan: Plan, /) -> Plan:  # noqa: ARG002 - wherever it is
        """All of it."""
        return plan

    def over(self, system: System) -> None:
        """Of no interest."""


class OnlyAsked:
    """The gate of a tenant whose drift is only reported: what a person or an event outside asked for is done."""

    async def __call__(self, system: System, plan: Plan, /) -> Plan:  # noqa: ARG002 - wherever it is
        """The steps that are no drift."""
        return plan.asked

    def over(self, system: System) -> None:
        """Of no interest."""


class Admission:
    """The gate of a living tenant. ``hold`` puts the finalizer on it, so that nothing made is ever forgotten.

    For a Tenant seen for the first time the sign-in is looked at before mail and files are touched: its group tells
    whether an earlier tenant of this slug left its objects.
    """

    def __init__(self, hold: Callable[[], Awaitable[None]], *, first_time: bool) -> None:
        self._hold, self._held = hold, asyncio.Lock()
        self._done = False
        self._looked = asyncio.Event()
        self.refusal: Obstacle | None = None
        if not first_time:
            self._looked.set()

    async def __call__(self, system: System, plan: Plan, /) -> Plan:
        """All of it, or nothing when the name belongs to an earlier tenant."""
        if system is System.AUTHENTIK:
            self.refusal = next((found for found in plan.obstacles if found.reason == "TombstoneExists"), None)
            self._looked.set()
        else:
            await _patiently(self._looked, LOOK_WITHIN)  # marks and derived ids still keep customers apart afterwards
        if self.refusal is not None:
            return Plan()
        async with self._held:
            if plan.steps and not self._done:
                await self._hold()
                self._done = True
        return plan

    def over(self, system: System) -> None:
        """The sign-in was looked at, or can not be: nobody waits any longer."""
        if system is System.AUTHENTIK:
            self._looked.set()


class WriteAhead:
    """The gate of a lock: what undoing it needs to know is written before the first door closes.

    ``before`` is the gate that stands before this one, ``write`` keeps the suspension where a restart finds it.
    """

    def __init__(
        self, before: Gate, write: Callable[[SuspensionStatus], Awaitable[None]], suspension: SuspensionStatus
    ) -> None:
        self._before, self._write = before, write
        self._writing, self._files = asyncio.Lock(), asyncio.Event()
        self.suspension = suspension

    async def __call__(self, system: System, plan: Plan, /) -> Plan:
        """What the gate before lets through, after what has to be written first is written."""
        plan = await self._before(system, plan)
        if system is System.OCIS:
            await self._ahead(with_drives(self.suspension, closing(plan)))
            self._files.set()
        elif any(step.kind == "throttle" for step in plan.steps):
            await _patiently(self._files, TOGETHER_WITHIN)
            await self._ahead(self.suspension)
        return plan

    def over(self, system: System) -> None:
        """Files have nothing to write any more."""
        self._before.over(system)
        if system is System.OCIS:
            self._files.set()

    async def _ahead(self, wanted: SuspensionStatus) -> None:
        async with self._writing:
            wanted = with_drives(self.suspension, wanted.disabled_drive_ids)
            if wanted.hold_until is not None and wanted.hold is None:
                wanted = msgspec.structs.replace(wanted, hold=Hold.LOADING)
            if wanted != self.suspension:
                await self._write(wanted)
                self.suspension = wanted


async def _patiently(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass  # who waited goes on without
