"""What the tests of the Authentik integration share: one tenant as an intent, and a client with a given token."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx2

from dezky_operator.audit.recorder import NoRecorder
from dezky_operator.integrations.apply import Applied, apply
from dezky_operator.integrations.authentik.bootstrap import AuthentikBootstrap, Result
from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.integrations.authentik.integration import AuthentikIntegration
from dezky_operator.integrations.connection import Connection, Credential, Limits, NoFence
from dezky_operator.integrations.intent import Admin, Brand, TenantIntent
from dezky_operator.integrations.steps import Plan, System
from dezky_operator.telemetry.metrics import Metrics
from tests.sandbox.authentik.server import AuthentikStandIn

INSTALLATION = "5a0c3c5e-6f4f-4a4e-8a55-0d2f0b1c7e11"
BASE = "dezky.test"


def intent(slug: str = "acme", **changes: Any) -> TenantIntent:
    """A tenant with an administrator and a brand."""
    name = slug.title()
    wanted = TenantIntent(
        slug=slug,
        tenant_id=uuid.uuid5(uuid.UUID(INSTALLATION), slug),
        installation_id=INSTALLATION,
        display_name=name,
        base_domain=BASE,
        domains=(f"{slug}.test",),
        admin=Admin(username=f"anna@{slug}.test", email=f"anna@{slug}.test", name="Anna"),
        brand=Brand(host=f"{slug}.{BASE}", title=name, logo_url="https://cdn.test/logo.svg", primary_color="#0a7"),
    )
    return replace(wanted, **changes)


@dataclass
class Given:
    """The token in use; a test changes it as a Secret would change."""

    token: str
    version: str = "1"

    async def credential(self) -> Credential:
        """It, as a header."""
        return Credential(header=f"Bearer {self.token}", version=self.version, source="Secret authentik, key token")


@asynccontextmanager
async def client(url: str, given: Given) -> AsyncIterator[AuthentikClient]:
    """A client without limits worth the name."""
    async with httpx2.AsyncClient(base_url=url, trust_env=False) as http:
        yield AuthentikClient(
            Connection(
                system=System.AUTHENTIK,
                client=http,
                authorizer=given,
                limits=Limits(requests_per_second=5000, pause=0.0),
                fence=NoFence(),
                metrics=Metrics(),
            )
        )


async def bootstrap(server: AuthentikStandIn) -> Result:
    """Prepare the server with its superuser's token."""
    async with client(server.url, Given(server.bootstrap_token)) as found:
        return await AuthentikBootstrap(found, installation_id=INSTALLATION, base_domain=BASE).run()


@dataclass
class Identity:
    """The integration with one token, and the rounds that a reconcile makes with it."""

    integration: AuthentikIntegration

    async def planned(self, wanted: TenantIntent) -> Plan:
        """What is to be done now."""
        return self.integration.plan(wanted, await self.integration.observe(wanted))

    async def round(self, wanted: TenantIntent) -> Applied:
        """Observe, plan, apply."""
        return await apply(await self.planned(wanted), {System.AUTHENTIK: self.integration}, NoRecorder())

    async def settle(self, wanted: TenantIntent, rounds: int = 4) -> None:
        """Rounds until nothing is left; fails when something always is."""
        for _ in range(rounds):
            await self.round(wanted)
            if not (await self.planned(wanted)).steps:
                return
        raise AssertionError([step.id for step in (await self.planned(wanted)).steps])


@asynccontextmanager
async def identity(url: str, given: Given) -> AsyncIterator[Identity]:
    """The integration as the operator's process builds it."""
    async with client(url, given) as found:
        yield Identity(AuthentikIntegration(found, installation_id=INSTALLATION, public_url=url, clock=time.monotonic))
