"""OCIS from the operator's side, for tests: intents from modifiers, and an integration over real HTTP."""

from __future__ import annotations

import base64
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2

from dezky_operator.audit.recorder import NoRecorder
from dezky_operator.integrations.apply import apply
from dezky_operator.integrations.connection import Authorizer, Connection, Credential, Limits, NoFence
from dezky_operator.integrations.intent import Space, TenantIntent, space_id_of
from dezky_operator.integrations.ocis.client import OcisClient
from dezky_operator.integrations.ocis.integration import OcisIntegration
from dezky_operator.integrations.steps import Plan, System
from dezky_operator.telemetry.metrics import Metrics

INSTALLATION = "5a0c3c5e-6f4f-4a4e-8a55-0d2f0b1c7e11"
GIB = 2**30
ROUNDS = 6


def tenant_id(slug: str) -> uuid.UUID:
    """The tenantId of a test's tenant."""
    return uuid.uuid5(uuid.UUID(INSTALLATION), slug)


def space(slug: str, key: str = "main", **changes: Any) -> Space:
    """A space as the tenant's spec would give it."""
    suffix, title = ("", "") if key == "main" else (f"_{key}", f" {key}")
    plain = Space(
        key=key,
        id=space_id_of(tenant_id(slug), key),
        name=f"{slug.title()}{title}",
        alias=f"project/dezky-{slug}{suffix}",
        quota=GIB,
    )
    return replace(plain, **changes)


def intent(slug: str = "acme", *keys: str, **changes: Any) -> TenantIntent:
    """A tenant with the main space, and one more for every key."""
    plain = TenantIntent(
        slug=slug,
        tenant_id=tenant_id(slug),
        installation_id=INSTALLATION,
        display_name=slug.title(),
        base_domain="dezky.test",
        spaces=(space(slug), *(space(slug, key) for key in keys)),
    )
    return replace(plain, **changes)


def known(slug: str, *keys: str) -> tuple[tuple[str, str], ...]:
    """Spaces the tenant had, as its status remembers them."""
    return tuple((key, str(space_id_of(tenant_id(slug), key))) for key in keys)


def basic(name: str, password: str) -> str:
    """The header of HTTP Basic."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@dataclass
class Given:
    """A credential that a test can change, as a Secret does."""

    header: str
    version: str = "1"

    async def credential(self) -> Credential:
        return Credential(header=self.header, version=self.version, source="Secret dezky-system/ocis, key secret")


@dataclass
class Files:
    """A client and an integration over one connection."""

    client: OcisClient
    integration: OcisIntegration
    metrics: Metrics = field(default_factory=Metrics)

    def answered(self, status: int) -> int:
        """How many requests were answered with ``status``."""
        samples = [sample for metric in self.metrics.requests.collect() for sample in metric.samples]
        return int(sum(one.value for one in samples if one.labels["code"] == str(status)))

    async def planned(self, wanted: TenantIntent) -> Plan:
        """One observation and its plan."""
        return self.integration.plan(wanted, await self.integration.observe(wanted))

    async def round(self, wanted: TenantIntent) -> Plan:
        """Observe, plan, apply once; returns what was planned. Failures show in the next round."""
        plan = await self.planned(wanted)
        await apply(plan, {System.OCIS: self.integration}, NoRecorder())
        return plan

    async def settle(self, wanted: TenantIntent) -> Plan:
        """Rounds until nothing is left to do; returns the last plan, which has no steps."""
        for _ in range(ROUNDS):
            plan = await self.round(wanted)
            if not plan.steps:
                return plan
        raise AssertionError(f"still not in sync after {ROUNDS} rounds: {[step.id for step in plan.steps]}")


@asynccontextmanager
async def files(url: str, authorizer: Authorizer) -> AsyncIterator[Files]:
    """An integration that speaks to ``url``."""
    metrics = Metrics()
    async with httpx2.AsyncClient(base_url=url, trust_env=False) as http:
        connection = Connection(
            system=System.OCIS,
            client=http,
            authorizer=authorizer,
            limits=Limits(requests_per_second=5000, concurrency=20, pause=0.0),
            fence=NoFence(),
            metrics=metrics,
        )
        client = OcisClient(connection)
        yield Files(client=client, integration=OcisIntegration(client), metrics=metrics)
