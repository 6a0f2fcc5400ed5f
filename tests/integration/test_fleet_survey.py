"""What the lists tell of one tenant is what its own reads tell, whatever people did to it. Over the stand-ins."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest

from dezky_operator.integrations.authentik.fleet import Named
from dezky_operator.integrations.authentik.observe import Observed as IdentityObserved
from dezky_operator.integrations.intent import Phase, TenantIntent
from dezky_operator.integrations.stalwart.observe import Observed as MailObserved
from dezky_operator.integrations.steps import Plan
from dezky_operator.tenant.neighbourhood import Neighbourhood
from dezky_operator.tenant.suspension import begun
from dezky_operator.tenant.sweep import Subject, subjects_of
from tests.builders import admin, domains, spaces, spec, suspended, tenant
from tests.fleet import Fleet, fleet

SEEDS = 8
TENANTS = ("acme", "borg", "corp", "duck", "echo")


@pytest.fixture
async def town() -> AsyncIterator[Fleet]:
    """Five tenants that look different: a brand, detached things, a hold, people of two, a tombstone."""
    async with fleet() as found:
        await found.apply(
            tenant("acme", admin("anna@acme.test", "Anna"), spaces("sales"), spec(brand={"title": "Acme"})),
            tenant("borg", admin("anna@borg.test"), domains("borg.test", "old-borg.test"), spaces("labs")),
            tenant("corp", admin("anna@corp.test")),
            tenant("duck", admin("anna@duck.test"), spaces("pond")),
            tenant("echo", admin("anna@echo.test")),
        )
        for slug in TENANTS:
            found.person(f"bob@{slug}.test", slug)
            found.at_ocis(f"bob@{slug}.test", slug)
        found.person("both@corp.test", "corp", "acme")
        found.at_ocis("both@corp.test", "corp", "acme")
        found.person("gone@corp.test", "corp")
        for slug in TENANTS:
            await found.settle(slug)
        await found.apply(
            tenant("borg", admin("anna@borg.test")),
            tenant("corp", admin("anna@corp.test"), suspended(), spec(suspension={"mailPolicy": "Hold"})),
            tenant("duck", admin("anna@duck.test"), spaces("pond"), suspended()),
        )
        await found.delete("echo")
        yield found


def subjects(town: Fleet) -> dict[str, Subject]:
    return {subject.tenant.name: subject for subject in subjects_of(Neighbourhood.of(town.world()))}


@dataclass(frozen=True)
class Pair:
    """One tenant in one system, seen both ways, and both plans."""

    name: str
    seen: tuple[Any, Any]
    plans: tuple[Plan, Plan]


async def pairs(town: Fleet) -> list[Pair]:
    """Every subject in every system."""
    around, systems = Neighbourhood.of(town.world()), town.rounds.systems
    found = subjects(town).values()
    names = [
        Named(application=f"dezky-{one.tenant.name}", users_group=f"dezky-{one.tenant.name}-users") for one in found
    ]
    identity = await systems.authentik.survey(names, turn=0)
    assert len(identity.applications) < len(names), "every application was asked for, so nothing was taken to be so"
    mail, files = await systems.stalwart.survey(), await systems.ocis.survey(people=True)
    told = []
    for subject in found:
        wanted = town.sweeper._intent(subject, around)
        own, shared = await systems.authentik.observe(wanted), systems.authentik.assembled(wanted, identity)
        plans = (systems.authentik.plan(wanted, own), systems.authentik.plan(wanted, shared))
        told.append(Pair(f"sign-in of {wanted.slug}", (without_secret(own), shared), plans))
        members = await systems.authentik.members(wanted)
        assert identity.members(wanted) == members, wanted.slug
        wanted = replace(wanted, domains=subject.tenant.spec.domains, members=members)
        lean, all_of_it = await systems.stalwart.assembled(wanted, mail), await systems.stalwart.observe(wanted)
        mails = (systems.stalwart.plan(wanted, all_of_it), systems.stalwart.plan(wanted, lean))
        told.append(Pair(f"mail of {wanted.slug}", (without_bulk(all_of_it), lean), mails))
        asked, listed = await systems.ocis.observe(wanted), await systems.ocis.assembled(wanted, files)
        told.append(
            Pair(
                f"files of {wanted.slug}",
                (asked, listed),
                (systems.ocis.plan(wanted, asked), systems.ocis.plan(wanted, listed)),
            )
        )
    return told


def without_secret(found: IdentityObserved) -> IdentityObserved:
    """A client secret is in no plan, and in no survey."""
    provider = found.provider and msgspec.structs.replace(found.provider, client_secret="")
    return replace(found, provider=provider)


def without_bulk(found: MailObserved) -> MailObserved:
    """Zone files, descriptions of people and used bytes are in no plan, and most of an answer."""
    lean = {
        name: replace(
            one,
            domain=msgspec.structs.replace(one.domain, dns_zone_file=""),
            accounts=tuple(
                msgspec.structs.replace(account, description=None, used_disk_quota=0) for account in one.accounts
            ),
        )
        for name, one in found.domains.items()
    }
    return replace(found, domains=lean)


async def test_the_lists_tell_of_each_tenant_what_its_own_reads_tell(town: Fleet) -> None:
    assert set(subjects(town)) == set(TENANTS)
    phases = {name: subject.phase for name, subject in subjects(town).items()}
    assert phases["corp"] is phases["duck"] is Phase.SUSPENDED
    assert phases["echo"] is Phase.DELETED
    found = await pairs(town)
    for pair in found:
        assert pair.seen[0] == pair.seen[1], pair.name
        assert pair.plans[0] == pair.plans[1] == Plan(), pair.name
    by_name = {pair.name: pair.seen[1] for pair in found}
    assert set(by_name["files of borg"].drives) == {"main", "labs"}
    assert set(by_name["mail of borg"].domains) == {"borg.test", "old-borg.test"}
    assert set(by_name["files of corp"].personal) == {"bob@corp.test"}
    assert by_name["sign-in of corp"].others_groups
    assert by_name["mail of corp"].throttles


async def test_they_agree_whatever_people_did(town: Fleet) -> None:
    """Both ways see the same, and lead to the same steps, after a dozen changes by hand; and again, and again."""
    before = town.scene.workspace.snapshot()
    for seed in range(SEEDS):
        chance = random.Random(seed)  # noqa: S311 - the same changes for the same seed
        for _ in range(12):
            chance.choice(CHANGES)(town, chance)
        different = [_agree(pair, seed) for pair in await pairs(town)]
        assert any(different), f"seed {seed} changed nothing"
        town.scene.workspace.restore(before)


def _agree(pair: Pair, seed: int) -> bool:
    """Whether there is something to do; fails where the two ways differ in what they see or in what they would do."""
    # An application that was not asked for is taken to be as declared, so its own step may wait for its turn.
    own, shared = (
        replace(found, application=None) if isinstance(found, IdentityObserved) else found for found in pair.seen
    )
    assert own == shared, (seed, pair.name)
    steps = [[step for step in plan.steps if step.kind != "application"] for plan in pair.plans]
    assert steps[0] == steps[1], (seed, pair.name)
    assert pair.plans[0].obstacles == pair.plans[1].obstacles, (seed, pair.name)
    return bool(steps[0])


# -- what people do ---------------------------------------------------------------------------

Change = Callable[[Fleet, random.Random], None]


def _any(town: Fleet, chance: random.Random, kind: str) -> Any:
    return chance.choice(sorted(town.scene.workspace.authentik.store.objects[kind].values(), key=str))


def of_tenants(records: list[dict[str, Any]], field: str) -> list[dict[str, Any]]:
    return [one for one in records if any(f"{slug}" in str(one.get(field)) for slug in TENANTS)]


def regroup(town: Fleet, chance: random.Random) -> None:
    store = town.scene.workspace.authentik.store
    group = chance.choice(of_tenants(list(store.objects["group"].values()), "name"))
    other = chance.choice(of_tenants(list(store.objects["group"].values()), "name"))
    fields: dict[str, Any] = chance.choice(
        [{"parents": []}, {"attributes": {}}, {"is_superuser": True}, {"parents": [other["pk"]]}]
    )
    store.update("group", group, fields)


def remove_group(town: Fleet, chance: random.Random) -> None:
    store = town.scene.workspace.authentik.store
    store.remove("group", chance.choice(of_tenants(list(store.objects["group"].values()), "name")))


def rebind(town: Fleet, chance: random.Random) -> None:
    store, binding = town.scene.workspace.authentik.store, _any(town, chance, "policybinding")
    fields: dict[str, Any] = chance.choice([{"enabled": not binding["enabled"]}, {"negate": True}, {"order": 7}])
    store.update("policybinding", binding, fields)


def unbind(town: Fleet, chance: random.Random) -> None:
    town.scene.workspace.authentik.store.remove("policybinding", _any(town, chance, "policybinding"))


def loosen_provider(town: Fleet, chance: random.Random) -> None:
    store = town.scene.workspace.authentik.store
    provider = chance.choice(of_tenants(list(store.objects["oauth2provider"].values()), "name"))
    store.update("oauth2provider", provider, {"grant_types": ["authorization_code", "refresh_token", "implicit"]})


def move_person(town: Fleet, chance: random.Random) -> None:
    store, user = town.scene.workspace.authentik.store, _any(town, chance, "user")
    group = chance.choice(of_tenants(list(store.objects["group"].values()), "name"))
    (store.join if user["pk"] not in store.members[group["pk"]] else store.leave)(user, group["pk"])


def wake_person(town: Fleet, chance: random.Random) -> None:
    store, user = town.scene.workspace.authentik.store, _any(town, chance, "user")
    store.update("user", user, {"is_active": not user["is_active"]})


def second_brand(town: Fleet, chance: random.Random) -> None:
    host = f"{chance.choice(TENANTS)}.dezky.test"
    town.scene.workspace.authentik.store.insert("brand", {"domain": host, "branding_title": "?"})


def change_mail(town: Fleet, chance: random.Random) -> None:
    objects = town.scene.workspace.stalwart.objects
    patches: list[tuple[str, dict[str, Any]]] = [
        ("Role", {"disabledPermissions": {}}),
        ("Role", {"description": "somebody's"}),
        ("Domain", {"isEnabled": False}),
        ("Domain", {"description": None}),
        ("Account", {"quotas": {"maxDiskQuota": 7}}),
        ("Account", {"roles": {"@type": "User"}}),
    ]
    kind, patch = chance.choice(patches)
    objects.update(kind, chance.choice(sorted(objects.by_type[kind])), patch)


def second_role(town: Fleet, chance: random.Random) -> None:
    objects = town.scene.workspace.stalwart.objects
    marks = [one["description"] for one in objects.by_type["Role"].values() if one["description"].startswith("dezky:")]
    objects.create("Role", {"description": chance.choice(sorted(marks))})


def drop_key(town: Fleet, chance: random.Random) -> None:
    objects = town.scene.workspace.stalwart.objects
    objects.destroy("DkimSignature", chance.choice(sorted(objects.by_type["DkimSignature"])))


def change_space(town: Fleet, chance: random.Random) -> None:
    store = town.scene.workspace.ocis.store
    space = chance.choice(sorted(store.spaces.values(), key=lambda one: one.id))
    field, value = chance.choice(
        [("name", "Other"), ("alias", "project/other"), ("quota", 7), ("disabled", not space.disabled), ("grants", {})]
    )
    setattr(space, field, value)


CHANGES: tuple[Change, ...] = (
    regroup,
    remove_group,
    rebind,
    unbind,
    loosen_provider,
    move_person,
    wake_person,
    second_brand,
    change_mail,
    second_role,
    drop_key,
    change_space,
)


async def test_nothing_a_list_tells_is_logged(town: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """Lists hold every client secret there is."""
    secrets = [one["client_secret"] for one in town.scene.workspace.authentik.store.objects["oauth2provider"].values()]
    with caplog.at_level(0):
        await town.sweep()
    assert all(secrets)
    assert not [secret for secret in secrets if secret in caplog.text]


def intent_of(town: Fleet, slug: str) -> TenantIntent:
    subject = subjects(town)[slug]
    return town.sweeper._intent(subject, Neighbourhood.of(town.world()))


async def test_a_suspended_tenants_intent_is_the_recorded_one(town: Fleet) -> None:
    wanted, status = intent_of(town, "corp"), town.tenants["corp"].status
    assert status.suspension is not None
    assert wanted.hold
    assert wanted.disabled_drives == status.suspension.disabled_drive_ids != ()
    assert begun(town.tenants["corp"], town.rounds.now()).since == status.suspension.since
