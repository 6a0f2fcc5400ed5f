"""Users are destroyed only after what the sign-in tells of them was read: it goes with them (C030)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dezky_operator.config import PurgeSettings
from dezky_operator.crd.tenant import SuspensionStatus
from dezky_operator.tenant.record import Record, RecordState
from dezky_operator.tenant.retention import Waited, nothing_to_read

LOCKED = datetime(2026, 11, 24, 4, tzinfo=UTC)
WAIT = PurgeSettings(audit_wait_seconds=300.0)


def record(*, locked: bool = True) -> Record:
    at = "2026-11-24T04:00:00Z"
    return Record(
        tenant_id="5e298916-14cb-5616-8a85-70de07ba120f",
        slug="acme",
        state=RecordState.LOCKED,
        spec={"domains": ["acme.test"]},
        created_at=at,
        suspension=SuspensionStatus(since=at, locked_at=at if locked else None),
    )


@pytest.mark.parametrize(
    ("read", "now", "released"),
    [
        (None, 600, False),
        (299, 600, False),
        (300, 600, True),
        (600, 299, False),
        (600, 300, True),
    ],
    ids=["never read", "read too little", "read enough", "too soon", "both"],
)
def test_it_waits_for_the_time_and_for_the_reading(read: int | None, now: int, released: bool) -> None:  # noqa: FBT001
    until = LOCKED + timedelta(seconds=read) if read is not None else None
    hook = Waited(WAIT, lambda: until)
    assert hook.released(record(), LOCKED + timedelta(seconds=now)) is released


def test_where_nobody_reads_the_time_alone_counts_and_nothing_is_released_before_the_lock() -> None:
    hook = Waited(WAIT, nothing_to_read)
    assert hook.released(record(), LOCKED + timedelta(seconds=300))
    assert not hook.released(record(locked=False), LOCKED + timedelta(days=1))
