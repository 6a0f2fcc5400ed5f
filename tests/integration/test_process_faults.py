"""What ends the operator's process, what it survives, and what it says of both."""

from __future__ import annotations

import asyncio
import signal
import socket
import uuid
from pathlib import Path

import httpx2
import pytest

from dezky_operator import config
from dezky_operator.kube.bootstrap import prepare
from dezky_operator.kube.process import LostLease, Operator
from tests.builders import admin, domains, tenant
from tests.controlplane.cluster import Cluster
from tests.deaf import listener
from tests.program import ended, kubeconfig, leads_to, run, start
from tests.sandbox.standin import Call, Fault
from tests.site import Site

ACME = tenant("acme", admin("anna@acme.test"))
SHARED = domains("shared.test")
LEASE = ("lease", "dezky-operator")
SLOWLY = {"resyncSeconds": 600, "watchCheckSeconds": 1.0, "credentialsCheckSeconds": 0.5}


# -- what ends it ---------------------------------------------------------------------


async def test_a_stolen_lease_ends_the_process_with_status_1(site: Site, tmp_path: Path) -> None:
    process = await start(site, tmp_path)
    await site.apply(ACME)
    await site.ready("acme")
    patch = '{"spec":{"holderIdentity":"thief"}}'
    await site.kubectl("-n", site.namespace, "patch", *LEASE, "--type=merge", "-p", patch)
    status, told = await ended(process)
    assert status == 1, told
    assert "the Lease is lost; another process may write now" in told
    holder = await site.kubectl("-n", site.namespace, "get", *LEASE, "-o", "jsonpath={.spec.holderIdentity}")
    assert holder == "thief"


async def test_sigterm_finishes_the_steps_that_were_begun_and_writes_nothing_after(site: Site, tmp_path: Path) -> None:
    """Every write takes four seconds: what arrives in the first is of steps begun before, and nothing else arrives."""
    port = _free_port()
    process = await start(site, tmp_path, metrics={"host": "127.0.0.1", "port": port})
    writing = asyncio.Event()

    def slow(call: Call) -> Fault | None:
        if not call.write:
            return None
        writing.set()
        return Fault(latency=4.0)

    for standin in site.workspace.systems:
        standin.ambush = slow
    await site.apply(ACME)
    await asyncio.wait_for(writing.wait(), 30)
    process.send_signal(signal.SIGTERM)
    await _until_role(port, "stopping")
    begun = await _quiet(site)
    status, told = await ended(process)
    assert status == 0, told
    assert site.workspace.writes() == begun
    assert "Traceback" not in told
    for standin in site.workspace.systems:
        standin.ambush = None
    await site.start()
    await site.ready("acme")
    groups = site.workspace.authentik.store.objects["group"].values()
    assert len([found for found in groups if found["name"] == "dezky-acme-users"]) == 1


async def test_a_dead_watch_ends_the_process(site: Site, tmp_path: Path) -> None:
    """A kopf that ended never comes back; an operator that hears nothing must not look alive."""
    async with listener(site.config, tmp_path) as (stream, way):
        operator = Operator(site.settings, way, identity="test")
        running = asyncio.create_task(operator.run(signals=False))
        await site.apply(ACME)
        await site.ready("acme")
        assert operator.health.failures() == {}
        stream.turned_away = True
        await site.annotate("acme", "reconcile-requested-at", "now")  # the next word ends its stream
        with pytest.raises(LostLease, match=r"the watch ended: .*LoginError"):
            await asyncio.wait_for(running, 30)
        assert operator.health.failures()["kopf"].startswith("the watch ended")


async def test_another_installation_is_refused_at_the_start_with_status_2(site: Site, tmp_path: Path) -> None:
    """Design 5: before anything is written in any system."""
    await site.apply(ACME)
    process = await start(site, tmp_path, installationId=str(uuid.uuid4()))
    status, told = await ended(process)
    assert status == 2, told
    assert "installationId: Group dezky-tenants in Authentik belongs to another installation" in told
    assert site.workspace.writes() == {"authentik": 0, "stalwart": 0, "ocis": 0}
    assert "Traceback" not in told


async def test_another_installation_behind_a_silent_authentik_is_refused_when_it_answers(cluster: Cluster) -> None:
    async with Site(cluster) as site:
        silent = Fault(match="^(?!POST /application/o/token)", status=503)
        site.workspace.authentik.faults.append(silent)
        raw = site.workspace.settings(namespace=site.namespace, installationId=str(uuid.uuid4()))
        operator = Operator(config.parse(raw, where="the test"), site.config, identity="test")
        running = asyncio.create_task(operator.run(signals=False))
        await site.until(lambda: operator.health.role() == "working", "a silent Authentik stops nothing")
        site.workspace.authentik.faults.clear()
        with pytest.raises(config.SettingsError, match="belongs to another installation"):
            await asyncio.wait_for(running, 30)


# -- what it says ---------------------------------------------------------------------


async def test_an_api_server_that_is_away_is_one_sentence(site: Site, tmp_path: Path) -> None:
    way = kubeconfig(tmp_path / "kubeconfig", **leads_to(f"http://127.0.0.1:{_free_port()}"))
    settings = site.workspace.write_settings(tmp_path / "settings.yaml", namespace=site.namespace)
    for command in (
        ("run",),
        ("bootstrap", "--authentik-token", "x", "--stalwart-admin", "x:y"),
    ):
        process = await run(*command, "--config", str(settings), "--kubeconfig", str(way))
        status, told = await ended(process)
        assert status == 1, told
        assert told.startswith("dezky-operator: the API server did not answer (ConnectError"), told
        assert len(told.splitlines()) == 1


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, "has no 'clusters'"),
        ({"clusters": [], "contexts": []}, "No current context"),
        ({**leads_to("http://127.0.0.1:1"), "clusters": []}, "has no 'one'"),
        ({**leads_to("http://127.0.0.1:1"), "contexts": 7}, "is not a kubeconfig"),
    ],
)
async def test_a_kubeconfig_of_no_use_is_one_sentence(
    site: Site, tmp_path: Path, document: dict[str, object], said: str
) -> None:
    way = kubeconfig(tmp_path / "kubeconfig", **document)
    settings = site.workspace.write_settings(tmp_path / "settings.yaml", namespace=site.namespace)
    status, told = await ended(await run("run", "--config", str(settings), "--kubeconfig", str(way)))
    assert status == 2, told
    assert told.startswith("dezky-operator: no way to the API server: "), told
    assert said in told
    assert len(told.splitlines()) == 1


async def test_a_taken_port_is_one_sentence(site: Site, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, told = await ended(await start(site, tmp_path, metrics={"host": "127.0.0.1", "port": port}))
    assert status == 2, told
    assert f"metrics.port: 127.0.0.1:{port} can not be listened on" in told
    assert "Traceback" not in told


async def test_bootstrap_says_what_to_do_with_a_wrong_administrator(site: Site, tmp_path: Path) -> None:
    settings = site.workspace.write_settings(tmp_path / "settings.yaml", namespace=site.namespace)
    given = ("--authentik-token", site.workspace.authentik.bootstrap_token, "--stalwart-admin", "admin:wrong")
    way = ("--config", str(settings), "--kubeconfig", str(site.cluster.kubeconfig))
    status, told = await ended(await run("bootstrap", *way, *given))
    assert status == 1, told
    assert "stalwart refuses the credential of the command line." in told
    assert "then run this again" in told
    assert "notices by itself" not in told


# -- what it survives -------------------------------------------------------------------


async def test_healthz_fails_while_the_watch_is_deaf_and_recovers(cluster: Cluster, tmp_path: Path) -> None:
    async with (
        Site(cluster, changes={"reconcile": SLOWLY}) as site,
        listener(site.config, tmp_path) as (stream, way),
    ):
        site.config = way
        operator = await site.start()
        await site.apply(ACME)
        await site.ready("acme")
        assert await _healthz(operator) == {}
        stream.deaf = True
        await site.annotate("acme", "reconcile-requested-at", "unheard")
        failures = await _until_healthz(operator, healthy=False)
        assert failures["watch"] == "the watch has not told of 1 changed Tenants, the first acme"
        await _until_handled(site, "unheard")  # it is read past the watch
        stream.deaf = False
        await _until_healthz(operator, healthy=True)
        await site.stop()


async def test_bootstrap_makes_a_lost_key_anew(site: Site) -> None:
    """A key is shown once: without its Secret nobody has it, and a second one beside it would never be found again."""
    await site.kubectl("-n", site.namespace, "delete", "secret", "stalwart")
    done = await prepare(site.settings, site.config, site.administrator)
    assert "stalwart: removed a key that nobody has" in done.lines
    await site.start()
    await site.apply(ACME)
    await site.ready("acme")
    again = await prepare(site.settings, site.config, site.administrator)
    assert "stalwart: nothing was missing" in again.lines


async def test_bootstrap_replaces_a_key_that_stalwart_does_not_take(site: Site) -> None:
    patch = '{"stringData":{"token":"API_nonsense"}}'
    await site.kubectl("-n", site.namespace, "patch", "secret", "stalwart", "-p", patch)
    done = await prepare(site.settings, site.config, site.administrator)
    assert "stalwart: made the operator's key" in done.lines
    await site.start()
    await site.apply(ACME)
    await site.ready("acme")


# -- help ---------------------------------------------------------------------------------


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


async def _quiet(site: Site) -> dict[str, int]:
    """How many writes each system has seen, once a second brought no other."""
    seen = site.workspace.writes()
    for _ in range(30):
        await asyncio.sleep(1.0)
        before, seen = seen, site.workspace.writes()
        if before == seen:
            return seen
    raise AssertionError(f"the writes never end: {seen}")


async def _until_role(port: int, role: str) -> None:
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as probe:
        for _ in range(1000):
            if (await probe.get("/readyz")).json()["role"] == role:
                return
            await asyncio.sleep(0.01)
    raise AssertionError(f"the process never was {role}")


async def _healthz(operator: Operator) -> dict[str, str]:
    base = "http://{}:{}".format(*operator.probe_addresses[0])
    async with httpx2.AsyncClient(base_url=base, trust_env=False) as probe:
        answer = await probe.get("/healthz")
        failures = dict(answer.json()["failures"])
        assert (answer.status_code == 503) == bool(failures)
        return failures


async def _until_healthz(operator: Operator, *, healthy: bool) -> dict[str, str]:
    for _ in range(600):
        failures = await _healthz(operator)
        if (not failures) == healthy:
            return failures
        await asyncio.sleep(0.05)
    raise AssertionError(f"/healthz never became {healthy}: {failures}")


async def _until_handled(site: Site, value: str) -> None:
    for _ in range(600):
        if (await site.status("acme")).get("lastHandledReconcileAt") == value:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"never handled {value}")
