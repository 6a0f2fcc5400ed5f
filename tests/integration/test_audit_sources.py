"""AuditSources by a real API server and real kubectl: what is declared is read, and says how it stands (C086-C113)."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dezky_operator.audit.line import Line
from tests.builders import admin, tenant
from tests.controlplane.cluster import Cluster
from tests.integration.test_audit_of_own_acts import audited, lines
from tests.site import PATIENCE, Site


def source(name: str, kind: str, **spec: Any) -> dict[str, Any]:
    """An AuditSource."""
    return {
        "apiVersion": "dezky.eu/v1alpha1",
        "kind": "AuditSource",
        "metadata": {"name": name},
        "spec": {"type": kind, **spec},
    }


def record(number: int) -> bytes:
    line = {"Action": "file_create", "Message": f"user 'u' created file {number}", "Time": "2026-11-24T03:59:58Z"}
    return json.dumps(line).encode() + b"\n"


async def status(site: Site, name: str) -> dict[str, Any]:
    told = await site.kubectl("get", "auditsource", name, "-o", "json", "--ignore-not-found")
    return dict(json.loads(told).get("status", {})) if told.strip() else {}


async def until(site: Site, name: str, test: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not test(found := await status(site, name)):
        assert asyncio.get_running_loop().time() < deadline, f"{name}: {json.dumps(found, indent=1)}"
        await asyncio.sleep(0.05)
    return found


async def counted(directory: Path, action: str) -> int:
    return sum(line.action == action for line in await lines(directory))


async def until_counted(directory: Path, action: str, count: int) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while (found := await counted(directory, action)) < count:
        assert asyncio.get_running_loop().time() < deadline, f"{found} of {count} {action}"
        await asyncio.sleep(0.05)
    assert found == count


async def until_counted_at_least(directory: Path, tenant_id: str) -> None:
    """Until the sign-in told something about the tenant."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not any(line.source == "authentik" and line.tenant == tenant_id for line in await lines(directory)):
        assert asyncio.get_running_loop().time() < deadline, "no event of the tenant"
        await asyncio.sleep(0.05)


@pytest.fixture(autouse=True)
async def _gone(cluster: Cluster) -> Any:
    yield
    # kopf's finalizer is on each, and no operator runs any more that would take it off.
    for name in (await asyncio.to_thread(cluster.kubectl, "get", "auditsources", "-o", "name")).split():
        loose = json.dumps({"metadata": {"finalizers": None}})
        await asyncio.to_thread(cluster.kubectl, "delete", name, "--wait=false")
        await asyncio.to_thread(cluster.kubectl, "patch", name, "--type=merge", "-p", loose, check=False)


async def test_a_file_is_read_as_declared_paused_and_gone_on_with(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "ocis" / "audit.log"
    file.parent.mkdir()
    file.write_bytes(record(1) + record(2))
    async with audited(cluster, tmp_path / "log") as site:
        await site.start()
        await site.apply(source("ocis-main", "ocis", ocis={"path": str(file)}, intervalSeconds=1))
        found = await until(site, "ocis-main", lambda told: told.get("counts", {}).get("stored") == 3)
        assert (found["state"], found["counts"]["received"]) == ("Running", 3)  # one is that the file is read
        ready = found["conditions"][0]
        assert (ready["type"], ready["status"], ready["reason"]) == ("Ready", "True", "Reading")
        await _patched(site, "ocis-main", paused=True)
        await until(site, "ocis-main", lambda told: told["state"] == "Paused")
        with file.open("ab") as more:
            more.write(record(3))
        await _patched(site, "ocis-main", paused=False)
        await until_counted(tmp_path / "log", "ocis.file_create", 3)
        table = await site.kubectl("get", "asrc")
        await site.stop()
        told = [line.action for line in await lines(tmp_path / "log")]
    assert "ocis-main" in table
    assert "LAST-EVENT" in table
    assert [action for action in told if action.startswith("source.")] == ["source.paused", "source.resumed"]


async def _patched(site: Site, name: str, **spec: Any) -> None:
    await site.kubectl("patch", "auditsource", name, "--type=merge", "-p", json.dumps({"spec": spec}))


async def test_a_restart_reads_on_and_adds_no_event(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    file.write_bytes(record(1))
    async with audited(cluster, tmp_path / "log") as site:
        await site.start()
        await site.apply(source("ocis-main", "ocis", ocis={"path": str(file)}, intervalSeconds=1))
        await until_counted(tmp_path / "log", "ocis.file_create", 1)
        await site.stop()
        with file.open("ab") as more:
            more.write(record(2))
        await site.start()
        await until_counted(tmp_path / "log", "ocis.file_create", 2)
        await until(site, "ocis-main", lambda told: told.get("counts", {}).get("stored", 0) >= 1)
        await site.stop()
        assert await counted(tmp_path / "log", "ocis.file_create") == 2


async def test_the_sign_ins_own_events_come_with_their_tenant(cluster: Cluster, tmp_path: Path) -> None:
    async with audited(cluster, tmp_path / "log") as site:
        await site.start()
        await site.apply(source("authentik-main", "authentik", intervalSeconds=1), tenant("acme"))
        tenant_id = (await site.ready("acme"))["tenantId"]
        await until_counted_at_least(tmp_path / "log", tenant_id)
        await site.stop()
        told = [line for line in await lines(tmp_path / "log") if line.source == "authentik"]
    assert {line.src for line in told} == {"authentik-main"}
    assert len({line.ext for line in told}) == len(told)
    assert any(line.data.get("own") for line in told)


async def test_a_source_that_can_not_be_read_says_why_and_recovers(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    async with audited(cluster, tmp_path / "log") as site:
        await site.start()
        await site.apply(source("ocis-main", "ocis", ocis={"path": str(file)}, intervalSeconds=1))
        found = await until(site, "ocis-main", lambda told: told.get("state") == "Failing")
        assert found["conditions"][0]["reason"] == "FileMissing"
        assert "AUDIT_FILEPATH" in found["conditions"][0]["message"]
        file.write_bytes(record(1))
        await until(site, "ocis-main", lambda told: told.get("state") == "Running")
        await site.stop()
        assert await counted(tmp_path / "log", "ocis.file_create") == 1


async def test_a_source_that_is_deleted_is_read_no_more_and_goes(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    file.write_bytes(record(1))
    async with audited(cluster, tmp_path / "log") as site:
        await site.start()
        await site.apply(source("ocis-main", "ocis", ocis={"path": str(file)}, intervalSeconds=1))
        await until_counted(tmp_path / "log", "ocis.file_create", 1)
        await site.kubectl("delete", "auditsource", "ocis-main", "--timeout=20s")
        await site.stop()


async def test_where_ingest_is_switched_off_nothing_is_read_and_own_acts_are_recorded(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C091."""
    monkeypatch.setenv("AUDIT_INGEST_ENABLED", "false")
    file = tmp_path / "audit.log"
    file.write_bytes(record(1))
    async with audited(cluster, tmp_path / "log") as site:
        await site.start()
        await site.apply(source("ocis-main", "ocis", ocis={"path": str(file)}, intervalSeconds=1), tenant("acme"))
        await site.ready("acme")
        await site.stop()
        assert {line.source for line in await lines(tmp_path / "log")} == {"operator"}
        assert await status(site, "ocis-main") == {"observedGeneration": -1}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (source("x", "ocis"), "ocis says which file is read"),
        (source("x", "authentik", ocis={"path": "/a/b"}), "ocis says which file is read"),
        (source("x", "ocis", ocis={"path": "a/b"}), "ocis.path must be an absolute path"),
        (source("x", "stalwart", intervalSeconds=5), "Stalwart sends its events by itself"),
        (source("x", "gitlab"), "Unsupported value"),
        (source("x", "authentik", intervalSeconds=0), "should be greater than or equal to 1"),
    ],
    ids=["no file", "file of authentik", "relative", "interval of stalwart", "type", "interval"],
)
async def test_a_wrong_one_is_refused_in_a_sentence(cluster: Cluster, wrong: dict[str, Any], why: str) -> None:
    told = await asyncio.to_thread(cluster.kubectl, "apply", "-f", "-", input=json.dumps(wrong), check=False)
    assert why in told


async def test_its_type_can_not_be_changed(cluster: Cluster) -> None:
    first = source("x", "stalwart")
    await asyncio.to_thread(cluster.kubectl, "apply", "-f", "-", input=json.dumps(first))
    second = source("x", "authentik")
    told = await asyncio.to_thread(cluster.kubectl, "apply", "-f", "-", input=json.dumps(second), check=False)
    assert "type can not be changed" in told


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_stalwarts_events_come_by_its_webhook_which_the_operator_keeps(cluster: Cluster, tmp_path: Path) -> None:
    """C097-C104: the object in Stalwart, the signature, and that an event was seen to come."""
    port = free_port()
    webhook = {
        "host": "127.0.0.1",
        "port": port,
        "url": f"http://127.0.0.1:{port}",
        "secretRef": {"name": "stalwart-webhook", "key": "key"},
    }
    async with audited(cluster, tmp_path, audit={"directory": str(tmp_path), "webhook": webhook}) as site:
        await site.kubectl(
            "-n", site.namespace, "create", "secret", "generic", "stalwart-webhook", f"--from-literal=key={'k' * 40}"
        )
        await site.start()
        await site.apply(source("stalwart-main", "stalwart"), tenant("acme", admin("anna@acme.test")))
        await site.ready("acme")
        found = await until(site, "stalwart-main", _verified)
        assert found["state"] == "Running"
        assert len(site.workspace.stalwart.live.hooks) == 1
        async with httpx2.AsyncClient() as stranger:
            url = f"http://127.0.0.1:{port}/ingest/stalwart/webhook"
            answers = [
                await stranger.post(url, content=b'{"events":[]}'),
                await stranger.post(url, content=b'{"events":[]}', headers={"X-Signature": "ZGVhZGJlZWY="}),
            ]
        assert [answer.status_code for answer in answers] == [401, 401]
        stalwart, tenant_id = site.workspace.stalwart, (await site.status("acme"))["tenantId"]
        accounts = stalwart.objects.by_type["Account"].values()
        someone = next(one for one in accounts if stalwart.objects.address(one).endswith("@acme.test"))
        stalwart.events.let_in(someone["id"], stalwart.objects.address(someone), app_password=7)
        stalwart.events.unauthorized(someone["id"])
        told = await come(tmp_path, "stalwart.auth_success", "stalwart.security.unauthorized")
        await site.stop()
    # Neither tells more of the account than its number.
    assert {line.tenant for line in told} == {tenant_id}
    assert {line.src for line in told} == {"stalwart-main"}


async def come(directory: Path, *actions: str) -> list[Line]:
    """The newest line of each of these actions, once there is one."""
    deadline = time.monotonic() + 30
    while True:
        found = {line.action: line for line in await lines(directory) if line.action in actions}
        if found.keys() == set(actions):
            return list(found.values())
        assert time.monotonic() < deadline, f"{found.keys()} of {actions} came"
        await asyncio.sleep(0.1)


def _verified(told: dict[str, Any]) -> bool:
    return any(one["type"] == "WebhookVerified" and one["status"] == "True" for one in told.get("conditions", []))


async def test_without_a_secret_the_way_in_is_closed_and_says_so(cluster: Cluster, tmp_path: Path) -> None:
    async with audited(cluster, tmp_path) as site:
        await site.start()
        await site.apply(source("stalwart-main", "stalwart"))
        found = await until(site, "stalwart-main", lambda told: told.get("state") == "Failing")
        said = {one["type"]: (one["status"], one["reason"]) for one in found["conditions"]}
        assert said == {"Ready": ("False", "NoSecret"), "WebhookVerified": ("False", "NoSecret")}
        assert all("secretRef" in one["message"] for one in found["conditions"])
        await site.stop()
