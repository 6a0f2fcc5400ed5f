"""Two operators alive: the holder is frozen, another takes over, and the first finds out when it wakes.

The Lease here runs out after 4 s instead of 15 s, so that a holder frozen for half a minute is one frozen for a few
seconds; what is tested is the same.
"""

from __future__ import annotations

import asyncio
import json
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from tests.builders import admin, spaces, spec, tenant
from tests.controlplane.cluster import Cluster
from tests.deaf import Listener, listener
from tests.program import ended, run
from tests.sandbox.standin import Call, Fault
from tests.site import Site

SOON = {"lease": {"durationSeconds": 4.0, "renewSeconds": 1.0, "marginSeconds": 1.0}}
ACME = tenant("acme", admin("anna@acme.test"))
BETA = tenant("beta", admin("bo@beta.test"), spaces("sales"))
NOTHING = {"authentik": 0, "stalwart": 0, "ocis": 0}
STATUS = "/apis/dezky.eu/v1alpha1/tenants/beta/status"


@pytest.fixture
async def site(cluster: Cluster) -> AsyncIterator[Site]:
    """A site whose Lease runs out soon."""
    async with Site(cluster, changes=SOON) as found:
        yield found


@asynccontextmanager
async def holder(site: Site, folder: Path) -> AsyncIterator[tuple[Process, Listener]]:
    """A process of its own that holds the Lease and has made acme, and its way to the API server."""
    async with listener(site.config, folder) as (way, _):
        settings = site.workspace.write_settings(folder / "settings.yaml", namespace=site.namespace, **site.changes)
        arguments = ("--config", str(settings), "--kubeconfig", str(folder / "kubeconfig"), "--identity", "first")
        process = await run("run", *arguments)
        try:
            await site.apply(ACME)
            await site.ready("acme")
            yield process, way
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_a_frozen_holder_begins_no_new_write_when_it_wakes(site: Site, tmp_path: Path) -> None:
    """It is frozen with a write on the wire and others to follow; meanwhile the other one has done them all."""
    async with holder(site, tmp_path) as (process, _):
        on_the_wire = freeze_at_a_write(site, process)
        await site.apply(BETA)
        await asyncio.wait_for(on_the_wire.wait(), 30)
        await site.start()
        assert await holder_of(site) == "first"
        await taken_over(site)
        await site.ready("beta")
        await site.apply(tenant("beta", admin("bo@beta.test"), spaces("sales"), spec(displayName="After")))
        await site.ready("beta")
        await site.idle()
        site.workspace.forget()
        process.send_signal(signal.SIGCONT)
        status, told = await ended(process)
        assert status == 1, told
        assert "the Lease is lost; another process may write now" in told
        assert "Traceback" not in told
        assert site.workspace.writes() == NOTHING
        assert await holder_of(site) == "test"
        nothing_doubled(site)
        await still_working(site)


async def test_a_status_write_of_a_former_holder_is_a_conflict(site: Site, tmp_path: Path) -> None:
    """It was on the wire when its process was frozen, and arrives after the other one's."""
    async with holder(site, tmp_path) as (process, way):
        arrived, let_go = asyncio.Event(), asyncio.Event()

        async def gate(request: web.Request) -> None:
            if (request.method, request.path) == ("PATCH", STATUS) and not arrived.is_set():
                process.send_signal(signal.SIGSTOP)
                arrived.set()
                await let_go.wait()

        way.gate = gate
        await site.apply(BETA)
        await asyncio.wait_for(arrived.wait(), 30)
        await site.start()
        await taken_over(site)
        after = await site.ready("beta")
        way.answered.clear()
        let_go.set()
        await site.until(lambda: bool(way.answered), "the late write is answered")
        assert way.answered == [("PATCH", STATUS, 409)]
        assert await site.status("beta") == after
        process.send_signal(signal.SIGCONT)
        status, told = await ended(process)
        assert status == 1, told
        writes = [(method, path) for method, path, answer in way.answered[1:] if answer < 400]
        assert writes == [], "after its Lease ran out nothing of it is written"
        nothing_doubled(site)


async def test_a_holder_that_wakes_in_time_goes_on(site: Site, tmp_path: Path) -> None:
    """Frozen for less than its Lease lasts, it is still the one that writes."""
    async with holder(site, tmp_path) as (process, _):
        process.send_signal(signal.SIGSTOP)
        await site.apply(BETA)
        process.send_signal(signal.SIGCONT)
        await site.ready("beta")
        assert await holder_of(site) == "first"
        process.send_signal(signal.SIGTERM)
        status, told = await ended(process)
        assert status == 0, told


# -- help --------------------------------------------------------------------------------


def freeze_at_a_write(site: Site, process: Process) -> asyncio.Event:
    """Freeze the process as soon as it writes anything of beta; that write is done, its answer waits for the process.

    Those of its writes that arrive in the same moment are done, too.
    """
    frozen = asyncio.Event()

    def at(call: Call) -> Fault | None:
        if call.write and not frozen.is_set():
            process.send_signal(signal.SIGSTOP)
            frozen.set()
        return None

    for standin in site.workspace.systems:
        standin.ambush = at
    return frozen


async def holder_of(site: Site) -> str:
    """Who holds the Lease."""
    told = await site.kubectl("-n", site.namespace, "get", "lease", "dezky-operator", "-o", "json")
    return str(json.loads(told)["spec"]["holderIdentity"])


async def taken_over(site: Site) -> None:
    """Until the operator of this process works."""
    await site.until(lambda: site.operator is not None and site.operator.health.role() == "working", "it takes over")
    assert await holder_of(site) == "test"


async def still_working(site: Site) -> None:
    """The new holder was not disturbed by the old one's end."""
    await site.apply(tenant("coral"))
    await site.ready("coral")


def nothing_doubled(site: Site) -> None:
    """Each object of beta is there once, although two processes made them."""
    store, mail, files = site.workspace.authentik.store, site.workspace.stalwart.objects, site.workspace.ocis.store
    groups = sorted(one["name"] for one in store.objects["group"].values() if one["name"].startswith("dezky-beta"))
    assert groups == ["dezky-beta-admins", "dezky-beta-users"]
    assert sorted(space.alias for space in files.spaces.values() if "beta" in space.alias) == sorted(
        {space.alias for space in files.spaces.values() if "beta" in space.alias}
    )
    target = store.objects["application"]["dezky-beta"]["pk"]
    assert len([one for one in store.objects["policybinding"].values() if one["target"] == target]) == 2
    assert len([name for name in mail.names if name == "beta.test"]) == 1
