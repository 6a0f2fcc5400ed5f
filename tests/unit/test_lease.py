"""The Lease: at most one process writes, and none after its time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap

from dezky_operator.config import LeaseSettings
from dezky_operator.kube.lease import Fence, LeaseHolder
from dezky_operator.kube.transport import NotTheWriter
from dezky_operator.telemetry.metrics import Metrics
from tests.kubernetes import ApiServer
from tests.virtual_time import virtually

Clock = Callable[[], float]
LEASE = "/apis/coordination.k8s.io/v1/namespaces/dezky/leases/dezky-operator"
NOTE = ConfigMap(metadata=ObjectMeta(name="note", namespace="dezky"))


@dataclass
class Process:
    """One that wants to write."""

    fence: Fence
    holder: LeaseHolder


def process(server: ApiServer, identity: str, clock: Clock, cut: Callable[[], bool] = lambda: False) -> Process:
    fence = Fence(clock)
    holder = LeaseHolder(
        client=server.client(fence, cut),
        namespace="dezky",
        identity=identity,
        settings=LeaseSettings(),
        fence=fence,
        metrics=Metrics(),
        clock=clock,
    )
    return Process(fence, holder)


def test_a_taken_lease_lets_write_until_its_margin() -> None:
    async def work(clock: Clock) -> float:
        one = process(ApiServer(), "one", clock)
        await one.holder.acquire()
        return one.fence.remaining()

    assert virtually(work) == pytest.approx(10.0)


def test_nothing_is_written_after_the_deadline() -> None:
    """A write that the API server takes its time for is cut off when the Lease is; a later one is never sent."""

    async def work(clock: Clock) -> None:
        server, fence = ApiServer(), Fence(clock)
        client = server.client(fence)
        server.latency = lambda: 30.0
        fence.extend(clock() + 3.0)
        begun = clock()
        with pytest.raises(Exception, match="did not answer in time"):
            await client.create(NOTE)
        assert clock() - begun == pytest.approx(3.0)
        with pytest.raises(NotTheWriter):
            await client.create(NOTE)
        await asyncio.sleep(60.0)
        assert server.objects == {}
        assert len(server.requests) == 1

    virtually(work)


def test_a_write_that_is_renewed_meanwhile_is_not_cut_off_early() -> None:
    async def work(clock: Clock) -> None:
        server, fence = ApiServer(), Fence(clock)
        client = server.client(fence)
        server.latency = lambda: 9.0
        fence.extend(clock() + 10.0)
        await client.create(NOTE)

    virtually(work)


def test_a_renewal_that_meets_another_write_is_tried_again() -> None:
    """Somebody labels the Lease between our read and our write: that is no reason to end the process."""

    async def work(clock: Clock) -> None:
        server = ApiServer()
        one = process(server, "one", clock)
        await one.holder.acquire()
        meddled = False

        def label(method: str, path: str) -> None:
            nonlocal meddled
            if method == "PUT" and not meddled:
                meddled = True
                server.put(path, server.objects[path])

        server.meddle = label
        keeping = asyncio.create_task(one.holder.keep())
        await asyncio.sleep(60.0)
        assert meddled
        assert not keeping.done()
        assert one.fence.remaining() > 0

    virtually(work)


def test_of_two_that_start_together_one_stands_by() -> None:
    async def work(clock: Clock) -> None:
        server = ApiServer()
        server.latency = lambda: 0.1
        pair = [process(server, name, clock) for name in ("one", "two")]
        tasks = [asyncio.create_task(found.holder.acquire()) for found in pair]
        await asyncio.sleep(5.0)
        assert sorted(task.done() for task in tasks) == [False, True]
        assert sorted(found.fence.remaining() > 0 for found in pair) == [False, True]

    virtually(work)


def test_a_stolen_lease_closes_the_fence_with_the_next_renewal() -> None:
    async def work(clock: Clock) -> None:
        server = ApiServer()
        one = process(server, "one", clock)
        await one.holder.acquire()
        stolen = server.objects[LEASE]
        server.put(LEASE, {**stolen, "spec": {**stolen["spec"], "holderIdentity": "two"}})
        begun = clock()
        await asyncio.wait_for(one.holder.keep(), 6.0)
        assert clock() - begun == pytest.approx(5.0)
        assert one.fence.remaining() <= 0

    virtually(work)


def test_a_lease_that_ran_out_is_not_taken_again() -> None:
    """A machine that slept: others may have written meanwhile, and what this process knows is from before."""

    async def work(clock: Clock) -> None:
        slept = 0.0
        server = ApiServer()
        one = process(server, "one", lambda: clock() + slept)
        await one.holder.acquire()
        keeping = asyncio.create_task(one.holder.keep())
        await asyncio.sleep(1.0)
        slept = 100.0
        await asyncio.wait_for(keeping, 6.0)
        assert one.fence.remaining() <= 0

    virtually(work)


def test_a_silent_api_server_ends_the_keeping_at_the_deadline() -> None:
    async def work(clock: Clock) -> None:
        server = ApiServer()
        one = process(server, "one", clock)
        await one.holder.acquire()
        server.silent = lambda: True
        begun = clock()
        await one.holder.keep()
        assert clock() - begun == pytest.approx(10.0)

    virtually(work)


def test_a_released_lease_is_taken_at_once() -> None:
    async def work(clock: Clock) -> None:
        server = ApiServer()
        one, two = process(server, "one", clock), process(server, "two", clock)
        await one.holder.acquire()
        await one.holder.release()
        assert one.fence.remaining() <= 0
        await asyncio.wait_for(two.holder.acquire(), 0.1)

    virtually(work)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32), slowest=st.sampled_from([0.1, 4.0, 25.0]), outage=st.floats(5.0, 80.0))
def test_two_holders_are_never_open_at_once(seed: int, slowest: float, outage: float) -> None:
    """Whatever happens: the API server answers late, one way to it is cut, and processes come and go."""
    chance = random.Random(seed)  # noqa: S311 - a seeded schedule, not a secret

    async def live(found: Process) -> None:
        while True:
            await found.holder.acquire()
            keeping = asyncio.create_task(found.holder.keep())
            await asyncio.wait({keeping}, timeout=chance.uniform(1.0, 90.0))
            keeping.cancel()
            if chance.random() < 0.5:
                await found.holder.release()
            else:
                found.fence.close()  # it died
            await asyncio.sleep(chance.uniform(0.0, 30.0))

    async def work(clock: Clock) -> int:
        server = ApiServer()
        server.latency = lambda: chance.uniform(0.0, slowest)
        away = clock() + chance.uniform(10.0, 60.0)
        pair = [
            process(server, "one", clock, cut=lambda: away <= clock() < away + outage),
            process(server, "two", clock),
        ]
        lives = [asyncio.create_task(live(found)) for found in pair]
        turns = 0
        while clock() < away + 240.0:
            await asyncio.sleep(0.1)
            held = [found.fence.remaining() > 0 for found in pair]
            assert held != [True, True], clock()
            turns += any(held)
        assert not any(found.done() for found in lives)
        return turns

    turns = virtually(work)
    assert turns > 0 or slowest > 4.0, "nobody ever wrote, so nothing was shown"
