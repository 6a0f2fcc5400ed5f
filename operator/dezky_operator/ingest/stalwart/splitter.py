"""A webhook body cut into its events while it comes in, never holding more than one of them. Pure.

``{"events": [...]}``, ``[...]``, a single event, and several of these one after the other are cut. Each event is left
as it was sent, and whether it can be read is not asked here: a bad one spoils no other. Brackets are only counted, so
what is no JSON is cut somewhere, and no byte of an event is lost.
"""

from __future__ import annotations

import re
from enum import Enum, auto

import msgspec

LONGEST = 16 << 20
"""Bytes of one event that are held. A longer one comes in parts of about this size."""

_PLAIN = rb'[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+"'


def _brackets(levels: int) -> bytes:
    """A pattern of brackets with at most so many levels inside. Nothing is tried twice: it costs a text's length."""
    inside = rb"|" + _brackets(levels - 1) if levels else b""
    return rb"[{\[](?:" + _PLAIN + inside + rb")*+[}\]]"


_WHOLE = re.compile(_brackets(4), re.DOTALL)
"""An event as deep as nearly all are, found in one step instead of token by token."""
_TOKEN = re.compile(rb'["{}\[\],]')
_IN_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_BETWEEN = re.compile(rb"[\s,]*+")
_EVENTS = re.compile(rb'\s*+"events"\s*+:\s*+')
_NOWHERE = -1


class Element(msgspec.Struct, frozen=True):
    """One event as it was sent, or (``whole`` is False) a part of one that is too long."""

    data: bytes
    whole: bool = True


class _In(Enum):
    """Where the next element stands."""

    BODY = auto()
    LIST = auto()
    ENVELOPE = auto()
    """In the list that an object around it has under ``events``."""


class Splitter:
    """Cuts one body. Give it every chunk, then its end."""

    def __init__(self, longest: int = LONGEST) -> None:
        self._longest = longest
        self._out: list[Element] = []
        self._in = _In.BODY
        self._text = bytearray()
        """What was not given out yet; an element that is open begins at 0."""
        self._at = 0
        """How far the open element was looked at."""
        self._depth = 0
        """How many brackets in it are open."""
        self._open = self._in_string = False
        self._object = False
        """Whether it is an object that may be the envelope of events."""
        self._emptied = False
        """Whether it was the envelope: what is left of it says nothing of any event."""
        self._broken = False
        """Whether it begins like nothing that could hold events. Then all the rest is one element."""
        self._in_parts = False
        self._member = _NOWHERE
        """Where the envelope's present member begins."""

    def feed(self, chunk: bytes) -> list[Element]:
        """The elements that end in ``chunk``, and a part of one that is too long."""
        self._text += chunk
        while self._inside() if self._open else self._between():
            pass
        if len(self._text) > self._longest:
            self._give(whole=False)
            self._in_parts, self._member = True, _NOWHERE
        given, self._out = self._out, []
        return given

    def end(self) -> list[Element]:
        """What is left when the body ends inside an element."""
        self._at = len(self._text)
        self._give(whole=not self._in_parts)
        return self._out

    def _give(self, *, whole: bool) -> None:
        """Let go of what was looked at."""
        if self._at and not self._emptied:
            self._out.append(Element(bytes(self._text[: self._at]), whole))
        del self._text[: self._at]
        self._at = 0

    # -- between elements -------------------------------------------------------------------

    def _between(self) -> bool:
        """Find what comes next; False when more is needed."""
        found = _BETWEEN.match(self._text)
        del self._text[: found.end() if found else 0]
        if not self._text:
            return False
        first = self._text[0]
        if self._in is not _In.BODY and first in b"]}":
            del self._text[:1]
            if self._in is _In.ENVELOPE:
                self._begin(depth=1, is_object=True)
                self._emptied = True
            self._in = _In.BODY
        elif self._in is _In.BODY and first in b"[":
            del self._text[:1]
            self._in = _In.LIST
        else:
            self._begin(depth=0, is_object=self._in is _In.BODY and first in b"{")
            self._broken = self._in is _In.BODY and not self._object
        return True

    def _begin(self, *, depth: int, is_object: bool) -> None:
        self._open, self._depth, self._object = True, depth, is_object
        self._emptied = self._in_parts = False
        self._member = _NOWHERE

    def _end(self, at: int) -> None:
        self._at, self._open = at, False
        self._give(whole=not self._in_parts)

    # -- inside one ---------------------------------------------------------------------------

    def _inside(self) -> bool:
        """Look for the end of the open element; False when more is needed."""
        if not (self._at or self._depth or self._object) and (whole := _WHOLE.match(self._text)):
            self._end(whole.end())
            return True
        if self._broken or (self._in_string and not self._string()):
            self._at = len(self._text) if self._broken else self._at
            return False
        found = _TOKEN.search(self._text, self._at)
        if found is None:
            self._at = len(self._text)
            return False
        self._token(found.start(), self._text[found.start()])
        return True

    def _string(self) -> bool:
        """Step over the rest of a string; False when it goes on behind what is there."""
        found = _IN_STRING.match(self._text, self._at)
        self._at = found.end() if found else self._at
        if self._text[self._at : self._at + 1] != b'"':
            return False
        self._at += 1
        self._in_string = False
        return True

    def _token(self, at: int, token: int) -> None:
        self._at = at + 1
        if token == ord('"'):
            self._in_string = True
        elif token in b"{[":
            self._bracket(at, token)
        elif token in b"}]":
            self._depth -= 1
            if self._depth <= 0:
                self._end(at + 1 + min(self._depth, 0))  # below 0 it is the list's own end
        elif self._depth == 0:
            self._end(at)
        elif self._depth == 1:
            self._member = at + 1

    def _bracket(self, at: int, token: int) -> None:
        is_member = self._object and self._depth == 1 and self._member != _NOWHERE
        if is_member and token == ord("[") and _EVENTS.fullmatch(self._text, self._member, at):
            self._emptied = True
            self._end(at + 1)
            self._in = _In.ENVELOPE
            return
        if self._depth == 0:
            self._member = at + 1
        self._depth += 1
