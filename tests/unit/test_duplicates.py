"""What is there twice: the oldest stays, the rest goes where nothing hangs on it, and a person hears of what stays."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dezky_operator.integrations.authentik.baseline import Baseline
from dezky_operator.integrations.authentik.desired import desired as identity_desired
from dezky_operator.integrations.authentik.model import Brand
from dezky_operator.integrations.authentik.observe import Observed as IdentityObserved
from dezky_operator.integrations.authentik.observe import brands_in_order
from dezky_operator.integrations.authentik.plan import plan as identity_plan
from dezky_operator.integrations.intent import Phase
from dezky_operator.integrations.stalwart.desired import desired as mail_desired
from dezky_operator.integrations.stalwart.model import Account, DkimKey, Domain, Role, Roles, Variant, age
from dezky_operator.integrations.stalwart.observe import Observed, ObservedDomain, domain_mark, role_mark
from dezky_operator.integrations.stalwart.plan import plan as mail_plan
from dezky_operator.integrations.steps import Plan, Step, Verb
from tests import identity, mail
from tests.sandbox.stalwart.ids import encode

ACME = mail.intent()
BASELINE = Baseline(
    tenants_group="t",
    platform_admins=None,
    authorization_flow="f",
    invalidation_flow="g",
    signing_key="k",
    mappings=("m",),
    deny_policy="p",
    brand_flows=(),
)


@given(st.lists(st.integers(0, 2**63), unique=True))
def test_ids_sort_by_age(numbers: list[int]) -> None:
    assert sorted((encode(number) for number in numbers), key=age) == [encode(number) for number in sorted(numbers)]


# -- roles -----------------------------------------------------------------------------------


def role(key: str, *disabled: str) -> Role:
    return Role(
        id=key, description=role_mark(ACME), role_ids={"b": True}, disabled_permissions=dict.fromkeys(disabled, True)
    )


def world(
    *roles: Role, holder: str | None = None, keys: tuple[DkimKey, ...] = (), linked: frozenset[str] = frozenset()
) -> Observed:
    domain = Domain(id="d", name="acme.test", description=domain_mark(ACME), dkim_management=Variant(type="Manual"))
    accounts = (
        (Account(id="a", name="anna", domain_id="d", roles=Roles(type="Custom", role_ids={holder: True})),)
        if holder
        else ()
    )
    under = ObservedDomain(domain=domain, keys=keys, accounts=accounts)
    return Observed(roles=roles, domains={"acme.test": under}, linked=linked)


def planned(observed: Observed, phase: Phase = Phase.ACTIVE) -> Plan:
    wanted = replace(ACME, phase=phase, established=True)
    return mail_plan(wanted, ("b",), mail_desired(wanted), observed)


def deleted(plan: Plan) -> list[str]:
    return [str(step.target) for step in plan.steps if step.verb is Verb.DELETE]


def test_a_second_role_goes_when_nothing_has_it() -> None:
    assert deleted(planned(world(role("f"), role("g")))) == ["g"]


def test_a_second_role_that_a_mailbox_has_goes_after_the_mailbox_has_the_first() -> None:
    found = planned(world(role("f"), role("g"), holder="g"))
    assert deleted(found) == []
    (moved,) = [step for step in found.steps if step.kind == "account"]
    assert moved.body == {"roles": {"@type": "Custom", "roleIds": {"f": True}}}
    (told,) = found.obstacles
    assert not told.blocking
    assert "f" in told.message.split()
    assert "f is used, g is too many" in told.message


def test_a_second_role_that_somebody_elsewhere_has_is_told_of_and_stays() -> None:
    found = planned(world(role("f"), role("g"), linked=frozenset({"g"})))
    assert deleted(found) == []
    assert [told.blocking for told in found.obstacles] == [False]


def test_a_locked_tenant_loses_no_role_and_both_stay_shut() -> None:
    found = planned(world(role("f"), role("g")), Phase.SUSPENDED)
    assert deleted(found) == []
    assert {str(step.target) for step in found.steps if step.kind == "role"} == {"f", "g"}


def test_a_role_that_is_changed_and_goes_is_changed_first() -> None:
    found = planned(world(role("f"), role("g", "authenticate")))
    (gone,) = [step for step in found.steps if step.verb is Verb.DELETE]
    (changed,) = [step for step in found.steps if step.verb is Verb.UPDATE and step.target == "g"]
    assert changed.id in gone.waits_for


# -- keys --------------------------------------------------------------------------------------


def key(ident: str, stage: str = "pending", selector: str = "dezky1-rsa") -> DkimKey:
    return DkimKey(id=ident, type="Dkim1RsaSha256", domain_id="d", selector=selector, stage=stage)


OTHER = key("z", "active", "dezky1-ed25519")


def keys_planned(*keys: DkimKey) -> tuple[list[str], list[str]]:
    found = planned(world(role("f"), keys=(*keys, OTHER)))
    return deleted(found), [told.message for told in found.obstacles]


def test_the_oldest_of_two_keys_stays() -> None:
    assert keys_planned(key("c"), key("b")) == (["c"], [])


def test_the_key_that_signs_stays_though_it_is_younger() -> None:
    assert keys_planned(key("b"), key("c", "active")) == (["b"], [])


def test_of_two_keys_that_sign_a_person_is_told() -> None:
    gone, (told,) = keys_planned(key("b", "active"), key("c", "active"))
    assert gone == []
    assert "b, and c, which is active" in told


def test_keys_of_other_selectors_are_nobodys_business() -> None:
    assert keys_planned(key("b"), key("x", "active", "custom"), key("y", "active", "custom")) == ([], [])


def test_only_the_key_that_stays_is_made_to_sign() -> None:
    wanted = replace(ACME, published_dkim=frozenset({("acme.test", "dezky1-rsa")}))
    observed = world(role("f"), keys=(key("c"), key("b"), OTHER))
    found = mail_plan(wanted, ("b",), mail_desired(wanted), observed)
    steps: list[Step] = [step for step in found.steps if step.kind == "dkim"]
    assert [(step.verb, step.target) for step in steps] == [(Verb.UPDATE, "b"), (Verb.DELETE, "c")]


# -- brands --------------------------------------------------------------------------------------

TOWN = identity.intent()


def brand(ident: str, mark: str | None) -> Brand:
    return Brand(brand_uuid=ident, domain="acme.dezky.test", attributes={"dezky.eu/mark": mark} if mark else {})


def brands_planned(*found: Brand) -> tuple[list[str], list[str]]:
    first, *more = brands_in_order(TOWN, found)
    observed = IdentityObserved(brand=first, more_brands=tuple(more))
    plan = identity_plan(TOWN, BASELINE, identity_desired(TOWN, BASELINE), observed)
    return deleted(plan), [told.message for told in plan.obstacles]


OURS = f"{TOWN.mark}:brand"


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_a_second_brand_of_ours_goes(order: tuple[str, str]) -> None:
    assert brands_planned(*(brand(ident, OURS) for ident in order)) == (["b"], [])


def test_a_brand_of_somebody_else_beside_ours_is_told_of_and_stays() -> None:
    gone, (told,) = brands_planned(brand("a", None), brand("b", OURS))
    assert gone == []
    assert "b is used, a is not this tenant's" in told
