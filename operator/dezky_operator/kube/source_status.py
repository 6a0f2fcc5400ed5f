"""The status of an AuditSource: what it says, and when it is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from dezky_operator.crd.auditsource import AuditSource, AuditSourceStatus, SourceCounts, State
from dezky_operator.crd.conditions import Condition, Truth
from dezky_operator.ingest.rounds import Standing

READY, VERIFIED = "Ready", "WebhookVerified"
LONGEST_CURSOR = 128
"""Characters of a cursor that are shown."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a source. ``lag`` in seconds; ``cursor`` in the source's own terms."""

    state: State
    reason: str
    message: str
    counts: Mapping[str, int] = {}
    cursor: str = ""
    last_event: str = ""
    lag: float | None = None
    verified: bool | None = None


def told(standing: Standing, **known: Any) -> Told:
    """What a round says of itself."""
    return Told(state=State(standing.state), reason=standing.reason, message=standing.message, **known)


def status_of(source: AuditSource, found: Told, *, now: str) -> AuditSourceStatus:
    """The whole status. Only a condition whose status changed gets a new time."""
    ready = found.state in {State.RUNNING, State.SILENT, State.PAUSED}
    conditions = [_condition(source, READY, (ready, found.reason, found.message), now)]
    if found.verified is not None:
        conditions.append(_condition(source, VERIFIED, _verified(found, ready=ready), now))
    return AuditSourceStatus(
        observed_generation=source.metadata.generation,
        state=found.state.value,
        cursor=found.cursor[:LONGEST_CURSOR] or None,
        last_event=f"{found.last_event[:19]}Z" if found.last_event else None,
        lag_seconds=round(found.lag) if found.lag is not None else None,
        counts=msgspec.convert(dict(found.counts), SourceCounts),
        conditions=tuple(conditions),
    )


def _verified(found: Told, *, ready: bool) -> tuple[bool, str, str]:
    if found.verified:
        return True, "EventCame", "An event that was provoked came in."
    if ready:
        return False, "NotProvoked", "No event was provoked: audit.webhook.url is not set, so Stalwart is left alone."
    return False, found.reason, found.message


def _condition(source: AuditSource, kind: str, found: tuple[bool, str, str], now: str) -> Condition:
    holds, reason, message = found
    status = (Truth.TRUE if holds else Truth.FALSE).value
    old = next((condition for condition in source.status.conditions if condition.type == kind), None)
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        last_transition_time=old.last_transition_time if old is not None and old.status == status else now,
        observed_generation=source.metadata.generation,
    )


def urgent(before: AuditSourceStatus, after: AuditSourceStatus) -> bool:
    """Whether a person should see the change now: the first event, and anything but counts and times, which wait."""
    first = not (before.counts and before.counts.received) and bool(after.counts and after.counts.received)
    return first or _plain(before) != _plain(after)


def _plain(status: AuditSourceStatus) -> AuditSourceStatus:
    return msgspec.structs.replace(status, cursor=None, last_event=None, lag_seconds=None, counts=None)
