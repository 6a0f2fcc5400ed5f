"""The operator's own integrations, built over a real connection as its process builds them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from dezky_operator.audit.recorder import NoRecorder
from dezky_operator.integrations.apply import Applied, Outputs, apply
from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.integrations.authentik.integration import AuthentikIntegration
from dezky_operator.integrations.connection import Connection, Credential, Limits, NoFence
from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.ocis.client import OcisClient
from dezky_operator.integrations.ocis.integration import OcisIntegration
from dezky_operator.integrations.stalwart.client import StalwartClient
from dezky_operator.integrations.stalwart.integration import StalwartIntegration
from dezky_operator.integrations.steps import Plan, Step, System
from dezky_operator.telemetry.metrics import Metrics
from tests.acceptance.targets import Identity, Web

ROUNDS = 6


class Integration(Protocol):
    """What the reconciler asks of a system."""

    @property
    def system(self) -> System: ...

    async def probe(self) -> None: ...

    async def observe(self, intent: TenantIntent, /) -> Any: ...

    def plan(self, intent: TenantIntent, observed: Any, /) -> Plan: ...

    async def perform(self, step: Step, /) -> Outputs: ...


@dataclass(frozen=True, slots=True)
class Given:
    """The credential in use."""

    header: str

    async def credential(self) -> Credential:
        return Credential(header=self.header, version="1", source="the environment")


@dataclass(frozen=True, slots=True)
class Reconciler:
    """The rounds that a reconcile makes with one system."""

    integration: Integration

    async def planned(self, intent: TenantIntent) -> Plan:
        """What is to be done now."""
        return self.integration.plan(intent, await self.integration.observe(intent))

    async def applied(self, intent: TenantIntent) -> Applied:
        """Observe, plan, apply; what became of it. A failed step fails the test."""
        return await self._apply(await self.planned(intent))

    async def round(self, intent: TenantIntent) -> Plan:
        """The same, but what was planned."""
        plan = await self.planned(intent)
        await self._apply(plan)
        return plan

    async def _apply(self, plan: Plan) -> Applied:
        applied = await apply(plan, {self.integration.system: self.integration}, NoRecorder())
        assert not applied.failed, {key: str(error) for key, error in applied.failed.items()}
        return applied

    async def settle(self, intent: TenantIntent) -> Plan:
        """Rounds until no step is left; the last plan."""
        for _ in range(ROUNDS):
            plan = await self.round(intent)
            if not plan.steps:
                return plan
        raise AssertionError(f"still not in sync after {ROUNDS} rounds: {[step.id for step in plan.steps]}")


@asynccontextmanager
async def connection(system: System, web: Web, header: str) -> AsyncIterator[Connection]:
    """A connection with limits that a real server is fine with."""
    async with web.client("") as http:
        yield Connection(
            system=system,
            client=http,
            authorizer=Given(header),
            limits=Limits(requests_per_second=500, concurrency=4 if system is System.STALWART else 10, timeout=30.0),
            fence=NoFence(),
            metrics=Metrics(),
        )


@asynccontextmanager
async def mail(web: Web, header: str) -> AsyncIterator[Reconciler]:
    """Stalwart."""
    async with connection(System.STALWART, web, header) as found:
        yield Reconciler(StalwartIntegration(StalwartClient(found), executor=None, clock=time.monotonic))


@asynccontextmanager
async def files(web: Web) -> AsyncIterator[Reconciler]:
    """OCIS."""
    async with connection(System.OCIS, web, web.header) as found:
        yield Reconciler(OcisIntegration(OcisClient(found)))


@asynccontextmanager
async def identity(target: Identity, token: str) -> AsyncIterator[Reconciler]:
    """Authentik."""
    async with connection(System.AUTHENTIK, target.web, f"Bearer {token}") as found:
        yield Reconciler(
            AuthentikIntegration(
                AuthentikClient(found),
                installation_id=target.installation,
                public_url=target.web.url,
                clock=time.monotonic,
            )
        )
