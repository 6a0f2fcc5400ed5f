"""Collections, validators and indexes: made at the start where they are missing, left alone where they are right.

Everything is compared first and only then made: FerretDB 1 drops the connection of one who makes an index again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo import IndexModel
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure, PyMongoError

from dezky_operator.store import tables
from dezky_operator.store.interface import StartError, StoreError, Table
from dezky_operator.store.mongodb.errors import DUPLICATE, meaning
from dezky_operator.store.mongodb.server import Server
from dezky_operator.store.mongodb.shape import Document, Index, Shape, shape_of

VERSION = 2
KEPT: tuple[Table[Any], ...] = (
    tables.LOG,
    tables.PII,
    tables.INBOX,
    tables.SEEN,
    tables.TENANTS,
    tables.TILES,
    tables.HEAD,
    tables.CHECKPOINTS,
    tables.ROTATIONS,
    tables.BATCHES,
    tables.KEYS,
    tables.ERASURES,
    tables.CURSORS,
    tables.RESTORED,
)
NOT_ALLOWED = frozenset({13, 18})
"""Codes of a right that is missing and of a wrong user or password."""
THERE_ALREADY = 48
OTHER_INDEX = frozenset({85, 86})
"""Codes of an index that is there with other options or under another name."""


def prefix_of(epoch: int) -> str:
    """Before the name of every collection of one epoch."""
    return f"e{epoch}_"


async def prepare(database: AsyncDatabase[Document], prefix: str, server: Server) -> None:
    """Make what is missing.

    Raises:
        StartError: a later version of this program made it, somebody else did, or a right is missing.
        UnavailableError: the server does not answer; call again.
    """
    try:
        version = await _version(database, prefix)
        there = {one["name"]: one async for one in await database.list_collections()}
        for table in KEPT:
            await _make(database, prefix + table.name, shape_of(table), server, there.get(prefix + table.name))
        if version < VERSION:  # after everything else: what a crash left half made is made to the end
            note = {"_id": 0, "version": VERSION}
            await database[f"{prefix}schema"].replace_one({"_id": 0}, note, upsert=True)
    except PyMongoError as error:
        raise refusal(error, database.name) from None


async def require(database: AsyncDatabase[Document], prefix: str) -> None:
    """Make nothing.

    Raises:
        StartError: it is not there, or a later version of this program made it.
        UnavailableError: the server does not answer; call again.
    """
    try:
        version = await _version(database, prefix)
    except PyMongoError as error:
        raise refusal(error, database.name) from None
    if version < VERSION:
        raise StartError(
            f"the database {database.name} holds no audit log {prefix.rstrip('_')} of this program's version: is its "
            "name right, and did the operator start with it?"
        )


def refusal(error: PyMongoError, database: str) -> StoreError:
    """What an error at the start means: a person has to do something, or it is tried again."""
    code = error.code if isinstance(error, OperationFailure) else None
    if code in NOT_ALLOWED:
        return StartError(
            f"MongoDB does not let this user in, or not make collections and indexes in {database} (code {code}): "
            f"check user and password of the connection string, and grant it readWrite and dbAdmin on {database}"
        )
    if code in OTHER_INDEX | DUPLICATE:
        return StartError(
            f"an index of the audit log cannot be made in {database} (code {code}): another one is in its place, or "
            "documents that are not ours are; use a database of its own"
        )
    return meaning(error, database)


async def _version(database: AsyncDatabase[Document], prefix: str) -> int:
    """Of the schema there; 0 before the first start came to its end."""
    found = await database[f"{prefix}schema"].find_one({"_id": 0})
    version = 0 if found is None else int(found["version"])
    if version > VERSION:
        raise StartError(
            f"{database.name} has schema {version}, this program knows up to {VERSION}: start the later version"
        )
    return version


async def _make(
    database: AsyncDatabase[Document], name: str, shape: Shape[Any], server: Server, there: Mapping[str, Any] | None
) -> None:
    validator = {"validator": shape.schema} if server.validates else {}
    if there is None:
        there = await _created(database, name, validator)
    if validator and there.get("options", {}).get("validator") != shape.schema:
        change = {"collMod": name, "validationLevel": "strict", "validationAction": "error", **validator}
        await database.command(change)
    await _index(database, name, shape)


async def _created(database: AsyncDatabase[Document], name: str, options: Document) -> Document:
    """Make a collection; say what is there now. Another process may be making the same ones."""
    try:
        await database.create_collection(name, check_exists=False, **options)
    except OperationFailure as error:
        if error.code != THERE_ALREADY:
            raise
        return {}
    return {"options": options}


async def _index(database: AsyncDatabase[Document], name: str, shape: Shape[Any]) -> None:
    there = await database[name].index_information() if shape.indexes else {}
    for index in shape.indexes:
        if index.name not in there:
            keys = [(field, 1) for field in index.fields]
            await database[name].create_indexes([IndexModel(keys, name=index.name, unique=index.unique)])
        elif not _is(index, there[index.name]):
            raise StartError(
                f"index {index.name} of {database.name}.{name} is not as this program makes it: drop it, it comes anew"
            )


def _is(index: Index, found: Mapping[str, Any]) -> bool:
    keys = tuple((field, int(direction)) for field, direction in found["key"])
    return keys == tuple((field, 1) for field in index.fields) and bool(found.get("unique")) == index.unique
