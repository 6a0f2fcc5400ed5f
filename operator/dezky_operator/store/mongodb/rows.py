"""The operations of the interface, each one call to the server and durable on a majority by itself.

Reads go to the primary at majority: what a failover could still take back is never read, so nothing is built on it
(facts/audit-log.md §0, 3). A write that fails on a taken key has waited for the majority of what took it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from itertools import islice
from typing import Any

from pymongo import ReplaceOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError

from dezky_operator.store.interface import EVERYTHING, ConflictError, Key, Row, Span, Table
from dezky_operator.store.mongodb.errors import duplicates, told
from dezky_operator.store.mongodb.server import Server
from dezky_operator.store.mongodb.shape import KEY, Document, shape_of

LOOKED_UP_AT_ONCE = 500
DELETED_AT_ONCE = 10_000


class MongoRows:
    """Reads and writes in the collections of one epoch.

    Keys that are bytes are digests of one length: of several lengths MongoDB would sort the shorter ones first.
    """

    def __init__(self, database: AsyncDatabase[Document], prefix: str, server: Server) -> None:
        self._database = database
        self._prefix = prefix
        # FerretDB finds, compares and changes in three steps: at least this process takes them one after another.
        self._alone: AbstractAsyncContextManager[object] = nullcontext() if server.compares else asyncio.Lock()

    def _of(self, table: Table[Any]) -> AsyncCollection[Document]:
        return self._database[self._prefix + table.name]

    async def get(self, table: Table[Row], key: Key) -> Row | None:
        """Return the row at ``key``."""
        with told(table.name):
            found = await self._of(table).find_one({KEY: key})
        return None if found is None else shape_of(table).row(found)

    async def get_many(self, table: Table[Row], keys: Iterable[Key]) -> dict[Key, Row]:
        """Return the rows at ``keys``, by key."""
        shape = shape_of(table)
        found: dict[Key, Row] = {}
        with told(table.name):
            for part in _parts(keys, LOOKED_UP_AT_ONCE):
                async for document in self._of(table).find({KEY: {"$in": part}}):
                    found[document[KEY]] = shape.row(document)
        return found

    async def keys_by(self, table: Table[Row], field: str, values: Iterable[Key]) -> dict[Key, Key]:
        """Return value → key of the rows whose unique ``field`` is one of ``values``."""
        found: dict[Key, Key] = {}
        with told(table.name):
            for part in _parts(values, LOOKED_UP_AT_ONCE):
                async for document in self._of(table).find({field: {"$in": part}}, {field: 1}):
                    found[document[field]] = document[KEY]
        return found

    async def scan(
        self, table: Table[Row], span: Span = EVERYTHING, *, limit: int, newest_first: bool = False
    ) -> list[Row]:
        """Return at most ``limit`` rows with keys in ``span``, in the order of the keys."""
        return await self._found(table, _within(KEY, span), (KEY,), limit=limit, newest_first=newest_first)

    async def find(
        self,
        table: Table[Row],
        field: str,
        value: Key,
        span: Span = EVERYTHING,
        *,
        limit: int,
        newest_first: bool = False,
    ) -> list[Row]:
        """Return at most ``limit`` rows whose indexed ``field`` is or holds ``value``, in the order of the keys."""
        condition = {field: value, **_within(KEY, span)}
        return await self._found(table, condition, (KEY,), limit=limit, newest_first=newest_first)

    async def scan_by(
        self,
        table: Table[Row],
        field: str,
        span: Span = EVERYTHING,
        *,
        after: tuple[Key, Key] | None = None,
        limit: int,
        newest_first: bool = False,
    ) -> list[Row]:
        """Return at most ``limit`` rows with the indexed ``field`` in ``span``, in the order of (field, key)."""
        condition: Document = _within(field, span)
        if after is not None:
            value, key = after
            beyond = "$lt" if newest_first else "$gt"
            later: list[Document] = [{field: {beyond: value}}, {field: value, KEY: {beyond: key}}]
            condition["$or"] = later
        return await self._found(table, condition, (field, KEY), limit=limit, newest_first=newest_first)

    async def _found(
        self, table: Table[Row], condition: Document, order: tuple[str, ...], *, limit: int, newest_first: bool
    ) -> list[Row]:
        if limit <= 0:
            return []  # to MongoDB no limit at all
        direction = -1 if newest_first else 1
        with told(table.name):
            cursor = self._of(table).find(condition).sort([(name, direction) for name in order]).limit(limit)
            documents = await cursor.to_list()
        return [shape_of(table).row(document) for document in documents]

    async def count(self, table: Table[Row], span: Span = EVERYTHING) -> int:
        """Return the number of rows with keys in ``span``."""
        with told(table.name):
            return await self._of(table).count_documents(_within(KEY, span))

    async def insert(self, table: Table[Row], rows: Sequence[Row]) -> None:
        """Insert ``rows`` in order and stop at the first that is a duplicate: those before it stay."""
        if rows:
            with told(table.name):
                await self._of(table).insert_many(map(shape_of(table).document, rows), ordered=True)

    async def put(self, table: Table[Row], rows: Sequence[Row]) -> None:
        """Insert ``rows``, replacing those whose key is there."""
        if not rows:
            return
        await self._check_unique(table, rows)
        documents = [shape_of(table).document(row) for row in rows]
        with told(table.name):
            try:
                await self._of(table).insert_many(documents, ordered=False)
            except BulkWriteError as error:
                there = [documents[place] for place in duplicates(error)]
                if not there:
                    raise
                await self._of(table).bulk_write([ReplaceOne({KEY: one[KEY]}, one, upsert=True) for one in there])

    async def _check_unique(self, table: Table[Row], rows: Sequence[Row]) -> None:
        """Look before the server does: to FerretDB a taken field is no duplicate when a row is replaced."""
        for field in table.unique:
            wanted = {getattr(row, field): getattr(row, table.key) for row in rows}
            held = await self.keys_by(table, field, wanted)
            if any(wanted[value] != key for value, key in held.items()):
                raise ConflictError(f"{table.name}: a key or a unique field is taken")

    async def swap(self, table: Table[Row], old: Row, new: Row) -> bool:
        """Replace ``old`` by ``new`` if the stored row still equals ``old``; say whether."""
        shape = shape_of(table)
        with told(table.name):
            async with self._alone:
                done = await self._of(table).replace_one(shape.document(old), shape.document(new))
        return done.matched_count == 1

    async def remove(self, table: Table[Row], row: Row) -> bool:
        """Delete the row at its key if it still equals ``row``; say whether."""
        with told(table.name):
            async with self._alone:
                done = await self._of(table).delete_one(shape_of(table).document(row))
        return done.deleted_count == 1

    async def remove_many(self, table: Table[Row], keys: Iterable[Key]) -> int:
        """Delete the rows at ``keys``, whatever they hold; return how many went."""
        gone = 0
        with told(table.name):
            for part in _parts(keys, DELETED_AT_ONCE):
                gone += (await self._of(table).delete_many({KEY: {"$in": part}})).deleted_count
        return gone

    async def delete(self, table: Table[Row], span: Span, *, limit: int) -> int:
        """Delete at most ``limit`` rows with keys in ``span``, lowest first; return how many went."""
        if limit <= 0:
            return 0
        with told(table.name):
            cursor = self._of(table).find(_within(KEY, span), {KEY: 1}).sort(KEY, 1).limit(limit)
            keys = [document[KEY] for document in await cursor.to_list()]
        return await self.remove_many(table, keys)


def _within(field: str, span: Span) -> Document:
    """Condition that ``field`` lies in ``span``."""
    bounds = {"$gte": span.low, "$lt": span.high}
    given = {comparison: bound for comparison, bound in bounds.items() if bound is not None}
    return {field: given} if given else {}


def _parts(values: Iterable[Key], size: int) -> Iterator[list[Key]]:
    """``values`` in parts that fit one call."""
    rest = iter(values)
    while part := list(islice(rest, size)):
        yield part
