"""The MongoDB of a test run: the server of ``DEZKY_TEST_MONGODB_URI``, else FerretDB, started when it is needed."""

from __future__ import annotations

import atexit
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from uuid import uuid4

from pymongo import AsyncMongoClient

from dezky_operator.store.mongodb import MongoStore, Options
from tests.ferretdb.build import VERSION, binary

GIVEN = "DEZKY_TEST_MONGODB_URI"
DATABASE = "dezky_test_"
"""Begins the name of every database that tests make and drop."""
EPOCH = 1


def served_by() -> str:
    """Who answers as MongoDB in this run."""
    return f"the server of {GIVEN}" if os.environ.get(GIVEN) else f"FerretDB {VERSION}, embedded"


def was_asked() -> bool:
    """Whether any test needed it so far."""
    return uri.cache_info().currsize > 0


@cache
def uri() -> str:
    """Where MongoDB is."""
    return os.environ.get(GIVEN) or _started()


def _started() -> str:
    """Start FerretDB. It ends with this process, however that ends: then its standard input is closed."""
    folder = tempfile.TemporaryDirectory(prefix="dezky-ferretdb-")
    log = (Path(folder.name) / "ferretdb.log").open("w")
    process = subprocess.Popen(
        [binary(), folder.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    told = process.stdout.readline().strip()
    if not told:
        raise RuntimeError(f"FerretDB did not start: {Path(log.name).read_text()}")

    def stop() -> None:
        process.communicate()
        log.close()
        folder.cleanup()

    atexit.register(stop)
    return told


def fresh() -> str:
    """Name of a database nobody has used."""
    return DATABASE + uuid4().hex[:12]


async def opened(database: str, at: str | None = None) -> MongoStore:
    """A store in ``database``; a single server will do."""
    return await MongoStore.open(at or uri(), database, EPOCH, Options(standalone=True))


@asynccontextmanager
async def database() -> AsyncIterator[str]:
    """Name of a database that is dropped afterwards."""
    name = fresh()
    try:
        yield name
    finally:
        await drop(name)


async def drop(database: str) -> None:
    """Remove a database of a test."""
    async with AsyncMongoClient[dict[str, object]](uri()) as client:
        await client.drop_database(database)
