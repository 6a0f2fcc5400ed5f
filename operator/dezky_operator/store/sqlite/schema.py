"""Tables in SQLite: their SQL, and rows to and from the values of a statement.

Text, numbers and bytes are columns of their own; anything nested is one column of MessagePack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, get_type_hints

import msgspec
from msgspec.structs import astuple

from dezky_operator.store import tables
from dezky_operator.store.interface import Key, Row, Table

Value = int | str | bytes
APPLICATION = 0x647A6B79
"""``dzky``: marks the file as ours, so that no other program's file is ever taken for it."""
VERSION = 2
PLAIN: dict[object, str] = {int: "INTEGER", str: "TEXT", bytes: "BLOB"}


@dataclass(frozen=True)
class Shape(Generic[Row]):
    """How one table looks in SQLite."""

    table: Table[Row]

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names in the order of the row's fields, quoted: ``end`` is a word of SQL."""
        return tuple(f'"{name}"' for name in self.table.row.__struct_fields__)

    @cached_property
    def nested(self) -> tuple[tuple[int, msgspec.msgpack.Decoder[Any]], ...]:
        """Places of the columns that hold MessagePack, with what reads them."""
        hints = get_type_hints(self.table.row)
        types = [hints[name] for name in self.table.row.__struct_fields__]
        return tuple((place, msgspec.msgpack.Decoder(kind)) for place, kind in enumerate(types) if kind not in PLAIN)

    @cached_property
    def values(self) -> Callable[[Row], tuple[Value, ...]]:
        """What gives the values of a statement for a row."""
        return self._packed if self.nested else astuple

    def _packed(self, row: Row) -> tuple[Value, ...]:
        values = list(astuple(row))
        for place, _ in self.nested:
            values[place] = msgspec.msgpack.encode(values[place])
        return tuple(values)

    def row(self, values: Sequence[Any]) -> Row:
        """The row that ``values`` were stored for."""
        if not self.nested:
            return self.table.row(*values)
        filled = list(values)
        for place, decoder in self.nested:
            filled[place] = decoder.decode(filled[place])
        return self.table.row(*filled)

    @cached_property
    def select(self) -> str:
        """Start of every read of whole rows."""
        return f"SELECT {', '.join(self.columns)} FROM {self.table.name}"  # noqa: S608 - our own names only

    @cached_property
    def insert(self) -> str:
        """Insert one row; a duplicate is an error."""
        places = ", ".join("?" * len(self.columns))
        return f"INSERT INTO {self.table.name} VALUES ({places})"  # noqa: S608 - our own names only

    @cached_property
    def put(self) -> str:
        """Insert one row or replace the one at its key. OR REPLACE would delete others for a unique field."""
        key, *others = self.columns
        change = ", ".join(f"{name} = excluded.{name}" for name in others)
        return f"{self.insert} ON CONFLICT ({key}) DO UPDATE SET {change}"

    @cached_property
    def equal(self) -> str:
        """Condition that the stored row is the one whose values are bound."""
        return " AND ".join(f"{name} = ?" for name in self.columns)

    @cached_property
    def swap(self) -> str:
        """Replace a row that is still as it was read."""
        change = ", ".join(f"{name} = ?" for name in self.columns)
        return f"UPDATE {self.table.name} SET {change} WHERE {self.equal}"  # noqa: S608 - our own names only

    @cached_property
    def remove(self) -> str:
        """Delete a row that is still as it was read."""
        return f"DELETE FROM {self.table.name} WHERE {self.equal}"  # noqa: S608 - our own names only

    @cached_property
    def create(self) -> tuple[str, ...]:
        """What makes the table and its indexes."""
        hints = get_type_hints(self.table.row)
        kinds = [PLAIN.get(hints[name], "BLOB") for name in self.table.row.__struct_fields__]
        columns = [f"{name} {kind} NOT NULL" for name, kind in zip(self.columns, kinds, strict=True)]
        columns[0] += " PRIMARY KEY"
        # A key that is a number is the row's own address; for others the tree is ordered by the key itself.
        options = "STRICT" if kinds[0] == "INTEGER" else "STRICT, WITHOUT ROWID"
        make = f"CREATE TABLE {self.table.name} ({', '.join(columns)}) {options}"
        return (make, *self._indexes(), *(one for field in self.table.many for one in self._many(field, kinds[0])))

    def _many(self, field: str, kind: str) -> tuple[str, ...]:
        """A table of (value, key) for a field of several values. What a row held goes with it or with its change."""
        name, held = self.table.name, self.held(field)
        columns = f"value BLOB NOT NULL, key {kind} NOT NULL"
        gone = f'BEGIN DELETE FROM {held} WHERE key = old."{self.table.key}"; END'  # noqa: S608 - our own names only
        return (
            f"CREATE TABLE {held} ({columns}, PRIMARY KEY (value, key)) STRICT, WITHOUT ROWID",
            f"CREATE INDEX {held}_key ON {held} (key)",
            f"CREATE TRIGGER {held}_deleted AFTER DELETE ON {name} {gone}",
            f"CREATE TRIGGER {held}_changed AFTER UPDATE ON {name} {gone}",
        )

    def held(self, field: str) -> str:
        """Name of the table of the values of a field that holds several."""
        return f"{self.table.name}_{field}"

    def holding(self, rows: Iterable[Row]) -> Iterator[tuple[str, list[tuple[bytes, Key]]]]:
        """For each field of several values the statement that keeps them, and what it is given for ``rows``."""
        for field in self.table.many:
            values = [(getattr(row, self.table.key), frozenset(getattr(row, field))) for row in rows]
            pairs = [(value, key) for key, held in values for value in held]
            yield f"INSERT INTO {self.held(field)} VALUES (?, ?)", pairs  # noqa: S608 - our own names only

    def _indexes(self) -> list[str]:
        name = self.table.name
        unique = [f'CREATE UNIQUE INDEX {name}_{field} ON {name} ("{field}")' for field in self.table.unique]
        return unique + [f'CREATE INDEX {name}_{field} ON {name} ("{field}")' for field in self.table.indexes]


KEPT: tuple[Table[Any], ...] = (
    tables.LOG,
    tables.PII,
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
"""All but the inbox: on SQLite an event goes straight into the log (facts/audit-log.md §6.1)."""
SHAPES: dict[str, Shape[Any]] = {table.name: Shape(table) for table in KEPT}


def shape_of(table: Table[Row]) -> Shape[Row]:
    """How ``table`` looks in the file."""
    shape: Shape[Row] = SHAPES[table.name]
    return shape
