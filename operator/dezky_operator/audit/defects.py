"""Why a stored line is refused, in words: the differences between JSON readers (facts/audit-log.md 2.1). Pure.

Slow and thorough, and asked only about lines that are refused already.
"""

from __future__ import annotations

import json
from typing import Never

from dezky_operator.audit.errors import LineError

BOM = b"\xef\xbb\xbf"


def defect(stored: bytes) -> str:
    """What is wrong with the JSON; empty when it is only not the canonical form of what it says."""
    if stored.startswith(BOM):
        return "begins with a byte order mark"
    try:
        _read(stored.decode())
    except UnicodeDecodeError as error:
        return f"byte {error.start} is no UTF-8"
    except (LineError, json.JSONDecodeError) as error:
        return str(error)
    except RecursionError:
        return "nested too deep"
    except ValueError:
        return "holds a number beyond 2^53-1"
    return ""


def _read(text: str) -> None:
    value = json.loads(
        text,
        object_pairs_hook=_object,
        parse_constant=_constant,
        parse_float=_float,
        parse_int=_whole,
    )
    json.dumps(value, ensure_ascii=False).encode()


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise LineError(f"holds the key {key[:64]!r} twice")
        if value is None:
            raise LineError(f"{key[:64]!r} is null")
        _without_surrogates(key)
        if isinstance(value, str):
            _without_surrogates(value)
        found[key] = value
    return found


def _without_surrogates(text: str) -> None:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise LineError("holds half of a surrogate pair")


def _constant(text: str) -> Never:
    raise LineError(f"holds {text}")


def _float(text: str) -> Never:
    raise LineError(f"holds the fraction {text[:32]}")


def _whole(text: str) -> int:
    value = int(text)
    if abs(value) > 2**53 - 1:
        raise ValueError(text)
    return value
