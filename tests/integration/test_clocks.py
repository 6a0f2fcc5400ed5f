"""No tombstone becomes due by a clock that is wrong: the operator's own, or the API server's.

The operator asks the API server for the time by the Date of an answer. Here that header is set apart from this
machine's clock, in both directions; to the operator it is the same as if its own clock had jumped.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dezky_operator.tenant.suspension import text_of
from tests.builders import admin, tenant
from tests.controlplane.cluster import Cluster
from tests.deaf import Listener, listener
from tests.site import PATIENCE, Site
from tests.tombstones import buried, forgotten, places, tombstone

YEARS = timedelta(days=3650)
AT_ONCE = {
    "deletion": {"graceSeconds": 0, "lookSeconds": 0.2},
    "purge": {"auditWaitSeconds": 0, "waitSeconds": 1.0, "lookSeconds": 0.3},
}
NOTHING = {"authentik": 0, "stalwart": 0, "ocis": 0}


@pytest.fixture
async def locked(cluster: Cluster, tmp_path: Path) -> AsyncIterator[tuple[Site, Listener]]:
    """A deleted tenant, locked and kept for 30 days."""
    async with Site(cluster, changes=AT_ONCE) as site, listener(site.config, tmp_path) as (way, config):
        site.config = config
        await site.start()
        await site.apply(tenant("acme", admin("anna@acme.test")))
        await site.ready("acme")
        await site.kubectl("delete", "tenant", "acme", "--wait=false")
        await site.gone("acme")
        await buried(site, "acme", "Locked")
        yield site, way
        await site.stop()


async def test_a_machine_years_ahead_purges_nothing_and_goes_on_when_it_is_put_right(
    locked: tuple[Site, Listener],
) -> None:
    """By this machine's clock its time is over, by the API server's it is not."""
    site, way = locked
    way.ahead = -YEARS
    await kept_until(site, datetime.now(UTC) - timedelta(days=1))
    await blocked(site, "ClockDisagrees")
    record = await tombstone(site, "acme")
    assert record["state"] == "Locked"
    assert places(site, "acme")["authentik"] > 0
    way.ahead = timedelta()
    await forgotten(site, "acme")
    assert places(site, "acme") == NOTHING


async def test_an_api_server_years_ahead_purges_nothing(locked: tuple[Site, Listener]) -> None:
    site, way = locked
    before = await tombstone(site, "acme")
    way.ahead = YEARS
    asked = looks(site)
    await site.until(lambda: looks(site) >= asked + 5, "it was looked at five times")
    assert await tombstone(site, "acme") == before
    assert places(site, "acme")["authentik"] > 0


async def test_clocks_that_part_while_a_purge_is_due_take_it_back(cluster: Cluster, tmp_path: Path) -> None:
    """During the hour between due and purged; here an hour is never over."""
    changes = {**AT_ONCE, "purge": {**AT_ONCE["purge"], "waitSeconds": 3600.0}}
    async with Site(cluster, changes=changes) as site, listener(site.config, tmp_path) as (way, config):
        site.config = config
        await site.start()
        await site.apply(tenant("acme", admin("anna@acme.test")))
        await site.ready("acme")
        await site.kubectl("delete", "tenant", "acme", "--wait=false")
        await buried(site, "acme", "Locked")
        await kept_until(site, datetime.now(UTC) - timedelta(days=1))
        await buried(site, "acme", "PurgeDue")
        way.ahead = -YEARS
        await buried(site, "acme", "Locked")
        await blocked(site, "ClockDisagrees")
        way.ahead = timedelta()
        record = await buried(site, "acme", "PurgeDue")
        assert record.get("blocked") is None
        assert places(site, "acme")["authentik"] > 0
        await site.stop()


# -- help --------------------------------------------------------------------------------


async def kept_until(site: Site, moment: datetime) -> None:
    """Write another end of its retention into the tombstone, as time would."""
    record = {**await tombstone(site, "acme"), "purgeAt": text_of(moment)}
    patch = json.dumps({"data": {"record.json": json.dumps(record)}})
    place = ("configmap", "dezky-tombstone-acme")
    await site.kubectl("-n", site.namespace, "patch", *place, "--type=merge", "-p", patch)


async def blocked(site: Site, reason: str) -> None:
    """Until the tombstone says what holds it up."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while ((await tombstone(site, "acme")).get("blocked") or {}).get("reason") != reason:
        assert asyncio.get_running_loop().time() < deadline, f"never blocked by {reason}"
        await asyncio.sleep(0.05)


def looks(site: Site) -> float:
    """How many reconciles came to their end."""
    assert site.operator is not None
    labels = {"kind": "Tenant", "outcome": "settled"}
    return site.operator.metrics.registry.get_sample_value("dezky_reconcile_total", labels) or 0.0
