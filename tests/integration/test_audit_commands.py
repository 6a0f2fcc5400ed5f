"""`dezky-operator audit` on an installation: its store and its keys by way of the cluster (C079, C116)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.builders import tenant
from tests.controlplane.cluster import Cluster
from tests.ferretdb import server
from tests.integration.test_audit_of_own_acts import audited, working
from tests.integration.test_audit_sources import source, until
from tests.program import ended, kubeconfig, leads_to, run
from tests.site import PATIENCE, Site


@dataclass
class Desk:
    """Where somebody types the commands."""

    site: Site
    settings: Path
    database: str = ""

    async def audit(self, command: str, *arguments: str | Path, cluster: Path | None = None) -> tuple[int, str]:
        """How it ended and what it told."""
        way = ("--config", self.settings, "--kubeconfig", cluster or self.site.cluster.kubeconfig)
        return await ended(await run("audit", command, *map(str, (*way, *arguments))))


@pytest.fixture
async def desk(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Desk]:
    """An installation whose log is a file, and one tenant in it."""
    pace = {"checkpoint": {"atMostEverySeconds": 0.1, "atLeastSeconds": 0.2}, "keysCheckSeconds": 0.2}
    async with audited(cluster, tmp_path, audit={"directory": str(tmp_path / "log"), **pace}) as site:
        await site.start()
        await site.apply(tenant("acme"))
        await site.ready("acme")
        await site.idle()
        yield Desk(site, _written(site, tmp_path))


def _written(site: Site, folder: Path) -> Path:
    return site.workspace.write_settings(folder / "settings.yaml", namespace=site.namespace, **site.changes)


async def test_the_key_is_replaced_while_the_operator_works(desk: Desk, tmp_path: Path) -> None:
    """C114: by the command, without a restart; the first key stays the one to check with."""
    code, told = await desk.audit("key")
    assert code == 0, told
    (first,) = told.split()
    code, told = await desk.audit("rotate-key")
    assert code == 0, told
    later = told.split()[0]

    async def signed_in() -> bool:
        code, told = await desk.audit("list", "--action", "key.rotated", "--format", "json")
        return code == 0 and [json.loads(line)["data"]["vkey"] for line in told.splitlines()] == [later]

    async with asyncio.timeout(PATIENCE):
        while not await signed_in():
            pass
    await desk.site.apply(tenant("nord"))
    await desk.site.ready("nord")
    await desk.site.idle()
    await desk.site.stop()
    assert (await desk.audit("key"))[1].splitlines()[:2] == [first, later]
    code, told = await desk.audit("verify", "--key", first)
    assert (code, told.startswith("VALID: ")) == (0, True), told
    assert (await desk.audit("verify", "--key", later))[0] == 1
    out = tmp_path / "export"
    assert (await desk.audit("export", "--tenant", "acme", "--out", out))[0] == 0
    assert (out / "trust.txt").read_text().count('"action":"key.rotated"') == 1
    code, told = await ended(await run("audit", "verify", "--export", str(out), "--key", first))
    assert code in {0, 4}, told


async def test_a_sources_text_is_opened_by_the_keys_of_the_installation(desk: Desk, tmp_path: Path) -> None:
    """Its log's Secret wraps the tenants' keys, and these those of people."""
    site, file = desk.site, tmp_path / "ocis.log"
    line = {"Action": "file_create", "Message": "user 'u' created file 'plan.txt'", "Time": "2026-11-24T03:59:58Z"}
    file.write_text(json.dumps(line) + "\n")
    await site.apply(source("ocis-main", "ocis", ocis={"path": str(file)}, intervalSeconds=1))
    await until(site, "ocis-main", lambda told: told.get("counts", {}).get("stored", 0) >= 2)
    await site.kubectl("delete", "auditsource", "ocis-main", "--timeout=20s")
    asked = ("--action", "ocis.file_create", "--format", "json")
    code, sealed = await desk.audit("list", *asked)
    assert (code, json.loads(sealed)["sealed"], "plan.txt" in sealed) == (0, True, False), sealed
    code, opened = await desk.audit("list", *asked, "--texts")
    assert (code, json.loads(opened)["sealed"]) == (0, False), opened
    assert json.loads(json.loads(opened)["metadata"])["Message"] == line["Message"]


async def test_without_a_way_to_the_keys_it_says_which_and_what_to_do(desk: Desk, tmp_path: Path) -> None:
    nowhere = kubeconfig(tmp_path / "nowhere", **leads_to("http://127.0.0.1:1"))
    for cluster, sentence in (
        (nowhere, "the API server did not give the Secret"),
        (tmp_path / "no", "no way to the API"),
    ):
        code, told = await desk.audit("list", "--texts", cluster=cluster)
        assert (code, sentence in told, "Traceback" in told) == (2, True, False), told
    await desk.site.stop()
    await desk.site.kubectl("-n", desk.site.namespace, "delete", "secret", "dezky-audit-keys")
    for command in ("key", "rotate-key"):
        code, told = await desk.audit(command)
        assert (code, "dezky-audit-keys does not exist" in told) == (2, True), told


async def test_on_mongodb_the_log_is_listed_verified_and_exported_where_it_is(cluster: Cluster, tmp_path: Path) -> None:
    async with server.database() as name:
        mongodb: dict[str, Any] = {
            "uriSecretRef": {"name": "mongodb", "key": "uri"},
            "database": name,
            "standalone": True,
        }
        changes = {"directory": str(tmp_path), "mongodb": mongodb}
        async with audited(cluster, tmp_path, audit=changes) as site:
            await site.kubectl(
                *("-n", site.namespace, "create", "secret", "generic", "mongodb"), f"--from-literal=uri={server.uri()}"
            )
            desk = Desk(site, _written(site, tmp_path))
            code, told = await desk.audit("list")
            assert (code, f"{name} holds no audit log e1" in told) == (2, True), told
            await working(site)
            await site.apply(tenant("acme"))
            await site.ready("acme")
            await site.idle()
            await site.stop()
            code, told = await desk.audit("list", "--action", "tenant.created", "--format", "json")
            assert (code, json.loads(told)["tenantSlug"]) == (0, "acme"), told
            vkey = (await desk.audit("key"))[1].strip()
            code, told = await desk.audit("verify", "--key", vkey)
            assert (code, "INVALID" in told) in {(0, False), (4, False)}, told
            out = tmp_path / "export"
            assert (await desk.audit("export", "--tenant", "acme", "--out", out))[0] == 0
            code, told = await ended(await run("audit", "verify", "--export", str(out), "--key", vkey))
            assert code in {0, 4}, told
