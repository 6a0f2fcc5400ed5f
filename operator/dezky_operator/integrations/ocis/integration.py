"""OCIS as the reconciler sees it: observe, plan, perform."""

from __future__ import annotations

import asyncio

from dezky_operator.integrations.apply import Outputs
from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.ocis.client import OcisClient
from dezky_operator.integrations.ocis.desired import desired
from dezky_operator.integrations.ocis.observe import Observed, observe
from dezky_operator.integrations.ocis.perform import OcisPerformer
from dezky_operator.integrations.ocis.plan import plan
from dezky_operator.integrations.steps import Plan, Step, System


class OcisIntegration:
    """One OCIS, for all tenants."""

    system = System.OCIS

    def __init__(self, client: OcisClient) -> None:
        self._client = client
        self._performer = OcisPerformer(client)
        self._operator: str | None = None
        self._asking = asyncio.Lock()

    async def probe(self) -> None:
        """Raise when OCIS can not be worked with."""
        await self._client.me()

    async def observe(self, intent: TenantIntent) -> Observed:
        """What is there. Raises IntegrationError."""
        found, _ = await asyncio.gather(observe(self._client, intent), self._own_id())
        return found

    def plan(self, intent: TenantIntent, observed: Observed) -> Plan:
        """What is to be done. After an :meth:`observe`."""
        if self._operator is None:
            raise RuntimeError("plan() before observe()")
        return plan(intent, self._operator, desired(intent), observed)

    async def perform(self, step: Step) -> Outputs:
        """Carry out one step."""
        return await self._performer.perform(step)

    async def _own_id(self) -> str:
        """The operator's user id, asked once: it changes only when the user is made anew, and then we start anew."""
        async with self._asking:
            if self._operator is None:
                self._operator = (await self._client.me()).id
            return self._operator
