"""A suspension proven from outside, over all three systems at once: control, lock, the same tokens again (design 6).

The three must belong together, as in production: OCIS takes this Authentik's tokens. That is so where all three are
stand-ins, or all three are real and OCIS is given as ``Bearer TOKEN``; any other mixture has nothing to prove.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

import httpx2
import pytest

from dezky_operator.audit.recorder import NoRecorder
from dezky_operator.integrations.authentik.bootstrap import AuthentikBootstrap
from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.integrations.authentik.integration import AuthentikIntegration
from dezky_operator.integrations.canary.door import Door
from dezky_operator.integrations.canary.probe import SYSTEMS, Means, ProbeCanary
from dezky_operator.integrations.intent import Phase, Space, TenantIntent, space_id_of
from dezky_operator.integrations.ocis.client import OcisClient
from dezky_operator.integrations.ocis.integration import OcisIntegration
from dezky_operator.integrations.stalwart.client import StalwartClient
from dezky_operator.integrations.stalwart.integration import StalwartIntegration
from dezky_operator.integrations.steps import System
from dezky_operator.telemetry.metrics import Metrics
from tests.acceptance import reconcile, targets
from tests.acceptance.reconcile import Reconciler
from tests.acceptance.targets import INSTALLATION, PREFIX, Web, basic, is_real
from tests.sandbox.workspace import Workspace

BASE = "dezky.test"


@dataclass(frozen=True)
class Suite:
    """The three systems that belong together, each with an administrator's header."""

    authentik: Web
    stalwart: Web
    ocis: Web
    installation: str


@dataclass(frozen=True)
class Office:
    """What a reconcile of one tenant works with, and who proves its locks."""

    identity: Reconciler
    mail: Reconciler
    files: Reconciler
    people: AuthentikIntegration
    canary: ProbeCanary

    async def settle(self, wanted: TenantIntent) -> None:
        """Everything of the tenant as it must be in its phase."""
        await self.identity.settle(wanted)
        known = replace(wanted, members=await self.people.members(wanted))
        await self.mail.settle(known)
        await self.files.settle(known)


@pytest.fixture(scope="module")
async def suite() -> AsyncIterator[Suite]:
    real = [system for system in targets.SYSTEMS if is_real(os.environ, system)]
    header = os.environ.get(f"{PREFIX}OCIS_AUTH", "")
    if real and (len(real) < len(targets.SYSTEMS) or not header.startswith("Bearer ")):
        pytest.skip(f"Only {', '.join(real)} is real, or OCIS does not take tokens: the three do not belong together.")
    async with AsyncExitStack() as stack:
        if real:
            who = await stack.enter_async_context(targets.authentik(os.environ))
            letters = await stack.enter_async_context(targets.stalwart(os.environ))
            papers = await stack.enter_async_context(targets.ocis(os.environ))
            yield Suite(who.web, letters.web, papers, who.installation)
            return
        workspace = await stack.enter_async_context(Workspace())
        token = f"Bearer {workspace.authentik.bootstrap_token}"
        yield Suite(
            Web(workspace.authentik.url, token),
            Web(workspace.stalwart.url, basic(*workspace.stalwart.admin)),
            Web(workspace.ocis.url, ""),
            INSTALLATION,
        )


@pytest.fixture
async def office(suite: Suite) -> AsyncIterator[Office]:
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(
            reconcile.connection(System.AUTHENTIK, suite.authentik, suite.authentik.header)
        )
        prepared = AuthentikBootstrap(AuthentikClient(admin), installation_id=suite.installation, base_domain=BASE)
        made = await prepared.run()
        header = suite.ocis.header or f"Bearer {await _service_token(suite, made.ocis_secret)}"
        who, letters, papers = [
            await stack.enter_async_context(reconcile.connection(system, web, credential))
            for system, web, credential in (
                (System.AUTHENTIK, suite.authentik, f"Bearer {made.token}"),
                (System.STALWART, suite.stalwart, suite.stalwart.header),
                (System.OCIS, suite.ocis, header),
            )
        ]
        clients = (AuthentikClient(who), StalwartClient(letters), OcisClient(papers))
        people = AuthentikIntegration(
            clients[0], installation_id=suite.installation, public_url=suite.authentik.url, clock=time.monotonic
        )
        mail = StalwartIntegration(clients[1], executor=None, clock=time.monotonic)
        files = OcisIntegration(clients[2])
        webs = {System.AUTHENTIK: suite.authentik, System.STALWART: suite.stalwart, System.OCIS: suite.ocis}
        doors = {}
        for system, web in webs.items():
            http = await stack.enter_async_context(web.client(""))
            doors[system] = Door(system=system, client=http, metrics=Metrics(), timeout=30.0)
        means = Means(
            authentik=clients[0],
            stalwart=clients[1],
            ocis=clients[2],
            performers={System.AUTHENTIK: people, System.STALWART: mail, System.OCIS: files},
            trail=NoRecorder(),
            doors=doors,
            metrics=Metrics(),
        )
        canary = ProbeCanary(means, clock=time.monotonic)
        yield Office(Reconciler(people), Reconciler(mail), Reconciler(files), people, canary)


async def _service_token(suite: Suite, secret: str) -> str:
    """The operator's own way into an OCIS that takes only Authentik's tokens."""
    form = {
        "grant_type": "client_credentials",
        "client_id": "dezky-ocis",
        "client_secret": secret,
        "scope": "openid profile email",
    }
    async with httpx2.AsyncClient(base_url=suite.authentik.url, trust_env=False) as http:
        answer = await http.post("/application/o/token/", data=form)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


@pytest.fixture
async def acme(suite: Suite, office: Office, slug: str) -> AsyncIterator[TenantIntent]:
    """A provisioned tenant of this test; everything of it is destroyed again."""
    tenant_id = uuid.uuid4()
    alias = f"project/dezky-{slug}"
    space = Space(key="main", id=space_id_of(tenant_id, "main"), name=slug.title(), alias=alias, quota=2**30)
    wanted = TenantIntent(
        slug=slug,
        tenant_id=tenant_id,
        installation_id=suite.installation,
        display_name=slug.title(),
        base_domain=BASE,
        domains=(f"{slug}.test",),
        known_domains=(f"{slug}.test",),
        spaces=(space,),
        canary=f"dezky-probe@{slug}.test",
        established=True,
    )
    try:
        await office.settle(replace(wanted, established=False))
        yield wanted
    finally:
        purged = replace(wanted, phase=Phase.PURGED)
        for part in (office.identity, office.mail, office.files):
            await part.settle(purged)


async def test_what_worked_before_a_suspension_is_refused_after_it_in_all_three(
    office: Office, acme: TenantIntent
) -> None:
    """C019, X10: a lock is a lock when the very tokens that worked are refused."""
    rehearsal = await office.canary.rehearse(acme)
    assert rehearsal.failures == {}
    assert set(rehearsal.controls) == set(SYSTEMS)
    await office.settle(replace(acme, phase=Phase.SUSPENDED))
    attempts = {system: await office.canary.attempt(rehearsal, acme, system) for system in SYSTEMS}
    assert {system: (found.refused, found.after) for system, found in attempts.items() if not found.refused} == {}


async def test_without_a_lock_the_same_tries_are_told_as_open(office: Office, acme: TenantIntent) -> None:
    """The proof can fail: otherwise it would prove nothing."""
    rehearsal = await office.canary.rehearse(acme)
    attempts = [await office.canary.attempt(rehearsal, acme, system) for system in SYSTEMS]
    assert [found.refused for found in attempts] == [False, False, False]
