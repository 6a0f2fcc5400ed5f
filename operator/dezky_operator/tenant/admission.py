"""What has to be settled before anything outside is changed for a Tenant.

The finalizer is there first, so that nothing made is ever forgotten. For a Tenant seen for the first time the sign-in
is looked at before mail and files are touched: its group tells whether an earlier tenant of this slug left its objects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from dezky_operator.integrations.steps import Obstacle, Plan, System

LOOK_WITHIN = 5.0
"""Seconds mail and files wait for the first look at the sign-in; a silent Authentik does not hold them up longer."""


class Admission:
    """The gate of one reconcile. ``hold`` puts the finalizer on the Tenant."""

    def __init__(self, hold: Callable[[], Awaitable[None]], *, first_time: bool) -> None:
        self._hold, self._held = hold, asyncio.Lock()
        self._done = False
        self._looked = asyncio.Event()
        self.refusal: Obstacle | None = None
        if not first_time:
            self._looked.set()

    async def __call__(self, system: System, plan: Plan) -> bool:
        """Whether the steps of ``plan`` may be applied."""
        if system is System.AUTHENTIK:
            self.refusal = next((found for found in plan.obstacles if found.reason == "TombstoneExists"), None)
            self._looked.set()
        else:
            await self._wait()
        if self.refusal is not None:
            return False
        async with self._held:
            if not self._done:
                await self._hold()
                self._done = True
        return True

    def looked(self) -> None:
        """The sign-in was looked at, or can not be: nobody waits any longer."""
        self._looked.set()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(LOOK_WITHIN):
                await self._looked.wait()
        except TimeoutError:
            pass  # marks in mail and derived ids in files still keep another customer's data from this tenant


async def closed(_: System, __: Plan) -> bool:
    """The gate of a preview: nothing is applied."""
    return False


async def opened(_: System, __: Plan) -> bool:
    """The gate of a purge: the finalizer is there already, and whose the objects are is checked object by object."""
    return True
