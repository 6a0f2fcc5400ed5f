"""The check on the watch: what it finds, and that nothing it meets ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import httpx2
import pytest
from aiohttp import web

from dezky_operator.kube.api import TenantApi
from dezky_operator.kube.cache import TenantCache
from dezky_operator.kube.chores import tended
from dezky_operator.kube.lease import Fence
from dezky_operator.kube.transport import connect
from dezky_operator.kube.watchdog import Watchdog
from dezky_operator.telemetry.metrics import Metrics
from tests.builders import tenant
from tests.kubernetes import config
from tests.virtual_time import virtually

Clock = Callable[[], float]


def seen(name: str, version: int) -> dict[str, Any]:
    found = tenant(name)
    found["metadata"] |= {"uid": f"uid-{name}", "resourceVersion": str(version)}
    return found


class Cluster:
    """What the API server lists, what the watch has told, and what reading one Tenant does."""

    def __init__(self, clock: Clock) -> None:
        self.listed: dict[str, str] = {}
        self.cache = TenantCache()
        self.unlisted: Exception | None = None
        self.unread: Exception | None = None
        self.fetched: list[str] = []
        self.dog = Watchdog(
            versions=self.versions, cache=self.cache, fetch=self.fetch, interval=60.0, clock=clock, patience=30.0
        )

    async def versions(self) -> Mapping[str, str]:
        if self.unlisted:
            raise self.unlisted
        return self.listed

    async def fetch(self, name: str) -> None:
        self.fetched.append(name)
        if self.unread:
            raise self.unread
        if name in self.listed:
            self.cache.put(seen(name, int(self.listed[name])))
        else:
            self.cache.remove(name, f"uid-{name}")


def test_a_change_that_was_not_told_fails_health_until_it_is_known() -> None:
    async def work(clock: Clock) -> None:
        cluster = Cluster(clock)
        cluster.cache.put(seen("acme", 7))
        cluster.listed = {"acme": "8"}
        await cluster.dog.compare()
        assert cluster.dog.check() is None  # it may only be on its way
        await asyncio.sleep(30.0)
        await cluster.dog.compare()
        assert cluster.dog.check() == "the watch has not told of 1 changed Tenants, the first acme"
        assert cluster.fetched == ["acme"]
        await cluster.dog.compare()
        assert cluster.dog.check() is None

    virtually(work)


def test_a_deletion_that_was_not_told_is_found() -> None:
    async def work(clock: Clock) -> None:
        cluster = Cluster(clock)
        cluster.cache.put(seen("acme", 7))
        await cluster.dog.compare()
        await asyncio.sleep(30.0)
        await cluster.dog.compare()
        assert cluster.fetched == ["acme"]
        assert cluster.cache.names == []

    virtually(work)


def test_a_tenant_that_can_not_be_read_is_read_with_the_next_comparison() -> None:
    async def work(clock: Clock) -> None:
        cluster = Cluster(clock)
        cluster.listed = {"acme": "8", "beta": "9"}
        await cluster.dog.compare()
        await asyncio.sleep(30.0)
        cluster.unread = httpx2.ConnectError("away")
        await cluster.dog.compare()
        assert cluster.fetched == ["acme", "beta"]
        assert cluster.dog.check() is not None
        cluster.unread = None
        await cluster.dog.compare()
        assert cluster.fetched == ["acme", "beta"] * 2
        assert cluster.cache.names == ["acme", "beta"]

    virtually(work)


def test_a_silent_api_server_proves_nothing_about_the_watch() -> None:
    async def work(clock: Clock) -> None:
        cluster = Cluster(clock)
        cluster.cache.put(seen("acme", 7))
        cluster.unlisted = httpx2.ConnectError("away")
        for _ in range(3):
            await cluster.dog.compare()
            await asyncio.sleep(60.0)
        assert cluster.dog.check() is None

    virtually(work)


def test_a_chore_that_breaks_is_begun_again() -> None:
    async def work(_: Clock) -> None:
        runs = 0

        async def chore() -> None:
            nonlocal runs
            runs += 1
            raise TypeError("a defect")

        task = asyncio.create_task(tended("chore", chore))
        await asyncio.sleep(2.5)
        assert runs == 3
        assert not task.done()

    virtually(work)


class Listing:
    """Answers every request with the same."""

    def __init__(self) -> None:
        self.body, self.status = "{}", 200
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None)

    async def _answer(self, _: web.Request) -> web.Response:
        return web.Response(text=self.body, status=self.status)

    async def start(self) -> str:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()


@pytest.fixture
async def listing() -> AsyncIterator[Listing]:
    found = Listing()
    yield found
    await found.stop()


@pytest.fixture
async def api(listing: Listing) -> AsyncIterator[TenantApi]:
    where = config(await listing.start())
    client = connect(where, fence=Fence(), metrics=Metrics())
    found = TenantApi(client, where)
    yield found
    await found.close()
    await client.close()


async def test_a_list_without_tenants_is_empty_however_it_is_written(api: TenantApi, listing: Listing) -> None:
    """Go writes an empty list as null."""
    for items in ("null", "[]"):
        listing.body = f'{{"metadata": {{"resourceVersion": "1"}}, "items": {items}}}'
        assert await api.versions() == {}
        assert await api.all() == []
    listing.body = '{"metadata": {}}'
    assert await api.versions() == {}


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, "<html>"), (200, "[]"), (200, '{"metadata": {}, "items": {}, "resources": {}}'), (503, "{}")],
)
async def test_an_answer_of_something_in_between_is_a_failure_of_the_wire(
    api: TenantApi, listing: Listing, status: int, body: str
) -> None:
    listing.status, listing.body = status, body
    with pytest.raises(httpx2.HTTPError):
        await api.versions()
    with pytest.raises(httpx2.HTTPError):
        await api.served()


async def test_only_a_404_says_that_tenants_are_not_served(api: TenantApi, listing: Listing) -> None:
    listing.status = 404
    assert not await api.served()
    listing.status, listing.body = 200, '{"resources": [{"name": "partners"}]}'
    assert "tenants" not in await api.served()
    listing.body = '{"resources": [{"name": "tenants"}]}'
    assert "tenants" in await api.served()
    listing.status = 403
    with pytest.raises(httpx2.HTTPStatusError):
        await api.served()
