"""What MongoDB's errors mean for the one who asked. Their texts are neither read nor handed on: they hold values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo.errors import (
    BulkWriteError,
    DocumentTooLarge,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from dezky_operator.store.interface import ConflictError, StoreError, UnavailableError

DUPLICATE = frozenset({11000, 11001, 12582})
"""Codes of a taken key or unique field."""


@contextmanager
def told(collection: str) -> Iterator[None]:
    """Around calls to the server: its errors leave as the store's own."""
    try:
        yield
    except DocumentTooLarge:
        raise UnavailableError(f"{collection}: a row is larger than MongoDB takes (16 MiB); it is not stored") from None
    except PyMongoError as error:
        raise meaning(error, collection) from None  # its text shows the document a validator or an index refused


def meaning(error: PyMongoError, collection: str) -> StoreError:
    """Conflict or doubt. A conflict beside a write concern that was not kept is doubt: both are resolved by looking."""
    if isinstance(error, DuplicateKeyError) or (isinstance(error, BulkWriteError) and duplicates(error)):
        return ConflictError(f"{collection}: a key or a unique field is taken")
    return UnavailableError(
        f"{collection}: MongoDB {_found(error)}; whether a write was done is found by looking again"
    )


def duplicates(error: BulkWriteError) -> list[int]:
    """Places in the call of the rows whose key or unique field was taken; empty if anything else went wrong too."""
    details: dict[str, Any] = dict(error.details or {})
    refused = details.get("writeErrors", ())
    if details.get("writeConcernErrors") or not {one.get("code") for one in refused} <= DUPLICATE:
        return []
    return [int(one["index"]) for one in refused]


def _found(error: PyMongoError) -> str:
    """What went wrong, by type and number."""
    if isinstance(error, BulkWriteError):
        details: dict[str, Any] = dict(error.details or {})
        codes = {one.get("code") for key in ("writeErrors", "writeConcernErrors") for one in details.get(key, ())}
        return f"did not confirm the write (codes {sorted(codes, key=str)})"
    if isinstance(error, OperationFailure):
        return f"refused or did not confirm (code {error.code})"
    if isinstance(error, ServerSelectionTimeoutError):
        return "has no primary that can be reached"
    return f"was not reached or did not answer in time ({type(error).__name__})"
