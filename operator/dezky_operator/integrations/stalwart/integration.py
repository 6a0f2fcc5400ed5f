"""Stalwart as the reconciler sees it: observe, plan, perform."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from dezky_operator.integrations.apply import Outputs
from dezky_operator.integrations.errors import AlreadyExists, NoPermission, NotFound, Rejected
from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.refusal import told
from dezky_operator.integrations.stalwart.client import StalwartClient
from dezky_operator.integrations.stalwart.desired import desired
from dezky_operator.integrations.stalwart.fleet import StalwartFleet, survey
from dezky_operator.integrations.stalwart.model import PLATFORMS, Authentication, Domain, SystemSettings
from dezky_operator.integrations.stalwart.observe import Observed, find_domains, observe
from dezky_operator.integrations.stalwart.perform import StalwartPerformer
from dezky_operator.integrations.stalwart.plan import plan
from dezky_operator.integrations.steps import Plan, Step, System

SETTINGS_AGE = 600.0
"""Seconds after which the server's own settings are read again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``user_roles``: of an ordinary user, the parents of every tenant's role. ``default_domain``: id of the server's
    own domain.
    """

    user_roles: tuple[str, ...]
    default_domain: str | None


class StalwartIntegration:
    """One Stalwart, for all tenants."""

    system = System.STALWART

    def __init__(self, client: StalwartClient, *, executor: Executor | None, clock: Callable[[], float]) -> None:
        self._client, self._clock = client, clock
        self._performer = StalwartPerformer(client, executor)
        self._settings: tuple[float, Settings] | None = None
        self._reading = asyncio.Lock()
        self._holding: dict[str, bool] = {}
        """What of holds the server has loaded, by mark, as far as this process saw to it."""

    async def probe(self) -> None:
        """Raise when Stalwart can not be worked with."""
        await self._client.probe()

    async def domain_marks(self, names: Iterable[str]) -> Mapping[str, str | None]:
        """The mark of every Domain object of these names that exists; the server's own domain is the platform's."""
        found, settings = await asyncio.gather(find_domains(self._client, sorted(names)), self._read_settings())
        return _marks(found, settings)

    async def survey(self) -> StalwartFleet:
        """What is there for all tenants. Raises IntegrationError."""
        await self._read_settings()
        return await survey(self._client)

    def fleet_marks(self, fleet: StalwartFleet, names: Iterable[str]) -> Mapping[str, str | None]:
        """What :meth:`domain_marks` would tell. After a :meth:`survey`."""
        return _marks(fleet.domains(names), self._known())

    async def assembled(self, intent: TenantIntent, fleet: StalwartFleet) -> Observed:
        """What of it is one tenant's; nothing is sent. After a :meth:`survey`."""
        return await observe(fleet, self._with_hold(intent), self._known().default_domain)

    async def observe(self, intent: TenantIntent) -> Observed:
        """What is there. Raises IntegrationError."""
        settings = await self._read_settings()
        return await observe(self._client, self._with_hold(intent), settings.default_domain)

    def plan(self, intent: TenantIntent, observed: Observed) -> Plan:
        """What is to be done. After an :meth:`observe`."""
        return plan(intent, self._known().user_roles, desired(intent), observed)

    async def perform(self, step: Step) -> Outputs:
        """Carry out one step."""
        try:
            outputs = await self._performer.perform(step)
        except (AlreadyExists, NotFound, Rejected, NoPermission) as error:
            raise told(step, error) from error
        if step.kind == "settings":
            self._holding[str(step.body["mark"])] = bool(step.body["hold"])
        return outputs

    def _with_hold(self, intent: TenantIntent) -> TenantIntent:
        return replace(intent, hold_active=self._holding.get(intent.mark, intent.hold_active))

    def _known(self) -> Settings:
        if self._settings is None:
            raise RuntimeError("plan() before observe()")
        return self._settings[1]

    async def _read_settings(self) -> Settings:
        """What of the server's settings matters to tenants, remembered for some minutes."""
        async with self._reading:
            if self._settings is None or self._clock() - self._settings[0] > SETTINGS_AGE:
                sign_in, system = await asyncio.gather(
                    self._client.singleton("Authentication", Authentication),
                    self._client.singleton("SystemSettings", SystemSettings),
                )
                roles = tuple(sorted(sign_in.default_user_role_ids))
                settings = Settings(user_roles=roles, default_domain=system.default_domain_id)
                self._settings = (self._clock(), settings)
            return self._settings[1]


def _marks(domains: Iterable[Domain], settings: Settings) -> dict[str, str | None]:
    return {
        domain.name: domain.description or (PLATFORMS if domain.id == settings.default_domain else None)
        for domain in domains
    }
