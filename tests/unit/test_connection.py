"""A connection to a system: which credential is refused, and how long a request may take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import httpx2
import pytest

from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.integrations.connection import Connection, Credential, Fence, Limits, NoFence
from dezky_operator.integrations.errors import AuthFailed, Unreachable, WriteRefused
from dezky_operator.integrations.stalwart.client import StalwartClient
from dezky_operator.integrations.steps import System
from dezky_operator.telemetry.metrics import Metrics
from tests.virtual_time import virtually

Clock = Callable[[], float]
Answer = Callable[[httpx2.Request], Awaitable[httpx2.Response]]


class Wire(httpx2.AsyncBaseTransport):
    """Answers with ``answer``, and remembers what was sent with which credential."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.sent: list[str] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.sent.append(request.headers["Authorization"])
        return await self._answer(request)


@dataclass
class Secret:
    """What the Secret holds now."""

    value: str = "old"

    async def credential(self) -> Credential:
        return Credential(header=self.value, version=self.value, source="Secret dezky/one, key token")


@dataclass
class Left:
    """A fence that closes at a time."""

    clock: Clock
    deadline: float

    def remaining(self) -> float:
        return self.deadline - self.clock()


def connection(wire: Wire, secret: Secret, fence: Fence | None = None) -> Connection:
    return Connection(
        system=System.STALWART,
        client=httpx2.AsyncClient(base_url="http://system.test", transport=wire),
        authorizer=secret,
        limits=Limits(),
        fence=fence or NoFence(),
        metrics=Metrics(),
    )


# -- the credential ------------------------------------------------------------------


@pytest.mark.parametrize("system", [System.AUTHENTIK, System.STALWART])
async def test_the_credential_that_was_sent_is_the_one_refused(system: System) -> None:
    """The Secret was changed while the old one was on its way: the new one must not be given up with it."""
    secret = Secret()

    async def answer(request: httpx2.Request) -> httpx2.Response:
        if request.headers["Authorization"] == "old":
            secret.value = "new"
            return httpx2.Response(401, request=request)
        return httpx2.Response(200, json={"version_current": "2026.8.0"}, request=request)

    wire = Wire(answer)
    line = connection(wire, secret)
    probe = AuthentikClient(line).version if system is System.AUTHENTIK else StalwartClient(line).probe
    with pytest.raises(AuthFailed, match="Secret dezky/one, key token"):
        await probe()
    await probe()
    assert wire.sent == ["old", "new"]


async def test_a_refused_credential_is_never_sent_again() -> None:
    wire = Wire(_refused)
    client = StalwartClient(connection(wire, Secret()))
    for _ in range(3):
        with pytest.raises(AuthFailed):
            await client.probe()
    assert wire.sent == ["old"]


async def test_a_late_refusal_of_an_old_credential_does_not_forgive_the_present_one() -> None:
    secret, arrived, late = Secret(), asyncio.Event(), asyncio.Event()

    async def answer(request: httpx2.Request) -> httpx2.Response:
        if request.headers["Authorization"] == "old":
            arrived.set()
            await late.wait()
        return await _refused(request)

    wire = Wire(answer)
    client = StalwartClient(connection(wire, secret))
    first = asyncio.create_task(client.probe())
    await arrived.wait()
    secret.value = "new"
    with pytest.raises(AuthFailed):
        await client.probe()
    late.set()
    with pytest.raises(AuthFailed):
        await first
    with pytest.raises(AuthFailed):
        await client.probe()
    assert wire.sent == ["old", "new"]


async def test_a_refusal_says_what_to_do_with_a_credential_that_was_given_by_hand() -> None:
    class Given:
        async def credential(self) -> Credential:
            return Credential(header="x", version="given", source="the command line", remedy="Run this again.")

    client = StalwartClient(
        Connection(
            system=System.STALWART,
            client=httpx2.AsyncClient(base_url="http://system.test", transport=Wire(_refused)),
            authorizer=Given(),
            limits=Limits(),
            fence=NoFence(),
            metrics=Metrics(),
        )
    )
    with pytest.raises(AuthFailed, match=r"the command line\. .* Run this again\.$"):
        await client.probe()


# -- the time ------------------------------------------------------------------------


def test_a_write_never_outlives_the_fence() -> None:
    """Connecting, sending and waiting together, not each: behind the deadline another process writes."""

    async def work(clock: Clock) -> None:
        ended: list[float] = []
        wire = Wire(_slowly(6.0, ended, clock))
        line = connection(wire, Secret(), Left(clock, clock() + 2.0))
        begun = clock()
        with pytest.raises(Unreachable, match="did not answer in time"):
            await line.send("POST", "/object", op="object.create", write=True)
        assert clock() - begun == pytest.approx(2.0)
        with pytest.raises(WriteRefused):
            await line.send("POST", "/object", op="object.create", write=True)
        await asyncio.sleep(60.0)
        assert ended == []
        assert len(wire.sent) == 1

    virtually(work)


def test_a_body_that_trickles_in_is_given_up_after_the_timeout() -> None:
    async def work(clock: Clock) -> None:
        async def trickle() -> AsyncIterator[bytes]:
            while True:
                await asyncio.sleep(5.0)
                yield b" "

        async def answer(request: httpx2.Request) -> httpx2.Response:
            return httpx2.Response(200, content=trickle(), request=request)

        line = connection(Wire(answer), Secret())
        begun = clock()
        with pytest.raises(Unreachable, match="did not answer in time"):
            await line.send("PUT", "/object", op="object.update", write=True)
        assert clock() - begun == pytest.approx(10.0)

    virtually(work)


def test_a_read_is_asked_once_more_and_needs_no_lease() -> None:
    async def work(clock: Clock) -> None:
        wire = Wire(_slowly(60.0, [], clock))
        line = connection(wire, Secret(), Left(clock, clock() - 1.0))
        with pytest.raises(Unreachable):
            await line.send("GET", "/object", op="object.get", write=False)
        assert len(wire.sent) == 2

    virtually(work)


async def _refused(request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(401, request=request)


def _slowly(seconds: float, ended: list[float], clock: Clock) -> Answer:
    async def answer(request: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(seconds)
        ended.append(clock())
        return httpx2.Response(200, request=request)

    return answer
