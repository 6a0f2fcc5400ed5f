"""A way to MongoDB that is cut where a test wants it, and on which the server's answers may read differently.

It knows as much of the wire protocol as that takes: messages are OP_MSG, the first name in one is the command, an
answer is one document (https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/). The first message of a
connection is of an older kind and goes through unseen.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

import bson
from pymongo import AsyncMongoClient

Document = dict[str, Any]
OP_MSG = 2013
WATCHING = frozenset({"ismaster", "isMaster"})
"""What the driver asks again and again by itself."""
HEADER = struct.Struct("<iiii")
FLAGS = 4
COMMAND = HEADER.size + FLAGS + 1
"""Where the document of a message begins: after the header, the flags and the kind of the section."""


class Cut(Enum):
    """Where the connection ends."""

    HALFWAY = "half of the request reaches the server"
    UNANSWERED = "the server does it, the answer does not arrive"


class Wire:
    """What stands between.

    Attributes:
        seen: names of the commands passed on, in order.
        cut: asked for each command, by its name, whether the connection ends with it.
        asked: given each command that a test wants to change; its own document is sent on.
        told: given each answer, by the name of its command; its own document is sent back.
        hold: while it is there and not set, commands wait here; ``held`` is set when the first one does.
    """

    def __init__(self, server: tuple[str, int], user: str) -> None:
        self._server = server
        self._user = user
        self._connections: list[tuple[asyncio.StreamWriter, asyncio.Event]] = []
        self.port = 0
        self.seen: list[str] = []
        self.cut: Callable[[str], Cut | None] = lambda _name: None
        self.asked: Callable[[Document], Document] = lambda command: command
        self.hold: asyncio.Event | None = None
        self.held = asyncio.Event()
        self.told: Callable[[str, Document], Document] = lambda _name, answer: answer

    @property
    def uri(self) -> str:
        """Of this end. The driver is kept from going to the members of a replica set by itself."""
        return f"mongodb://{self._user}127.0.0.1:{self.port}/?directConnection=true"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        there, back = await asyncio.open_connection(*self._server)
        ended = asyncio.Event()
        self._connections.append((writer, ended))
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await self._exchange(reader, writer, there, back):
                pass
        for one in (back, writer):
            one.close()
            with suppress(ConnectionError):
                await one.wait_closed()
        ended.set()

    async def end(self) -> None:
        """End all connections."""
        for writer, ended in self._connections:
            writer.close()
            await ended.wait()

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        back: asyncio.StreamWriter,
    ) -> bool:
        """One message and its answer; say whether the connection goes on."""
        message = await _message(reader)
        name, message = self._command(message)
        if name and self.hold is not None:
            self.held.set()
            await self.hold.wait()
        cut = self.cut(name) if name else None
        back.write(message[: len(message) // 2] if cut is Cut.HALFWAY else message)
        await back.drain()
        if cut is Cut.HALFWAY:
            return False
        answer = await _message(there)
        if cut is Cut.UNANSWERED:
            return False
        writer.write(self._answer(name, answer) if name else answer)
        await writer.drain()
        return True

    def _command(self, message: bytes) -> tuple[str, bytes]:
        if HEADER.unpack_from(message)[3] != OP_MSG:
            return "", message
        (length,) = struct.unpack_from("<i", message, COMMAND)
        command = bson.decode(message[COMMAND : COMMAND + length])
        name = next(iter(command))
        if name in WATCHING:
            return "", message
        self.seen.append(name)
        changed = self.asked(command)
        if changed is command:
            return name, message
        return name, _with(message, bson.encode(changed), message[COMMAND + length :])

    def _answer(self, name: str, message: bytes) -> bytes:
        answer = bson.decode(message[COMMAND:])
        changed = self.told(name, answer)
        return message if changed is answer else _with(message, bson.encode(changed), b"")


def _with(message: bytes, document: bytes, rest: bytes) -> bytes:
    """The message with another document in it."""
    _, number, answers, kind = HEADER.unpack_from(message)
    tail = message[HEADER.size : COMMAND] + document + rest
    return HEADER.pack(HEADER.size + len(tail), number, answers, kind) + tail


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(HEADER.size)
    return head + await reader.readexactly(HEADER.unpack(head)[0] - HEADER.size)


@asynccontextmanager
async def wire(uri: str) -> AsyncIterator[Wire]:
    """A way to the primary of ``uri``, without TLS."""
    async with AsyncMongoClient[Document](uri) as client:
        await client.admin.command("ping")
        primary = await client.address
    assert primary is not None
    user, at, _ = urlsplit(uri).netloc.rpartition("@")
    found = Wire(primary, user + at)
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    async with server:
        yield found
        await found.end()
