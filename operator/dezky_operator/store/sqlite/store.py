"""The store over one SQLite file. All of SQLite happens in one thread; work of the same moment shares one commit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from dezky_operator.store.interface import Reader, Result, Rows, UnavailableError
from dezky_operator.store.sqlite.file import Options, check
from dezky_operator.store.sqlite.group import Connected, Job, Kind

GROUP = 256
"""Most jobs of one commit: bounds how long the first of them waits for the others."""


class SqliteStore:
    """A store in one file. Several processes of one host may have it open at once, each through its own."""

    def __init__(self, path: Path, options: Options) -> None:
        self._file = Connected(path, options)
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = Thread(target=self._serve, name=f"store {path.name}", daemon=True)
        self._closed = False

    @classmethod
    async def open(cls, path: Path, options: Options | None = None) -> SqliteStore:
        """Open ``path``; the file is made if its directory is there.

        Raises:
            StartError: the library, the place, the file or a setting would not keep what is acknowledged.
            UnavailableError: the disk fails, or another process keeps the file.
        """
        options = options or Options()
        check(path, options)
        store = cls(path, options)
        store._thread.start()
        try:
            await store._done(Kind.OPEN, _nothing)
        except BaseException:
            await store.close()
            raise
        return store

    async def run(self, work: Callable[[Rows], Awaitable[Result]]) -> Result:
        """Run ``work`` in a transaction of this moment's group and return once it is on the disk."""
        return await self._done(Kind.WRITE, work)

    async def read(self, work: Callable[[Reader], Awaitable[Result]]) -> Result:
        """Run reads over one state of the file."""
        return await self._done(Kind.READ, work)

    async def scrub(self) -> None:
        """Move all of the WAL into the file and cut it: freed pages are zeros there already (secure_delete)."""
        await self._done(Kind.SCRUB, _nothing)

    async def close(self) -> None:
        """Finish what was handed in and close the file."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    async def _done(self, kind: Kind, work: Callable[[Rows], Awaitable[Result]]) -> Result:
        if self._closed:
            raise UnavailableError(f"{self._file.path}: the store is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._jobs.put(Job(kind, work, future, loop))
        return await future

    def _serve(self) -> None:
        """The thread: everything that waits is one group, while it is committed the next one gathers."""
        open_ = True
        while open_:
            group = self._gathered()
            open_ = None not in group
            self._file.serve([job for job in group if job is not None])
        self._file.close()

    def _gathered(self) -> list[Job | None]:
        """What waits now, at least one; ``None``, put there by :meth:`close`, is the last there will ever be."""
        group = [self._jobs.get()]
        with suppress(Empty):
            while len(group) < GROUP:
                group.append(self._jobs.get_nowait())
        return group


async def _nothing(_rows: Rows) -> None:
    """Work of a job that is about the file itself."""
