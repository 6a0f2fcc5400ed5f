"""The plan as a pure function: over any world it is the same twice, ends, and leaves alone what is not ours."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from dezky_operator.integrations.apply import Outputs, resolved
from dezky_operator.integrations.intent import Adoption, Phase, TenantIntent
from dezky_operator.integrations.stalwart.desired import desired
from dezky_operator.integrations.stalwart.duplicates import SURPLUS
from dezky_operator.integrations.stalwart.model import Account, DkimKey, Domain, MailingList, Role, Roles, Variant
from dezky_operator.integrations.stalwart.observe import (
    Observed,
    ObservedDomain,
    disabled_mark,
    domain_mark,
    role_mark,
)
from dezky_operator.integrations.stalwart.plan import plan
from dezky_operator.integrations.steps import Plan, Ref, Step, Verb
from tests.mail import intent, members

USER_ROLES = ("b",)
NOTHING = Observed(domains={})
SHAPES: dict[str, type[msgspec.Struct]] = {"domain": Domain, "dkim": DkimKey, "account": Account, "role": Role}


def planned(wanted: TenantIntent, observed: Observed) -> Plan:
    return plan(wanted, USER_ROLES, desired(wanted), observed)


def keys(found: Plan) -> list[str]:
    return [f"{step.verb} {step.kind}/{step.key}" for step in found.steps]


# -- a server of values ----------------------------------------------------------------------


def ordered(steps: tuple[Step, ...]) -> Iterator[Step]:
    """Steps in an order that keeps what each one follows. Fails on a circle."""
    waiting = {step.id: step for step in steps}
    while waiting:
        free = [step for step in waiting.values() if not step.waits_for & (waiting.keys() - {step.id})]
        assert free, "steps wait for each other in a circle"
        for step in free:
            yield waiting.pop(step.id)


def after(wanted: TenantIntent, observed: Observed, steps: tuple[Step, ...]) -> Observed:
    """What would be observed once the steps are done; fails where a real server would refuse one."""
    things: dict[str, msgspec.Struct] = {}
    for role in (*observed.roles, *observed.disabled_roles):
        things[f"role {role.id}"] = role
    for found in observed.domains.values():
        things[f"domain {found.domain.id}"] = found.domain
        things |= {f"dkim {key.id}": key for key in found.keys}
        things |= {f"account {one.id}": one for one in found.accounts}
        things |= {f"list {one.id}": one for one in found.lists}
    outputs: dict[str, Outputs] = {}
    numbers = itertools.count(1)
    for step in ordered(steps):
        bound = resolved(step, outputs)
        if bound.verb is Verb.CREATE:
            key = f"new{next(numbers)}"
            things[f"{step.kind} {key}"] = msgspec.convert({**bound.body, "id": key}, SHAPES[step.kind])
        elif bound.verb is Verb.DELETE:
            key = str(bound.target)
            gone = things.pop(f"{step.kind} {key}")
            links = [one for one in things.values() if getattr(one, "domain_id", None) == getattr(gone, "id", None)]
            assert step.kind != "domain" or not links, "a linked domain can not be destroyed"
        else:
            key = str(bound.target)
            old = msgspec.to_builtins(things[f"{step.kind} {key}"])
            things[f"{step.kind} {key}"] = msgspec.convert({**old, **bound.body}, SHAPES[step.kind])
        outputs[step.id] = {"id": key}
    return seen(wanted, observed, list(things.values()))


def seen(wanted: TenantIntent, before: Observed, things: list[msgspec.Struct]) -> Observed:
    roles = [one for one in things if isinstance(one, Role)]
    domains: dict[str, ObservedDomain] = {}
    for domain in (one for one in things if isinstance(one, Domain)):
        domains[domain.name] = ObservedDomain(
            domain=domain,
            keys=tuple(one for one in things if isinstance(one, DkimKey) and one.domain_id == domain.id),
            accounts=tuple(one for one in things if isinstance(one, Account) and one.domain_id == domain.id),
            lists=tuple(one for one in things if isinstance(one, MailingList) and one.domain_id == domain.id),
        )
    return replace(
        before,
        roles=tuple(one for one in roles if one.description == role_mark(wanted)),
        disabled_roles=tuple(one for one in roles if one.description == disabled_mark(wanted)),
        domains=domains,
    )


# -- worlds -----------------------------------------------------------------------------------

NAMES = ("acme.test", "two.test", "old.test")
PEOPLE = ("anna", "bob", "cleo")
THEIRS = "dezky:other:tenant"
TEN = intent()


def flags(name: str) -> st.SearchStrategy[dict[str, bool]]:
    return st.sampled_from([{}, {name: True}])


@st.composite
def intents(draw: st.DrawFn) -> TenantIntent:
    domains = tuple(draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1)))
    people = [f"{who}@{where}" for who in PEOPLE for where in (*NAMES, "elsewhere.test")]
    return intent(
        phase=draw(st.sampled_from([Phase.ACTIVE, Phase.ACTIVE, Phase.PURGED, Phase.DELETED])),
        adoption=draw(st.sampled_from(list(Adoption))),
        domains=domains,
        known_domains=tuple(draw(st.lists(st.sampled_from(NAMES), unique=True))),
        removable=draw(st.frozensets(st.sampled_from(NAMES), max_size=1)),
        members=draw(st.none() | st.lists(st.sampled_from(people), unique=True).map(lambda names: members(*names))),
        mailbox_quota=draw(st.sampled_from([0, 5])),
        published_dkim=frozenset(draw(st.lists(st.tuples(st.sampled_from(NAMES), st.just("dezky1-rsa")), max_size=2))),
        living_marks=draw(st.sampled_from([frozenset[str](), frozenset({THEIRS})])),
    )


@st.composite
def worlds(draw: st.DrawFn) -> Observed:
    roles = tuple(
        Role(
            id=f"r{number}",
            description=role_mark(TEN),
            role_ids={"b": True},
            disabled_permissions=draw(flags("authenticate")),
        )
        for number in range(draw(st.integers(0, 2)))
    )
    disabled = tuple(
        Role(id=f"q{number}", description=disabled_mark(TEN), disabled_permissions=draw(flags("authenticate")))
        for number in range(draw(st.integers(0, 1)))
    )
    domains = [name for name in NAMES if draw(st.booleans())]
    held = [role.id for role in (*roles, *disabled)]
    return Observed(
        roles=roles,
        disabled_roles=disabled,
        domains={name: draw(observed_domains(name, held)) for name in domains},
        strangers={"x": f"{THEIRS}:role", "y": "People of sales"},
    )


@st.composite
def observed_domains(draw: st.DrawFn, name: str, roles: list[str]) -> ObservedDomain:
    domain = Domain(
        id=f"d-{name}",
        name=name,
        description=draw(st.sampled_from([domain_mark(TEN), domain_mark(TEN), None, "", f"{THEIRS}:domain"])),
        is_enabled=draw(st.booleans()),
        catch_all_address=draw(st.sampled_from([None, f"all@{name}"])),
        dkim_management=Variant(type=draw(st.sampled_from(["Manual", "Automatic"]))),
    )
    return ObservedDomain(
        domain=domain,
        keys=tuple(
            DkimKey(
                id=f"k-{name}-{selector}",
                type="Dkim1RsaSha256",
                domain_id=domain.id,
                selector=selector,
                stage="pending",
            )
            for selector in draw(st.lists(st.sampled_from(["dezky1-rsa", "old"]), unique=True))
        ),
        accounts=tuple(
            Account(
                id=f"a-{name}-{who}",
                type=draw(st.sampled_from(["User", "User", "Group"])),
                name=who,
                domain_id=domain.id,
                roles=draw(
                    st.just(Roles())
                    | st.frozensets(st.sampled_from([*roles, "x", "y"]), min_size=1).map(
                        lambda held: Roles(type="Custom", role_ids=dict.fromkeys(sorted(held), True))
                    )
                ),
                quotas=draw(st.sampled_from([{}, {"maxDiskQuota": 5}, {"maxEmails": 1}])),
            )
            for who in [who for who in PEOPLE if draw(st.booleans())]
        ),
        lists=tuple(
            MailingList(id=f"l-{name}", name="all", domain_id=domain.id) for _ in range(draw(st.integers(0, 1)))
        ),
    )


@given(intents(), worlds())
def test_one_round_is_enough(wanted: TenantIntent, observed: Observed) -> None:
    """C014: what a plan leaves behind needs no further step, whatever was there before."""
    # A record can only have been seen for a key that is there.
    have = {(name, key.selector) for name, found in observed.domains.items() for key in found.keys}
    wanted = replace(wanted, published_dkim=wanted.published_dkim & have)
    first = planned(wanted, observed)
    then = after(wanted, observed, first.steps)
    # Only a role too many waits for the next look: it goes when nothing has it any more.
    assert [key for key in keys(planned(wanted, then)) if not key.endswith("/surplus")] == []


@given(intents(), worlds())
def test_the_same_world_gives_the_same_plan(wanted: TenantIntent, observed: Observed) -> None:
    assert planned(wanted, observed) == planned(wanted, observed)
    shuffled = replace(observed, domains=dict(reversed(list(observed.domains.items()))))
    assert sorted(keys(planned(wanted, shuffled))) == sorted(keys(planned(wanted, observed)))


@given(intents(), worlds())
def test_no_step_touches_a_domain_that_may_not_be_taken(wanted: TenantIntent, observed: Observed) -> None:
    """C034: nor anything in it."""
    forbidden: set[str] = set()
    for name, found in observed.domains.items():
        if name not in observed.takeable(wanted):
            forbidden |= {found.domain.id, *(key.id for key in found.keys), *(item.id for item in found.lists)}
            forbidden |= {account.id for account in found.accounts}
    plan_ = planned(wanted, observed)
    assert not {str(step.target) for step in plan_.steps} & forbidden
    assert not {str(step.body.get("domainId")) for step in plan_.steps} & forbidden


@given(intents(), worlds())
def test_no_step_touches_a_mailbox_that_may_not_be_taken(wanted: TenantIntent, observed: Observed) -> None:
    """C034: a mailbox's role is its mark; one of another tenant's, or of nobody, stays unless adoption says so."""
    forbidden = {
        account.id
        for found in observed.domains.values()
        for account in found.accounts
        if account.type == "User" and not observed.owner(account, wanted).takeable(wanted.adoption)
    }
    assert not {str(step.target) for step in planned(wanted, observed).steps} & forbidden


@given(intents(), worlds())
def test_nothing_but_a_purge_or_a_confirmed_detach_destroys(wanted: TenantIntent, observed: Observed) -> None:
    """But for what is there twice, and nothing hangs on the second."""
    held = {role for found in observed.domains.values() for one in found.accounts for role in one.roles.role_ids}
    for step in planned(wanted, observed).steps:
        if step.verb is not Verb.DELETE or wanted.phase is Phase.PURGED:
            continue
        if step.reason == SURPLUS:
            assert step.target in {role.id for role in observed.roles[1:]} - held
            continue
        gone = [name for name in wanted.removable if name not in wanted.domains and name in wanted.known_domains]
        assert gone
        assert gone[0] in step.name


@given(intents(), worlds())
def test_a_deleted_tenant_is_locked_by_its_roles_alone(wanted: TenantIntent, observed: Observed) -> None:
    found = planned(replace(wanted, phase=Phase.DELETED, established=True), observed)
    assert {step.kind for step in found.steps} <= {"role"}
    assert found == planned(replace(wanted, phase=Phase.SUSPENDED, established=True), observed)
    locked = after(wanted, observed, found.steps)
    assert all("authenticate" in role.disabled_permissions for role in locked.roles)


@given(intents(), worlds())
def test_steps_have_names_of_their_own(wanted: TenantIntent, observed: Observed) -> None:
    ids = [step.id for step in planned(wanted, observed).steps]
    assert len(ids) == len(set(ids))


@given(intents(), worlds())
def test_an_update_names_the_fields_it_sends(wanted: TenantIntent, observed: Observed) -> None:
    for step in planned(wanted, observed).steps:
        if step.verb in {Verb.UPDATE, Verb.DISABLE}:
            assert step.fields == tuple(sorted(step.body))
            assert step.target is not None


# -- single sentences ---------------------------------------------------------------------------


def test_a_new_tenant_is_a_role_a_domain_two_keys_and_a_mailbox() -> None:
    """C016, in this order."""
    assert keys(planned(intent(), NOTHING)) == [
        "create role/main",
        "create domain/acme.test",
        "create dkim/acme.test/dezky1-rsa",
        "create dkim/acme.test/dezky1-ed25519",
        "create account/anna@acme.test",
    ]


def test_a_new_mailbox_waits_for_its_role_and_its_domain() -> None:
    step = planned(intent(), NOTHING).steps[-1]
    assert step.waits_for == {"stalwart/role/main", "stalwart/domain/acme.test"}
    assert isinstance(step.body["domainId"], Ref)


def test_a_new_domain_makes_no_keys_by_itself() -> None:
    """Automatic keys sign from their first second, before anybody can have published them."""
    step = planned(intent(), NOTHING).steps[1]
    assert step.body["dkimManagement"] == {"@type": "Manual"}


def test_a_mailbox_without_a_limit_has_no_quota() -> None:
    assert planned(intent(), NOTHING).steps[-1].body["quotas"] == {}
    assert planned(intent(mailbox_quota=3), NOTHING).steps[-1].body["quotas"] == {"maxDiskQuota": 3}


def test_a_tenant_without_domains_is_a_role_alone() -> None:
    assert keys(planned(intent(domains=(), admin=None, members=()), NOTHING)) == ["create role/main"]


def test_no_body_holds_a_private_key() -> None:
    """Plans are shown to people; keys are made while they are carried out."""
    assert "PRIVATE" not in str(planned(intent(), NOTHING))


def test_the_lowest_of_two_roles_counts() -> None:
    """Descriptions are not unique: two processes can have made one each."""
    roles = tuple(Role(id=key, description=role_mark(TEN), role_ids={"b": True}) for key in ("g", "h"))
    steps = planned(intent(), replace(NOTHING, roles=roles)).steps
    assert steps[-1].body["roles"] == {"@type": "Custom", "roleIds": {"g": True}}


def world(*accounts: Account, roles: tuple[Role, ...] = (), disabled: tuple[Role, ...] = ()) -> Observed:
    """The tenant's own domain with these accounts in it."""
    domain = Domain(id="d", name="acme.test", description=domain_mark(TEN), dkim_management=Variant(type="Manual"))
    found = ObservedDomain(domain=domain, accounts=accounts)
    return Observed(roles=roles, disabled_roles=disabled, domains={"acme.test": found})


def user(name: str, *roles: str, kind: str = "User") -> Account:
    held = Roles(type="Custom", role_ids=dict.fromkeys(roles, True)) if roles else Roles()
    return Account(id=f"a-{name}", type=kind, name=name, domain_id="d", roles=held)


MAIN = Role(id="g", description=role_mark(TEN), role_ids={"b": True})
LEFT = Role(id="h", description=disabled_mark(TEN), disabled_permissions={"authenticate": True})


def test_a_group_is_destroyed_after_its_members() -> None:
    """A server would refuse it while it is linked (facts/stalwart.md 11.9)."""
    purge = planned(intent(phase=Phase.PURGED), world(user("sales", kind="Group"), user("anna", "g"), roles=(MAIN,)))
    steps = {step.name: step for step in purge.steps}
    assert steps["sales@acme.test"].waits_for == {"stalwart/account/anna@acme.test"}
    assert steps["acme.test"].waits_for == {"stalwart/account/anna@acme.test", "stalwart/account/sales@acme.test"}
    assert steps["role of acme"].waits_for >= {"stalwart/domain/acme.test"}


def test_a_mailbox_without_the_role_is_told_and_left_alone() -> None:
    """C034."""
    found = planned(intent(), world(user("anna"), roles=(MAIN,)))
    assert not [step for step in found.steps if step.kind == "account"]
    assert found.obstacles[0].message.startswith("Stalwart's account anna@acme.test exists without this tenant's role")


def test_a_mailbox_that_has_only_the_role_of_those_who_left_is_still_ours() -> None:
    back = planned(intent(), world(user("anna", "h"), roles=(MAIN,), disabled=(LEFT,)))
    assert back.obstacles == ()
    assert [step.body for step in back.steps if step.kind == "account"] == [
        {"roles": {"@type": "Custom", "roleIds": {"g": True}}}
    ]


def test_those_who_left_stay_locked_out_while_the_members_are_unknown() -> None:
    opened = msgspec.structs.replace(LEFT, disabled_permissions={})
    found = planned(intent(members=None), world(user("bob", "g", "h"), roles=(MAIN,), disabled=(opened,)))
    assert "update role/disabled" in keys(found)
    assert not [step for step in found.steps if step.key == "bob@acme.test"]


def test_nobody_is_locked_out_while_the_members_are_unknown() -> None:
    found = planned(intent(members=None), world(user("bob", "g"), user("anna", "g"), roles=(MAIN,)))
    assert not [step for step in found.steps if step.kind in {"account", "role"}]


def test_an_active_key_is_left_alone_even_when_its_record_is_gone() -> None:
    key = DkimKey(id="k", type="Dkim1RsaSha256", domain_id="d", selector="dezky1-rsa", stage="active")
    domain = Domain(id="d", name="acme.test", description=domain_mark(TEN), dkim_management=Variant(type="Manual"))
    found = replace(NOTHING, domains={"acme.test": ObservedDomain(domain=domain, keys=(key,))})
    assert not [step for step in planned(intent(), found).steps if step.target == "k"]


def test_an_obstacle_says_what_a_person_can_do() -> None:
    domain = Domain(id="d", name="acme.test", description=None)
    found = replace(NOTHING, domains={"acme.test": ObservedDomain(domain=domain)})
    assert planned(intent(), found).obstacles[0].message == (
        "Stalwart's domain acme.test exists and carries no mark of this operator. It is not touched. "
        "Remove or rename it, or set spec.adoption: IfUnowned to take it."
    )
