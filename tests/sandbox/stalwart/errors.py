"""What a call is refused with: one object of a set, or the whole method (facts/stalwart.md 2.7)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class SetError(Exception):
    """An object-level error of a set call."""

    def __init__(self, kind: str, **more: Any) -> None:
        super().__init__(kind)
        self.error = {"type": kind, **more}


class MethodError(Exception):
    """A method-level error inside a 200."""

    def __init__(self, kind: str, description: str = "") -> None:
        super().__init__(kind)
        self.error = {"type": kind, "description": description}


def bad_patch(description: str, at: str) -> SetError:
    """A property that can not have this value."""
    return SetError("invalidPatch", description=description, properties=[at])


def linked(kind: str, key: str) -> dict[str, str]:
    """How an error names an object."""
    return {"object": kind, "id": key}


def not_grantable(permissions: Iterable[str]) -> SetError:
    """Nobody may give what he does not hold himself: five are named, the others counted."""
    names = sorted(permissions)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    text = f"You are not authorized to grant permissions: {', '.join(names[:5])}{more}"
    return SetError("forbidden", description=text)
