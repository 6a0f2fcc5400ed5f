"""Conditions change their time only when their status changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dezky_operator.crd.conditions import Finding, Reason, Truth, Type, merged

FINDINGS = st.lists(
    st.builds(
        Finding,
        type=st.sampled_from(Type),
        status=st.sampled_from(Truth),
        reason=st.sampled_from(Reason),
        message=st.text(max_size=10),
    ),
    unique_by=lambda finding: finding.type,
    max_size=len(Type),
)
READY = Finding(type=Type.READY, status=Truth.TRUE, reason=Reason.ACTIVE, message="All is well.")
DOWN = Finding(type=Type.READY, status=Truth.FALSE, reason=Reason.UNREACHABLE, message="Authentik does not answer.")
REFUSED = Finding(type=Type.READY, status=Truth.FALSE, reason=Reason.AUTH_FAILED, message="Correct the token.")
FIRST, THEN = "2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z"


@given(found=FINDINGS)
def test_the_same_findings_later_give_the_same_conditions(found: list[Finding]) -> None:
    once = merged((), found, generation=1, now=FIRST)
    assert merged(once, found, generation=1, now=THEN) == once


@given(before=FINDINGS, after=FINDINGS)
def test_the_time_is_new_exactly_where_the_status_is(before: list[Finding], after: list[Finding]) -> None:
    old = {condition.type: condition for condition in merged((), before, generation=1, now=FIRST)}
    for condition in merged(old.values(), after, generation=2, now=THEN):
        same = condition.type in old and old[condition.type].status == condition.status
        assert condition.last_transition_time == (FIRST if same else THEN)
        assert condition.observed_generation == 2


@given(before=FINDINGS, after=FINDINGS)
def test_what_is_not_found_any_more_is_gone(before: list[Finding], after: list[Finding]) -> None:
    old = merged((), before, generation=1, now=FIRST)
    assert [found.type for found in merged(old, after, generation=1, now=THEN)] == [found.type for found in after]


def test_another_reason_for_the_same_status_keeps_the_time() -> None:
    down = merged(merged((), [READY], generation=1, now=FIRST), [DOWN], generation=1, now=THEN)
    (refused,) = merged(down, [REFUSED], generation=1, now="2026-01-01T00:10:00Z")
    assert (refused.reason, refused.last_transition_time) == ("AuthFailed", THEN)
