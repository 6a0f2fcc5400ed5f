"""Stalwart from the operator's side, for tests: intents from modifiers, and an integration over real HTTP."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2

from dezky_operator.audit.recorder import NoRecorder
from dezky_operator.integrations.apply import apply
from dezky_operator.integrations.connection import Connection, Credential, Limits, NoFence
from dezky_operator.integrations.intent import Admin, Member, TenantIntent
from dezky_operator.integrations.stalwart.client import StalwartClient
from dezky_operator.integrations.stalwart.integration import StalwartIntegration
from dezky_operator.integrations.steps import Plan, System
from dezky_operator.telemetry.metrics import Metrics

INSTALLATION = "5a0c3c5e-6f4f-4a4e-8a55-0d2f0b1c7e11"
ROUNDS = 6


def intent(slug: str = "acme", **changes: Any) -> TenantIntent:
    """A tenant with one domain, an administrator and no other members."""
    plain = TenantIntent(
        slug=slug,
        tenant_id=uuid.uuid5(uuid.UUID(INSTALLATION), slug),
        installation_id=INSTALLATION,
        display_name=slug.title(),
        base_domain="dezky.test",
        domains=(f"{slug}.test",),
        admin=Admin(username=f"anna@{slug}.test", email=f"anna@{slug}.test", name="Anna"),
        members=members(f"anna@{slug}.test"),
    )
    return replace(plain, **changes)


def members(*usernames: str) -> tuple[Member, ...]:
    """People in the tenant's group."""
    return tuple(
        Member(pk=number, username=name, name=name.title(), email=name.lower(), is_active=True, signed_in=False)
        for number, name in enumerate(usernames)
    )


@dataclass
class Given:
    """A credential that a test can change, as a Secret does."""

    header: str
    version: str = "1"

    async def credential(self) -> Credential:
        return Credential(header=self.header, version=self.version, source="Secret dezky-system/stalwart, key token")


@dataclass
class Mail:
    """A client and an integration over one connection."""

    client: StalwartClient
    integration: StalwartIntegration
    given: Given
    metrics: Metrics = field(default_factory=Metrics)

    async def planned(self, wanted: TenantIntent) -> Plan:
        """One observation and its plan."""
        return self.integration.plan(wanted, await self.integration.observe(wanted))

    async def round(self, wanted: TenantIntent) -> Plan:
        """Observe, plan, apply once; returns what was planned. Failures show in the next round."""
        plan = await self.planned(wanted)
        await apply(plan, {System.STALWART: self.integration}, NoRecorder())
        return plan

    async def settle(self, wanted: TenantIntent) -> Plan:
        """Rounds until nothing is left to do; returns the last plan, which has no steps."""
        for _ in range(ROUNDS):
            plan = await self.round(wanted)
            if not plan.steps:
                return plan
        raise AssertionError(f"still not in sync after {ROUNDS} rounds: {[step.id for step in plan.steps]}")


@asynccontextmanager
async def mail(url: str, header: str, *, executor: Executor | None = None) -> AsyncIterator[Mail]:
    """An integration that speaks to ``url``."""
    given, metrics = Given(header), Metrics()
    async with httpx2.AsyncClient(base_url=url, trust_env=False) as http:
        connection = Connection(
            system=System.STALWART,
            client=http,
            authorizer=given,
            limits=Limits(requests_per_second=5000, concurrency=4, pause=0.0),
            fence=NoFence(),
            metrics=metrics,
        )
        client = StalwartClient(connection)
        integration = StalwartIntegration(client, executor=executor, clock=time.monotonic)
        yield Mail(client=client, integration=integration, given=given, metrics=metrics)


def without_ids(objects: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, list[str]]:
    """What exists, by the names people know: to compare two worlds whose ids differ."""
    domains = {key: found["name"] for key, found in objects["Domain"].items()}
    roles = {key: str(found["description"]) for key, found in objects["Role"].items()}
    return {
        "Domain": sorted(f"{found['name']} {found['description']}" for found in objects["Domain"].values()),
        "Role": sorted(roles.values()),
        "DkimSignature": sorted(
            f"{found['selector']} {domains[found['domainId']]} {found['stage']}"
            for found in objects["DkimSignature"].values()
        ),
        "Account": sorted(
            f"{found['name']}@{domains[found['domainId']]} {_roles(found, roles)}"
            for found in objects["Account"].values()
        ),
        "MailingList": sorted(
            f"{found['name']}@{domains[found['domainId']]}" for found in objects["MailingList"].values()
        ),
    }


def _roles(account: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    return sorted(names[key] for key in account["roles"].get("roleIds", ()))
