"""OCIS as the reconciler sees it: observe, plan, perform."""

from __future__ import annotations

from dezky_operator.integrations.apply import Outputs
from dezky_operator.integrations.errors import AlreadyExists, NoPermission, NotFound, Rejected
from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.ocis.client import OcisClient
from dezky_operator.integrations.ocis.desired import desired
from dezky_operator.integrations.ocis.fleet import OcisFleet, survey
from dezky_operator.integrations.ocis.observe import Observed, observe
from dezky_operator.integrations.ocis.perform import OcisPerformer
from dezky_operator.integrations.ocis.plan import plan
from dezky_operator.integrations.refusal import told
from dezky_operator.integrations.steps import Plan, Step, System


class OcisIntegration:
    """One OCIS, for all tenants."""

    system = System.OCIS

    def __init__(self, client: OcisClient) -> None:
        self._client = client
        self._performer = OcisPerformer(client)

    async def probe(self) -> None:
        """Raise when OCIS can not be worked with."""
        await self._client.me()

    async def observe(self, intent: TenantIntent) -> Observed:
        """What is there. Raises IntegrationError."""
        return await observe(self._client, intent)

    async def survey(self, *, people: bool) -> OcisFleet:
        """What is there for all tenants; ``people``: personal spaces too. Raises IntegrationError."""
        return await survey(self._client, people=people)

    async def assembled(self, intent: TenantIntent, fleet: OcisFleet) -> Observed:
        """What of it is one tenant's; nothing is sent."""
        return await observe(fleet, intent)

    def plan(self, intent: TenantIntent, observed: Observed) -> Plan:
        """What is to be done."""
        return plan(intent, desired(intent), observed)

    async def perform(self, step: Step) -> Outputs:
        """Carry out one step."""
        try:
            return await self._performer.perform(step)
        except (AlreadyExists, NotFound, Rejected, NoPermission) as error:
            raise told(step, error) from error
