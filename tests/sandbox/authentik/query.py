"""AKQL, the language of ``search`` on events. What it does not understand is None: then it is a text search (0.2)."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.sandbox.authentik.kinds import Record

Predicate = Callable[[Record], bool]
TOKEN = re.compile(r'\s*(?:("(?:[^"\\]|\\.)*")|(>=|<=|!=|!~|>|<|=|~|\(|\)|,)|([A-Za-z_][\w.]*)|(-?\d+(?:\.\d+)?))')
FORMATS = ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S")
"""The only forms of a point in time: UTC, no fraction, no T, no Z (facts/authentik.md 5)."""
FIELDS = {"action", "app", "client_ip", "created", "pk"}
MAPS = ("user.", "context.", "brand.")
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "~": lambda value, wanted: str(wanted).lower() in str(value).lower(),
    "!~": lambda value, wanted: str(wanted).lower() not in str(value).lower(),
    "startswith": lambda value, wanted: str(value).startswith(str(wanted)),
    "endswith": lambda value, wanted: str(value).endswith(str(wanted)),
}


class NotAkqlError(Exception):
    """The text is no query."""


def parse(text: str) -> Predicate | None:
    """The query as a test of an event; None when the text is none, which Authentik never says."""
    try:
        return _Parser(_tokens(text)).whole()
    except NotAkqlError:
        return None


def mentions(text: str) -> Predicate:
    """A text search: every word must occur somewhere in the event."""
    words = text.lower().split()

    def test(event: Record) -> bool:
        told = json.dumps([event[field] for field in ("action", "app", "user", "context", "client_ip")]).lower()
        return all(word in told for word in words)

    return test


def _tokens(text: str) -> list[str]:
    found, position = [], 0
    text = text.rstrip()
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            raise NotAkqlError(text)
        found.append(match.group().strip())
        position = match.end()
    return found


class _Parser:
    """Recursive descent: or, and, brackets, comparisons."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens, self._at = tokens, 0

    def whole(self) -> Predicate:
        test = self._either()
        if self._at != len(self._tokens):
            raise NotAkqlError
        return test

    def _either(self) -> Predicate:
        tests = [self._both()]
        while self._next("or"):
            tests.append(self._both())
        return lambda event: any(test(event) for test in tests)

    def _both(self) -> Predicate:
        tests = [self._single()]
        while self._next("and"):
            tests.append(self._single())
        return lambda event: all(test(event) for test in tests)

    def _single(self) -> Predicate:
        if self._next("("):
            test = self._either()
            self._need(")")
            return test
        return self._comparison()

    def _comparison(self) -> Predicate:
        field = self._take()
        if field not in FIELDS and not field.startswith(MAPS):
            raise NotAkqlError
        negated = self._next("not")
        if self._next("in"):
            wanted = self._values(field)
            return lambda event: (_value(event, field) in wanted) != negated
        sign = self._take()
        if sign not in COMPARE or negated:
            raise NotAkqlError
        return _compared(field, sign, self._literal(field))

    def _values(self, field: str) -> list[Any]:
        self._need("(")
        found = [self._literal(field)]
        while self._next(","):
            found.append(self._literal(field))
        self._need(")")
        return found

    def _literal(self, field: str) -> Any:
        token = self._take()
        if token in {"True", "False", "None"}:
            return {"True": True, "False": False, "None": None}[token]
        if not token.startswith('"') and not re.fullmatch(r"-?\d+(\.\d+)?", token):
            raise NotAkqlError
        value = json.loads(token)
        return _point(value) if field == "created" else value

    def _next(self, wanted: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == wanted:
            self._at += 1
            return True
        return False

    def _need(self, wanted: str) -> None:
        if not self._next(wanted):
            raise NotAkqlError

    def _take(self) -> str:
        if self._at >= len(self._tokens):
            raise NotAkqlError
        self._at += 1
        return self._tokens[self._at - 1]


def _point(value: object) -> str:
    """A point in time in the form events carry, so that both compare as text."""
    for form in FORMATS:
        try:
            found = datetime.strptime(str(value), form).replace(tzinfo=UTC)
        except ValueError:
            continue
        return found.isoformat(timespec="microseconds").replace("+00:00", "Z")
    raise NotAkqlError


def _value(event: Record, path: str) -> Any:
    found: Any = event
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _compared(field: str, sign: str, wanted: Any) -> Predicate:
    def test(event: Record) -> bool:
        value = _value(event, field)
        if value is None and sign not in {"=", "!="}:
            return False
        try:
            return COMPARE[sign](value, wanted)
        except TypeError:  # 1 > "a": rows of another type do not match
            return False

    return test
