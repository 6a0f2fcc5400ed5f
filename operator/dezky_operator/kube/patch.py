"""The difference between two objects as an RFC 7386 merge patch. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

Json = Mapping[str, Any]


def merge_patch(old: Json, new: Json) -> dict[str, Any]:
    """The patch that turns ``old`` into ``new``; empty when they are equal. Lists are replaced as a whole."""
    patch: dict[str, Any] = dict.fromkeys(old.keys() - new.keys())
    for key, value in new.items():
        if key not in old:
            patch[key] = value
        elif isinstance(value, Mapping) and isinstance(old[key], Mapping):
            if inner := merge_patch(old[key], value):
                patch[key] = inner
        elif value != old[key]:
            patch[key] = value
    return patch


def as_json(status: msgspec.Struct) -> dict[str, Any]:
    """The status as the API server would show it: lists, not tuples, or every comparison would find a difference."""
    return dict(msgspec.json.decode(msgspec.json.encode(status)))
