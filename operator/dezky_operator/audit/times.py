"""Times as the audit log writes them: UTC, microseconds, always 27 characters (facts/audit-log.md 6.0)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CANONICAL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_PLAIN_TIME = (
    "[1-9][0-9]{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])T(?:[01][0-9]|2[0-3])(?::[0-5][0-9]){2}[.][0-9]{6}Z"
)
# Every month has a 28th: most times need no calendar.
_PLAIN = re.compile(rf"{_PLAIN_TIME}(?:\n{_PLAIN_TIME})*", re.ASCII)
LAST_OF_MINUTE = ":59.999999Z"


class TimeSource(StrEnum):
    """Where a line's `at` comes from."""

    SOURCE = "source"
    REC = "rec"
    """The source gave none, or one that is no time: `at` is the time of recording."""
    CLAMPED = "clamped"
    """The source wrote second 60; the line says 59.999999."""


def from_unix_ns(nanoseconds: int) -> str:
    """A count of nanoseconds since 1970 as the log writes it; what is below a microsecond is cut off."""
    return written(EPOCH + timedelta(microseconds=nanoseconds // 1_000))


def written(moment: datetime) -> str:
    """An aware time as the log writes it."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def from_source(text: str) -> tuple[str, TimeSource]:
    """A source's RFC 3339 time as ``at`` and ``time_source``. ``("", REC)`` where it is none: `at` is then `rec`.

    A time without a zone is no time: to guess one would move the event by hours without a trace.
    """
    if is_canonical(text):
        return text, TimeSource.SOURCE
    found = RFC3339.fullmatch(text)
    if found is None:
        return "", TimeSource.REC
    day, minute, second, fraction, zone = found.groups("")
    leap = second == "60"
    clock = f"{minute}:59.999999" if leap else f"{minute}:{second}.{fraction[:6]:0<6}"
    try:
        at = written(datetime.fromisoformat(f"{day}T{clock}{zone.upper()}"))
    except (ValueError, OverflowError):
        return "", TimeSource.REC
    return at, TimeSource.CLAMPED if leap else TimeSource.SOURCE


def are_canonical(*texts: str) -> bool:
    """Whether all of them are; as quick as asking for one."""
    return _PLAIN.fullmatch("\n".join(texts)) is not None or all(map(is_canonical, texts))


def is_canonical(text: str) -> bool:
    """Whether ``text`` is a time that exists, written as the log writes it."""
    if CANONICAL.fullmatch(text) is None:
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
