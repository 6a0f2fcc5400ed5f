"""What the operator does, in the log: by a real API server, real kubectl and a log in a file (C082, C084, X08)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from dezky_operator.audit.line import Line
from dezky_operator.store.sqlite import SqliteStore
from tests.builders import tenant
from tests.controlplane.cluster import Cluster
from tests.logs import lines_of
from tests.site import Site


@asynccontextmanager
async def audited(cluster: Cluster, directory: Path, **changes: Any) -> AsyncIterator[Site]:
    """A site whose operator keeps its log in ``directory``."""
    async with Site(cluster, {"audit": {"directory": str(directory)}, **changes}) as site:
        yield site


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
    assert (actions[0], actions[-1]) == ("log.start", "log.stop")
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
