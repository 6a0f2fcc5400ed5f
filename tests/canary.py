"""A tenant in all three stand-ins, with nothing but the daily credentials, and the canary that proves its locks."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

import httpx2

from dezky_operator.crd.tenant import ReceiptStatus, SuspensionStatus
from dezky_operator.integrations.apply import apply
from dezky_operator.integrations.canary.door import Door
from dezky_operator.integrations.canary.keys import Keys
from dezky_operator.integrations.canary.model import Rehearsal
from dezky_operator.integrations.canary.probe import SYSTEMS, Means, ProbeCanary
from dezky_operator.integrations.errors import IntegrationError
from dezky_operator.integrations.intent import Phase, TenantIntent
from dezky_operator.integrations.ocis.sign_in import ClientCredentialsAuthorizer, ClientSecret
from dezky_operator.integrations.stalwart.bootstrap import Plan as MailPlan
from dezky_operator.integrations.stalwart.bootstrap import StalwartBootstrap
from dezky_operator.integrations.steps import Plan, Step, System
from dezky_operator.telemetry.metrics import Metrics
from dezky_operator.tenant.proof import Proofs
from tests import identity as sign_in
from tests.files import Files, basic, files, space
from tests.identity import INSTALLATION, Given, Identity, identity
from tests.mail import Mail, mail
from tests.sandbox.workspace import Workspace

AT = "2026-11-24T00:00:00Z"


@dataclass
class Clock:
    """Monotonic, and a test can let time pass."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@dataclass
class Trail:
    """What an audit log would be told, in words."""

    lines: list[str] = field(default_factory=list)

    def of(self, _tenant: str, _phase: str) -> Trail:
        return self

    async def intent(self, step: Step) -> None:
        self.lines.append(f"intent {step!r}")

    async def done(self, step: Step) -> None:
        self.lines.append(f"done {step!r}")

    async def failed(self, step: Step, error: IntegrationError) -> None:
        self.lines.append(f"failed {step!r} {error}")

    def observed(self, system: System, plan: Plan) -> None:
        self.lines.append(f"observed {system} {plan!r}")


def tenant(slug: str = "acme") -> TenantIntent:
    """A tenant that was provisioned once, as the reconciler knows it before it looks."""
    wanted = sign_in.intent(slug, spaces=(space(slug),), known_domains=(f"{slug}.test",), established=True)
    return replace(wanted, canary=f"dezky-probe@{slug}.test")


@dataclass
class Scene:
    """The three integrations as a reconcile uses them, and a canary for each process that there was."""

    workspace: Workspace
    identity: Identity
    mail: Mail
    files: Files
    means: Means
    clock: Clock

    def process(self) -> ProbeCanary:
        """The canary of a new process: what was in memory before is gone."""
        return ProbeCanary(self.means, clock=self.clock)

    async def known(self, wanted: TenantIntent) -> TenantIntent:
        """The intent with the people that Authentik tells of."""
        return replace(wanted, members=await self.identity.integration.members(wanted))

    async def settle(self, wanted: TenantIntent) -> None:
        """Everything of the tenant as it must be in its phase."""
        await self.identity.settle(wanted)
        wanted = await self.known(wanted)
        await self.mail.settle(wanted)
        await self.files.settle(wanted)

    async def lock(self, wanted: TenantIntent) -> None:
        """Every lock step of a suspension."""
        await self.settle(replace(wanted, phase=Phase.SUSPENDED))

    async def lock_but(self, wanted: TenantIntent, left_out: str) -> None:
        """The lock steps in Authentik, but those whose key matches."""
        wanted = replace(wanted, phase=Phase.SUSPENDED)
        steps = (await self.identity.planned(wanted)).steps
        kept = Plan(tuple(step for step in steps if not re.search(left_out, step.id)))
        await apply(kept, {System.AUTHENTIK: self.identity.integration}, Trail())

    @property
    def canaries(self) -> list[str]:
        """The user names of all canaries there are."""
        users = self.workspace.authentik.store.objects["user"].values()
        return [str(user["username"]) for user in users if str(user["username"]).startswith("dezky-probe@")]


@asynccontextmanager
async def scene(
    *, directory: bool = True, trail: Trail | None = None, clock: Clock | None = None
) -> AsyncIterator[Scene]:
    """Prepared by bootstrap, without any tenant. ``directory``: people sign in to mail with Authentik's tokens."""
    clock, trail = clock or Clock(), trail or Trail()
    async with AsyncExitStack() as stack:
        workspace = await stack.enter_async_context(Workspace())
        made = await sign_in.bootstrap(workspace.authentik)
        key = await _prepared_mail(workspace, directory=directory)
        authorizer = ClientCredentialsAuthorizer(
            http=await stack.enter_async_context(httpx2.AsyncClient(trust_env=False)),
            issuer=workspace.ocis.issuer or "",
            client_id="dezky-ocis",
            secret=_always(made.ocis_secret),
            clock=time.monotonic,
        )
        who = await stack.enter_async_context(identity(workspace.authentik.url, Given(made.token)))
        letters = await stack.enter_async_context(mail(workspace.stalwart.url, f"Bearer {key}"))
        papers = await stack.enter_async_context(files(workspace.ocis.url, authorizer))
        metrics = Metrics()
        urls = {System.AUTHENTIK: workspace.authentik, System.STALWART: workspace.stalwart, System.OCIS: workspace.ocis}
        doors = {}
        for system, standin in urls.items():
            http = httpx2.AsyncClient(base_url=standin.url, trust_env=False)
            await stack.enter_async_context(http)
            doors[system] = Door(system=system, client=http, metrics=metrics, timeout=5.0)
        admin = await stack.enter_async_context(sign_in.client(workspace.authentik.url, Given(made.token)))
        means = Means(
            authentik=admin,
            stalwart=letters.client,
            ocis=papers.client,
            performers={
                System.AUTHENTIK: who.integration,
                System.STALWART: letters.integration,
                System.OCIS: papers.integration,
            },
            trail=trail,
            doors=doors,
            metrics=metrics,
        )
        yield Scene(workspace, who, letters, papers, means, clock)


async def _prepared_mail(workspace: Workspace, *, directory: bool) -> str:
    """The daily key."""
    issuer = f"{workspace.authentik.url}/application/o/dezky-mail/" if directory else None
    plan = MailPlan(installation_id=INSTALLATION, networks=("127.0.0.1",), issuer=issuer)
    async with mail(workspace.stalwart.url, basic(*workspace.stalwart.admin)) as admin:
        return (await StalwartBootstrap(admin.client, plan).run()).key


def _always(secret: str) -> Callable[[], Awaitable[ClientSecret]]:
    async def told() -> ClientSecret:
        return ClientSecret(value=secret, version="1", source="the test")

    return told


async def receipts(canary: ProbeCanary, rehearsal: Rehearsal, wanted: TenantIntent) -> dict[System, ReceiptStatus]:
    """What the status would say after all three systems are locked."""
    proofs = Proofs(canary, waiting=lambda: 0.0, clock=time.monotonic)
    proofs._rehearsed[wanted.tenant_id] = rehearsal
    found = await proofs.receipts(wanted, SuspensionStatus(since=AT), SYSTEMS, at=AT)
    return {System(receipt.system): receipt for receipt in found}


def secrets_of(rehearsal: Rehearsal) -> set[str]:
    """Every token, password and link that a rehearsal holds."""
    keys = rehearsal.keys
    assert isinstance(keys, Keys)
    found = {*keys.cookies.values(), *(text for kept in keys.passes.values() for text in (kept.access, kept.refresh))}
    found |= {kept.client.secret for kept in keys.passes.values()}
    assert keys.mail is not None
    assert keys.link is not None
    header, link = keys.mail.header.partition(" ")[2], keys.link.path.rpartition("/")[2]
    return {*found, header, link, keys.link.header.partition(" ")[2]}
