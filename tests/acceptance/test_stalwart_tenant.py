"""A tenant's life in Stalwart: the operator's own integration, with no more rights than its daily key has."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from dezky_operator.integrations.intent import Admin, Adoption, Member, Phase, TenantIntent
from dezky_operator.integrations.stalwart.bootstrap import RIGHTS
from dezky_operator.integrations.steps import Verb
from tests.acceptance import reconcile
from tests.acceptance.conftest import Fresh
from tests.acceptance.jmap import Jmap
from tests.acceptance.postbox import Postbox
from tests.acceptance.reconcile import Reconciler
from tests.acceptance.targets import Mail

GIB = 2**30
INSTALLATION = str(uuid.uuid4())
"""Another one for each run, so that two runs against one server never take each other's objects for theirs."""


def people(*usernames: str) -> tuple[Member, ...]:
    """Members of the tenant's group."""
    return tuple(
        Member(pk=number, username=name, name=name.title(), email=name, is_active=True, signed_in=False)
        for number, name in enumerate(usernames)
    )


def tenant(slug: str, **changes: Any) -> TenantIntent:
    """A tenant with one domain, an administrator and one more member."""
    plain = TenantIntent(
        slug=slug,
        tenant_id=uuid.uuid5(uuid.UUID(INSTALLATION), slug),
        installation_id=INSTALLATION,
        display_name=slug.title(),
        base_domain="dezky.test",
        domains=(f"{slug}.test",),
        admin=Admin(username=f"anna@{slug}.test", email=f"anna@{slug}.test", name="Anna"),
        members=people(f"anna@{slug}.test", f"Bob@{slug}.test", "guest@elsewhere.test"),
        mailbox_quota=GIB,
    )
    return replace(plain, **changes)


def purged(wanted: TenantIntent) -> TenantIntent:
    return replace(wanted, phase=Phase.PURGED, known_domains=wanted.domains)


@pytest.fixture
async def acme(slug: str, jmap: Jmap) -> AsyncIterator[TenantIntent]:
    """A tenant of this test; whatever is left of it is removed."""
    wanted = tenant(slug)
    yield wanted
    await jmap.sweep((f"{slug}.test", f"{slug}b.test"), f"{wanted.mark}:role", f"{wanted.mark}:disabled")


@pytest.fixture(scope="session")
async def key(stalwart: Mail, fresh: Fresh) -> AsyncIterator[str]:
    """The key of an account with the rights that bootstrap gives the operator, and no others."""
    name = fresh()
    async with stalwart.web.client() as http:
        jmap = Jmap(http)
        (settings,) = (await jmap.ok("x:Authentication/get", ids=["singleton"]))["list"]
        rights = {"roleIds": settings["defaultUserRoleIds"], "enabledPermissions": dict.fromkeys(RIGHTS, True)}
        role = (await jmap.make("Role", description=f"{name} operator", **rights))["id"]
        domain = (await jmap.make("Domain", name=f"{name}.test", dkimManagement={"@type": "Manual"}))["id"]
        roles = {"@type": "Custom", "roleIds": {role: True}}
        account = await jmap.make("Account", **{"@type": "User", "name": "op", "domainId": domain, "roles": roles})
        body = {"description": name, "permissions": {"@type": "Inherit"}, "allowedIps": {}}
        made = await jmap.make("ApiKey", account=account["id"], **body)
        yield f"Bearer {made['secret']}"
        await jmap.tidy()


@pytest.fixture
async def operator(stalwart: Mail, key: str) -> AsyncIterator[Reconciler]:
    async with reconcile.mail(stalwart.web, key) as found:
        yield found


async def domain_of(jmap: Jmap, wanted: TenantIntent) -> dict[str, Any]:
    (found,) = await jmap.find("Domain", name=wanted.domains[0])
    return found


async def role_of(jmap: Jmap, wanted: TenantIntent, suffix: str = "role") -> dict[str, Any]:
    mark = f"{wanted.mark}:{suffix}"
    (found,) = [role for role in await jmap.find("Role", description=mark) if role["description"] == mark]
    return found


async def accounts_of(jmap: Jmap, wanted: TenantIntent) -> dict[str, dict[str, Any]]:
    domain = (await domain_of(jmap, wanted))["id"]
    return {found["emailAddress"]: found for found in await jmap.find("Account", domainId=domain)}


# -- from nothing to nothing -----------------------------------------------------------------


async def test_a_new_tenant_gets_its_domain_keys_role_and_mailboxes(
    jmap: Jmap, acme: TenantIntent, operator: Reconciler
) -> None:
    """C002, C016: and the second look finds nothing to do."""
    assert (await operator.settle(acme)).in_sync
    assert (await operator.planned(acme)).steps == ()
    domain, role = await domain_of(jmap, acme), await role_of(jmap, acme)
    assert (domain["description"], domain["dkimManagement"]) == (f"{acme.mark}:domain", {"@type": "Manual"})
    keys = await jmap.find("DkimSignature", domainId=domain["id"])
    assert {(key["selector"], key["stage"]) for key in keys} == {
        ("dezky1-rsa", "pending"),
        ("dezky1-ed25519", "pending"),
    }
    accounts = await accounts_of(jmap, acme)
    assert set(accounts) == {f"anna@{acme.slug}.test", f"bob@{acme.slug}.test"}
    for account in accounts.values():
        assert account["roles"] == {"@type": "Custom", "roleIds": {role["id"]: True}}
        assert account["quotas"] == {"maxDiskQuota": GIB}
        assert account["credentials"] == {}


async def test_one_round_is_enough(acme: TenantIntent, operator: Reconciler) -> None:
    await operator.round(acme)
    assert (await operator.planned(acme)).in_sync


async def test_mail_arrives_before_anybody_signed_in(stalwart: Mail, acme: TenantIntent, operator: Reconciler) -> None:
    postbox = Postbox(stalwart.smtp, stalwart.submission, stalwart.imap)
    await operator.settle(acme)
    assert (await postbox.recipient(f"bob@{acme.slug}.test")).code == 250


async def test_the_zone_to_publish_names_both_keys(acme: TenantIntent, operator: Reconciler) -> None:
    await operator.settle(acme)
    found = await operator.integration.observe(acme)
    values = {record.name: record.value for record in found.domains[acme.domains[0]].records}
    assert len(values[f"dezky1-rsa._domainkey.{acme.slug}.test"]) > 400, "both strings of the long key are one value"
    assert "k=ed25519" in values[f"dezky1-ed25519._domainkey.{acme.slug}.test"]


async def test_a_key_signs_once_its_record_was_seen(jmap: Jmap, acme: TenantIntent, operator: Reconciler) -> None:
    await operator.settle(acme)
    seen = replace(acme, published_dkim=frozenset({(acme.domains[0], "dezky1-rsa")}))
    assert (await operator.settle(seen)).in_sync
    domain = (await domain_of(jmap, acme))["id"]
    stages = {key["selector"]: key["stage"] for key in await jmap.find("DkimSignature", domainId=domain)}
    assert stages == {"dezky1-rsa": "active", "dezky1-ed25519": "pending"}


async def test_a_purge_leaves_nothing_and_can_be_repeated(jmap: Jmap, acme: TenantIntent, operator: Reconciler) -> None:
    """C025: with a list, a group, a person who left and mail of another tenant beside it."""
    other = replace(acme, slug=f"{acme.slug}b", tenant_id=uuid.uuid4(), domains=(f"{acme.slug}b.test",), admin=None)
    other = replace(other, members=people(f"carl@{acme.slug}b.test"))
    await operator.settle(acme)
    await operator.settle(other)
    await operator.settle(replace(acme, members=people(f"anna@{acme.slug}.test")))
    domain = (await domain_of(jmap, acme))["id"]
    await jmap.make("MailingList", name="all", domainId=domain)
    await jmap.make("Account", **{"@type": "Group", "name": "team", "domainId": domain})
    try:
        assert (await operator.settle(purged(acme))).in_sync
        assert await jmap.find("Domain", name=acme.domains[0]) == []
        assert await jmap.find("Account", domainId=domain) == []
        assert await jmap.find("DkimSignature", domainId=domain) == []
        assert not [
            role for role in await jmap.find("Role", description=acme.mark) if acme.mark in str(role["description"])
        ]
        assert (await operator.planned(purged(acme))).steps == ()
        assert (await operator.planned(other)).in_sync
    finally:
        await jmap.sweep(other.domains, f"{other.mark}:role")


# -- people and domains come and go -----------------------------------------------------------


async def test_a_person_who_left_keeps_the_mail_and_comes_back_to_it(
    jmap: Jmap, acme: TenantIntent, operator: Reconciler
) -> None:
    await operator.settle(acme)
    bob = f"bob@{acme.slug}.test"
    before = (await accounts_of(jmap, acme))[bob]
    assert (await operator.settle(replace(acme, members=people(f"anna@{acme.slug}.test")))).in_sync
    disabled = await role_of(jmap, acme, "disabled")
    assert disabled["disabledPermissions"] == {"authenticate": True}
    assert disabled["id"] in (await accounts_of(jmap, acme))[bob]["roles"]["roleIds"]
    assert (await operator.settle(acme)).in_sync
    after = (await accounts_of(jmap, acme))[bob]
    assert (after["id"], after["roles"]) == (before["id"], before["roles"])


async def test_a_domain_that_left_the_spec_is_kept_until_a_person_lets_it_go(
    jmap: Jmap, acme: TenantIntent, operator: Reconciler
) -> None:
    """With a mailing list in it: lists can not be asked for by their domain."""
    old, both = f"{acme.slug}b.test", (*acme.domains, f"{acme.slug}b.test")
    await operator.settle(replace(acme, domains=both, members=people(f"anna@{acme.slug}.test", f"olga@{old}")))
    (domain,) = await jmap.find("Domain", name=old)
    everybody = (await jmap.make("MailingList", name="all", domainId=domain["id"]))["id"]
    detached = replace(acme, known_domains=both)
    assert (await operator.settle(detached)).in_sync
    assert len(await jmap.find("Account", domainId=domain["id"])) == 1
    assert (await operator.settle(replace(detached, removable=frozenset({old})))).in_sync
    assert await jmap.find("Domain", name=old) == []
    assert everybody not in {found["id"] for found in await jmap.find("MailingList")}


# -- drift ---------------------------------------------------------------------------------------


DRIFT: dict[str, tuple[str, dict[str, Any]]] = {
    "domain off": ("Domain", {"isEnabled": False}),
    "domain relays": ("Domain", {"allowRelaying": True}),
    "catch-all": ("Domain", {"catchAllAddress": "spy@elsewhere.test"}),
    "role locked": ("Role", {"disabledPermissions": {"authenticate": True}}),
    "role widened": ("Role", {"enabledPermissions": {"impersonate": True}}),
    "role without its parent": ("Role", {"roleIds": {}}),
    "quota": ("Account", {"quotas": {"maxDiskQuota": 1}}),
    "one role more": ("Account", {"roles": {"@type": "Custom"}}),
}


@pytest.mark.parametrize("what", DRIFT)
async def test_drift_is_put_back_by_one_step(jmap: Jmap, acme: TenantIntent, operator: Reconciler, what: str) -> None:
    """C014: every field that is ours to keep."""
    await operator.settle(acme)
    kind, changes = DRIFT[what]
    looks = {"Domain": domain_of, "Role": role_of}
    found = await looks[kind](jmap, acme) if kind in looks else (await accounts_of(jmap, acme))[f"bob@{acme.slug}.test"]
    before = {field: found[field] for field in changes}
    if "roles" in changes:
        more = (await jmap.make("Role", description=f"{acme.slug} more"))["id"]
        changes = {"roles": {"@type": "Custom", "roleIds": {**found["roles"]["roleIds"], more: True}}}
    assert await jmap.patch(kind, found["id"], changes) is None
    changed = await jmap.get(kind, found["id"])
    assert {field: changed[field] for field in changes} != before
    plan = await operator.round(acme)
    assert [(step.verb, step.fields) for step in plan.steps] == [(Verb.UPDATE, tuple(changes))]
    after = await jmap.get(kind, found["id"])
    assert {field: after[field] for field in changes} == before
    assert (await operator.planned(acme)).in_sync


async def test_what_was_deleted_is_made_again(jmap: Jmap, acme: TenantIntent, operator: Reconciler) -> None:
    await operator.settle(acme)
    domain = (await domain_of(jmap, acme))["id"]
    for found in await jmap.find("DkimSignature", domainId=domain):
        await jmap.raze("DkimSignature", found["id"])
    await jmap.raze("Account", (await accounts_of(jmap, acme))[f"bob@{acme.slug}.test"]["id"])
    assert (await operator.settle(acme)).in_sync
    assert len(await jmap.find("DkimSignature", domainId=domain)) == 2
    assert f"bob@{acme.slug}.test" in await accounts_of(jmap, acme)


# -- what is somebody else's -----------------------------------------------------------------------


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.PURGED])
async def test_a_foreign_domain_is_not_touched(
    jmap: Jmap, acme: TenantIntent, operator: Reconciler, phase: Phase
) -> None:
    """C034: our name without our mark; told, nothing made in it, and no purge takes it."""
    made = await jmap.make("Domain", name=acme.domains[0], description="Peter's", dkimManagement={"@type": "Manual"})
    wanted = replace(acme, phase=phase, known_domains=acme.domains)
    before = await jmap.get("Domain", made["id"])
    plan = await operator.settle(wanted)
    reasons = [found.reason for found in plan.obstacles]
    assert reasons == (["ForeignObject"] if phase is Phase.ACTIVE else [])
    assert await jmap.get("Domain", made["id"]) == before
    assert await jmap.find("Account", domainId=made["id"]) == []


@pytest.mark.parametrize(
    ("mark", "adoption", "taken"),
    [
        (None, Adoption.NEVER, False),
        (None, Adoption.IF_UNOWNED, True),
        ("dezky:other:tenant:domain", Adoption.IF_UNOWNED, False),
        ("dezky:other:tenant:domain", Adoption.FORCE, True),
        ("dezky:living:tenant:domain", Adoption.FORCE, False),
    ],
)
async def test_adoption_takes_what_it_may(
    jmap: Jmap,
    acme: TenantIntent,
    operator: Reconciler,
    mark: str | None,
    adoption: Adoption,
    taken: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """C034."""
    body: dict[str, Any] = {"name": acme.domains[0], "description": mark, "dkimManagement": {"@type": "Manual"}}
    made = (await jmap.make("Domain", **body))["id"]
    wanted = replace(acme, adoption=adoption, living_marks=frozenset({"dezky:living:tenant"}))
    assert (await operator.settle(wanted)).in_sync is taken
    description = (await jmap.get("Domain", made))["description"]
    assert description == (f"{acme.mark}:domain" if taken else mark)
    assert len(await jmap.find("Account", domainId=made)) == (2 if taken else 0)


async def test_an_address_that_is_a_list_stops_only_that_mailbox(
    jmap: Jmap, acme: TenantIntent, operator: Reconciler
) -> None:
    await operator.settle(replace(acme, members=(), admin=None))
    domain = (await domain_of(jmap, acme))["id"]
    await jmap.make("MailingList", name="bob", domainId=domain)
    plan = await operator.planned(acme)
    assert {step.name for step in plan.steps} == {f"anna@{acme.slug}.test", f"bob@{acme.slug}.test"}
    with pytest.raises(AssertionError, match="belongs to another account or list"):
        await operator.round(acme)
    assert set(await accounts_of(jmap, acme)) == {f"anna@{acme.slug}.test"}
