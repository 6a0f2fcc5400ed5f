"""The product against the Authentik stand-in: bootstrap, then a tenant's life with nothing but the daily token."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import httpx2
import pytest

from dezky_operator.audit.recorder import NoRecorder
from dezky_operator.integrations.apply import Applied, apply
from dezky_operator.integrations.authentik.bootstrap import AuthentikBootstrap, Result
from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.integrations.authentik.integration import AuthentikIntegration
from dezky_operator.integrations.connection import Connection, Credential, Limits, NoFence
from dezky_operator.integrations.intent import Admin, Brand, Phase, TenantIntent
from dezky_operator.integrations.steps import System
from dezky_operator.telemetry.metrics import Metrics
from tests.sandbox.authentik.server import AuthentikStandIn
from tests.sandbox.authentik.visitor import Visitor

INSTALLATION = "5a0c3c5e-6f4f-4a4e-8a55-0d2f0b1c7e11"
ACME = TenantIntent(
    slug="acme",
    tenant_id=uuid.uuid5(uuid.UUID(INSTALLATION), "acme"),
    installation_id=INSTALLATION,
    display_name="Acme",
    base_domain="dezky.test",
    domains=("acme.test",),
    admin=Admin(username="anna@acme.test", email="anna@acme.test", name="Anna"),
    brand=Brand(host="acme.dezky.test", title="Acme"),
    recovery_link_due=True,
)


@dataclass
class _Given:
    header: str

    async def credential(self) -> Credential:
        return Credential(header=self.header, version="1", source="the test")


@asynccontextmanager
async def _client(url: str, token: str) -> AsyncIterator[AuthentikClient]:
    async with httpx2.AsyncClient(base_url=url, trust_env=False) as http:
        yield AuthentikClient(
            Connection(
                system=System.AUTHENTIK,
                client=http,
                authorizer=_Given(f"Bearer {token}"),
                limits=Limits(requests_per_second=5000, pause=0.0),
                fence=NoFence(),
                metrics=Metrics(),
            )
        )


@pytest.fixture
async def server() -> AsyncIterator[AuthentikStandIn]:
    async with AuthentikStandIn() as found:
        yield found


async def _bootstrap(server: AuthentikStandIn) -> Result:
    async with _client(server.url, server.bootstrap_token) as client:
        return await AuthentikBootstrap(client, installation_id=INSTALLATION, base_domain="dezky.test").run()


@pytest.fixture
async def daily(server: AuthentikStandIn) -> AsyncIterator[AuthentikIntegration]:
    made = await _bootstrap(server)
    async with _client(server.url, made.token) as client:
        yield AuthentikIntegration(client, installation_id=INSTALLATION, public_url=server.url, clock=time.monotonic)


async def _round(daily: AuthentikIntegration, intent: TenantIntent) -> Applied:
    plan = daily.plan(intent, await daily.observe(intent))
    applied = await apply(plan, {System.AUTHENTIK: daily}, NoRecorder())
    assert applied.failed == {}
    assert applied.skipped == []
    return applied


async def test_bootstrap_finds_everything_the_second_time(server: AuthentikStandIn) -> None:
    assert (await _bootstrap(server)).lines != []
    assert (await _bootstrap(server)).lines == []


async def test_the_daily_token_is_enough_for_a_tenants_whole_life(
    server: AuthentikStandIn, daily: AuthentikIntegration
) -> None:
    before = {kind: set(found) for kind, found in server.store.objects.items()}
    applied = await _round(daily, ACME)
    assert any(outputs.get("link") for outputs in applied.outputs.values())
    settled = replace(ACME, recovery_link_due=False)
    server.calls.clear()
    assert (await _round(daily, settled)).done == []
    assert server.writes == []
    members = await daily.members(settled)
    assert members is not None
    assert [member.username for member in members] == ["anna@acme.test"]
    purged = replace(settled, phase=Phase.PURGED, admin=None)
    await _round(daily, purged)
    assert (await _round(daily, purged)).done == []
    assert {kind: set(found) for kind, found in server.store.objects.items()} == before


async def test_the_first_administrator_signs_in_with_the_link(
    server: AuthentikStandIn, daily: AuthentikIntegration
) -> None:
    applied = await _round(daily, ACME)
    link = next(str(outputs["link"]) for outputs in applied.outputs.values() if outputs.get("link"))
    async with Visitor(server.url) as anna:
        assert (await anna.http.get(link)).status_code == 200
        password = {"password": "new", "password_repeat": "new"}
        done = await anna.ask("POST", "flows/executor/dezky-recovery/", password)
        assert done.json()["component"] == "xak-flow-redirect"
        answer = await anna.authorize("dezky-ocis", "openid profile", redirect_uri="https://files.dezky.test/")
        assert answer.status_code == 302
    members = await daily.members(ACME)
    assert members is not None
    assert members[0].signed_in


async def test_the_operator_gets_a_token_for_files_by_client_credentials(server: AuthentikStandIn) -> None:
    made = await _bootstrap(server)
    async with Visitor(server.url) as operator:
        client = {"client_id": "dezky-ocis", "client_secret": made.ocis_secret}
        answer = await operator.exchange(client, grant_type="client_credentials", scope="openid profile email")
        assert answer.status_code == 200
        assert (await operator.userinfo(answer.json())).json()["roles"] == ["ocisAdmin"]
