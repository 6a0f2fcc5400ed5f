"""What a part of a tenant finds out on its way: whose a domain is, who may have a link. Over the stand-ins."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from dezky_operator.config import DomainVerification
from dezky_operator.integrations.dns.resolver import Resolver
from dezky_operator.integrations.intent import Adoption, Phase, TenantIntent
from dezky_operator.integrations.stalwart.bootstrap import Plan as Wanted
from dezky_operator.integrations.stalwart.bootstrap import StalwartBootstrap
from dezky_operator.integrations.steps import Plan, System
from dezky_operator.tenant.claims import Claim
from dezky_operator.tenant.credentials import KeptSecret, secret_name
from dezky_operator.tenant.parts import Mail, Neighbours, SignIn
from tests.identity import Given, Identity, bootstrap, identity, intent
from tests.mail import INSTALLATION, mail
from tests.sandbox.stalwart.caller import basic
from tests.sandbox.workspace import Workspace

ACME = intent(domains=())
GONE = f"dezky:{INSTALLATION}:99999999-9999-9999-9999-999999999999:domain"


@pytest.fixture
async def workspace() -> AsyncIterator[Workspace]:
    async with Workspace() as found:
        yield found


@pytest.fixture
async def signing_in(workspace: Workspace) -> AsyncIterator[Identity]:
    async with identity(workspace.authentik.url, Given((await bootstrap(workspace.authentik)).token)) as found:
        yield found


@pytest.fixture
async def part(workspace: Workspace, signing_in: Identity) -> AsyncIterator[Mail]:
    stalwart = workspace.stalwart
    async with mail(stalwart.url, basic(*stalwart.admin)) as admin:
        key = (await StalwartBootstrap(admin.client, Wanted(installation_id=INSTALLATION)).run()).key
    me = Claim(slug="acme", uid="u", created="2026-01-01T00:00:00Z", tenant_id=ACME.tenant_id, domains=("acme.test",))
    async with mail(stalwart.url, f"Bearer {key}") as daily:
        yield Mail(
            stalwart=daily.integration,
            authentik=signing_in.integration,
            resolver=Resolver([f"127.0.0.1:{workspace.dns.port}"], timeout=1.0, clock=time.monotonic),
            verification=DomainVerification.TXT,
            neighbours=Neighbours(me=me, others=(), records=()),
        )


async def planned(part: Mail, wanted: TenantIntent) -> Plan:
    return part.plan(wanted, await part.observe(wanted))


def prove(workspace: Workspace) -> None:
    workspace.dns.set("_dezky.acme.test", "TXT", [f'"dezky-verify={ACME.tenant_id}"'])


def reasons(plan: Plan) -> list[str]:
    return [found.reason for found in plan.obstacles]


def domain_steps(plan: Plan) -> list[str]:
    return [step.verb for step in plan.steps if step.kind == "domain"]


@pytest.mark.parametrize(
    ("mark", "adoption"), [(None, Adoption.IF_UNOWNED), (None, Adoption.FORCE), (GONE, Adoption.FORCE)]
)
async def test_a_domain_is_taken_only_by_whoever_proved_it(
    workspace: Workspace, part: Mail, mark: str | None, adoption: Adoption
) -> None:
    """A Domain object captures mail, no matter who made it."""
    manual = {"@type": "Manual"}
    workspace.stalwart.objects.create("Domain", {"name": "acme.test", "description": mark, "dkimManagement": manual})
    wanted = replace(ACME, adoption=adoption)
    found = await planned(part, wanted)
    assert (reasons(found), domain_steps(found)) == (["DomainNotVerified"], [])
    prove(workspace)
    proven = replace(part, resolver=Resolver([f"127.0.0.1:{workspace.dns.port}"], timeout=1.0, clock=time.monotonic))
    found = await planned(proven, wanted)
    assert (reasons(found), domain_steps(found)) == ([], ["update"])


async def test_a_domain_of_our_own_needs_no_second_proof(workspace: Workspace, part: Mail) -> None:
    fields = {"name": "acme.test", "description": f"{ACME.mark}:domain", "dkimManagement": {"@type": "Manual"}}
    workspace.stalwart.objects.create("Domain", fields)
    found = await planned(part, ACME)
    assert (reasons(found), domain_steps(found)) == ([], [])


async def test_a_domain_that_may_not_be_taken_is_told_as_such_at_once(workspace: Workspace, part: Mail) -> None:
    workspace.stalwart.objects.create("Domain", {"name": "acme.test", "dkimManagement": {"@type": "Manual"}})
    assert reasons(await planned(part, ACME)) == ["ForeignObject"]


async def test_the_servers_own_domain_is_nobodys_even_with_a_proof(workspace: Workspace, part: Mail) -> None:
    me = replace(part.neighbours.me, domains=("dezky.test",))
    workspace.dns.set("_dezky.dezky.test", "TXT", [f'"dezky-verify={ACME.tenant_id}"'])
    asking = replace(part, neighbours=replace(part.neighbours, me=me))
    found = await planned(asking, replace(ACME, adoption=Adoption.FORCE))
    assert reasons(found) == ["DomainConflict"]
    assert "default domain" in found.obstacles[0].message
    assert domain_steps(found) == []


async def test_a_lock_asks_for_no_proof(part: Mail) -> None:
    locked = replace(ACME, phase=Phase.SUSPENDED, established=True)
    assert (await planned(part, locked)).obstacles == ()


# -- the Secret and the link ------------------------------------------------------------------------


@dataclass
class Kept:
    """The Secret as it is kept."""

    data: dict[str, str] = field(default_factory=dict)

    async def read(self, name: str) -> KeptSecret | None:
        return KeptSecret(name=name, tenant_id=str(ACME.tenant_id), data=self.data) if self.data else None


def sign_in(signing_in: Identity, kept: Kept, **changes: Any) -> SignIn:
    return SignIn(authentik=signing_in.integration, secrets=kept, now=datetime(2026, 11, 24, tzinfo=UTC), **changes)


async def test_a_link_that_a_person_asks_for_is_made_and_kept_where_drift_is_only_reported(
    signing_in: Identity,
) -> None:
    """The administrator comes back into the groups with it; what is drift beside that is only told."""
    await signing_in.settle(ACME)
    kept = Kept({"recovery-link-round": "first", "client-id": "dezky-acme"})
    part = sign_in(signing_in, kept, renew="first")
    drifted = replace(ACME, display_name="Drifted")
    found = part.plan(drifted, await part.observe(drifted)).asked
    assert [(step.system, step.kind) for step in found.steps] == [
        (System.AUTHENTIK, "recovery-link"), (System.KUBERNETES, "secret"),
    ]  # fmt: skip
    assert found.steps[1].name == secret_name("acme")


async def test_a_link_for_an_administrator_who_was_deleted_is_refused_with_a_sentence(signing_in: Identity) -> None:
    await signing_in.settle(replace(ACME, admin=None))
    known = replace(ACME, admin_signed_in=True)
    part = sign_in(signing_in, Kept({"recovery-link-round": "first"}), renew="again")
    found = part.plan(known, await part.observe(known))
    assert "recovery-link" not in {step.kind for step in found.steps}
    assert [(told.reason, told.blocking) for told in found.obstacles] == [("ForeignObject", False)]
    assert "anna@acme.test" in found.obstacles[0].message


async def test_a_lost_provider_makes_no_link_that_could_not_be_kept(signing_in: Identity, workspace: Workspace) -> None:
    """With drift only reported the Secret would wait for the provider, and every round would make another link."""
    await signing_in.settle(ACME)
    store = workspace.authentik.store
    for kind, name in (("application", "slug"), ("oauth2provider", "name")):
        store.remove(kind, next(one for one in store.objects[kind].values() if one[name] == "dezky-acme"))
    part = sign_in(signing_in, Kept({"recovery-link-round": "first"}), renew="again")
    assert part.plan(ACME, await part.observe(ACME)).asked == Plan()
