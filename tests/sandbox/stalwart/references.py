"""References between the calls of one request (RFC 8620 3.7 and 5.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.sandbox.stalwart.errors import MethodError

Record = dict[str, Any]


def resolved_arguments(arguments: Record, responses: Sequence[Sequence[Any]]) -> Record:
    """``#name`` arguments replaced by what an earlier response holds. Raises MethodError."""
    return {
        name.removeprefix("#"): _result(value, responses) if name.startswith("#") else value
        for name, value in arguments.items()
    }


def resolved_ids(value: Any, created: Mapping[str, str]) -> Any:
    """``#creation-id`` replaced by the id it got, also as key of a map. An unknown one stays, and is no id."""
    if isinstance(value, dict):
        return {_id(key, created): resolved_ids(inner, created) for key, inner in value.items()}
    return _id(value, created) if isinstance(value, str) else value


def _id(text: str, created: Mapping[str, str]) -> str:
    return created.get(text[1:], text) if text.startswith("#") else text


def _result(reference: Any, responses: Sequence[Sequence[Any]]) -> Any:
    try:
        wanted = (reference["name"], reference["resultOf"])
        found = next(document for name, document, tag in responses if (name, tag) == wanted)
        return _at(found, reference["path"].lstrip("/").split("/"))
    except (KeyError, TypeError, IndexError, StopIteration, AttributeError) as error:
        raise MethodError("invalidResultReference", "The reference leads nowhere.") from error


def _at(value: Any, path: Sequence[str]) -> Any:
    if not path:
        return value
    step, *rest = path
    if step != "*":
        return _at(value[int(step)] if isinstance(value, list) else value[step], rest)
    found: list[Any] = []
    for inner in value:
        one = _at(inner, rest)
        found += one if isinstance(one, list) else [one]
    return found
