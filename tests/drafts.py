"""Events ready for their place, made without keys: `draft("3f", tenant=ACME)`."""

from __future__ import annotations

from dezky_operator.audit.draft import Draft, Private
from dezky_operator.audit.event import SENDER_ID, Datum, Outcome, dedupe_key
from dezky_operator.audit.line import Party
from dezky_operator.audit.times import TimeSource

ORIGIN = "6f0c1d2e-3a4b-4c5d-8e6f-708192a3b4c5/audit/1"
ACME = "5e298916-14cb-5616-8a85-70de07ba120f"
NORD = "7b0c1d2e-3a4b-4c5d-8e6f-708192a3b4c5"
RECEIVED = "2026-11-24T04:00:00.000000Z"


def draft(
    ext: str,
    *,
    tenant: str = "",
    src: str = "authentik-main",
    evt_id: str = "",
    at: str = "2026-11-24T03:59:58.123456Z",
    private: Private | None = None,
) -> Draft:
    """A log-in, as prepared for the sequencer. ``at`` empty: the source gave no time."""
    data: dict[str, Datum] = {"method": "password"}
    if evt_id:
        data[SENDER_ID] = evt_id
    return Draft(
        dk=dedupe_key(src, ext),
        action="authentik.login",
        actor=Party("", "user"),
        at=at,
        c={},
        data=data,
        ext=ext,
        outcome=Outcome.SUCCESS,
        partner="",
        raw_len=0,
        recv=RECEIVED,
        resource=Party("", "application"),
        source="authentik",
        src=src,
        tenant=tenant,
        time_source=TimeSource.SOURCE if at else TimeSource.REC,
        private=private or Private(f={"actor.email": (bytes(16), f"{ext}@acme.test")}),
        evt_id=evt_id,
    )


def drafts(*exts: str, tenant: str = "") -> list[Draft]:
    """Several of them."""
    return [draft(ext, tenant=tenant) for ext in exts]
