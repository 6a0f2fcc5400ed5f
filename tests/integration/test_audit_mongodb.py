"""The same log in MongoDB: FerretDB embedded, or the server of ``DEZKY_TEST_MONGODB_URI``."""

from __future__ import annotations

from pathlib import Path

import pytest

from dezky_operator.config import SettingsError
from dezky_operator.kube.process import Operator
from tests.builders import tenant
from tests.controlplane.cluster import Cluster
from tests.ferretdb import server
from tests.integration.test_audit_of_own_acts import audited, working
from tests.logs import lines_of


async def test_a_tenants_steps_are_in_it_each_with_one_end_and_a_restart_adds_none(
    cluster: Cluster, tmp_path: Path
) -> None:
    async with server.database() as name:
        mongodb = {"uriSecretRef": {"name": "mongodb", "key": "uri"}, "database": name, "standalone": True}
        settings = {"directory": str(tmp_path), "mongodb": mongodb}
        async with audited(cluster, tmp_path, audit=settings) as site:
            await site.kubectl(
                *("-n", site.namespace, "create", "secret", "generic", "mongodb"), f"--from-literal=uri={server.uri()}"
            )
            await site.start()
            await site.apply(tenant("acme"))
            await site.ready("acme")
            await site.idle()
            await site.stop()
            await working(site)
            await site.stop()
        store = await server.opened(name)
        told = await lines_of(store)
        await store.close()
    actions = [line.action for line in told]
    assert actions.count("tenant.created") == 1
    assert (actions.count("log.start"), actions.count("log.stop")) == (2, 2)
    intents = [line.data["step"] for line in told if line.action == "step.intent"]
    ends = [line.data["step"] for line in told if line.action in {"step.done", "step.failed", "step.unknown"}]
    assert len(intents) > 10
    assert sorted(intents) == sorted(ends)


async def test_without_its_secret_it_says_which_one(cluster: Cluster, tmp_path: Path) -> None:
    settings = {"directory": str(tmp_path), "mongodb": {"uriSecretRef": {"name": "nowhere", "key": "uri"}}}
    async with audited(cluster, tmp_path, audit=settings) as site:
        operator = Operator(site.settings, site.config, identity="test")
        with pytest.raises(SettingsError, match=r"audit.mongodb.uriSecretRef: .*/nowhere, key uri does not exist"):
            await operator.run(signals=False)
