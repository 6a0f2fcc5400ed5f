"""Events as CSV (RFC 4180) that a spreadsheet may open. Pure.

A cell that begins like a formula would be run by the spreadsheet of whoever opens the file, and what a mail server was
told by a stranger ends up in one. Such a cell gets an apostrophe before it; so does one that begins with apostrophes
before such a character, so that :func:`plain` can give back exactly what was there.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable

import msgspec

from dezky_operator.audit.view import View

_FORMULA = re.compile(r"'*[=+\-@\t\r\n\x00|%]")
COLUMNS = View.__struct_encode_fields__


def header() -> str:
    """The first line: the names of the view."""
    return _line(COLUMNS)


def record(view: View) -> str:
    """One event, one line."""
    built = msgspec.to_builtins(view)
    return _line(safe(_cell(built[name])) for name in COLUMNS)


def safe(text: str) -> str:
    """The cell, which no spreadsheet takes for a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def plain(cell: str) -> str:
    """What :func:`safe` made the cell of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str() | int():
            return str(value)
        case list() | tuple():
            return " ".join(map(str, value))
        case _:
            return msgspec.json.encode(value, order="sorted").decode() if value else ""


def _line(cells: Iterable[str]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow(cells)
    return out.getvalue()
