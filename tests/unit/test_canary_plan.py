"""How a canary is made: pure, and with no secret in any step."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from dezky_operator.integrations.apply import resolved
from dezky_operator.integrations.authentik.model import USER_TENANT, User
from dezky_operator.integrations.canary import plan
from dezky_operator.integrations.canary.observe import Identity, Mail, is_half_made, is_own
from dezky_operator.integrations.intent import Adoption, Member, TenantIntent
from dezky_operator.integrations.ocis.model import Drive
from dezky_operator.integrations.stalwart.desired import CANARY_QUOTA, desired, without_mailbox
from dezky_operator.integrations.stalwart.model import Account, Domain, Role, Roles
from dezky_operator.integrations.stalwart.observe import Observed, ObservedDomain
from dezky_operator.integrations.steps import Ref, Step, System, Verb

INSTALLATION = "5a0c3c5e-6f4f-4a4e-8a55-0d2f0b1c7e11"
ACME = TenantIntent(
    slug="acme",
    tenant_id=uuid.uuid5(uuid.UUID(INSTALLATION), "acme"),
    installation_id=INSTALLATION,
    display_name="Acme",
    base_domain="dezky.test",
    domains=("acme.test",),
    canary="dezky-probe@acme.test",
    mailbox_quota=5 * 2**30,
)
MARKS = {"dezky": {"tenant": "acme", "role": "canary"}, USER_TENANT: str(ACME.tenant_id)}
OLD = User(
    pk=7,
    username="dezky-probe@acme.test",
    path="dezky/tenants/acme",
    type="service_account",
    attributes=MARKS,
    groups=("g",),
)
HALF_MADE = User(pk=8, username="dezky-probe@acme.test", path="goauthentik.io/service-accounts", type="service_account")
ROLE = Role(id="r", description=f"{ACME.mark}:role", role_ids={"b": True})


def steps_of(found: Identity) -> dict[str, Step]:
    return {step.id.removeprefix("authentik/"): step for step in plan.identity(ACME, found).steps}


# -- the account ------------------------------------------------------------------------------------


def test_an_account_is_made_marked_and_joined_in_this_order() -> None:
    steps = steps_of(Identity(group="users", old=(), clients={}))
    assert list(steps) == ["service-account/canary", "user/canary", "membership/canary"]
    assert steps["service-account/canary"].body == {
        "name": "dezky-probe@acme.test",
        "create_group": False,
        "expiring": False,
    }
    marked, joined = steps["user/canary"], steps["membership/canary"]
    assert marked.body["attributes"] == MARKS
    assert marked.body["path"] == "dezky/tenants/acme"
    assert "authentik/service-account/canary" in marked.waits_for
    assert marked.id in joined.waits_for, "nobody without a mark is ever in the tenant's group"
    assert joined.target == "users"


def test_the_canaries_of_before_go_first() -> None:
    steps = steps_of(Identity(group="users", old=(OLD, HALF_MADE), clients={}))
    assert [step.verb for step in steps.values()][:2] == [Verb.DELETE, Verb.DELETE]
    assert {"authentik/user/canary-7", "authentik/user/canary-8"} <= steps["service-account/canary"].waits_for


def test_the_password_of_an_account_is_in_no_step() -> None:
    """It comes back from the create, and goes into no body."""
    refs = [ref for step in steps_of(Identity(group="users", old=(), clients={})).values() for ref in _outputs(step)]
    assert set(refs) == {"id"}


def _outputs(step: Step) -> list[str]:
    values = [*step.body.values(), step.target]
    return [value.output for value in values if isinstance(value, Ref)]


@pytest.mark.parametrize(
    ("change", "own", "half"),
    [
        ({}, True, False),
        ({"path": "users"}, False, False),
        ({"attributes": {**MARKS, USER_TENANT: "another"}}, False, False),
        ({"attributes": {**MARKS, "dezky": {"tenant": "acme"}}}, False, False),
        ({"attributes": {**MARKS, "dezky": "canary"}}, False, False),
        ({"is_superuser": True}, False, False),
        ({"attributes": {}, "groups": ()}, False, True),
        ({"attributes": {}}, False, False),
        ({"attributes": {}, "groups": (), "type": "internal"}, False, False),
        ({"attributes": {}, "groups": (), "is_superuser": True}, False, False),
        ({"attributes": {}, "groups": (), "username": "anna@acme.test"}, False, False),
    ],
)
def test_only_what_is_certainly_ours_is_replaced(change: dict[str, object], own: bool, half: bool) -> None:  # noqa: FBT001
    fields = {name: getattr(OLD, name) for name in OLD.__struct_fields__}
    user = User(**{**fields, **change})
    assert (is_own(ACME, user), is_half_made(ACME, user)) == (own, half)


# -- the mailbox -----------------------------------------------------------------------------------------


def mail(*accounts: Account, by_token: bool = True, roles: tuple[Role, ...] = (ROLE,), **changes: object) -> Mail:
    domain = Domain(id="d", name="acme.test", description=f"{ACME.mark}:domain")
    return Mail(
        intent=replace(ACME, **changes),  # type: ignore[arg-type]
        observed=Observed(roles=roles, domains={"acme.test": ObservedDomain(domain=domain, accounts=accounts)}),
        by_token=by_token,
    )


def account(**changes: object) -> Account:
    fields: dict[str, object] = {
        "id": "a",
        "name": "dezky-probe",
        "domain_id": "d",
        "roles": Roles(type="Custom", role_ids={"r": True}),
        "quotas": {"maxDiskQuota": CANARY_QUOTA},
    }
    return Account(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_missing_mailbox_is_made_small_and_with_the_tenants_role() -> None:
    (step,) = plan.mail(mail()).steps
    assert (step.kind, step.verb) == ("account", Verb.CREATE)
    assert step.body["roles"] == {"@type": "Custom", "roleIds": {"r": True}}
    assert step.body["quotas"] == {"maxDiskQuota": CANARY_QUOTA}
    assert "credentials" not in step.body


def test_a_mailbox_that_is_right_is_left_alone_where_a_directory_rules() -> None:
    assert plan.mail(mail(account())).steps == ()


def test_without_a_directory_it_gets_a_new_password_that_no_step_holds() -> None:
    (password,) = plan.mail(mail(account(), by_token=False)).steps
    assert (password.kind, password.target, dict(password.body)) == ("password", "a", {})
    made, after = plan.mail(mail(by_token=False)).steps
    assert made.id in after.waits_for
    assert resolved(after, {made.id: {"id": "new"}}).target == "new"


def test_a_mailbox_that_was_closed_gets_the_tenants_role_alone() -> None:
    """A canary that left the group has the disabled role beside it: the control would fail."""
    left = account(roles=Roles(type="Custom", role_ids={"r": True, "x": True}))
    (step,) = plan.mail(mail(left)).steps
    assert step.body == {"roles": {"@type": "Custom", "roleIds": {"r": True}}}


def test_somebody_elses_mailbox_is_told_of_and_gets_no_password() -> None:
    stranger = account(roles=Roles(type="User"))
    found = plan.mail(mail(stranger, by_token=False, adoption=Adoption.NEVER))
    assert (found.steps, [obstacle.reason for obstacle in found.obstacles]) == ((), ["ForeignObject"])


# -- the link --------------------------------------------------------------------------------------------


def test_a_link_to_an_empty_folder_ends_by_itself() -> None:
    drive = Drive(id="storage$space", name="Acme", drive_alias="project/dezky-acme")
    folder, link = plan.files(drive, datetime(2026, 11, 24, 1, tzinfo=UTC)).steps
    assert (folder.name, folder.target) == (".dezky-probe", "storage$space")
    assert link.body == {"item": Ref(System.OCIS, "folder", "canary"), "until": "2026-11-24T01:00:00+00:00"}
    assert folder.id in link.waits_for


# -- nobody ----------------------------------------------------------------------------------------------


def member(username: str) -> Member:
    return Member(pk=1, username=username, name=username, email=username, is_active=True, signed_in=False)


def test_a_canary_is_known_also_by_an_earlier_domain() -> None:
    assert [ACME.is_canary(name) for name in ("dezky-probe@acme.test", "Dezky-Probe@old.test")] == [True, True]
    assert not ACME.is_canary("anna@acme.test")
    assert not replace(ACME, canary=None).is_canary("dezky-probe@acme.test")


def test_a_canary_without_a_mailbox_is_nobody_to_tell_of() -> None:
    intent = replace(ACME, domains=(), members=(member("dezky-probe@acme.test"), member("anna@acme.test")))
    assert without_mailbox(intent) == ("anna@acme.test",)


def test_a_canarys_mailbox_stays_as_small_as_it_was_made() -> None:
    wanted = desired(replace(ACME, members=(member("dezky-probe@acme.test"), member("anna@acme.test")))).mailboxes
    assert {address: found.quota for address, found in wanted.items()} == {
        "anna@acme.test": 5 * 2**30,
        "dezky-probe@acme.test": CANARY_QUOTA,
    }
