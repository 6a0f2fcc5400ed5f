"""Authentik as the reconciler sees it: observe, plan, perform."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection

from dezky_operator.integrations.apply import Outputs
from dezky_operator.integrations.authentik.baseline import Baseline, read_baseline
from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.integrations.authentik.desired import desired
from dezky_operator.integrations.authentik.fleet import AuthentikFleet, Named, survey
from dezky_operator.integrations.authentik.observe import Observed, former, members, observe
from dezky_operator.integrations.authentik.perform import AuthentikPerformer
from dezky_operator.integrations.authentik.plan import plan
from dezky_operator.integrations.errors import AlreadyExists, NoPermission, NotFound, Rejected
from dezky_operator.integrations.intent import Member, TenantIntent
from dezky_operator.integrations.refusal import told
from dezky_operator.integrations.steps import Plan, Step, System

TURNS = 20
"""Surveys after which every tenant's application was looked at (facts/authentik.md 11.5: one by one, 0.27 s each)."""
BASELINE_AGE = 600.0
"""Seconds after which the shared objects are looked up again."""


class AuthentikIntegration:
    """One Authentik, for all tenants."""

    system = System.AUTHENTIK

    def __init__(
        self, client: AuthentikClient, *, installation_id: str, public_url: str, clock: Callable[[], float]
    ) -> None:
        """``public_url`` is where browsers and other systems reach it: issuers are made from it."""
        self._client, self._installation_id, self._clock = client, installation_id, clock
        self._public_url = public_url.rstrip("/")
        self._performer = AuthentikPerformer(client)
        self._baseline: tuple[float, Baseline] | None = None
        self._reading = asyncio.Lock()

    def issuer(self, intent: TenantIntent) -> str:
        """The issuer of the tenant's own application. Always the canonical host: an issuer follows the Host header."""
        return f"{self._public_url}/application/o/{intent.application}/"

    async def probe(self) -> None:
        """Raise when Authentik can not be worked with: silent, the token refused, or never bootstrapped."""
        await self._client.version()
        await self.baseline()

    async def observe(self, intent: TenantIntent) -> Observed:
        """What is there. Raises IntegrationError."""
        found, _ = await asyncio.gather(observe(self._client, intent), self.baseline())
        return found

    async def survey(self, named: Collection[Named], *, turn: int) -> AuthentikFleet:
        """What is there for all tenants; see :func:`fleet.survey`. Raises IntegrationError."""
        await self.baseline()
        return await survey(self._client, named, turn=turn, turns=TURNS)

    def assembled(self, intent: TenantIntent, fleet: AuthentikFleet) -> Observed:
        """What of it is one tenant's. After a :meth:`survey`."""
        return fleet.observed(intent, desired(intent, self._known()))

    async def members(self, intent: TenantIntent) -> tuple[Member, ...] | None:
        """The users in the tenant's group; None while there is no such group."""
        return await members(self._client, intent)

    async def former(self, intent: TenantIntent, names: Collection[str]) -> tuple[Member, ...]:
        """Who has one of these user names and left the tenant. Raises IntegrationError."""
        return await former(self._client, intent, names)

    def plan(self, intent: TenantIntent, observed: Observed) -> Plan:
        """What is to be done. After an :meth:`observe`."""
        baseline = self._known()
        return plan(intent, baseline, desired(intent, baseline), observed)

    async def perform(self, step: Step) -> Outputs:
        """Carry out one step. A refusal may come from a shared object that was made anew: it is looked up again."""
        try:
            return await self._performer.perform(step)
        except Rejected as error:
            self._outdate()
            raise told(step, error) from error
        except (AlreadyExists, NotFound, NoPermission) as error:
            raise told(step, error) from error

    def _known(self) -> Baseline:
        if self._baseline is None:
            raise RuntimeError("plan() before observe()")
        return self._baseline[1]

    def _outdate(self) -> None:
        """Read the baseline anew at the next observation; a plan being made meanwhile keeps the one it has."""
        if self._baseline is not None:
            self._baseline = (-math.inf, self._baseline[1])

    async def baseline(self) -> Baseline:
        """The shared objects, remembered for some minutes."""
        async with self._reading:
            if self._baseline is None or self._clock() - self._baseline[0] > BASELINE_AGE:
                self._baseline = (self._clock(), await read_baseline(self._client, self._installation_id))
            return self._baseline[1]
