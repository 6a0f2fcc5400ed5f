"""Control, lock, the same tokens again: over real HTTP, with the daily credentials, on the stand-ins."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace

import pytest
import structlog
from prometheus_client import generate_latest

from dezky_operator.crd.tenant import ReceiptStatus
from dezky_operator.integrations.canary.probe import SYSTEMS
from dezky_operator.integrations.intent import Phase
from dezky_operator.integrations.stalwart.desired import CANARY_QUOTA, without_mailbox
from dezky_operator.integrations.steps import System
from dezky_operator.telemetry.logging import QUIET
from tests.canary import Scene, Trail, receipts, scene, secrets_of, tenant
from tests.sandbox.authentik.kinds import Record
from tests.sandbox.authentik.visitor import Visitor
from tests.sandbox.standin import Call, Fault, Snapshot, StandIn

ACME = tenant()
ALL = {System.AUTHENTIK, System.STALWART, System.OCIS}


@pytest.fixture(scope="module")
async def provisioned() -> AsyncIterator[tuple[Scene, tuple[Snapshot, ...]]]:
    """Made once: the signing keys of mail take most of the time."""
    async with scene() as found:
        await found.settle(ACME)
        yield found, found.workspace.snapshot()


@pytest.fixture
def acme(provisioned: tuple[Scene, tuple[Snapshot, ...]]) -> Scene:
    """A provisioned tenant; people sign in to mail with tokens."""
    found, start = provisioned
    found.workspace.restore(start)
    found.clock.ahead = 0.0
    return found


def results(found: Mapping[System, ReceiptStatus]) -> dict[str, str]:
    return {str(system): receipt.result for system, receipt in found.items()}


def user(found: Scene, username: str | None = ACME.canary) -> Record:
    record = found.workspace.authentik.store.find("user", "username", username)
    assert record is not None
    return record


# -- the proof -------------------------------------------------------------------------------------


async def test_what_worked_before_a_suspension_is_refused_after_it(acme: Scene) -> None:
    """Design 6, Proof: own and shared refresh, a new sign-in, mail by token, the space, the link."""
    canary = acme.process()
    rehearsal = await canary.rehearse(ACME)
    assert (set(rehearsal.controls), rehearsal.failures) == (ALL, {})
    await acme.lock(ACME)
    found = await receipts(canary, rehearsal, ACME)
    assert set(results(found).values()) == {"Refused"}
    authentik, stalwart, ocis = (found[system] for system in SYSTEMS)
    assert authentik.tried == ("refresh of the own application", "refresh of files", "refresh of mail", "new sign-in")
    assert authentik.before is not None
    assert authentik.before.startswith("200 for refresh of the own application, refresh of files, refresh of mail")
    assert authentik.after is not None
    assert authentik.after.startswith("400 invalid_grant for refresh of the own application, refresh of files")
    assert (stalwart.before, (stalwart.after or "").partition(".")[0]) == (
        "200 for JMAP session",
        "403 for JMAP session",
    )
    assert (ocis.before, (ocis.after or "").partition(".")[0]) == ("207 for all", "404 for all")
    assert "valid for" in (ocis.after or ""), "how long the token lives that no lock takes back"


async def test_where_no_directory_rules_the_mailbox_has_a_password_of_its_own() -> None:
    """Design 12: 403 is the lock; it does not count towards a ban."""
    async with scene(directory=False) as found:
        await found.settle(ACME)
        canary = found.process()
        rehearsal = await canary.rehearse(ACME)
        assert set(rehearsal.controls) == ALL, rehearsal.failures
        failures = found.workspace.stalwart.failures
        await found.lock(ACME)
        receipt = (await receipts(canary, rehearsal, ACME))[System.STALWART]
        assert (receipt.result, receipt.after) == ("Refused", "403 for JMAP session")
        assert found.workspace.stalwart.failures == failures


async def test_the_canary_is_locked_like_everybody(acme: Scene) -> None:
    await acme.process().rehearse(ACME)
    await acme.lock(ACME)
    assert not user(acme)["is_active"]
    assert user(acme)["attributes"]["dezky"]["suspendedBy"] == str(ACME.tenant_id)


async def test_a_deactivation_that_another_hand_prevents_is_told_as_open(acme: Scene) -> None:
    """The own application is closed; only the deactivation ends the shared refresh (facts/authentik.md 11.3)."""
    canary = acme.process()
    rehearsal = await canary.rehearse(ACME)
    await acme.lock_but(ACME, "^authentik/user/")
    receipt = (await receipts(canary, rehearsal, ACME))[System.AUTHENTIK]
    assert receipt.result == "Open"
    assert "200 for refresh of files, refresh of mail" in (receipt.after or "")
    assert "400 invalid_grant for refresh of the own application" in (receipt.after or "")


async def test_what_was_open_is_tried_with_the_new_tokens_the_next_time(acme: Scene) -> None:
    """A refresh token works once: the spent one would be refused, lock or not."""
    canary = acme.process()
    rehearsal = await canary.rehearse(ACME)
    assert results(await receipts(canary, rehearsal, ACME))["authentik"] == "Open"
    assert results(await receipts(canary, rehearsal, ACME))["authentik"] == "Open"
    await acme.lock(ACME)
    assert results(await receipts(canary, rehearsal, ACME))["authentik"] == "Refused"


@pytest.mark.parametrize("system", [System.STALWART, System.OCIS])
async def test_a_lock_that_another_hand_undoes_is_told_as_open(acme: Scene, system: System) -> None:
    canary = acme.process()
    rehearsal = await canary.rehearse(ACME)
    await acme.lock(ACME)
    if system is System.OCIS:
        acme.workspace.ocis.store.spaces[str(ACME.spaces[0].id)].disabled = False
    else:
        plan = await acme.mail.planned(await acme.known(ACME))
        role = next(step for step in plan.steps if step.kind == "role")
        await acme.mail.integration.perform(role)
    found = results(await receipts(canary, rehearsal, ACME))
    assert found == {str(one): "Open" if one is system else "Refused" for one in SYSTEMS}


# -- what proves nothing -----------------------------------------------------------------------------


@pytest.mark.parametrize("silent", ["authentik", "stalwart", "ocis"])
async def test_without_a_control_nothing_is_claimed(acme: Scene, silent: str) -> None:
    """A silent system has no control. Without Authentik nobody can sign in anywhere."""
    standin: StandIn = getattr(acme.workspace, silent)
    standin.faults.append(Fault(refused=True))
    canary = acme.process()
    rehearsal = await canary.rehearse(ACME)
    standin.faults.clear()
    await acme.lock(ACME)
    found = results(await receipts(canary, rehearsal, ACME))
    lost = ALL if silent == "authentik" else {System(silent)}
    assert found == {str(one): "Inconclusive" if one in lost else "Refused" for one in SYSTEMS}
    assert set(rehearsal.failures) == lost
    assert all(rehearsal.failures.values())


async def test_a_system_that_is_silent_after_the_lock_proves_nothing(acme: Scene) -> None:
    canary = acme.process()
    rehearsal = await canary.rehearse(ACME)
    await acme.lock(ACME)
    for standin in acme.workspace.systems:
        standin.faults.append(Fault(refused=True))
    found = await receipts(canary, rehearsal, ACME)
    assert set(results(found).values()) == {"Inconclusive"}
    assert found[System.AUTHENTIK].after == "no answer for all"


async def test_a_token_older_than_its_life_proves_nothing(acme: Scene) -> None:
    """Refused it would be anyway. The seconds are told."""
    canary = acme.process()
    rehearsal = await canary.rehearse(ACME)
    await acme.lock(ACME)
    acme.clock.ahead += 301
    found = await receipts(canary, rehearsal, ACME)
    assert results(found) == {"authentik": "Refused", "stalwart": "Inconclusive", "ocis": "Inconclusive"}
    assert found[System.STALWART].after == "older than its life of 300 s for JMAP session"
    acme.clock.ahead += 31 * 86400
    assert results(await receipts(canary, rehearsal, ACME))["authentik"] == "Inconclusive"


async def test_a_refresh_whose_answer_was_lost_is_never_taken_for_a_refusal(acme: Scene) -> None:
    """It may have been spent: then it is refused although nobody is locked out."""
    canary = acme.process()
    rehearsal = await canary.rehearse(ACME)
    acme.workspace.authentik.faults.append(Fault(match="POST /application/o/token/", lost=True, times=3))
    assert results(await receipts(canary, rehearsal, ACME))["authentik"] == "Open", "the session still gives a code"
    await acme.lock_but(ACME, "^authentik/user/")
    assert results(await receipts(canary, rehearsal, ACME))["authentik"] == "Inconclusive"


async def test_a_wrong_password_for_mail_proves_nothing() -> None:
    async with scene(directory=False) as found:
        await found.settle(ACME)
        canary = found.process()
        rehearsal = await canary.rehearse(ACME)
        await canary.rehearse(ACME)  # another password since
        receipt = (await receipts(canary, rehearsal, ACME))[System.STALWART]
        assert (receipt.result, receipt.after) == ("Inconclusive", "401 for JMAP session")


async def test_a_tenant_that_was_locked_before_has_no_control(acme: Scene) -> None:
    await acme.lock(ACME)
    rehearsal = await acme.process().rehearse(replace(ACME, phase=Phase.SUSPENDED))
    assert rehearsal.controls == {}
    assert "was closed before" in rehearsal.failures[System.OCIS]


async def test_a_door_that_was_closed_before_the_lock_gives_no_control(acme: Scene) -> None:
    """What is refused before proves nothing after: here the tenant's group has lost its space."""
    space = acme.workspace.ocis.store.spaces[str(ACME.spaces[0].id)]
    space.grants = {key: role for key, role in space.grants.items() if key.startswith("u:")}
    canary = acme.process()
    rehearsal = await canary.rehearse(ACME)
    assert rehearsal.failures == {System.OCIS: "Before the lock: 404 for main space; 207 for public link."}
    await acme.lock(ACME)
    receipt = (await receipts(canary, rehearsal, ACME))[System.OCIS]
    assert receipt.result == "Inconclusive"
    assert "404 for main space" in (receipt.after or "")


async def test_a_tenant_without_a_domain_has_no_canary(acme: Scene) -> None:
    rehearsal = await acme.process().rehearse(replace(ACME, canary=None))
    assert (rehearsal.controls, set(rehearsal.failures)) == ({}, ALL)
    assert acme.workspace.writes() == {"authentik": 0, "stalwart": 0, "ocis": 0}


# -- making it -----------------------------------------------------------------------------------------


async def test_two_rehearsals_in_a_row_leave_one_canary_and_the_old_password_is_dead(acme: Scene) -> None:
    canary = acme.process()
    first = await canary.rehearse(ACME)
    old = user(acme)
    second = await canary.rehearse(ACME)
    assert set(first.controls) == set(second.controls) == ALL
    assert acme.canaries == [ACME.canary]
    assert old["pk"] != user(acme)["pk"]
    assert not acme.workspace.authentik.store.having("token", "user", old["pk"])
    accounts = acme.workspace.stalwart.objects.by_type["Account"].values()
    assert sum(account["name"] == "dezky-probe" for account in accounts) == 1


@pytest.mark.parametrize("again", [False, True], ids=["the first canary", "one more"])
async def test_a_crash_at_any_write_is_made_good_by_the_next_rehearsal(acme: Scene, again: bool) -> None:  # noqa: FBT001
    if again:
        await acme.process().rehearse(ACME)
    # The first makes an account, marks it and has it join; a mailbox; a folder and a link. One more deletes the old.
    assert await _crashes(acme) == ([4, 0, 2] if again else [3, 1, 2])


async def test_a_crash_at_the_new_password_of_a_mailbox_is_made_good_too() -> None:
    async with scene(directory=False) as found:
        await found.settle(ACME)
        assert await _crashes(found) == [3, 2, 2]


async def _crashes(found: Scene) -> list[int]:
    """Both kinds at each write: it did not happen, and it happened and nobody heard of it. The writes by system."""
    start = found.workspace.snapshot()
    found.workspace.forget()
    await found.process().rehearse(ACME)
    writes = [len(standin.writes) for standin in found.workspace.systems]
    for standin, number in zip(found.workspace.systems, writes, strict=True):
        for point, kind in itertools.product(range(number), ("refused", "lost")):
            found.workspace.restore(start)
            standin.ambush = _at_write(point, Fault(refused=kind == "refused", lost=kind == "lost"))
            crashed = await found.process().rehearse(ACME)
            standin.ambush = None
            again = await found.process().rehearse(ACME)
            where = f"write {point} of {standin.name} {kind}"
            assert crashed.failures, where
            assert (set(again.controls), again.failures) == (ALL, {}), where
            assert found.canaries == [ACME.canary], where
    return writes


def _at_write(number: int, fault: Fault) -> Callable[[Call], Fault | None]:
    left = [number]

    def ambush(call: Call) -> Fault | None:
        if not call.write:
            return None
        left[0] -= 1
        return fault if left[0] == -1 else None

    return ambush


async def test_a_rehearsal_that_is_cut_off_is_made_good_by_the_next_one(acme: Scene) -> None:
    """Proofs gives a silent system so many seconds and no more."""
    acme.workspace.authentik.faults.append(Fault(match="service_account", latency=30.0))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await acme.process().rehearse(ACME)
    acme.workspace.authentik.faults.clear()
    rehearsal = await acme.process().rehearse(ACME)
    assert set(rehearsal.controls) == ALL, rehearsal.failures
    assert acme.canaries == [ACME.canary]


async def test_a_canary_that_a_crash_left_without_its_mark_is_replaced(acme: Scene) -> None:
    acme.workspace.authentik.faults.append(Fault(match="PATCH /api/v3/core/users/", refused=True))
    first = await acme.process().rehearse(ACME)
    assert System.AUTHENTIK in first.failures
    left = user(acme)
    assert (left["attributes"], acme.workspace.authentik.store.groups_of(left)) == ({}, []), "in nobody's way"
    acme.workspace.authentik.faults.clear()
    assert set((await acme.process().rehearse(ACME)).controls) == ALL
    assert acme.canaries == [ACME.canary]


async def test_somebody_elses_user_of_that_name_is_not_touched(acme: Scene) -> None:
    store = acme.workspace.authentik.store
    theirs = store.insert("user", {"username": ACME.canary, "name": "Somebody", "type": "service_account"})
    store.join(theirs, store.insert("group", {"name": "theirs", "users": []})["pk"])
    rehearsal = await acme.process().rehearse(ACME)
    assert "is not touched" in rehearsal.failures[System.AUTHENTIK]
    assert (rehearsal.controls, theirs["name"], theirs["is_active"]) == ({}, "Somebody", True)


async def test_nobody_can_delete_a_half_made_account_of_another_hand(acme: Scene) -> None:
    """It looks like ours after a crash. Authentik lets only its maker delete it, so the rehearsal says it can not."""
    store = acme.workspace.authentik.store
    store.insert("user", {"username": ACME.canary, "name": ACME.canary, "type": "service_account"})
    rehearsal = await acme.process().rehearse(ACME)
    assert System.AUTHENTIK in rehearsal.failures
    assert acme.canaries == [ACME.canary]


async def test_the_canary_is_nobody_and_gives_the_ordinary_plan_nothing_to_do(acme: Scene) -> None:
    """Design 6: not counted in seats, member lists or previews; and nothing is repaired that it was made with."""
    await acme.process().rehearse(ACME)
    known = await acme.known(ACME)
    assert ACME.canary in {member.username for member in known.members or ()}
    assert without_mailbox(replace(known, domains=())) == ("anna@acme.test",)
    assert not (await acme.identity.planned(ACME)).steps
    assert not (await acme.mail.planned(known)).steps
    assert not (await acme.files.planned(known)).steps
    accounts = acme.workspace.stalwart.objects.by_type["Account"].values()
    (mailbox,) = [account for account in accounts if account["name"] == "dezky-probe"]
    assert mailbox["quotas"] == {"maxDiskQuota": CANARY_QUOTA}


async def test_a_purge_takes_the_canary_along(acme: Scene) -> None:
    await acme.process().rehearse(ACME)
    await acme.lock(ACME)
    await acme.identity.settle(replace(ACME, phase=Phase.PURGED))
    assert acme.canaries == []


async def test_a_resumed_tenant_can_be_suspended_and_proven_again(acme: Scene) -> None:
    canary = acme.process()
    await canary.rehearse(ACME)
    await acme.lock(ACME)
    await acme.settle(replace(ACME, unlocking=True))
    rehearsal = await canary.rehearse(ACME)
    assert (set(rehearsal.controls), rehearsal.failures) == (ALL, {})
    await acme.lock(ACME)
    assert set(results(await receipts(canary, rehearsal, ACME)).values()) == {"Refused"}
    assert acme.canaries == [ACME.canary]


async def test_two_tenants_canaries_do_not_share_a_session(acme: Scene) -> None:
    """One client serves all: a cookie that it kept would sign one in as the other."""
    beta = tenant("beta")
    await acme.settle(beta)
    canary = acme.process()
    first, second = await asyncio.gather(canary.rehearse(ACME), canary.rehearse(beta))
    assert set(first.controls) == set(second.controls) == ALL
    await acme.lock(ACME)
    assert set(results(await receipts(canary, first, ACME)).values()) == {"Refused"}
    assert set(results(await receipts(canary, second, beta)).values()) == {"Open"}


# -- secrets and rights ------------------------------------------------------------------------------


async def test_no_token_password_or_link_is_ever_shown(caplog: pytest.LogCaptureFixture) -> None:
    trail = Trail()
    async with scene(directory=False, trail=trail) as found:
        await found.settle(ACME)
        for name in QUIET:
            caplog.set_level(logging.WARNING, name)
        with caplog.at_level(logging.DEBUG), structlog.testing.capture_logs() as lines:
            canary = found.process()
            rehearsal = await canary.rehearse(ACME)
            known = secrets_of(rehearsal)
            await found.lock(ACME)
            told = await receipts(canary, rehearsal, ACME)
        assert rehearsal.controls.keys() == ALL
        assert len(known) == 13, "a session, six tokens, three clients, mail, the link twice"
        assert lines, "the steps are logged"
        assert trail.lines, "the steps are recorded"
        metrics = generate_latest(found.means.metrics.registry).decode()
        shown = "\n".join(
            (repr(rehearsal), repr(rehearsal.keys), str(told), str(lines), caplog.text, *trail.lines, metrics)
        )
        known |= set(found.workspace.authentik.store.token_keys.values())
        known |= {link.password for link in found.workspace.ocis.store.links.values()}
        assert [secret for secret in known if secret in shown] == []


async def test_the_daily_token_still_can_not_take_over_anybody(acme: Scene) -> None:
    """The right that the canary needs: a token made for somebody else is the maker's, and no key can be set."""
    store = acme.workspace.authentik.store
    admin, token = user(acme, "akadmin"), store.token_keys["dezky-operator"]
    async with Visitor(acme.workspace.authentik.url, token) as operator:
        answer = await operator.ask(
            "POST", "core/tokens/", {"identifier": "mine", "intent": "api", "user": admin["pk"], "expiring": False}
        )
        assert answer.status_code == 201
        made = store.get("token", "mine")
        assert made is not None
        assert made["user"] != admin["pk"]
        assert (await operator.ask("POST", "core/tokens/mine/set_key/", {"key": "x"})).status_code == 403


async def test_a_rehearsal_and_an_attempt_cost_so_many_requests(acme: Scene) -> None:
    """Authentik: 6 reads, 3 writes, 3 to sign in, 3 for each of three applications."""
    canary = acme.process()
    acme.workspace.forget()
    rehearsal = await canary.rehearse(ACME)
    assert _asked(acme) == {"authentik": 21, "stalwart": 5, "ocis": 6}
    acme.workspace.forget()
    await receipts(canary, rehearsal, ACME)
    assert _asked(acme) == {"authentik": 4, "stalwart": 1, "ocis": 2}


def _asked(found: Scene) -> dict[str, int]:
    """Requests but those with which Stalwart and OCIS fetch keys."""
    own = ("/.well-known/", "/jwks/")
    calls = {standin.name: standin.calls for standin in found.workspace.systems}
    return {name: sum(not any(part in call.path for part in own) for call in made) for name, made in calls.items()}
