"""Times as a person types them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from dezky_operator.audit.query import QueryError
from dezky_operator.cli.audit.timing import moment

NOW = datetime(2026, 11, 24, 4, 0, 0, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("", ""),
        ("2026-11-24", "2026-11-24T00:00:00.000000Z"),
        ("2026-11-24T03:59:58Z", "2026-11-24T03:59:58.000000Z"),
        ("2026-11-24T04:59:58.5+01:00", "2026-11-24T03:59:58.500000Z"),
        ("90s", "2026-11-24T03:58:30.000005Z"),
        ("15m", "2026-11-24T03:45:00.000005Z"),
        ("2h", "2026-11-24T02:00:00.000005Z"),
        ("7d", "2026-11-17T04:00:00.000005Z"),
    ],
)
def test_a_time_is_whole_a_day_or_how_long_ago(text: str, at: str) -> None:
    assert moment(text, now=NOW, option="--since") == at


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "2026-11-24T03:59:58", "0d", "5w", "9999999d", "999999d"])
def test_anything_else_is_refused_with_the_name_of_the_option(text: str) -> None:
    with pytest.raises(QueryError, match="--since: a time like"):
        moment(text, now=NOW, option="--since")
