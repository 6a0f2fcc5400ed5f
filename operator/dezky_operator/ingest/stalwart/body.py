"""A webhook body read into events of the log, chunk by chunk (facts/stalwart.md 5.2, facts/audit-log.md case 23). Pure.

Whatever is no event becomes one that says so, its text sealed beside it; nothing else of the body suffers from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from dezky_operator.audit.errors import EventError
from dezky_operator.audit.event import Event, check
from dezky_operator.ingest.malformed import malformed
from dezky_operator.ingest.stalwart.actions import action_of
from dezky_operator.ingest.stalwart.identity import Ordinals, content_hash
from dezky_operator.ingest.stalwart.people import AddressOf, people_of
from dezky_operator.ingest.stalwart.records import SOURCE, Report, event_of
from dezky_operator.ingest.stalwart.splitter import Element, Splitter
from dezky_operator.ingest.tenants import Tenants

DEEPEST = 8
"""Lists in lists that are opened in search of events."""
MOST_PEOPLE = 1_000
"""People of one event whose keys seal it together; a mail server takes a hundred recipients at once."""
TELLS_SECRETS = "auth.error"
_OWN = frozenset({"id", "type", "createdAt", "data"})


class Unreadable(Exception):  # noqa: N818 - says what the text is
    """This is no event; the reason says nothing of its content."""


class Reader:
    """Reads the bodies of one AuditSource."""

    def __init__(
        self,
        *,
        src: str,
        key: bytes,
        tenants: Callable[[], Tenants],
        address_of: AddressOf = lambda _: "",
    ) -> None:
        """Read for an AuditSource.

        Args:
            src: its name.
            key: the installation's key of content hashes, 32 bytes, never changed: the ids of events hang on it.
            tenants: those that are known now.
            address_of: what is known of accounts, where an event has only the number.
        """
        self._src, self._key = src, key
        self._tenants, self._address_of = tenants, address_of

    def body(self, recv: str) -> Reading:
        """Begin one body that arrived at ``recv`` (canonical)."""
        return Reading(self, recv)

    def event(self, report: Report, raw: bytes, recv: str, ordinals: Ordinals) -> Event:
        """The event of the log. Raises Unreadable."""
        action = action_of(report.kind)
        if action is None:
            raise Unreadable("a type that is no name")
        people = people_of(report.data, self._address_of)
        if len(people.recipients) > MOST_PEOPLE:
            raise Unreadable(f"more than {MOST_PEOPLE} people")
        ext = ordinals.ext(content_hash(self._key, report.content))
        made = event_of(report, action, people, src=self._src, ext=ext, recv=recv, raw=raw, tenants=self._tenants())
        try:
            check(made)
        except EventError:
            raise Unreadable("what no line may hold") from None
        return made

    def unreadable(self, raw: bytes, reason: str, recv: str, ordinals: Ordinals) -> Event:
        """The event that says so."""
        ext = ordinals.ext(content_hash(self._key, raw))
        return malformed(src=self._src, source=SOURCE, ext=ext, recv=recv, reason=reason, raw=raw)


class Reading:
    """One body on its way in."""

    def __init__(self, reader: Reader, recv: str) -> None:
        self._reader, self._recv = reader, recv
        self._splitter, self._ordinals = Splitter(), Ordinals()

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that end in ``chunk``."""
        for element in self._splitter.feed(chunk):
            yield from self._events(element)

    def end(self) -> Iterator[Event]:
        """What is left when the body ends."""
        for element in self._splitter.end():
            yield from self._events(element)

    def _events(self, element: Element, depth: int = 0) -> Iterator[Event]:
        try:
            value = _decoded(element)
            if _is_list(value) and depth < DEEPEST:
                inner = Splitter()
                for found in (*inner.feed(element.data), *inner.end()):
                    yield from self._events(found, depth + 1)
                return
            report = _report(value)
            yield self._reader.event(report, _kept(report, element.data), self._recv, self._ordinals)
        except Unreadable as problem:
            yield self._reader.unreadable(element.data, str(problem), self._recv, self._ordinals)


def _decoded(element: Element) -> object:
    if not element.whole:
        raise Unreadable("part of something too long for one event")
    try:
        return msgspec.json.decode(element.data)
    except UnicodeDecodeError:
        raise Unreadable("not UTF-8") from None
    except RecursionError:
        raise Unreadable("nested too deep") from None
    except msgspec.DecodeError:
        raise Unreadable("not JSON") from None


def _kept(report: Report, raw: bytes) -> bytes:
    """The text to keep. Stalwart tells a token or app password that it can not read in clear: no log may hold that."""
    if report.kind.lower() != TELLS_SECRETS or "details" not in report.data:
        return raw
    data = {**report.data, "details": "removed: may be a credential"}
    return msgspec.json.encode({**report.content, "data": data, "id": report.id})


def _is_list(value: object) -> bool:
    """Whether this may hold events: a list, or an envelope inside a list."""
    return isinstance(value, list) or (
        isinstance(value, dict) and "type" not in value and isinstance(value.get("events"), list)
    )


def _report(value: object) -> Report:
    if not isinstance(value, dict):
        raise Unreadable("not an object")
    kind, data = value.get("type"), value.get("data")
    if not isinstance(kind, str):
        raise Unreadable("without a type")
    if not isinstance(data, dict):
        data = {key: inner for key, inner in value.items() if key not in _OWN}
    _refuse_keys(data)
    return Report(kind=kind, created=value.get("createdAt"), data=data, id=value.get("id"))


def _refuse_keys(data: dict[str, object]) -> None:
    """Raise Unreadable for a key that some store would take for something else."""
    open_values: list[object] = [data]
    while open_values:
        value = open_values.pop()
        if isinstance(value, dict):
            if any(key.startswith("$") or "\0" in key for key in value):
                raise Unreadable("a key that begins with $ or holds NUL")
            open_values += value.values()
        elif isinstance(value, list):
            open_values += value
