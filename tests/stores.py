"""Stores that behave as a bad day makes them: around a real one, whose answers they give."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from dezky_operator.store.interface import Reader, Result, Rows, Store, Table, UnavailableError


class LostError(Exception):
    """The connection is lost. No error of the store: the sequencer must not take it for an answer."""


class Around:
    """A store around another one."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def run(self, work: Callable[[Rows], Awaitable[Result]]) -> Result:
        """As the store does."""
        return await self._store.run(work)

    async def read(self, work: Callable[[Reader], Awaitable[Result]]) -> Result:
        """As the store does."""
        return await self._store.read(work)

    async def scrub(self) -> None:
        """As the store does."""
        await self._store.scrub()

    async def close(self) -> None:
        """As the store does."""
        await self._store.close()


class Faulty(Around):
    """One whose connection is lost with call number ``at`` of the work, or, ``done``, after the work is durable."""

    def __init__(self, store: Store, *, at: int, done: bool = False) -> None:
        super().__init__(store)
        self._at = at
        self._done = done

    async def run(self, work: Callable[[Rows], Awaitable[Result]]) -> Result:
        """Lose the connection in the work or after it."""
        if not self._done:
            return await self._store.run(lambda rows: work(Counting(rows, self._at)))
        await self._store.run(work)
        raise UnavailableError("the answer was lost")


class Counting:
    """Rows whose connection is lost with the call of a given number."""

    def __init__(self, rows: Rows | Stepping, left: int) -> None:
        self._rows = rows
        self._left = left

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._rows, name)

        async def counted(*args: object, **named: object) -> object:
            self._left -= 1
            if self._left < 0:
                raise LostError(name)
            return await method(*args, **named)

        return counted


class Stepping(Around):
    """The store as MongoDB would be: every call is durable by itself, and others come in between."""

    def __getattr__(self, name: str) -> Any:
        async def step(*args: object, **named: object) -> object:
            answer = await self._store.run(lambda rows: _kept(getattr(rows, name)(*args, **named)))
            if isinstance(answer, Exception):
                raise answer
            return answer

        return step

    async def run(self, work: Callable[[Rows], Awaitable[Result]]) -> Result:
        """Run it call by call."""
        return await work(self)


class Breaking(Stepping):
    """One without transactions whose connection is lost with a call of a given number: what was done stays."""

    def __init__(self, store: Stepping, *, at: int) -> None:
        super().__init__(store)
        self._rows = Counting(store, at)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rows, name)


class EndsAt(Stepping):
    """One without transactions whose connection is lost with the first call about a table."""

    def __init__(self, store: Store, table: Table[Any]) -> None:
        super().__init__(store)
        self._table = table

    def __getattr__(self, name: str) -> Any:
        method = super().__getattr__(name)

        async def step(table: Table[Any], *args: object, **named: object) -> object:
            if table is self._table:
                raise LostError(name)
            return await method(table, *args, **named)

        return step


class Doubtful(Stepping):
    """One without transactions that does one call, an insert or that of a given number, and says it may not have."""

    def __init__(self, store: Stepping, *, about: str | int = "insert") -> None:
        super().__init__(store)
        self._about = about
        self._calls = 0
        self._said = False

    def __getattr__(self, name: str) -> Any:
        async def step(*args: object, **named: object) -> object:
            self._calls += 1
            answer = await getattr(self._store, name)(*args, **named)
            if self._about in {name, self._calls} and not self._said:
                self._said = True
                raise UnavailableError("no majority in time")
            return answer

        return step


class Asleep(Stepping):
    """One that falls asleep once, before its first insert or before a call of a given number."""

    def __init__(self, store: Stepping, *, before: str | int = "insert") -> None:
        super().__init__(store)
        self._before = before
        self._calls = 0
        self.looked = asyncio.Event()
        self.go = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        async def step(*args: object, **named: object) -> object:
            self._calls += 1
            if self._before in {name, self._calls} and not self.go.is_set():
                self.looked.set()
                await self.go.wait()
            return await getattr(self._store, name)(*args, **named)

        return step

    async def asleep_or_done(self, work: asyncio.Task[Any]) -> None:
        """Return when it sleeps, or when ``work`` ended before it came to that."""
        looked = asyncio.ensure_future(self.looked.wait())
        await asyncio.wait({looked, work}, return_when=asyncio.FIRST_COMPLETED)
        looked.cancel()


async def _kept(call: Awaitable[object]) -> object:
    """The answer or the error: one that left the work would undo what was inserted before it, as no MongoDB does."""
    try:
        return await call
    except Exception as error:  # noqa: BLE001 - raised again by the one who asked
        return error
