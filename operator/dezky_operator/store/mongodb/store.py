"""The store in a MongoDB replica set. Work is done call by call; nothing promises that two of them happen together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from pymongo import AsyncMongoClient, ReadPreference
from pymongo.errors import ConfigurationError, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from dezky_operator.store.interface import Reader, Result, Rows, StartError, UnavailableError
from dezky_operator.store.mongodb.layout import prefix_of, prepare, refusal, require
from dezky_operator.store.mongodb.rows import MongoRows
from dezky_operator.store.mongodb.server import Options, Server, accepted
from dezky_operator.store.mongodb.shape import Document


class MongoStore:
    """A store in one database. Any number of processes may have it open at once, each through its own."""

    def __init__(self, client: AsyncMongoClient[Document], server: Server, rows: MongoRows) -> None:
        self._client = client
        self._rows = rows
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False
        self.server = server

    @classmethod
    async def open(cls, uri: str, database: str, epoch: int, options: Options | None = None) -> MongoStore:
        """Connect, check the server, and make what is missing in ``database``.

        Whatever the connection string says, writes are acknowledged by the journals of a majority, reads are the
        primary's at majority, and every call has an end. Writes are repeated by the driver where the server can tell
        the repetition from another write: in replica sets, not on FerretDB.

        Raises:
            StartError: the connection string, the server or its database would not keep what is acknowledged.
            UnavailableError: the server does not answer; call again.
        """
        options = options or Options()
        client = _client(uri, options)
        try:
            server = await _server(client, database, options)
            own = client.get_database(
                database,
                read_preference=ReadPreference.PRIMARY,
                write_concern=WriteConcern("majority", j=True),
                read_concern=ReadConcern("majority"),
            )
            prefix = prefix_of(epoch)
            await (require(own, prefix) if options.existing else prepare(own, prefix, server))
        except BaseException:
            await client.close()
            raise
        return cls(client, server, MongoRows(own, prefix, server))

    async def run(self, work: Callable[[Rows], Awaitable[Result]]) -> Result:
        """Run ``work`` call by call: what it wrote before an error stays."""
        return await self._done(work)

    async def read(self, work: Callable[[Reader], Awaitable[Result]]) -> Result:
        """Run reads, each over the state of its own moment."""
        return await self._done(work)

    async def scrub(self) -> None:
        """Do nothing: MongoDB has no way to wipe what it deleted. ``server.lacks`` says so to the one who runs it."""

    async def close(self) -> None:
        """Wait for what was handed in and disconnect."""
        self._closed = True
        await self._idle.wait()
        await self._client.close()

    async def _done(self, work: Callable[[MongoRows], Awaitable[Result]]) -> Result:
        if self._closed:
            raise UnavailableError("the store in MongoDB is closed")
        self._running += 1
        self._idle.clear()
        before = _cancellations()
        try:
            return await work(self._rows)
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()
            if _cancellations() > before:
                # The driver waits by asyncio.wait_for, which before Python 3.12 forgets a cancellation that comes
                # together with the answer. Who does something for ever would then never end.
                raise asyncio.CancelledError


def _cancellations() -> int:
    """How often this task was asked to end. What it still does after that, when it ends, is done."""
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


def _client(uri: str, options: Options) -> AsyncMongoClient[Document]:
    """A client that has not connected yet. No error shows the connection string: there is a password in it."""
    milliseconds = round(options.seconds * 1000)
    try:
        return AsyncMongoClient(
            uri,
            appname="dezky-operator",
            timeoutMS=milliseconds,
            serverSelectionTimeoutMS=milliseconds,
            connectTimeoutMS=milliseconds,
        )
    except (ConfigurationError, ValueError, TypeError) as error:
        raise StartError(
            f"the connection string of the audit log's MongoDB cannot be used ({type(error).__name__}): it begins with "
            "mongodb:// or mongodb+srv://, and '/', ':', '@' and '%' of user and password are percent-encoded"
        ) from None


async def _server(client: AsyncMongoClient[Document], database: str, options: Options) -> Server:
    try:
        hello = await client.admin.command("hello")
        build = await client.admin.command("buildInfo")
    except ConfigurationError:
        raise StartError(
            "the connection string of the audit log's MongoDB names a server that the driver does not speak to: "
            "MongoDB 5.0 or later is needed, and the host names of mongodb+srv:// must exist"
        ) from None
    except PyMongoError as error:
        raise refusal(error, database) from None
    return accepted(hello, build, options)
