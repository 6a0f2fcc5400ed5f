"""What an AuditSource says of itself (C088)."""

from __future__ import annotations

from typing import Any

import pytest

from dezky_operator.crd.auditsource import AuditSource, State, parse
from dezky_operator.kube.source_status import Told, status_of

NOW = "2026-11-24T04:00:00Z"


def source(**status: Any) -> AuditSource:
    metadata = {"name": "stalwart-main", "uid": "u", "generation": 3, "creationTimestamp": NOW}
    return parse({"metadata": metadata, "spec": {"type": "stalwart"}, "status": status})


def conditions(**found: Any) -> dict[str, tuple[str, str]]:
    status = status_of(source(), Told(**{"state": State.RUNNING, "reason": "Running", "message": "", **found}), now=NOW)
    return {one.type: (one.status, one.reason) for one in status.conditions}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"verified": True}, ("True", "EventCame")),
        ({"verified": False}, ("False", "NotProvoked")),
        ({"verified": False, "state": State.FAILING, "reason": "NoSecret"}, ("False", "NoSecret")),
    ],
)
def test_whether_events_were_seen_to_come_is_said_from_the_start(
    found: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert conditions(**found)["WebhookVerified"] == expected


def test_of_a_source_that_is_read_nothing_is_verified() -> None:
    assert conditions(verified=None) == {"Ready": ("True", "Running")}
