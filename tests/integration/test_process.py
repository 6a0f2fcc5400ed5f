"""The operator as a process: how it refuses to start, how it stops, and how a killed one is taken up."""

from __future__ import annotations

import asyncio
import random
import signal
from pathlib import Path

import httpx2

from tests.builders import admin, spaces, tenant
from tests.program import run, start
from tests.site import Site

ACME = tenant("acme", admin("anna@acme.test"), spaces("sales"))


async def test_a_wrong_setting_ends_the_process_with_status_2_and_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("namespace: A B\n")
    process = await run("run", "--config", str(path))
    told, _ = await process.communicate()
    assert process.returncode == 2
    assert f"dezky-operator: {path}: " in told.decode()
    assert "Traceback" not in told.decode()


async def test_a_missing_secret_ends_the_process_with_status_2_and_says_how_to_make_it(
    site: Site, tmp_path: Path
) -> None:
    await site.kubectl("-n", site.namespace, "delete", "secret", "ocis")
    process = await start(site, tmp_path)
    told, _ = await process.communicate()
    assert process.returncode == 2
    assert f"ocis.secretRef: Secret {site.namespace}/ocis, key token does not exist" in told.decode()


async def test_sigterm_stops_cleanly_and_gives_the_lease_back(site: Site, tmp_path: Path) -> None:
    process = await start(site, tmp_path)
    await site.apply(ACME)
    await site.ready("acme")
    process.send_signal(signal.SIGTERM)
    told, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, told.decode()
    holder = "jsonpath={.spec.holderIdentity}"
    assert await site.kubectl("-n", site.namespace, "get", "lease", "dezky-operator", "-o", holder) == ""


async def test_a_killed_process_is_taken_up_by_the_next_with_nothing_doubled(site: Site, tmp_path: Path) -> None:
    """Real SIGKILL, at seeded moments while a tenant is being made."""
    chance = random.Random(7)  # noqa: S311 - a seeded sample, not a secret
    await site.apply(ACME)
    for _ in range(3):
        process = await start(site, tmp_path, "--identity", "same")
        before = len(site.workspace.authentik.writes)
        wanted = before + chance.randint(1, 4)
        for _ in range(400):
            if len(site.workspace.authentik.writes) >= wanted:
                break
            await asyncio.sleep(0.005)
        process.kill()
        await process.wait()
    process = await start(site, tmp_path, "--identity", "same")
    await site.ready("acme")
    process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(process.communicate(), 30)
    store, mail = site.workspace.authentik.store, site.workspace.stalwart.objects
    assert sorted(found["name"] for found in store.objects["group"].values() if "acme" in found["name"]) == [
        "dezky-acme-admins",
        "dezky-acme-users",
    ]
    application = store.objects["application"]["dezky-acme"]
    bindings = [found for found in store.objects["policybinding"].values() if found["target"] == application["pk"]]
    assert len(bindings) == 2
    assert len(mail.by_type["DkimSignature"]) == 2
    assert len([role for role in mail.by_type["Role"].values() if role["description"].endswith(":role")]) == 1


async def test_probes_and_metrics_tell_what_the_process_does(site: Site) -> None:
    operator = await site.start()
    await site.until(lambda: operator.health.role() == "working", "the operator works")
    base = "http://{}:{}".format(*operator.probe_addresses[0])
    async with httpx2.AsyncClient(base_url=base) as probe:
        assert (await probe.get("/readyz")).json() == {"ready": True, "role": "working"}
        assert (await probe.get("/healthz")).status_code == 200
        operator.health.live["made up"] = lambda: "stuck"
        broken = await probe.get("/healthz")
        assert (broken.status_code, broken.json()["failures"]) == (503, {"made up": "stuck"})
        page = (await probe.get("/metrics")).text
    assert "dezky_leader 1.0" in page
    assert "dezky_external_requests_total{" in page or "dezky_queue_depth" in page


async def test_a_standby_is_ready_and_writes_nothing(site: Site, tmp_path: Path) -> None:
    first = await site.start()
    await site.until(lambda: first.health.role() == "working", "the first one works")
    process = await start(site, tmp_path, "--identity", "second")
    assert process.stdout is not None
    seen = b""
    while b"standing by" not in seen:
        line = await asyncio.wait_for(process.stdout.readline(), 20)
        assert line, seen.decode()
        seen += line
    await site.apply(ACME)
    await site.ready("acme")
    process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0


async def test_kubectl_lists_tenants_and_shows_one(site: Site) -> None:
    """C025: `kubectl get tenants` reads like a dashboard."""
    await site.start()
    await site.apply(ACME)
    await site.ready("acme")
    head, row = (await site.kubectl("get", "tenants")).splitlines()
    assert head.split() == [
        "NAME",
        "PHASE",
        "PLAN",
        "DOMAIN",
        "AUTHENTIK",
        "STALWART",
        "OCIS",
        "PARTNER",
        "READY",
        "AGE",
    ]
    assert row.split()[:8] == ["acme", "Active", "standard", "acme.test", "Ready", "Ready", "Ready", "True"]
