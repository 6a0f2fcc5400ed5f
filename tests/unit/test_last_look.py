"""A write is looked at once more when its first byte is about to go: its process may have been frozen since."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx2
import pytest

from dezky_operator.integrations.connection import Connection, Credential, Limits
from dezky_operator.integrations.errors import WriteRefused
from dezky_operator.integrations.steps import System
from dezky_operator.kube.lease import Fence
from dezky_operator.kube.transport import FencedTransport, NotTheWriter
from dezky_operator.telemetry.metrics import Metrics


@dataclass
class Server:
    """A real one on loopback: what arrives of each connection, and always the same answer."""

    arrived: list[bytes] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self.arrived.append(data)
            if data.endswith(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found = Server()
    listening = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with listening:
        yield found


class Frozen:
    """A clock that is read ``looks`` times before its process is frozen for a minute."""

    def __init__(self, looks: int) -> None:
        self._looks = looks

    def __call__(self) -> float:
        self._looks -= 1
        return 100.0 if self._looks >= 0 else 160.0


def fence(looks: int) -> Fence:
    """Open for ten seconds."""
    found = Fence(Frozen(looks))
    found.extend(110.0)
    return found


class Known:
    """A credential."""

    async def credential(self) -> Credential:
        return Credential(header="Bearer x", version="1", source="a test")


@asynccontextmanager
async def connection(server: Server, looks: int) -> AsyncIterator[Connection]:
    async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as client:
        yield Connection(
            system=System.OCIS,
            client=client,
            authorizer=Known(),
            limits=Limits(),
            fence=fence(looks),
            metrics=Metrics(),
        )


async def test_a_write_whose_process_is_frozen_before_the_first_byte_is_not_sent(server: Server) -> None:
    """The fence was open when it was asked for; it is not any more when the connection stands."""
    async with connection(server, looks=1) as found:
        with pytest.raises(WriteRefused):
            await found.send("DELETE", "/groups/1", op="group.delete", write=True)
    assert server.arrived == []


async def test_a_write_whose_process_is_frozen_between_head_and_body_is_not_completed(server: Server) -> None:
    async with connection(server, looks=2) as found:
        with pytest.raises(WriteRefused):
            await found.send("POST", "/groups", op="group.create", write=True, content=b"{}")
    assert not any(b"{}" in data for data in server.arrived)


async def test_a_write_in_time_is_sent_whole(server: Server) -> None:
    async with connection(server, looks=3) as found:
        answer = await found.send("DELETE", "/groups/1", op="group.delete", write=True)
    assert answer.status_code == 200


async def test_a_read_is_not_looked_at(server: Server) -> None:
    async with connection(server, looks=0) as found:
        answer = await found.send("GET", "/groups", op="group.list", write=False)
    assert answer.status_code == 200


async def test_a_write_to_the_api_server_is_looked_at_too(server: Server) -> None:
    transport = FencedTransport(httpx2.AsyncHTTPTransport(), fence(looks=1), Metrics())
    async with httpx2.AsyncClient(base_url=server.url, transport=transport, trust_env=False) as client:
        with pytest.raises(NotTheWriter):
            await client.delete("/api/v1/namespaces/x/configmaps/y")
        assert server.arrived == []
        assert (await client.get("/api/v1/namespaces/x/configmaps/y")).status_code == 200
