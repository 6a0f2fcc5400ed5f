"""The Stalwart integration over real HTTP, with the daily key that bootstrap makes: nothing here has more rights."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from dezky_operator.integrations.apply import Outputs, resolved
from dezky_operator.integrations.errors import AlreadyExists, AuthFailed, IntegrationError, RateLimited, Rejected
from dezky_operator.integrations.intent import Adoption, Phase
from dezky_operator.integrations.stalwart.bootstrap import Plan as Wanted
from dezky_operator.integrations.stalwart.bootstrap import StalwartBootstrap
from dezky_operator.integrations.stalwart.model import Account, Role
from dezky_operator.integrations.steps import Verb
from tests.mail import INSTALLATION, Mail, intent, mail, members, without_ids
from tests.sandbox.stalwart.objects import Record
from tests.sandbox.stalwart.server import StalwartStandIn
from tests.sandbox.standin import Fault

ADMIN = "Basic YWRtaW46YWRtaW4tcGFzc3dvcmQ="
TEAM = members("anna@acme.test", "Bob@acme.test", "guest@elsewhere.test")


@pytest.fixture
async def server() -> AsyncIterator[StalwartStandIn]:
    async with StalwartStandIn() as found:
        yield found


@pytest.fixture
async def daily(server: StalwartStandIn) -> AsyncIterator[Mail]:
    async with _daily(server) as found:
        yield found


class _daily:  # noqa: N801 - read as a word: `async with _daily(server) as post`
    """Bootstrap, then an integration with the key it made."""

    def __init__(self, server: StalwartStandIn) -> None:
        self._server = server

    async def __aenter__(self) -> Mail:
        async with mail(self._server.url, ADMIN) as admin:
            made = await StalwartBootstrap(admin.client, Wanted(installation_id=INSTALLATION)).run()
        self._server.calls.clear()
        self._open = mail(self._server.url, f"Bearer {made.key}")
        return await self._open.__aenter__()

    async def __aexit__(self, *error: object) -> None:
        await self._open.__aexit__(None, None, None)


def _one(server: StalwartStandIn, kind: str, **fields: object) -> Record:
    found = [
        one for one in server.objects.by_type[kind].values() if all(one[key] == value for key, value in fields.items())
    ]
    assert len(found) == 1, f"{len(found)} {kind} with {fields}"
    return found[0]


def _account(server: StalwartStandIn, address: str) -> Record:
    return server.objects.by_type["Account"][server.objects.addresses[address][1]]


# -- from nothing ---------------------------------------------------------------------------


async def test_a_new_tenant_gets_its_domain_keys_and_mailboxes(server: StalwartStandIn, daily: Mail) -> None:
    """C016: mail domain, role, DKIM keys and the mailboxes of the members."""
    wanted = intent(members=TEAM, mailbox_quota=2**30)
    await daily.settle(wanted)
    domain = _one(server, "Domain", name="acme.test")
    assert domain["description"] == f"{wanted.mark}:domain"
    assert domain["dkimManagement"] == {"@type": "Manual"}
    stages = {(key["@type"], key["stage"]) for key in server.objects.by_type["DkimSignature"].values()}
    assert stages == {("Dkim1RsaSha256", "pending"), ("Dkim1Ed25519Sha256", "pending")}
    role = _one(server, "Role", description=f"{wanted.mark}:role")
    assert role["roleIds"] == {"b": True}
    bob = _account(server, "bob@acme.test")
    assert bob["roles"] == {"@type": "Custom", "roleIds": {role["id"]: True}}
    assert bob["quotas"] == {"maxDiskQuota": 2**30}
    assert bob["credentials"] == {}


async def test_the_second_round_writes_nothing(server: StalwartStandIn, daily: Mail) -> None:
    """C014: no step, and not one write on the wire."""
    await daily.settle(intent(members=TEAM))
    server.calls.clear()
    plan = await daily.round(intent(members=TEAM))
    assert plan.steps == ()
    assert server.writes == []
    assert 0 < len(server.calls) <= 4


async def test_a_member_without_an_address_in_the_domains_gets_no_mailbox(server: StalwartStandIn, daily: Mail) -> None:
    await daily.settle(intent(members=TEAM))
    assert set(server.objects.addresses) == {"dezky-operator@dezky.test", "anna@acme.test", "bob@acme.test"}


async def test_while_the_members_are_unknown_only_the_administrator_gets_a_mailbox(
    server: StalwartStandIn, daily: Mail
) -> None:
    await daily.settle(intent(members=TEAM))
    plan = await daily.planned(intent(members=None))
    assert plan.steps == ()
    assert "bob@acme.test" in server.objects.addresses


async def test_a_key_signs_once_its_record_was_seen(server: StalwartStandIn, daily: Mail) -> None:
    await daily.settle(intent())
    await daily.settle(intent(published_dkim=frozenset({("acme.test", "dezky1-rsa")})))
    assert _one(server, "DkimSignature", selector="dezky1-rsa")["stage"] == "active"
    assert _one(server, "DkimSignature", selector="dezky1-ed25519")["stage"] == "pending"


async def test_the_zone_of_a_new_domain_names_both_keys(daily: Mail) -> None:
    await daily.settle(intent())
    found = await daily.integration.observe(intent())
    records = found.domains["acme.test"].records
    keys = {record.name: record.value for record in records if "_domainkey" in record.name}
    assert set(keys) == {"dezky1-rsa._domainkey.acme.test", "dezky1-ed25519._domainkey.acme.test"}
    assert len(keys["dezky1-rsa._domainkey.acme.test"]) > 400, "both strings of the long key are one value"


# -- people and domains come and go -----------------------------------------------------------


async def test_a_person_who_left_keeps_the_mail_but_can_not_log_in(server: StalwartStandIn, daily: Mail) -> None:
    await daily.settle(intent(members=TEAM))
    await daily.settle(intent(members=members("anna@acme.test")))
    bob = _account(server, "bob@acme.test")
    assert not server.may_log_in(bob)
    assert server.may_log_in(_account(server, "anna@acme.test"))


async def test_a_person_who_comes_back_can_log_in_again(server: StalwartStandIn, daily: Mail) -> None:
    await daily.settle(intent(members=TEAM))
    before = _account(server, "bob@acme.test")["id"]
    await daily.settle(intent(members=members("anna@acme.test")))
    await daily.settle(intent(members=TEAM))
    assert _account(server, "bob@acme.test")["id"] == before
    assert server.may_log_in(_account(server, "bob@acme.test"))


async def test_a_domain_that_left_the_spec_is_kept(server: StalwartStandIn, daily: Mail) -> None:
    both = ("acme.test", "old.test")
    await daily.settle(intent(domains=both, members=members("anna@acme.test", "olga@old.test")))
    plan = await daily.settle(intent(known_domains=both))
    assert plan.in_sync
    assert "olga@old.test" in server.objects.addresses


async def test_a_detached_domain_goes_when_a_person_confirmed_it(server: StalwartStandIn, daily: Mail) -> None:
    both = ("acme.test", "old.test")
    await daily.settle(intent(domains=both, members=members("anna@acme.test", "olga@old.test")))
    server.objects.create("MailingList", {"name": "all", "domainId": _one(server, "Domain", name="old.test")["id"]})
    await daily.settle(intent(known_domains=both, removable=frozenset({"old.test"})))
    assert "old.test" not in server.objects.names
    assert not [address for address in server.objects.addresses if address.endswith("@old.test")]
    assert "anna@acme.test" in server.objects.addresses


# -- drift ------------------------------------------------------------------------------------


DRIFT: dict[str, tuple[str, dict[str, object], Record]] = {
    "domain off": ("Domain", {"name": "acme.test"}, {"isEnabled": False}),
    "domain relays": ("Domain", {"name": "acme.test"}, {"allowRelaying": True}),
    "catch-all": ("Domain", {"name": "acme.test"}, {"catchAllAddress": "spy@other.test"}),
    "keys automatic": ("Domain", {"name": "acme.test"}, {"dkimManagement": {"@type": "Automatic"}}),
    "role locked": ("Role", {}, {"disabledPermissions": {"authenticate": True}}),
    "role widened": ("Role", {}, {"enabledPermissions": {"impersonate": True}}),
    "role's parent": ("Role", {}, {"roleIds": {"e": True}}),
    "quota": ("Account", {"name": "anna"}, {"quotas": {"maxDiskQuota": 1}}),
    "account's role": (
        "Account",
        {"name": "anna"},
        {"roles": {"@type": "Custom", "roleIds": {"ROLE": True, "e": True}}},
    ),
}


@pytest.mark.parametrize("what", DRIFT)
async def test_drift_is_put_back_by_one_step(what: str, server: StalwartStandIn, daily: Mail) -> None:
    """C014: every field that is ours to keep."""
    await daily.settle(intent())
    kind, fields, changes = DRIFT[what]
    fields = {"description": f"{intent().mark}:role"} if kind == "Role" else fields
    found = _one(server, kind, **fields)
    before = {key: found[key] for key in changes}
    role = _one(server, "Role", description=f"{intent().mark}:role")["id"]
    if "roles" in changes:
        changes = {"roles": {"@type": "Custom", "roleIds": {role: True, "e": True}}}
    server.objects.update(kind, found["id"], changes)
    plan = await daily.round(intent())
    assert [(step.verb, step.fields) for step in plan.steps] == [(Verb.UPDATE, tuple(changes))]
    assert {key: found[key] for key in changes} == before
    assert (await daily.planned(intent())).in_sync


async def test_what_was_deleted_by_another_hand_is_made_again(server: StalwartStandIn, daily: Mail) -> None:
    await daily.settle(intent())
    whole = without_ids(server.objects.by_type)
    for key in list(server.objects.by_type["DkimSignature"]):
        server.objects.destroy("DkimSignature", key)
    server.objects.destroy("Account", _account(server, "anna@acme.test")["id"])
    await daily.settle(intent())
    assert without_ids(server.objects.by_type) == whole


async def test_a_display_name_that_a_person_chose_is_left_alone(server: StalwartStandIn, daily: Mail) -> None:
    await daily.settle(intent())
    _account(server, "anna@acme.test")["description"] = "Anna B."
    assert (await daily.planned(intent())).steps == ()


async def test_other_quotas_of_a_mailbox_stay(server: StalwartStandIn, daily: Mail) -> None:
    await daily.settle(intent())
    _account(server, "anna@acme.test")["quotas"] = {"maxEmails": 5}
    await daily.settle(intent(mailbox_quota=100))
    assert _account(server, "anna@acme.test")["quotas"] == {"maxEmails": 5, "maxDiskQuota": 100}


# -- what is somebody else's -------------------------------------------------------------------


async def test_a_foreign_domain_is_not_touched(server: StalwartStandIn, daily: Mail) -> None:
    """C034: our name, no mark; told, and nothing made in it."""
    manual = {"@type": "Manual"}  # automatic keys would come from a worker, in the middle of this
    server.objects.create("Domain", {"name": "acme.test", "description": "Peter's", "dkimManagement": manual})
    whole = without_ids(server.objects.by_type)
    plan = await daily.settle(intent())
    assert [found.reason for found in plan.obstacles] == ["ForeignObject"]
    assert "acme.test" in plan.obstacles[0].message
    after = without_ids(server.objects.by_type)
    assert after.pop("Role") != whole.pop("Role"), "the role has a name of its own and is made"
    assert after == whole


@pytest.mark.parametrize(
    ("description", "adoption", "taken"),
    [
        (None, Adoption.NEVER, False),
        (None, Adoption.IF_UNOWNED, True),
        ("dezky:other:tenant:domain", Adoption.IF_UNOWNED, False),
        ("dezky:other:tenant:domain", Adoption.FORCE, True),
        ("dezky:living:tenant:domain", Adoption.FORCE, False),
        ("dezky:any:platform", Adoption.FORCE, False),
    ],
)
async def test_adoption_takes_what_it_may(
    description: str | None,
    adoption: Adoption,
    taken: bool,  # noqa: FBT001 - a column of the table
    server: StalwartStandIn,
    daily: Mail,
) -> None:
    """C034: never by default, unmarked ones on demand, another's only by force and never a living tenant's."""
    domain = server.objects.create("Domain", {"name": "acme.test", "description": description})
    wanted = intent(adoption=adoption, living_marks=frozenset({"dezky:living:tenant"}))
    plan = await daily.settle(wanted)
    assert plan.in_sync is taken
    assert (domain["description"] == f"{wanted.mark}:domain") is taken
    assert ("anna@acme.test" in server.objects.addresses) is taken


async def test_a_domain_is_taken_with_the_mailboxes_in_it(server: StalwartStandIn, daily: Mail) -> None:
    domain = server.objects.create("Domain", {"name": "acme.test", "dkimManagement": {"@type": "Manual"}})
    anna = server.objects.create("Account", {"@type": "User", "name": "anna", "domainId": domain["id"]})
    await daily.round(intent(adoption=Adoption.IF_UNOWNED))
    assert (await daily.planned(intent(adoption=Adoption.IF_UNOWNED))).in_sync, "one round is enough"
    assert _account(server, "anna@acme.test")["id"] == anna["id"]
    assert anna["roles"]["@type"] == "Custom"


@pytest.mark.parametrize("adoption", list(Adoption))
async def test_an_account_of_a_living_tenant_is_never_taken(
    adoption: Adoption, server: StalwartStandIn, daily: Mail
) -> None:
    beta = intent("beta")
    await daily.settle(beta)
    await daily.settle(intent(members=(), admin=None))
    role = _one(server, "Role", description=f"{beta.mark}:role")["id"]
    domain = _one(server, "Domain", name="acme.test")["id"]
    roles = {"@type": "Custom", "roleIds": {role: True}}
    server.objects.create("Account", {"@type": "User", "name": "anna", "domainId": domain, "roles": roles})
    wanted = intent(adoption=adoption, living_marks=frozenset({beta.mark}))
    plan = await daily.planned(wanted)
    assert plan.steps == ()
    assert "is marked" in plan.obstacles[0].message


async def test_an_address_that_is_a_list_stops_only_that_mailbox(server: StalwartStandIn, daily: Mail) -> None:
    await daily.settle(intent(members=(), admin=None))
    domain = _one(server, "Domain", name="acme.test")["id"]
    server.objects.create("MailingList", {"name": "bob", "domainId": domain})
    await daily.round(intent(members=TEAM))
    left = await daily.planned(intent(members=TEAM))
    assert [step.name for step in left.steps] == ["bob@acme.test"]
    with pytest.raises(Rejected, match=r"bob@acme\.test belongs to another account or list"):
        await daily.integration.perform(left.steps[0])


async def test_two_tenants_do_not_see_each_other(daily: Mail) -> None:
    acme, beta = intent(members=TEAM), intent("beta")
    await asyncio.gather(daily.settle(acme), daily.settle(beta))
    assert (await daily.planned(acme)).in_sync
    assert (await daily.planned(beta)).in_sync
    await daily.settle(intent(members=TEAM, phase=Phase.PURGED))
    assert (await daily.planned(beta)).in_sync


async def test_the_owner_of_a_domain_is_told_by_its_mark(server: StalwartStandIn, daily: Mail) -> None:
    await daily.settle(intent())
    server.objects.create("Domain", {"name": "theirs.test"})
    marks = await daily.integration.domain_marks({"acme.test", "theirs.test", "nobody.test"})
    assert marks == {"acme.test": f"{intent().mark}:domain", "theirs.test": None}


# -- lost answers --------------------------------------------------------------------------------


async def test_an_answer_lost_at_any_write_ends_in_the_same_state() -> None:
    """C031: each write in turn is done but not answered; the next rounds find it and double nothing."""
    wanted = intent(domains=("acme.test", "two.test"), members=members("anna@acme.test", "bob@two.test"))
    async with StalwartStandIn() as server, _daily(server) as post:
        await post.settle(wanted)
        expected = without_ids(server.objects.by_type)
    for number in range(40):
        async with StalwartStandIn() as server, _daily(server) as post:
            fault = Fault(match="/set", lost=True, times=1, after=number)
            server.faults.append(fault)
            await post.settle(wanted)
            assert without_ids(server.objects.by_type) == expected, f"write {number}"
            if fault.times:
                assert number >= 3, "a tenant needs more writes than that"
                return
    raise AssertionError("the writes never end")


async def test_a_purge_whose_answers_are_lost_ends_clean(server: StalwartStandIn, daily: Mail) -> None:
    before = without_ids(server.objects.by_type)
    await daily.settle(intent(members=TEAM))
    server.faults.append(Fault(match="destroy", lost=True, times=2))
    await daily.settle(intent(phase=Phase.PURGED))
    assert without_ids(server.objects.by_type) == before


# -- the credential ------------------------------------------------------------------------------


async def test_a_refused_key_is_tried_once_and_then_not_until_it_changes(server: StalwartStandIn, daily: Mail) -> None:
    """C030: a hundred wrong passwords would ban the node."""
    good, daily.given.header, daily.given.version = daily.given.header, "Bearer API_bm9wZQ", "2"
    with pytest.raises(AuthFailed, match="Secret dezky-system/stalwart, key token"):
        await daily.integration.observe(intent())
    assert 1 <= server.failures <= 4, "those that were in flight together"
    refused = server.failures
    for _ in range(3):
        with pytest.raises(AuthFailed):
            await daily.integration.observe(intent())
    assert server.failures == refused
    daily.given.header, daily.given.version = good, "3"
    await daily.settle(intent())


async def test_probe_tells_a_good_key_from_a_bad_one(daily: Mail) -> None:
    await daily.integration.probe()
    daily.given.header, daily.given.version = "Bearer API_bm9wZQ", "2"
    with pytest.raises(AuthFailed):
        await daily.integration.probe()


async def test_probe_names_a_server_that_is_too_old(server: StalwartStandIn, daily: Mail) -> None:
    server.faults.append(Fault(match="/api/account", status=404))
    with pytest.raises(Rejected, match=r"older than 0\.16"):
        await daily.integration.probe()


# -- the wire -------------------------------------------------------------------------------------


async def test_calls_that_come_together_travel_together(server: StalwartStandIn, daily: Mail) -> None:
    await asyncio.gather(*(daily.client.get("Role", ["b"], Role) for _ in range(40)))
    calls = [len(call.label.split(";")) for call in server.calls]
    assert sum(calls) == 40
    assert max(calls) <= 16
    assert len(calls) <= 3


async def test_reads_and_writes_never_share_a_request(server: StalwartStandIn, daily: Mail) -> None:
    await asyncio.gather(
        daily.client.get("Role", ["b"], Role), daily.client.create("Role", {"description": "x", "roleIds": {}})
    )
    assert sorted(call.label for call in server.calls) == ["x:Role/get", "x:Role/set create"]


async def test_one_bad_call_does_not_stop_those_it_travels_with(server: StalwartStandIn, daily: Mail) -> None:
    body = '{"type":"urn:ietf:params:jmap:error:notRequest","detail":"the whole request, hunter2 included"}'
    server.faults.append(Fault(match="x:Account/get", status=400, body=body))
    good, bad = await asyncio.gather(
        daily.client.get("Role", ["b"], Role), daily.client.get("Account", ["b"], Account), return_exceptions=True
    )
    assert isinstance(good, list)
    assert isinstance(bad, Rejected)
    assert "hunter2" not in str(bad)


async def test_every_page_is_read_and_no_row_is_lost(server: StalwartStandIn, daily: Mail) -> None:
    domain = server.objects.create("Domain", {"name": "big.test", "dkimManagement": {"@type": "Manual"}})
    for number in range(1105):
        server.objects.create("Account", {"@type": "User", "name": f"u{number}", "domainId": domain["id"]})
    ids = await daily.client.query("Account", {"domainId": domain["id"]})
    assert len(ids) == len(set(ids)) == 1105
    assert len(await daily.client.get("Account", ids, Account)) == 1105


async def test_a_full_rate_limit_is_told_with_its_pause(server: StalwartStandIn, daily: Mail) -> None:
    server.faults.append(Fault(match="/jmap", status=429, headers={"Retry-After": "37"}))
    with pytest.raises(RateLimited) as found:
        await daily.integration.observe(intent())
    assert found.value.retry_after == 37


async def test_too_many_requests_at_once_is_a_pause_and_no_defect(server: StalwartStandIn, daily: Mail) -> None:
    body = '{"type":"urn:ietf:params:jmap:error:limit","limit":"maxConcurrentRequests","status":400}'
    server.faults.append(Fault(match="/jmap", status=400, body=body))
    with pytest.raises(RateLimited):
        await daily.client.get("Role", ["b"], Role)


async def test_a_caller_that_gives_up_leaves_the_others_their_answers(server: StalwartStandIn, daily: Mail) -> None:
    server.faults.append(Fault(match="/jmap", latency=0.2, times=1))
    patient = asyncio.create_task(daily.client.get("Role", ["b"], Role))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await daily.client.get("Role", ["c"], Role)
    assert [role.id for role in await patient] == ["b"]


async def test_no_error_of_the_server_shows_a_private_key(server: StalwartStandIn, daily: Mail) -> None:
    """Bodies are never told: the answer to a malformed request repeats the whole of it."""
    for fault in (
        Fault(match="DkimSignature/set", status=400, body="BEGIN PRIVATE KEY"),
        Fault(match="/set", status=500),
    ):
        server.faults[:] = [fault]
        body = {"domainId": "b", "privateKey": {"@type": "Text", "secret": "BEGIN PRIVATE KEY"}}
        with pytest.raises(IntegrationError) as found:
            await daily.client.create("DkimSignature", body)
        assert "PRIVATE" not in f"{found.value}{found.value!r}"


# -- the end ---------------------------------------------------------------------------------------


async def test_a_purge_leaves_nothing_of_ours_and_touches_nothing_else(server: StalwartStandIn, daily: Mail) -> None:
    """C018: keys, lists, mailboxes, domains, roles; the neighbours stay as they are."""
    await daily.settle(intent("beta"))
    before = without_ids(server.objects.by_type)
    await daily.settle(intent(domains=("acme.test", "old.test"), members=TEAM))
    await daily.settle(intent(members=members("anna@acme.test"), known_domains=("acme.test", "old.test")))
    domain = _one(server, "Domain", name="acme.test")["id"]
    server.objects.create("MailingList", {"name": "all", "domainId": domain, "recipients": {"anna@acme.test": True}})
    sales = server.objects.create("Account", {"@type": "Group", "name": "sales", "domainId": domain})
    _account(server, "anna@acme.test")["memberGroupIds"] = {sales["id"]: True}
    await daily.round(intent(phase=Phase.PURGED, known_domains=("acme.test", "old.test")))
    assert without_ids(server.objects.by_type) == before, "in one round: a group goes after its members"


async def test_a_purge_stops_before_a_mailbox_that_is_not_ours(server: StalwartStandIn, daily: Mail) -> None:
    await daily.settle(intent())
    domain = _one(server, "Domain", name="acme.test")["id"]
    server.objects.create("Account", {"@type": "User", "name": "peter", "domainId": domain})
    plan = await daily.settle(intent(phase=Phase.PURGED))
    assert "peter@acme.test" in plan.obstacles[0].message
    assert not plan.in_sync
    assert "peter@acme.test" in server.objects.addresses
    assert "anna@acme.test" not in server.objects.addresses
    plan = await daily.settle(intent(phase=Phase.PURGED, adoption=Adoption.IF_UNOWNED))
    assert plan.in_sync
    assert "acme.test" not in server.objects.names


async def test_a_deleted_tenant_is_locked_and_nothing_else_of_it_is_changed(
    server: StalwartStandIn, daily: Mail
) -> None:
    await daily.settle(intent())
    _one(server, "Domain", name="acme.test")["catchAllAddress"] = "all@acme.test"
    found = await daily.round(intent(phase=Phase.DELETED, established=True))
    assert [(step.kind, step.fields) for step in found.steps] == [("role", ("disabledPermissions",))]
    assert not server.may_log_in(_account(server, "anna@acme.test"))


async def test_an_address_that_is_a_group_gets_no_mailbox(server: StalwartStandIn, daily: Mail) -> None:
    await daily.settle(intent(members=(), admin=None))
    domain = _one(server, "Domain", name="acme.test")["id"]
    server.objects.create("Account", {"@type": "Group", "name": "bob", "domainId": domain})
    plan = await daily.settle(intent(members=TEAM))
    assert ["is a group" in found.message for found in plan.obstacles] == [True]
    assert "anna@acme.test" in server.objects.addresses


async def test_an_account_made_elsewhere_at_the_same_moment_is_no_success(server: StalwartStandIn, daily: Mail) -> None:
    """The step was planned before the other hand was there: the answer names its object, and it is not ours."""
    await daily.settle(intent(members=(), admin=None))
    planned = await daily.planned(intent())
    domain = _one(server, "Domain", name="acme.test")["id"]
    server.objects.create("Account", {"@type": "User", "name": "anna", "domainId": domain})
    with pytest.raises(Rejected, match=r"anna@acme\.test belongs to another account"):
        await daily.integration.perform(planned.steps[0])


async def test_a_domain_made_elsewhere_at_the_same_moment_is_no_success(server: StalwartStandIn, daily: Mail) -> None:
    planned = await daily.planned(intent())
    other = server.objects.create("Domain", {"name": "acme.test"})
    with pytest.raises(AlreadyExists) as found:
        await daily.integration.perform(next(step for step in planned.steps if step.kind == "domain"))
    assert found.value.existing_id == other["id"]
    assert other["description"] is None


@pytest.mark.parametrize("kind", ["role", "domain", "dkim", "account"])
async def test_a_create_that_was_done_before_gives_the_same_object(
    kind: str, server: StalwartStandIn, daily: Mail
) -> None:
    """C031: the same step after a crash between its write and the record of it."""
    outputs: dict[str, Outputs] = {}
    plan = await daily.planned(intent())
    for step in plan.steps:
        outputs[step.id] = await daily.integration.perform(resolved(step, outputs))
    whole = without_ids(server.objects.by_type)
    for step in plan.steps:
        if step.kind == kind:
            assert await daily.integration.perform(resolved(step, outputs)) == outputs[step.id]
    assert without_ids(server.objects.by_type) == whole
