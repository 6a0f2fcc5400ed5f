"""Tables in MongoDB: their indexes and validators, and rows to and from documents. Pure.

The key is ``_id``; text, numbers and bytes are fields of their own, and so is what a row holds several of. Anything
else nested is one field of MessagePack: MongoDB gives a dot in a name a meaning of its own and FerretDB refuses it.
Evidence and hashes are binary: as text or dates they might come back another way (facts/audit-log.md §2.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Generic, get_type_hints

import msgspec

from dezky_operator.store.interface import Row, Table

Document = dict[str, Any]
KEY = "_id"
BINARY = {"bsonType": "binData"}
PLAIN: dict[object, Document] = {int: {"bsonType": ["int", "long"]}, str: {"bsonType": "string"}, bytes: BINARY}
"""What a validator says of a field that holds one value."""


@dataclass(frozen=True)
class Index:
    """An index: its name, the fields in their order, and whether no two documents may have the same value."""

    name: str
    fields: tuple[str, ...]
    unique: bool


@dataclass(frozen=True)
class Shape(Generic[Row]):
    """How one table looks in MongoDB."""

    table: Table[Row]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names in a document, in the order of the row's fields."""
        return (KEY, *self.table.row.__struct_fields__[1:])

    @cached_property
    def _kinds(self) -> tuple[object, ...]:
        hints = get_type_hints(self.table.row)
        return tuple(hints[name] for name in self.table.row.__struct_fields__)

    @cached_property
    def _nested(self) -> dict[str, msgspec.msgpack.Decoder[Any]]:
        """Fields that hold MessagePack, with what reads them."""
        fields = zip(self.names, self._kinds, strict=True)
        return {
            name: msgspec.msgpack.Decoder(kind)
            for name, kind in fields
            if kind not in PLAIN and name not in self.table.many
        }

    def name(self, field: str) -> str:
        """What a field of the row is called in a document."""
        return KEY if field == self.table.key else field

    def document(self, row: Row) -> Document:
        """The document of a row. As a filter it finds exactly the document that is equal to it."""
        document: Document = dict(zip(self.names, msgspec.structs.astuple(row), strict=True))
        for name in self._nested:
            document[name] = msgspec.msgpack.encode(document[name])
        for name in self.table.many:
            document[name] = list(document[name])
        return document

    def row(self, document: Document) -> Row:
        """The row that ``document`` was made of."""
        return self.table.row(*(self._value(name, document[name]) for name in self.names))

    def _value(self, name: str, stored: Any) -> Any:
        if isinstance(stored, int):
            return int(stored)  # the driver marks large numbers by a type of its own
        if name in self._nested:
            return self._nested[name].decode(stored)
        return tuple(stored) if name in self.table.many else stored

    @cached_property
    def indexes(self) -> tuple[Index, ...]:
        """All but the one over the key, which every collection has. The key comes last: rows of one value are paged."""
        unique = [Index(field, (field,), unique=True) for field in self.table.unique]
        others = (*self.table.indexes, *self.table.many)
        return (*unique, *(Index(field, (field, KEY), unique=False) for field in others))

    @cached_property
    def schema(self) -> Document:
        """The validator: exactly these fields, each of its type."""
        said = dict(zip(self.names, (PLAIN.get(kind, BINARY) for kind in self._kinds), strict=True))
        said.update((name, {"bsonType": "array", "items": BINARY}) for name in self.table.many)
        return {
            "$jsonSchema": {
                "bsonType": "object",
                "required": list(self.names),
                "properties": said,
                "additionalProperties": False,
            }
        }


@lru_cache(maxsize=64)
def _shape(table: Table[Any]) -> Shape[Any]:
    return Shape(table)


def shape_of(table: Table[Row]) -> Shape[Row]:
    """How ``table`` looks in the database."""
    shape: Shape[Row] = _shape(table)
    return shape
