"""What a source sent that is no event of it: kept as an event of its own, its text sealed beside it. Pure.

It goes into the log like any other, so nobody can take it out unseen, and the rest of the source goes on.
"""

from __future__ import annotations

from hashlib import sha256

from dezky_operator.audit.event import Event, Outcome

MALFORMED = "ingest.malformed"


def malformed(*, src: str, source: str, ext: str, recv: str, reason: str, raw: bytes) -> Event:
    """The event for ``raw``; ``reason`` is a short phrase about its form, without anything of its content."""
    return Event(
        src=src,
        source=source,
        ext=ext,
        action=MALFORMED,
        outcome=Outcome.UNKNOWN,
        recv=recv,
        actor_type="",
        resource_type="",
        data={"reason": reason, "bytes": len(raw), "sha256": sha256(raw).hexdigest()},
        raw=raw,
    )
