"""The operations of the interface as statements of one connection, inside the transaction that is open on it.

They are ``async`` because the interface is, and never wait: :func:`finish` runs work that uses only them to its end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice

import apsw

from dezky_operator.store.interface import EVERYTHING, ConflictError, Key, Result, Row, Span, Table
from dezky_operator.store.sqlite.schema import Value, shape_of

LOOKED_UP_AT_ONCE = 500
DUPLICATE = frozenset(
    {
        apsw.SQLITE_CONSTRAINT_PRIMARYKEY,
        apsw.SQLITE_CONSTRAINT_ROWID,
        apsw.SQLITE_CONSTRAINT_UNIQUE,
    }
)


def finish(work: Awaitable[Result]) -> Result:
    """Run ``work`` to its end here and now.

    Raises:
        RuntimeError: it waited for something else than its rows; inside a transaction nothing else may be awaited.
    """
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as end:
        result: Result = end.value
        return result
    steps.close()
    raise RuntimeError("work of the store may await nothing but the rows it was given")


class SqliteRows:
    """Reads and writes on one connection."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    async def get(self, table: Table[Row], key: Key) -> Row | None:
        """Return the row at ``key``."""
        shape = shape_of(table)
        for values in self._connection.execute(f"{shape.select} WHERE {shape.columns[0]} = ?", (key,)):
            return shape.row(values)
        return None

    async def get_many(self, table: Table[Row], keys: Iterable[Key]) -> dict[Key, Row]:
        """Return the rows at ``keys``, by key."""
        shape = shape_of(table)
        found: dict[Key, Row] = {}
        for part in _parts(keys):
            statement = f"{shape.select} WHERE {shape.columns[0]} IN {_places(len(part))}"
            found.update((values[0], shape.row(values)) for values in self._connection.execute(statement, part))
        return found

    async def keys_by(self, table: Table[Row], field: str, values: Iterable[Key]) -> dict[Key, Key]:
        """Return value → key of the rows whose unique ``field`` is one of ``values``."""
        found: dict[Key, Key] = {}
        for part in _parts(values):
            statement = f'SELECT "{field}", "{table.key}" FROM {table.name} WHERE "{field}" IN {_places(len(part))}'  # noqa: S608 - our own names only
            found.update(self._connection.execute(statement, part))
        return found

    async def scan(
        self, table: Table[Row], span: Span = EVERYTHING, *, limit: int, newest_first: bool = False
    ) -> list[Row]:
        """Return at most ``limit`` rows with keys in ``span``, in the order of the keys."""
        conditions, bound = _within(table.key, span)
        return self._select(table, conditions, bound, order=(table.key,), limit=limit, newest_first=newest_first)

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
        conditions, bound = _within(table.key, span)
        equal = f'"{field}" = ?'
        if field in table.many:
            equal = f'"{table.key}" IN (SELECT key FROM {shape_of(table).held(field)} WHERE value = ?)'  # noqa: S608 - our own names only
        return self._select(
            table,
            [equal, *conditions],
            [value, *bound],
            order=(table.key,),
            limit=limit,
            newest_first=newest_first,
        )

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
        conditions, bound = _within(field, span)
        if after is not None:
            conditions.append(f'("{field}", "{table.key}") {"<" if newest_first else ">"} (?, ?)')
            bound += after
        order = (field, table.key)
        return self._select(table, conditions, bound, order=order, limit=limit, newest_first=newest_first)

    async def count(self, table: Table[Row], span: Span = EVERYTHING) -> int:
        """Return the number of rows with keys in ``span``."""
        conditions, bound = _within(table.key, span)
        statement = f"SELECT count(*) FROM {table.name}{_where(conditions)}"  # noqa: S608 - our own names only
        return int(self._connection.execute(statement, bound).get)

    async def insert(self, table: Table[Row], rows: Sequence[Row]) -> None:
        """Insert ``rows`` in order and stop at the first that is a duplicate: those before it stay."""
        before = self._connection.total_changes()
        try:
            self._write(shape_of(table).insert, table, rows)
        except ConflictError:
            self._hold(table, rows[: self._connection.total_changes() - before])
            raise
        self._hold(table, rows)

    async def put(self, table: Table[Row], rows: Sequence[Row]) -> None:
        """Insert ``rows``, replacing those whose key is there."""
        self._write(shape_of(table).put, table, rows)
        self._hold(table, rows)

    def _write(self, statement: str, table: Table[Row], rows: Sequence[Row]) -> None:
        try:
            self._connection.executemany(statement, map(shape_of(table).values, rows))
        except apsw.ConstraintError as error:
            if getattr(error, "extendedresult", 0) not in DUPLICATE:
                raise
            raise ConflictError(f"{table.name}: a key or a unique field is taken") from error

    def _hold(self, table: Table[Row], rows: Sequence[Row]) -> None:
        """Keep what rows are found by beside them; what they held before went with their change."""
        for statement, pairs in shape_of(table).holding(rows):
            self._connection.executemany(statement, pairs)

    async def swap(self, table: Table[Row], old: Row, new: Row) -> bool:
        """Replace ``old`` by ``new`` if the stored row still equals ``old``; say whether."""
        shape = shape_of(table)
        self._connection.execute(shape.swap, shape.values(new) + shape.values(old))
        swapped = self._connection.changes() == 1
        if swapped:
            self._hold(table, [new])
        return swapped

    async def remove(self, table: Table[Row], row: Row) -> bool:
        """Delete the row at its key if it still equals ``row``; say whether."""
        shape = shape_of(table)
        self._connection.execute(shape.remove, shape.values(row))
        return self._connection.changes() == 1

    async def remove_many(self, table: Table[Row], keys: Iterable[Key]) -> int:
        """Delete the rows at ``keys``, whatever they hold; return how many went."""
        gone = 0
        for part in _parts(keys):
            self._connection.execute(f'DELETE FROM {table.name} WHERE "{table.key}" IN {_places(len(part))}', part)  # noqa: S608 - our own names only
            gone += self._connection.changes()
        return gone

    async def delete(self, table: Table[Row], span: Span, *, limit: int) -> int:
        """Delete at most ``limit`` rows with keys in ``span``, lowest first; return how many went."""
        conditions, bound = _within(table.key, span)
        chosen = f'SELECT "{table.key}" FROM {table.name}{_where(conditions)} ORDER BY "{table.key}" LIMIT ?'  # noqa: S608 - our own names only
        self._connection.execute(f'DELETE FROM {table.name} WHERE "{table.key}" IN ({chosen})', [*bound, limit])  # noqa: S608 - as above
        return self._connection.changes()

    def _select(
        self,
        table: Table[Row],
        conditions: list[str],
        bound: list[Value],
        *,
        order: tuple[str, ...],
        limit: int,
        newest_first: bool,
    ) -> list[Row]:
        shape = shape_of(table)
        direction = "DESC" if newest_first else "ASC"
        ordered = ", ".join(f'"{name}" {direction}' for name in order)
        statement = f"{shape.select}{_where(conditions)} ORDER BY {ordered} LIMIT ?"
        return [shape.row(values) for values in self._connection.execute(statement, [*bound, limit])]


def _within(field: str, span: Span) -> tuple[list[str], list[Value]]:
    """Conditions that ``field`` lies in ``span``, and what is bound to them."""
    bounds = ((">=", span.low), ("<", span.high))
    given = [(f'"{field}" {comparison} ?', bound) for comparison, bound in bounds if bound is not None]
    return [condition for condition, _ in given], [bound for _, bound in given]


def _where(conditions: list[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _parts(values: Iterable[Key]) -> Iterator[tuple[Key, ...]]:
    """``values`` in parts that fit one statement."""
    rest = iter(values)
    while part := tuple(islice(rest, LOOKED_UP_AT_ONCE)):
        yield part


@lru_cache(maxsize=LOOKED_UP_AT_ONCE)
def _places(count: int) -> str:
    return f"({', '.join('?' * count)})"
