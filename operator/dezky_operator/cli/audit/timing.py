"""Times as a person types them: whole, a day, or how long ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from dezky_operator.audit.query import QueryError
from dezky_operator.audit.times import EPOCH, TimeSource, from_source, written

_AGO = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(text: str, *, now: datetime, option: str) -> str:
    """The time that ``text`` names as the log writes it; empty stays empty. Raises QueryError.

    ``2026-11-24T03:59:58Z``, ``2026-11-24`` (its first moment, UTC), ``90s``, ``15m``, ``2h``, ``7d`` (ago).
    """
    if not text:
        return ""
    if ago := _AGO.fullmatch(text):
        back = timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        if back < now - EPOCH:
            return written(now - back)
    at, source = from_source(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text)
    if source is TimeSource.REC:
        raise QueryError(
            f"{option}: a time like 2026-11-24T03:59:58Z, a day or 15m, 2h, 7d was expected, found {text!r}"
        )
    return at


def now() -> datetime:
    """The time."""
    return datetime.now(UTC)
