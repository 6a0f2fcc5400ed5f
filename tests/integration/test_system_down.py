"""A system that is down is left alone for a while: routine waits, locks and deletions do not, and nobody restarts."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.builders import Manifest, admin, spec, suspended, tenant
from tests.controlplane.cluster import Cluster
from tests.sandbox.standin import Fault
from tests.site import Site
from tests.tombstones import buried

PAUSE = 120.0
"""Seconds of the first pause: far longer than a test takes, so whatever passes passed an open circuit."""
HASTY = {
    "backoffFirstSeconds": 0.1,
    "backoffLongestSeconds": 0.5,
    "credentialsCheckSeconds": 0.5,
    "watchCheckSeconds": 5.0,
}
PAUSING = {
    "reconcile": {**HASTY, "breakerPauseSeconds": PAUSE},
    "deletion": {"graceSeconds": 0, "lookSeconds": 0.3},
}
QUICK = {"reconcile": {**HASTY, "breakerPauseSeconds": 0.5}}
OCIS_DOWN = Fault(match="/graph|/dav", status=503)


def named(slug: str) -> Manifest:
    return tenant(slug, admin(f"anna@{slug}.test"))


@pytest.fixture
async def site(cluster: Cluster) -> AsyncIterator[Site]:
    """Where a circuit that opened stays open."""
    async with Site(cluster, changes=PAUSING) as found:
        yield found


async def opened(site: Site) -> None:
    """Acme and beta are ready; then OCIS is down, and four more can not be made there until its circuit opens."""
    await site.start()
    await site.apply(named("acme"), named("beta"))
    await site.ready("acme")
    await site.ready("beta")
    site.workspace.ocis.faults.append(OCIS_DOWN)
    await site.apply(*(named(f"new{number}") for number in range(4)))
    await site.until(lambda: is_open(site, "ocis"), "the circuit opens")
    for number in range(4):
        await site.wait(f"new{number}", "FilesReady", "Unknown", "Unreachable")
    # What was on its way when it opened has come back by then.
    await site.until(lambda: held_back(site, "ocis") >= 12, "tenants are held back")


async def test_what_is_held_back_is_counted_and_does_not_arrive(site: Site) -> None:
    await opened(site)
    await site.wait("new0", "FilesReady", "Unknown", "Unreachable")
    arrived, before = len(site.workspace.ocis.calls), held_back(site, "ocis")
    await site.until(lambda: held_back(site, "ocis") >= before + 20, "tenants are tried again and again")
    assert len(site.workspace.ocis.calls) == arrived, "none of those tries reached OCIS"
    status = await site.wait("new0", "IdentityReady", "True")
    assert status["provisioningStatus"]["stalwart"] == "Ready", "the other two are not held up"
    assert not is_open(site, "authentik")
    assert not is_open(site, "stalwart")


async def test_a_failure_that_goes_on_writes_no_status_again(site: Site) -> None:
    """The sentence of the pause is that of the failure: a status that told of the pause would change with each try."""
    await opened(site)
    for number in range(4):
        await site.wait(f"new{number}", "IdentityReady", "True")
        await site.wait(f"new{number}", "MailReady", "True")
    await _quiet(site)


async def test_a_tenant_that_fails_alone_keeps_the_words_of_its_failure_over_its_pause(site: Site) -> None:
    await site.start()
    await site.apply(named("acme"))
    await site.ready("acme")
    site.workspace.ocis.faults.append(Fault(match="^GET .*/(groups|drives)/", status=500))
    await site.apply(tenant("acme", admin("anna@acme.test"), spec(plan="business")))
    await site.annotate("acme", "reconcile-requested-at", "now")
    await site.until(lambda: held_back(site, "ocis") >= 5, "acme alone is left alone")
    assert not is_open(site, "ocis")
    await _quiet(site)
    status = await site.wait("acme", "FilesReady", "Unknown", "Unreachable")
    assert "HTTP 500" in status["provisioningErrors"]["ocis"]


async def _quiet(site: Site) -> None:
    for _ in range(5):  # a status that told of the pause would change within every twenty tries
        writes = status_writes(site)
        await _tried_again(site, 20)
        if status_writes(site) == writes:
            return
    raise AssertionError(f"the status is written again and again: {status_writes(site)} times")


async def _tried_again(site: Site, times: int) -> None:
    enough = held_back(site, "ocis") + times
    await site.until(lambda: held_back(site, "ocis") >= enough, "tenants are tried again and again")


async def test_a_suspension_passes_an_open_circuit(site: Site) -> None:
    """What is up is locked, and what is down is tried at once."""
    await opened(site)
    arrived = len(site.workspace.ocis.calls)
    await site.apply(tenant("acme", admin("anna@acme.test"), suspended()))
    await site.until(lambda: not active(site, "acme"), "sign-in is locked")
    await site.until(lambda: len(site.workspace.ocis.calls) > arrived, "files are tried although their circuit is open")
    await site.wait("acme", "Suspended", "False")
    assert is_open(site, "ocis")


async def test_a_suspension_locks_a_system_that_is_back_before_anybody_knows(site: Site) -> None:
    """And what it finds out is known to all: without a restart, long before the pause is over, the rest is made."""
    await opened(site)
    site.workspace.ocis.faults.clear()
    arrived, before = len(site.workspace.ocis.calls), held_back(site, "ocis")
    await site.until(lambda: held_back(site, "ocis") >= before + 8, "routine waits for the pause to be over")
    assert len(site.workspace.ocis.calls) == arrived
    await site.apply(tenant("acme", admin("anna@acme.test"), suspended()))
    await site.wait("acme", "Suspended", "True")
    assert closed(site, "acme")
    for number in range(4):
        await site.ready(f"new{number}")
    assert not is_open(site, "ocis")


async def test_a_deletion_passes_an_open_circuit(site: Site) -> None:
    await opened(site)
    site.workspace.ocis.faults.clear()
    assert is_open(site, "ocis")
    await site.kubectl("delete", "tenant", "beta", "--wait=false")
    await site.gone("beta")
    await buried(site, "beta", "Locked")
    assert closed(site, "beta")
    assert not active(site, "beta")


async def test_a_lock_is_in_place_where_only_reads_of_others_fail(site: Site) -> None:
    """Half up: Stalwart answers acme and nobody else. Its circuit is open, and the lock of acme is not held up."""
    await site.start()
    await site.apply(named("acme"))
    await site.ready("acme")
    role = next(
        one for one in site.workspace.stalwart.objects.by_type["Role"].values() if ":role" in one["description"]
    )
    before = dict(role)
    site.workspace.stalwart.faults.append(Fault(match="/jmap", status=503))
    await site.apply(*(named(f"new{number}") for number in range(5)))
    await site.until(lambda: is_open(site, "stalwart"), "the circuit opens")
    site.workspace.stalwart.faults.clear()
    await site.apply(tenant("acme", admin("anna@acme.test"), suspended()))
    await site.wait("acme", "Suspended", "True")
    now = next(one for one in site.workspace.stalwart.objects.by_type["Role"].values() if ":role" in one["description"])
    assert now != before


@pytest.mark.parametrize("system", ["authentik", "stalwart", "ocis"])
async def test_a_system_that_comes_back_is_taken_up_without_a_restart(cluster: Cluster, system: str) -> None:
    async with Site(cluster, changes=QUICK) as site:
        standin = next(found for found in site.workspace.systems if found.name == system)
        operator = await site.start()
        await site.until(lambda: operator.health.role() == "working", "it works")
        standin.faults.append(Fault(match=r"^(?!POST /application/o/token)", status=503))
        names = [f"t{number}" for number in range(4)]
        await site.apply(*(named(name) for name in names))
        await site.until(lambda: is_open(site, system), "the circuit opens")
        standin.faults.clear()
        for name in names:
            await site.ready(name)
        await site.until(lambda: not is_open(site, system), "the circuit is closed")
        assert site.operator is operator


async def test_a_tenant_whose_objects_alone_fail_is_left_alone_alone(cluster: Cluster) -> None:
    changes = {"reconcile": {**HASTY, "breakerPauseSeconds": PAUSE}}
    async with Site(cluster, changes=changes) as site:
        await site.start()
        site.workspace.authentik.faults.append(Fault(match="acme", status=500))
        await site.apply(named("acme"), named("beta"))
        await site.ready("beta")
        await site.wait("acme", "IdentityReady", "Unknown", "Unreachable")
        await site.until(lambda: held_back(site, "authentik") >= 1, "it is left alone")
        arrived = len([call for call in site.workspace.authentik.calls if "acme" in call.path])
        before = held_back(site, "authentik")
        await site.until(lambda: held_back(site, "authentik") >= before + 5, "it is tried again and again")
        assert len([call for call in site.workspace.authentik.calls if "acme" in call.path]) == arrived
        assert not is_open(site, "authentik")
        await site.apply(named("coral"), tenant("beta", admin("anna@beta.test"), spec(displayName="Other")))
        await site.ready("coral")
        await site.ready("beta")


# -- help --------------------------------------------------------------------------------


def metric(site: Site, name: str, **labels: str) -> float:
    """A metric of the operator; 0 while it has no such value."""
    assert site.operator is not None
    return site.operator.metrics.registry.get_sample_value(name, labels) or 0.0


def is_open(site: Site, system: str) -> bool:
    """As people see it."""
    return metric(site, "dezky_circuit_open", system=system) == 1


def held_back(site: Site, system: str) -> float:
    """Requests that were not sent."""
    return metric(site, "dezky_external_requests_total", system=system, op="held-back", code="none")


def status_writes(site: Site) -> float:
    """Writes to the status of Tenants."""
    return metric(site, "dezky_kube_writes_total", what="tenants/status")


def active(site: Site, slug: str) -> bool:
    """Whether its administrator may sign in."""
    anna = site.workspace.authentik.store.find("user", "username", f"anna@{slug}.test")
    return anna is not None and bool(anna["is_active"])


def closed(site: Site, slug: str) -> bool:
    """Whether every space of it is closed."""
    found = [space for space in site.workspace.ocis.store.spaces.values() if f"dezky-{slug}" in space.alias]
    return bool(found) and all(space.disabled for space in found)
