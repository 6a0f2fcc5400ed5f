"""When a checkpoint is due (facts/audit-log.md 2.4). Pure: times are seconds of a clock that nobody sets."""

from __future__ import annotations

from enum import Enum

import msgspec

BOOKKEEPING = frozenset({"log.heads", "log.verify", "ingest.accounted", "archive.batch"})
"""Actions of the log about itself: they wait for the next checkpoint and cause none, or there would be no end."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds between checkpoints at least, to one after an event at most, and between two over an idle log; and so
    many events do not wait.
    """

    at_most_every: float
    at_least: float
    idle: float
    events: int


class Due(Enum):
    """What is due."""

    NOTHING = "nothing"
    NEW = "new"
    """There are events under no checkpoint."""
    IDLE = "idle"
    """Nothing happened for long: the size there is, signed anew, tells silence from an end."""


def due(pace: Pace, *, now: float, signed_at: float, news: int, news_since: float) -> Due:
    """What is due ``now``.

    Args:
        pace: the intervals.
        now: seconds.
        signed_at: when the last checkpoint was made.
        news: events under no checkpoint that are no bookkeeping.
        news_since: when the first of them was seen; of no meaning without one.
    """
    since = now - signed_at
    if news:
        # One that waits for the shortest interval would otherwise come that much too late.
        waited = now - news_since >= pace.at_least - pace.at_most_every
        return Due.NEW if since >= pace.at_most_every and (waited or news >= pace.events) else Due.NOTHING
    return Due.IDLE if since >= pace.idle else Due.NOTHING
