"""Every backend of the store, opened empty: a test that takes ``store`` runs on each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from dezky_operator.store.interface import Store
from dezky_operator.store.sqlite import SqliteStore
from tests.ferretdb import server


@asynccontextmanager
async def _sqlite(directory: Path) -> AsyncIterator[Store]:
    store = await SqliteStore.open(directory / "audit.db")
    yield store
    await store.close()


@asynccontextmanager
async def _mongodb(_directory: Path) -> AsyncIterator[Store]:
    async with server.database() as name:
        store = await server.opened(name)
        yield store
        await store.close()


BACKENDS: dict[str, Callable[[Path], AbstractAsyncContextManager[Store]]] = {"sqlite": _sqlite, "mongodb": _mongodb}
