"""How values are written and patched: sets and lists are objects, never arrays (facts/stalwart.md 2.2, 11.2).

Every shape takes a whole value, or a change at a JSON pointer inside the value that is there. ``at`` is the pointer
that an error names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.sandbox.stalwart.errors import bad_patch
from tests.sandbox.stalwart.ids import is_id

NO_KEY, NO_VALUE = "Invalid key for object property", "Invalid value for object property"
Clean = Callable[[str], str]
"""Makes a text what is stored. Raises ValueError with the sentence for the caller."""


def copied(value: Any) -> Any:
    """A deep copy of JSON."""
    if isinstance(value, dict):
        return {key: copied(inner) for key, inner in value.items()}
    return list(value) if isinstance(value, list) else value


class Shape(Protocol):
    """What every shape can do. Both raise SetError."""

    def whole(self, value: Any, at: str) -> Any:
        """The value as it is stored."""

    def inside(self, current: Any, path: Sequence[str], value: Any, at: str) -> Any:
        """``current`` with a change at ``path``."""


@dataclass(frozen=True)
class _Leaf:
    """A value without an inside."""

    nullable: bool = False

    def whole(self, value: Any, at: str) -> Any:
        """Null where that is allowed, else what :meth:`taken` makes of it."""
        return None if value is None and self.nullable else self.taken(value, at)

    def taken(self, value: Any, at: str) -> Any:
        """The value as it is stored."""
        raise NotImplementedError

    def inside(self, current: Any, path: Sequence[str], value: Any, at: str) -> Any:
        """There is nothing inside."""
        del current, path, value
        raise bad_patch("Invalid JSON Pointer path", at)


@dataclass(frozen=True)
class Text(_Leaf):
    """A text that is not empty; ``allowed`` limits it to an enumeration."""

    clean: Clean = str
    allowed: tuple[str, ...] = ()

    def taken(self, value: Any, at: str) -> str:
        """The cleaned text."""
        if not isinstance(value, str) or not value:
            raise bad_patch("Invalid value for property.", at)
        if self.allowed and value not in self.allowed:
            raise bad_patch(f"Invalid value {value!r}.", at)
        try:
            return self.clean(value)
        except ValueError as error:
            raise bad_patch(str(error), at) from error


@dataclass(frozen=True)
class Flag(_Leaf):
    """True or false."""

    def taken(self, value: Any, at: str) -> bool:
        """The flag."""
        if not isinstance(value, bool):
            raise bad_patch("Invalid value for boolean property.", at)
        return value


@dataclass(frozen=True)
class Number(_Leaf):
    """An integer from 0; limits are checked when the object is stored."""

    def taken(self, value: Any, at: str) -> int:
        """The number."""
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise bad_patch("Invalid value for unsigned integer property.", at)
        return value


@dataclass(frozen=True)
class Id(_Leaf):
    """The id of another object; whether it exists is checked later."""

    def taken(self, value: Any, at: str) -> str:
        """The id."""
        if not is_id(value):
            raise bad_patch("Invalid value for property.", at)
        return str(value)


@dataclass(frozen=True)
class Members:
    """A set, written ``{"value": true}``."""

    clean: Clean = str
    allowed: frozenset[str] = frozenset()

    def whole(self, value: Any, at: str) -> dict[str, bool]:
        """The members that are true."""
        if not isinstance(value, dict):
            raise bad_patch(NO_VALUE, at)
        if not all(isinstance(wanted, bool) for wanted in value.values()):
            raise bad_patch(NO_KEY, at)
        return {self._member(name, at): True for name, wanted in value.items() if wanted}

    def inside(self, current: Any, path: Sequence[str], value: Any, at: str) -> dict[str, bool]:
        """One member added by true, removed by false or null."""
        if len(path) != 1 or value not in (True, False, None):
            raise bad_patch(NO_VALUE, at)
        name = self._member(path[0], at, sentence=NO_VALUE)
        kept = {key: True for key in current if key != name}
        return {**kept, name: True} if value else kept

    def _member(self, name: str, at: str, *, sentence: str = NO_KEY) -> str:
        if self.allowed and name not in self.allowed:
            raise bad_patch(sentence, at)
        try:
            return self.clean(name)
        except ValueError as error:
            raise bad_patch(sentence, at) from error


@dataclass(frozen=True)
class Ordered:
    """A list, written ``{"0": {...}, "1": {...}}``; or a map with named keys when ``allowed`` names them."""

    item: Shape
    allowed: tuple[str, ...] = ()
    free: bool = False

    def whole(self, value: Any, at: str) -> dict[str, Any]:
        """All items, by their keys."""
        if not isinstance(value, dict):
            raise bad_patch(NO_VALUE, at)
        if not all(self._is_key(key) for key in value):
            raise bad_patch(NO_KEY, at)
        ordered = value if self.free or self.allowed else sorted(value, key=int)
        return {key: self.item.whole(value[key], at) for key in ordered}

    def inside(self, current: Any, path: Sequence[str], value: Any, at: str) -> dict[str, Any]:
        """One item replaced, changed inside, or removed by null."""
        key, *rest = path
        if not self._is_key(key):
            raise bad_patch(NO_VALUE, at)
        changed = dict(current)
        if value is None and not rest:
            if changed.pop(key, None) is None and not (self.free or self.allowed):
                raise bad_patch(NO_VALUE, at)
            return changed
        changed[key] = self.item.inside(changed.get(key, {}), rest, value, at) if rest else self.item.whole(value, at)
        return changed

    def _is_key(self, key: str) -> bool:
        return self.free or (key in self.allowed if self.allowed else key.isdigit())


@dataclass(frozen=True)
class Fields:
    """An object with fixed properties."""

    properties: Mapping[str, Shape]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    nullable: bool = False

    def whole(self, value: Any, at: str) -> Any:
        """All properties, the missing ones by default."""
        if value is None and self.nullable:
            return None
        if not isinstance(value, dict):
            raise bad_patch("Invalid value type for object", at)
        return {**copied(dict(self.defaults)), **self._given(value, at)}

    def inside(self, current: Any, path: Sequence[str], value: Any, at: str) -> dict[str, Any]:
        """One property replaced or changed inside."""
        name, *rest = path
        if name not in self.properties and name not in _COMPUTED:
            raise bad_patch("Invalid JSON Pointer path", at)
        shape = self._shape(name, at)
        now = {**copied(dict(self.defaults)), **(current or {})}
        changed = shape.inside(now.get(name, {}), rest, value, at) if rest else shape.whole(value, at)
        return {**now, name: changed}

    def _given(self, value: Mapping[str, Any], at: str) -> dict[str, Any]:
        return {name: self._shape(name, at).whole(inner, f"{at}/{name}") for name, inner in value.items()}

    def _shape(self, name: str, at: str) -> Shape:
        if name in _COMPUTED:
            raise bad_patch("Cannot modify server set property", f"{at}/{name}")
        if name not in self.properties:
            raise bad_patch("Invalid key for object", at)
        return self.properties[name]


@dataclass(frozen=True)
class Variants:
    """A union, told apart by ``@type``. Another variant's property can not be reached by a pointer."""

    variants: Mapping[str, Fields]
    first: str

    def whole(self, value: Any, at: str) -> dict[str, Any]:
        """The variant and its properties."""
        if not isinstance(value, dict):
            raise bad_patch("Invalid value type for object", at)
        kind = value.get("@type", self.first)
        if kind not in self.variants:
            raise bad_patch("Invalid value for property.", f"{at}/@type")
        rest = {name: inner for name, inner in value.items() if name != "@type"}
        return {"@type": kind, **self.variants[kind].whole(rest, at)}

    def inside(self, current: Any, path: Sequence[str], value: Any, at: str) -> dict[str, Any]:
        """A change inside the variant that is there."""
        kind = (current or {}).get("@type", self.first)
        rest = {name: inner for name, inner in (current or {}).items() if name != "@type"}
        return {"@type": kind, **self.variants[kind].inside(rest, path, value, at)}


_COMPUTED = frozenset({"credentialId", "createdAt"})
"""Set by the server inside of lists too: writing back what was read fails there (facts/stalwart.md 11.0.4)."""
