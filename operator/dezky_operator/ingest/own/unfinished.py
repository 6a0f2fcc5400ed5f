"""Intents without an end in the log: what an earlier process was doing when it ended."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from dezky_operator.audit import hot
from dezky_operator.audit.event import dedupe_key
from dezky_operator.audit.times import written
from dezky_operator.ingest.own.acts import SRC
from dezky_operator.ingest.own.steps import ENDS, INTENT, OpenIntent
from dezky_operator.store.interface import Reader, Span
from dezky_operator.store.tables import LOG, LogRow

BACK = timedelta(hours=1)
"""How long before the log's last line a step can have begun and still be open: no request waits longer for its answer
than seconds, and a process that goes on ends every step it began.
"""
AT_ONCE = 500


class _Data(msgspec.Struct, frozen=True):
    step: str = ""
    system: str = ""
    kind: str = ""
    key: str = ""
    verb: str = ""
    phase: str = ""


class _Line(msgspec.Struct, frozen=True):
    tenant: str
    data: _Data


_LINE = msgspec.json.Decoder(_Line)


async def open_intents(rows: Reader) -> list[OpenIntent]:
    """The intents of the log's last hour whose end is not in it, oldest first."""
    head = await hot.head_row(rows)
    tip = await hot.tip(rows, head)
    if not tip.rec:
        return []
    since = written(datetime.fromisoformat(tip.rec) - BACK)
    end, found = tip.size, list[OpenIntent]()
    while True:
        span = Span(max(head.hot_floor - 1, 0), end)
        page = await rows.find(LOG, "action", INTENT, span, limit=AT_ONCE, newest_first=True)
        recent = [row for row in page if row.rec >= since]
        found += await _open(rows, recent)
        if len(recent) < AT_ONCE:
            return found[::-1]
        end = recent[-1].seq


async def _open(rows: Reader, intents: list[LogRow]) -> list[OpenIntent]:
    """Those without an end, by the ids their ends would have."""
    lines = [_LINE.decode(row.body) for row in intents]
    ends = {end_key(line.data.step, end): line.data.step for line in lines for end in ENDS}
    ended = {ends[key] for key in await rows.keys_by(LOG, "dk", ends) if isinstance(key, bytes)} if ends else set()
    return [
        OpenIntent(
            step=line.data.step,
            system=line.data.system,
            kind=line.data.kind,
            key=line.data.key,
            verb=line.data.verb,
            phase=line.data.phase,
            tenant=line.tenant,
        )
        for line in lines
        if line.data.step not in ended
    ]


def end_key(step: str, action: str) -> bytes:
    """The key in the log of the end of a step."""
    return dedupe_key(SRC, f"{step}:{action.partition('.')[2]}")
