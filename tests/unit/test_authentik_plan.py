"""The plan for Authentik as a pure function: it ends, is the same twice, and ties nothing to what is not ours."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dezky_operator.integrations.apply import Outputs, resolved
from dezky_operator.integrations.authentik.baseline import Baseline
from dezky_operator.integrations.authentik.desired import desired
from dezky_operator.integrations.authentik.model import (
    MARK,
    USER_TENANT,
    Application,
    Binding,
    Brand,
    Group,
    Provider,
    User,
    path_of,
)
from dezky_operator.integrations.authentik.observe import Observed
from dezky_operator.integrations.authentik.plan import plan
from dezky_operator.integrations.intent import Adoption, Phase, TenantIntent
from dezky_operator.integrations.steps import Plan, Step, Verb
from tests.identity import intent

ACME = intent()
BASE = Baseline(
    tenants_group="tenants",
    platform_admins="platform",
    authorization_flow="flow-a",
    invalidation_flow="flow-i",
    signing_key="key",
    mappings=("m1", "m2"),
    deny_policy="deny",
    brand_flows=(("flow_authentication", "f1"), ("flow_invalidation", None), ("flow_recovery", "f3")),
)
NOTHING = Observed()
THEIRS = "dezky:another:tenant"
SHAPES: dict[str, type[msgspec.Struct]] = {
    "group": Group, "provider": Provider, "application": Application, "binding": Binding, "brand": Brand, "user": User,
}  # fmt: skip
KEY = {"brand": "brand_uuid"}


def planned(wanted: TenantIntent, observed: Observed) -> Plan:
    return plan(wanted, BASE, desired(wanted, BASE), observed)


def ids(found: Plan) -> list[str]:
    return [f"{step.verb} {step.kind}/{step.key}" for step in found.steps]


# -- a server of values ---------------------------------------------------------------------------


def ordered(steps: tuple[Step, ...]) -> Iterator[Step]:
    """Steps in an order that keeps what each one follows. Fails on a circle."""
    waiting = {step.id: step for step in steps}
    while waiting:
        free = [step for step in waiting.values() if not step.waits_for & (waiting.keys() - {step.id})]
        assert free, "steps wait for each other in a circle"
        for step in free:
            yield waiting.pop(step.id)


def things_of(observed: Observed) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for group in filter(None, (observed.users_group, observed.admins_group)):
        found[f"group {group.pk}"] = group
    if observed.provider:
        found[f"provider {observed.provider.pk}"] = observed.provider
    if observed.application:
        found[f"application {observed.application.slug}"] = observed.application
    if observed.brand:
        found[f"brand {observed.brand.brand_uuid}"] = observed.brand
    if observed.admin:
        found[f"user {observed.admin.pk}"] = observed.admin
    found |= {f"user {user.pk}": user for user in observed.users}
    return found | {f"binding {binding.pk}": binding for binding in observed.bindings}


def after(wanted: TenantIntent, observed: Observed, steps: tuple[Step, ...]) -> Observed:
    """What would be observed once the steps are done."""
    things, outputs, numbers = things_of(observed), dict[str, Outputs](), itertools.count(9000)
    for step in ordered(steps):
        outputs[step.id] = perform(resolved(step, outputs), things, next(numbers))
    by_kind = {kind: [one for key, one in things.items() if key.startswith(f"{kind} ")] for kind in SHAPES}

    def named(kind: str, field: str, name: str) -> Any:
        return next((one for one in by_kind[kind] if getattr(one, field) == name), None)

    assert wanted.admin
    return replace(
        observed,
        users_group=named("group", "name", wanted.users_group),
        admins_group=named("group", "name", wanted.admins_group),
        provider=named("provider", "name", wanted.application),
        application=named("application", "slug", wanted.application),
        bindings=tuple(by_kind["binding"]),
        brand=named("brand", "domain", f"{wanted.slug}.{wanted.base_domain}"),
        admin=named("user", "username", wanted.admin.username),
        users=tuple(user for user in by_kind["user"] if user.path == path_of(wanted)),
    )


def perform(step: Step, things: dict[str, Any], number: int) -> Outputs:
    if step.kind == "membership":
        user = things[f"user {step.body['pk']}"]
        things[f"user {user.pk}"] = msgspec.structs.replace(user, groups=(*user.groups, str(step.target)))
        return {"id": str(step.target)}
    if step.kind == "session":
        return {"id": "sessions"}
    if step.kind == "recovery-link":
        return {"id": str(step.target), "link": "https://id.test/recovery"}
    if step.verb is Verb.CREATE:
        pk: str | int = number if step.kind in {"user", "provider"} else f"new{number}"
        made = msgspec.convert({KEY.get(step.kind, "pk"): pk, **step.body}, SHAPES[step.kind], strict=False)
        key = str(step.body["slug"]) if step.kind == "application" else str(pk)
        things[f"{step.kind} {key}"] = made
        return {"id": key, "pk": str(pk)}
    key = f"{step.kind} {step.target}"
    if step.verb is Verb.DELETE:
        del things[key]
    else:
        old = msgspec.to_builtins(things[key])
        things[key] = msgspec.convert({**old, **step.body}, SHAPES[step.kind], strict=False)
    return {"id": str(step.target)}


SETTLED = after(ACME, NOTHING, planned(ACME, NOTHING).steps)

# -- worlds ---------------------------------------------------------------------------------------


def groups(role: str) -> st.SearchStrategy[Group | None]:
    marks = st.sampled_from([None, f"{ACME.mark}:{role}", f"{THEIRS}:{role}", f"dezky:{ACME.installation_id}:platform"])
    found = st.builds(
        lambda mark, parents, more, power: Group(
            pk=role,
            name=f"dezky-acme-{role}",
            parents=parents,
            attributes={**({MARK: mark} if mark else {}), **more},
            is_superuser=power,
        ),
        marks,
        st.sampled_from([(), ("tenants",), ("users",), ("other",)]),
        st.sampled_from([{}, {"theirs": 1}, {"dezky.eu/tenant": "wrong"}]),
        st.booleans(),
    )
    return st.none() | found


PROVIDERS = st.none() | st.builds(
    lambda client, assigned, grants: Provider(
        pk=7, name="dezky-acme", client_id=client, assigned_application_slug=assigned, grant_types=grants
    ),
    st.sampled_from(["dezky-acme", "theirs"]),
    st.sampled_from([None, "dezky-acme", "theirs"]),
    st.sampled_from([(), ("authorization_code",)]),
)
APPLICATIONS = st.none() | st.builds(
    lambda publisher, mode: Application(
        pk="app", slug="dezky-acme", name="A", meta_publisher=publisher, policy_engine_mode=mode
    ),
    st.sampled_from(["", ACME.mark, THEIRS]),
    st.sampled_from(["any", "all"]),
)
BRANDS = st.none() | st.builds(
    lambda mark, title: Brand(
        brand_uuid="brand", domain="acme.dezky.test", branding_title=title, attributes={MARK: mark} if mark else {}
    ),
    st.sampled_from([None, f"{ACME.mark}:brand", f"{THEIRS}:brand"]),
    st.sampled_from(["Acme", "Mine"]),
)
ADMINS = st.none() | st.builds(
    lambda power, kind, joined, own: User(
        pk=5,
        username="anna@acme.test",
        is_superuser=power,
        type=kind,
        groups=joined,
        path=path_of(ACME) if own else "users",
        attributes={USER_TENANT: str(ACME.tenant_id)} if own else {},
    ),
    st.booleans(),
    st.sampled_from(["internal", "external", "internal_service_account"]),
    st.sampled_from([(), ("users",), ("platform",)]),
    st.booleans(),
)
BINDINGS = st.lists(
    st.builds(
        lambda number, end, enabled: Binding(pk=f"b{number}", target="app", order=0, enabled=enabled, **end),
        st.integers(0, 99),
        st.sampled_from([{"group": "users"}, {"policy": "deny"}, {"group": "theirs"}]),
        st.booleans(),
    ),
    max_size=4,
    unique_by=lambda binding: binding.pk,
)
WORLDS = st.builds(
    lambda users, admins, provider, application, brand, admin, bindings: Observed(
        users_group=users,
        admins_group=admins,
        provider=provider,
        application=application,
        brand=brand,
        admin=admin,
        bindings=tuple(bindings) if application else (),
        users=(admin,) if admin and admin.path == path_of(ACME) else (),
    ),
    groups("users"), groups("admins"), PROVIDERS, APPLICATIONS, BRANDS, ADMINS, BINDINGS,
)  # fmt: skip
INTENTS = st.builds(
    lambda adoption, due, held, phase: replace(
        ACME,
        adoption=adoption,
        recovery_link_due=due,
        living_marks=frozenset({THEIRS}) if held else frozenset(),
        phase=phase,
    ),
    st.sampled_from(Adoption),
    st.booleans(),
    st.booleans(),
    st.sampled_from([Phase.ACTIVE, Phase.DELETED, Phase.PURGED]),
)


@given(INTENTS, WORLDS)
def test_once_applied_nothing_is_left(wanted: TenantIntent, world: Observed) -> None:
    done = after(wanted, world, planned(wanted, world).steps)
    if wanted.locked:  # who is in a group that had to be taken is only looked at once it is ours
        done = after(wanted, done, planned(wanted, done).steps)
    assert ids(planned(replace(wanted, recovery_link_due=False), done)) == []


@given(INTENTS, WORLDS)
def test_the_same_world_gives_the_same_plan(wanted: TenantIntent, world: Observed) -> None:
    assert planned(wanted, world) == planned(wanted, world)


@given(WORLDS, st.sampled_from([Phase.ACTIVE, Phase.PURGED]))
def test_nothing_without_our_mark_is_ever_changed(world: Observed, phase: Phase) -> None:
    """With adoption Never, every object that a step names or points to is ours or is made by the plan."""
    foreign = {
        group.pk
        for role, group in (("users", world.users_group), ("admins", world.admins_group))
        if group and group.mark != f"{ACME.mark}:{role}"
    }
    if world.application and world.application.meta_publisher != ACME.mark:
        foreign |= {world.application.pk, world.application.slug}
    if world.brand and world.brand.mark != f"{ACME.mark}:brand":
        foreign.add(world.brand.brand_uuid)
    for step in planned(replace(ACME, phase=phase), world).steps:
        named = {step.target, *(value for value in step.body.values() if isinstance(value, str))}
        named |= set(step.body["parents"]) if "parents" in step.body else set()  # type: ignore[arg-type]
        assert not (named & foreign) or (step.verb is Verb.CREATE and step.body.get("slug") in foreign), step.id


@given(WORLDS)
def test_a_deleted_tenant_is_locked_as_a_suspended_one_is(world: Observed) -> None:
    deleted, suspended = (replace(ACME, phase=phase, established=True) for phase in (Phase.DELETED, Phase.SUSPENDED))
    assert planned(deleted, world) == planned(suspended, world)
    assert planned(deleted, SETTLED).steps


@given(WORLDS)
def test_a_superuser_is_never_touched(world: Observed) -> None:
    admin = world.admin
    for phase in (Phase.ACTIVE, Phase.PURGED):
        found = planned(replace(ACME, phase=phase, recovery_link_due=True), world)
        if admin and (admin.is_superuser or admin.type == "internal_service_account"):
            assert not [step for step in found.steps if step.kind in {"user", "membership", "recovery-link"}]


@given(WORLDS)
def test_nobody_holds_more_than_one_allow_and_one_deny_binding_of_ours(world: Observed) -> None:
    wanted = replace(ACME, adoption=Adoption.FORCE)
    found = planned(wanted, world)
    done = after(wanted, world, found.steps)
    if not found.obstacles:
        assert done.users_group
        assert len([one for one in done.bindings if one.group == done.users_group.pk]) == 1
        assert len([one for one in done.bindings if one.policy == "deny"]) == 1


# -- single sentences ------------------------------------------------------------------------------


def test_from_nothing_everything_is_planned_in_a_fixed_order() -> None:
    assert ids(planned(replace(ACME, recovery_link_due=True), NOTHING)) == [
        "create group/users", "create group/admins", "create provider/main", "create application/main",
        "create binding/users", "create binding/deny", "create brand/main", "create user/admin",
        "grant membership/users", "grant membership/admins", "create recovery-link/admin",
    ]  # fmt: skip


def test_the_link_comes_after_both_memberships() -> None:
    steps = planned(replace(ACME, recovery_link_due=True), NOTHING).steps
    assert steps[-1].waits_for == {"authentik/user/admin", "authentik/membership/users", "authentik/membership/admins"}


def test_no_text_of_a_step_shows_the_client_secret() -> None:
    provider = Provider(pk=7, name="dezky-acme", client_id="dezky-acme", client_secret="s3cret")
    world = replace(SETTLED, provider=provider)
    assert "s3cret" not in repr(world)
    assert "s3cret" not in repr(planned(ACME, world))


def test_the_order_of_a_providers_lists_means_nothing() -> None:
    assert SETTLED.provider
    turned = msgspec.structs.replace(
        SETTLED.provider,
        property_mappings=SETTLED.provider.property_mappings[::-1],
        redirect_uris=SETTLED.provider.redirect_uris[::-1],
        grant_types=SETTLED.provider.grant_types[::-1],
    )
    assert planned(ACME, replace(SETTLED, provider=turned)).steps == ()


def test_a_tenant_without_a_brand_leaves_any_brand_alone() -> None:
    brand = Brand(brand_uuid="brand", domain="acme.dezky.test")
    assert planned(replace(ACME, brand=None), replace(SETTLED, brand=brand)) == Plan()


def test_a_brand_of_ours_goes_when_the_spec_names_none() -> None:
    """A brand is no data: what no spec asks for is taken back, without a person's word."""
    found = planned(replace(ACME, brand=None), SETTLED)
    assert ids(found) == ["delete brand/main"]
    assert found.steps[0].target == SETTLED.brand.brand_uuid if SETTLED.brand else False


def test_a_logo_that_left_the_spec_becomes_the_installations() -> None:
    """It can be repeated: what is wanted is a value, not an empty field that the server refuses."""
    assert ACME.brand
    plain = replace(ACME, brand=replace(ACME.brand, logo_url=None))
    (step,) = planned(plain, SETTLED).steps
    assert step.body == {"branding_logo": BASE.logo}
    assert planned(plain, after(plain, SETTLED, (step,))) == Plan()


def test_a_resume_undoes_nobody_elses_suspension() -> None:
    """Whatever the server gives for our question: an unknown filter is ignored there, and gives everybody."""
    marks = {"ours": str(ACME.tenant_id), "theirs": "99999999-9999-9999-9999-999999999999"}
    marked = tuple(
        User(pk=number, username=name, is_active=False, attributes={"dezky": {"suspendedBy": mark}})
        for number, (name, mark) in enumerate(marks.items())
    )
    assert [step.name for step in planned(ACME, replace(SETTLED, marked=marked)).steps] == ["ours"]


# -- the administrator ----------------------------------------------------------------------------


def anna(**changes: Any) -> User:
    assert SETTLED.admin
    return msgspec.structs.replace(SETTLED.admin, **changes)


def test_an_administrator_who_signed_in_may_leave() -> None:
    left = replace(SETTLED, admin=anna(groups=(), last_login="2026-11-01T00:00:00Z"))
    assert planned(ACME, left) == Plan()


def test_an_administrator_who_never_signed_in_is_let_in_again() -> None:
    assert ids(planned(ACME, replace(SETTLED, admin=anna(groups=())))) == [
        "grant membership/users", "grant membership/admins",
    ]  # fmt: skip


def test_a_deleted_administrator_who_had_signed_in_is_not_made_again() -> None:
    gone = replace(SETTLED, admin=None)
    assert planned(replace(ACME, admin_signed_in=True), gone) == Plan()
    assert "create user/admin" in ids(planned(ACME, gone))


def test_somebody_who_was_there_before_is_let_in_although_she_signed_in_long_ago() -> None:
    before = replace(SETTLED, admin=anna(groups=(), path="users", attributes={}, last_login="2020-01-01T00:00:00Z"))
    assert len(planned(ACME, before).steps) == 2
    assert planned(replace(ACME, admin_signed_in=True), before) == Plan()


def test_a_link_that_a_person_asks_for_lets_the_administrator_in_and_is_no_drift() -> None:
    left = replace(SETTLED, admin=anna(groups=(), last_login="2026-11-01T00:00:00Z"))
    asked = replace(ACME, recovery_link_due=True, recovery_link_asked=True)
    found = planned(asked, left)
    assert ids(found) == ["grant membership/users", "grant membership/admins", "create recovery-link/admin"]
    assert found.asked == Plan(found.steps)
    assert planned(replace(asked, recovery_link_asked=False), SETTLED).asked == Plan()


def test_the_group_of_an_earlier_tenant_of_this_name_is_told_as_such() -> None:
    mark = f"dezky:{ACME.installation_id}:99999999-9999-9999-9999-999999999999:users"
    world = Observed(users_group=Group(pk="users", name="dezky-acme-users", attributes={MARK: mark}))
    found = planned(ACME, world)
    assert [one.reason for one in found.obstacles] == ["TombstoneExists"]
    assert found.steps == ()


def test_a_purge_removes_users_first_and_the_group_of_all_last() -> None:
    steps = list(ordered(planned(replace(ACME, phase=Phase.PURGED), SETTLED).steps))
    kinds = [f"{step.kind}/{step.key}" for step in steps]
    assert kinds[0].startswith("user/")
    assert kinds.index("application/main") < kinds.index("provider/main")
    assert kinds.index("group/admins") < kinds.index("group/users")


@pytest.mark.parametrize("path", ["goauthentik.io/apps/dezky-acme", "users"])
def test_authentiks_own_user_of_the_client_goes_even_when_the_provider_is_gone(path: str) -> None:
    user = User(pk=44, username="ak-dezky-acme-client_credentials", path=path, type="service_account")
    found = planned(replace(ACME, phase=Phase.PURGED), Observed(service_user=user))
    assert ids(found) == (["delete user/44"] if path.startswith("goauthentik.io") else [])
