"""What a store can do, whichever backend stands behind it (design.md §8, facts/audit-log.md §6.1).

Only what SQLite, MongoDB and FerretDB can all do is here: inserts that stop at the first duplicate, compare-and-set
and compare-and-delete on a key, ordered scans by key and by a declared index, deletes by range. Nothing here promises a
transaction: SQLite runs a piece of work in one, MongoDB runs it step by step. Work is therefore written so that each
step is safe on its own, and an error may leave the steps before it done.

Errors::

    StoreError
    ├── StartError        the store may not be opened like this; nothing was written
    ├── UnavailableError  it could not be done, or nobody can say whether it was: look before trying again
    └── ConflictError     a key or a unique field is taken, nothing says which: doubt, resolved by looking
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import msgspec

Key = int | str | bytes
Row = TypeVar("Row", bound=msgspec.Struct)
Result = TypeVar("Result")


class StoreError(Exception):
    """Something the store could not do."""


class StartError(StoreError):
    """The store is not opened: it could lose what it acknowledges. The message says what was found and what to do."""


class UnavailableError(StoreError):
    """The work was not done, or it is unknown whether it was. Never an acknowledgement, never a refusal either."""


class ConflictError(StoreError):
    """A key or a unique field is taken. Which one is not said on purpose: no backend tells it reliably."""


@dataclass(frozen=True)
class Table(Generic[Row]):
    """A table: its rows are structs whose first field is the key.

    Attributes:
        name: the same in every backend.
        row: the struct.
        unique: fields of which no two rows have the same value.
        indexes: other fields that rows are found by.
        many: fields that hold several bytes values; a row is found by each of them.
    """

    name: str
    row: type[Row]
    unique: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    many: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Name of the field that is the primary key."""
        return self.row.__struct_fields__[0]


@dataclass(frozen=True)
class Span:
    """Keys or values from ``low`` up to, not including, ``high``; ``None`` is no bound on that side."""

    low: Key | None = None
    high: Key | None = None


EVERYTHING = Span()


class Reader(Protocol):
    """The reads. Rows come back as they were stored; what is not there is absent from the answer, never an error."""

    async def get(self, table: Table[Row], key: Key) -> Row | None:
        """Return the row at ``key``."""

    async def get_many(self, table: Table[Row], keys: Iterable[Key]) -> dict[Key, Row]:
        """Return the rows at ``keys``, by key."""

    async def keys_by(self, table: Table[Row], field: str, values: Iterable[Key]) -> dict[Key, Key]:
        """Return value → key of the rows whose unique ``field`` is one of ``values``."""

    async def scan(
        self, table: Table[Row], span: Span = EVERYTHING, *, limit: int, newest_first: bool = False
    ) -> list[Row]:
        """Return at most ``limit`` rows with keys in ``span``, in the order of the keys."""

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
        """Return at most ``limit`` rows with the indexed ``field`` in ``span``, in the order of (field, key).

        ``after`` is the (field, key) of the last row already seen, so paging neither skips nor repeats equal values.
        """

    async def count(self, table: Table[Row], span: Span = EVERYTHING) -> int:
        """Return the number of rows with keys in ``span``."""


class Rows(Reader, Protocol):
    """Reads and writes. Every method may raise ``UnavailableError``."""

    async def insert(self, table: Table[Row], rows: Sequence[Row]) -> None:
        """Insert ``rows`` in order and stop at the first that is a duplicate: those before it stay.

        Raises:
            ConflictError: a key or a unique field is taken; how far the insert came is found by looking.
        """

    async def put(self, table: Table[Row], rows: Sequence[Row]) -> None:
        """Insert ``rows``, replacing those whose key is there. For what is derived or repeatable.

        Raises:
            ConflictError: a unique field is taken by another row.
        """

    async def swap(self, table: Table[Row], old: Row, new: Row) -> bool:
        """Replace ``old`` by ``new``, which has the same key, if the stored row still equals ``old``; say whether."""

    async def remove(self, table: Table[Row], row: Row) -> bool:
        """Delete the row at its key if it still equals ``row``; say whether."""

    async def remove_many(self, table: Table[Row], keys: Iterable[Key]) -> int:
        """Delete the rows at ``keys``, whatever they hold; return how many went."""

    async def delete(self, table: Table[Row], span: Span, *, limit: int) -> int:
        """Delete at most ``limit`` rows with keys in ``span``, lowest first; return how many went."""


class Store(Protocol):
    """A store that is open."""

    async def run(self, work: Callable[[Rows], Awaitable[Result]]) -> Result:
        """Run ``work`` and return its result once everything it wrote is durable.

        On SQLite the work is one transaction, committed together with others of the same moment: an error that leaves
        ``work`` undoes its writes. On MongoDB the writes before the error stay. The work awaits nothing but the rows it
        is given, and may be run in another thread.

        Raises:
            ConflictError: as left ``work``.
            UnavailableError: nothing is acknowledged; what was written may or may not be there.
        """

    async def read(self, work: Callable[[Reader], Awaitable[Result]]) -> Result:
        """Run reads; on SQLite over one state of the store, as ``run`` would find it.

        Raises:
            UnavailableError: the store cannot be read now.
        """

    async def scrub(self) -> None:
        """See to it that nothing deleted can be read from the store's own files any more (facts/audit-log.md §2.8).

        Raises:
            UnavailableError: a reader holds an old state; call again.
        """

    async def close(self) -> None:
        """Finish what was handed in and close."""
