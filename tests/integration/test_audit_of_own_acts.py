"""What the operator does, in the log: by a real API server, real kubectl and a log in a file (C082, C084, X08)."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from dezky_operator.audit.checkpoint import KeyChain, KeyRange
from dezky_operator.audit.findings import Verdict
from dezky_operator.audit.keys import log_key, parse_vkey
from dezky_operator.audit.line import Line, decode
from dezky_operator.audit.verify import verify_lines
from dezky_operator.audit.verify_store import verify_store
from dezky_operator.config import AuditSettings, SettingsError
from dezky_operator.ingest.own.spool import Spool
from dezky_operator.kube.audit import Audit
from dezky_operator.kube.process import Operator
from dezky_operator.store.interface import Reader
from dezky_operator.store.sqlite import SqliteStore
from dezky_operator.store.tables import LOG, LogRow
from tests.builders import tenant
from tests.controlplane.cluster import Cluster
from tests.logs import lines_of
from tests.sandbox.workspace import INSTALLATION
from tests.site import Site


@asynccontextmanager
async def audited(cluster: Cluster, directory: Path, **changes: Any) -> AsyncIterator[Site]:
    """A site whose operator keeps its log in ``directory``."""
    async with Site(cluster, {"audit": {"directory": str(directory)}, **changes}) as site:
        yield site


async def working(site: Site) -> None:
    """An operator that has opened its log."""
    operator = await site.start()
    await site.until(lambda: operator.health.role() == "working", "the operator works")


async def lines(directory: Path) -> list[Line]:
    """The log, read beside the operator."""
    store = await SqliteStore.open(directory / "audit-1.db")
    try:
        return await lines_of(store)
    finally:
        await store.close()


async def test_a_tenants_life_is_in_the_log_step_by_step(cluster: Cluster, tmp_path: Path) -> None:
    async with audited(cluster, tmp_path) as site:
        await site.start()
        await site.apply(tenant("acme"))
        await site.ready("acme")
        await site.kubectl("patch", "tenant", "acme", "--type=merge", "-p", '{"spec":{"suspended":true}}')
        await site.wait("acme", "Suspended", "True")
        await site.kubectl("patch", "tenant", "acme", "--type=merge", "-p", '{"spec":{"suspended":false}}')
        await site.wait("acme", "Suspended", "False")
        tenant_id = (await site.status("acme"))["tenantId"]
        await site.idle()
        await site.stop()
        told = await lines(tmp_path)
    actions = [line.action for line in told]
    assert (actions[:2], actions[-2:]) == (["log.config", "log.start"], ["log.stop", "log.heads"])
    changes = [line for line in told if line.action in {"tenant.created", "tenant.suspended", "tenant.resumed"}]
    assert [line.action for line in changes] == ["tenant.created", "tenant.suspended", "tenant.resumed"]
    assert {line.tenant for line in changes} == {tenant_id}
    proofs = [line.data for line in told if line.action == "tenant.lock_proof"]
    assert {"authentik", "stalwart", "ocis"} <= proofs[-1].keys()
    intents = {line.data["step"]: line for line in told if line.action == "step.intent"}
    ends = {line.data["step"]: line for line in told if line.action in {"step.done", "step.failed"}}
    assert len(intents) > 20
    assert intents.keys() == ends.keys()
    assert all(intents[step].seq < end.seq for step, end in ends.items())
    assert {line.tenant for line in intents.values()} == {tenant_id}
    assert {line.data["system"] for line in intents.values()} == {"authentik", "stalwart", "ocis", "kubernetes"}


async def test_a_restart_adds_its_start_and_its_stop_and_nothing_else(cluster: Cluster, tmp_path: Path) -> None:
    async with audited(cluster, tmp_path) as site:
        await site.start()
        await site.apply(tenant("acme"), tenant("nord"))
        for name in ("acme", "nord"):
            await site.ready(name)
        await site.idle()
        await site.stop()
        before = await lines(tmp_path)
        await site.start()
        await site.until(lambda: site.operator is not None and site.operator.sweep.done >= 1, "the sweep is done")
        await site.idle()
        await site.stop()
        after = await lines(tmp_path)
    assert [line.action for line in after[len(before) :]] == ["log.start", "log.stop", "log.heads"]


async def test_every_line_is_under_a_checkpoint_that_the_api_server_keeps(cluster: Cluster, tmp_path: Path) -> None:
    pace = {"checkpoint": {"atMostEverySeconds": 0.1, "atLeastSeconds": 0.2}}
    async with audited(cluster, tmp_path, audit={"directory": str(tmp_path), **pace}) as site:
        await site.start()
        await site.apply(tenant("acme"))
        await site.ready("acme")
        await site.stop()
        told = await site.kubectl("-n", site.namespace, "get", "configmap", "dezky-audit-checkpoint", "-o", "json")
        kept = await site.kubectl("-n", site.namespace, "get", "secret", "dezky-audit-keys", "-o", "json")
    store = await SqliteStore.open(tmp_path / "audit-1.db")
    stored = await store.read(_rows)
    await store.close()
    seed = base64.b64decode(json.loads(kept)["data"]["log"])
    origin = f"{INSTALLATION}/audit/1"
    chain = KeyChain([KeyRange(log_key(origin, seed).verify_key)])
    note = json.loads(told)["data"]["epoch-1.note"].encode()
    report = verify_lines([row.body for row in stored], [note], chain=chain)
    assert (report.verdict, report.lines) == (Verdict.VALID, len(stored)), report.findings


async def test_a_key_in_the_secret_follows_the_one_before_it_without_a_restart(
    cluster: Cluster, tmp_path: Path
) -> None:
    """And the next process goes on under it: everything is valid under the first vkey, and only so."""
    pace = {"checkpoint": {"atMostEverySeconds": 0.1, "atLeastSeconds": 0.2}, "keysCheckSeconds": 0.2}
    async with audited(cluster, tmp_path, audit={"directory": str(tmp_path), **pace}) as site:
        await working(site)
        before = await _vkeys(site)
        seed = base64.b64encode(b"\x42" * 32).decode()
        patch = json.dumps({"data": {"log-2": seed}})
        await site.kubectl("-n", site.namespace, "patch", "secret", "dezky-audit-keys", "--type=merge", "-p", patch)
        assert site.operator is not None
        audit = site.operator._parts.recording.chronicle
        assert isinstance(audit, Audit)
        notary = audit.opened.notary
        await site.until(lambda: len(notary.chain.ranges) == 2, "the second key signs")
        await site.apply(tenant("acme"))
        await site.ready("acme")
        await site.idle()
        await site.stop()
        await working(site)
        await site.stop()
        first, later = await _vkeys(site)
    assert before == [first]
    told = await lines(tmp_path)
    (rotated,) = [line for line in told if line.action == "key.rotated"]
    assert rotated.data == {"vkey": later, "sha256": sha256(later.encode()).hexdigest()}
    store = await SqliteStore.open(tmp_path / "audit-1.db")
    under_first = await verify_store(store, chain=KeyChain([KeyRange(parse_vkey(first))]))
    under_later = await verify_store(store, chain=KeyChain([KeyRange(parse_vkey(later))]))
    await store.close()
    assert (under_first.verdict, under_first.findings) == (Verdict.VALID, ())
    assert under_later.verdict is Verdict.TAMPERED


async def _vkeys(site: Site) -> list[str]:
    """The public keys of the log, by the Secret."""
    kept = json.loads(await site.kubectl("-n", site.namespace, "get", "secret", "dezky-audit-keys", "-o", "json"))
    seeds = [base64.b64decode(kept["data"][name]) for name in ("log", "log-2") if name in kept["data"]]
    return [log_key(f"{INSTALLATION}/audit/1", seed).verify_key.vkey for seed in seeds]


async def test_a_store_that_was_set_back_takes_nothing_more_and_locks_go_on(cluster: Cluster, tmp_path: Path) -> None:
    """Case 10: the ConfigMap tells. What happens meanwhile waits on the disk."""
    async with audited(cluster, tmp_path) as site:
        await working(site)
        await site.stop()
        shutil.copy(tmp_path / "audit-1.db", tmp_path / "backup.db")
        await site.start()
        await site.apply(tenant("acme"))
        await site.ready("acme")
        await site.stop()
        _put_back(tmp_path)
        operator = await site.start()
        await site.kubectl("patch", "tenant", "acme", "--type=merge", "-p", '{"spec":{"suspended":true}}')
        await site.wait("acme", "Suspended", "True")
        await site.idle()
        assert operator.metrics.registry.get_sample_value("dezky_audit_refused") == 1
        await site.stop()
        told = await lines(tmp_path)
    assert "tenant.created" not in {line.action for line in told}
    assert Spool(tmp_path / "spool").waiting > 10


async def test_a_new_epoch_goes_on_after_a_log_that_was_set_back(cluster: Cluster, tmp_path: Path) -> None:
    """It says what the old one was, and none of its events comes again."""
    async with audited(cluster, tmp_path) as site:
        await site.start()
        await site.apply(tenant("acme"))
        await site.ready("acme")
        await site.idle()
        await site.stop()
        old = await lines(tmp_path)
        site.settings = msgspec.structs.replace(site.settings, audit=AuditSettings(directory=str(tmp_path), epoch=2))
        await working(site)
        await site.stop()
        store = await SqliteStore.open(tmp_path / "audit-2.db")
        told = await lines_of(store)
        await store.close()
    assert [line.action for line in told] == ["log.epoch", "log.config", "log.start", "log.stop", "log.heads"]
    assert (told[0].data["size"], told[0].data["earlier"]) == (len(old), 1)
    assert told[0].origin.endswith("/audit/2")
    assert told[0].data["checkpoint_size"] == len(old)


async def test_a_log_without_the_keys_it_was_written_under_is_not_gone_on_with(
    cluster: Cluster, tmp_path: Path
) -> None:
    async with audited(cluster, tmp_path) as site:
        await working(site)
        await site.stop()
        await site.kubectl("-n", site.namespace, "delete", "secret", "dezky-audit-keys")
        site.operator = Operator(site.settings, site.config, identity="test")
        with pytest.raises(SettingsError, match=r"audit.keysSecret: .* does not exist, and the log was written under"):
            await site.operator.run(signals=False)


def _put_back(directory: Path) -> None:
    for leftover in directory.glob("audit-1.db*"):
        leftover.unlink()
    shutil.copy(directory / "backup.db", directory / "audit-1.db")


async def _rows(rows: Reader) -> list[LogRow]:
    return await rows.scan(LOG, limit=100_000)


async def test_it_verifies_itself_and_says_what_it_found(cluster: Cluster, tmp_path: Path) -> None:
    async with audited(cluster, tmp_path) as site:
        operator = await site.start()
        await site.apply(tenant("acme"))
        await site.ready("acme")
        await site.idle()
        recording = operator._parts.recording.chronicle
        assert isinstance(recording, Audit)
        assert (await recording.verify()).verdict in {Verdict.VALID, Verdict.UNANCHORED, Verdict.INCOMPLETE}
        await recording.opened.notary.sign(news=True)
        assert (await recording.verify()).verdict in {Verdict.VALID, Verdict.UNANCHORED}
        assert operator.metrics.registry.get_sample_value("dezky_audit_verify_findings") == 0
        connection = apsw.Connection(str(tmp_path / "audit-1.db"))
        connection.execute("UPDATE audit_log SET outcome = 'denied' WHERE seq = 1")
        connection.close()
        report = await recording.verify()
        assert [str(finding) for finding in report.findings if finding.verdict is Verdict.TAMPERED] == [
            "seq 1 index: differs from the line in outcome"
        ]
        assert operator.metrics.registry.get_sample_value("dezky_audit_verify_findings") == 1
        await site.stop()
        told = [line.data["verdict"] for line in await _verifications(tmp_path)]
    assert told[-1] == "TAMPERED"


async def _verifications(directory: Path) -> list[Line]:
    connection = apsw.Connection(str(directory / "audit-1.db"))
    found = connection.execute("SELECT body FROM audit_log WHERE action = 'log.verify' ORDER BY seq").fetchall()
    connection.close()
    return [decode(bytes(body)) for (body,) in found]  # type: ignore[arg-type]  # a column of bytes
