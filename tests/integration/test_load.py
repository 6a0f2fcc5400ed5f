"""Many at once: a suspension waits behind nobody, and forty of them are all in place."""

from __future__ import annotations

from tests.builders import Manifest, admin, suspended, tenant
from tests.controlplane.cluster import Cluster
from tests.sandbox.standin import Fault
from tests.site import Site

SLOW = Fault(latency=0.02)
MANY = 40


def named(number: int) -> Manifest:
    return tenant(f"t{number}", admin(f"anna@t{number}.test"))


def locked(site: Site) -> int:
    """How many of the administrators may not sign in."""
    users = site.workspace.authentik.store.objects["user"].values()
    return sum(user["username"].startswith("anna@") and not user["is_active"] for user in users)


async def test_a_suspension_is_worked_on_before_sixty_tenants_that_wait(cluster: Cluster) -> None:
    """One worker, sixty tenants listed at the start, and one of them suspended while the first ones are made."""
    async with Site(cluster, changes={"reconcile": {"workers": 1}}) as site:
        for standin in site.workspace.systems:
            standin.faults.append(SLOW)
        await site.apply(*(named(number) for number in range(60)))
        operator = await site.start()
        await site.until(lambda: len(site.workspace.authentik.writes) > 0, "the first one is being made")
        await site.apply(tenant("t59", admin("anna@t59.test"), suspended()))
        await site.until(lambda: locked(site) == 1, "the suspended one is locked")
        others = sum(operator.controller.ready_after(f"t{number}") is not None for number in range(59))
        assert others < 30, f"{others} others came first"


async def test_forty_suspended_at_once_are_all_locked(site: Site) -> None:
    await site.start()
    await site.apply(*(named(number) for number in range(MANY)))
    controller = site.operator.controller if site.operator else None
    assert controller is not None
    await site.until(lambda: controller.all_ready(MANY), "all are ready", patience=120.0)
    suspend = '{"spec":{"suspended":true}}'
    names = [f"t{number}" for number in range(MANY)]
    await site.kubectl("patch", "tenant", *names, "--type=merge", "-p", suspend)
    await site.until(lambda: locked(site) == MANY, "all are locked", patience=120.0)
    for name in names:
        await site.wait(name, "Suspended", "True")
    spaces = [space for space in site.workspace.ocis.store.spaces.values() if "dezky-t" in space.alias]
    assert len(spaces) == MANY
    assert all(space.disabled for space in spaces)
