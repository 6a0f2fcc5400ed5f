"""Stalwart as the reconciler sees it: observe, plan, perform."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import replace

from dezky_operator.integrations.apply import Outputs
from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.stalwart.client import StalwartClient
from dezky_operator.integrations.stalwart.desired import desired
from dezky_operator.integrations.stalwart.model import Authentication
from dezky_operator.integrations.stalwart.observe import Observed, find_domains, observe
from dezky_operator.integrations.stalwart.perform import StalwartPerformer
from dezky_operator.integrations.stalwart.plan import plan
from dezky_operator.integrations.steps import Plan, Step, System

SETTINGS_AGE = 600.0
"""Seconds after which the server's own settings are read again."""


class StalwartIntegration:
    """One Stalwart, for all tenants."""

    system = System.STALWART

    def __init__(self, client: StalwartClient, *, executor: Executor | None, clock: Callable[[], float]) -> None:
        self._client, self._clock = client, clock
        self._performer = StalwartPerformer(client, executor)
        self._user_roles: tuple[float, tuple[str, ...]] | None = None
        self._reading = asyncio.Lock()
        self._holding: dict[str, bool] = {}
        """What of holds the server has loaded, by mark, as far as this process saw to it."""

    async def probe(self) -> None:
        """Raise when Stalwart can not be worked with."""
        await self._client.probe()

    async def domain_marks(self, names: Iterable[str]) -> Mapping[str, str | None]:
        """The mark of every Domain object of these names that exists."""
        return {domain.name: domain.description for domain in await find_domains(self._client, sorted(names))}

    async def observe(self, intent: TenantIntent) -> Observed:
        """What is there. Raises IntegrationError."""
        known = self._holding.get(intent.mark, intent.hold_active)
        found, _ = await asyncio.gather(
            observe(self._client, replace(intent, hold_active=known)), self._ordinary_roles()
        )
        return found

    def plan(self, intent: TenantIntent, observed: Observed) -> Plan:
        """What is to be done. After an :meth:`observe`."""
        if self._user_roles is None:
            raise RuntimeError("plan() before observe()")
        return plan(intent, self._user_roles[1], desired(intent), observed)

    async def perform(self, step: Step) -> Outputs:
        """Carry out one step."""
        outputs = await self._performer.perform(step)
        if step.kind == "settings":
            self._holding[str(step.body["mark"])] = bool(step.body["hold"])
        return outputs

    async def _ordinary_roles(self) -> tuple[str, ...]:
        """The roles of an ordinary user, remembered for some minutes: the parents of every tenant's role."""
        async with self._reading:
            if self._user_roles is None or self._clock() - self._user_roles[0] > SETTINGS_AGE:
                settings = await self._client.singleton("Authentication", Authentication)
                self._user_roles = (self._clock(), tuple(sorted(settings.default_user_role_ids)))
            return self._user_roles[1]
