"""What fails again and again is left alone for a while; locks and deletions are not held up by that."""

from __future__ import annotations

from dezky_operator.integrations.breaker import FAILURES, FAILURES_OF_ONE, LONGEST, PAUSE, Breaker, Caller

ROUTINE, OTHER, LOCK = Caller("acme"), Caller("beta"), Caller("acme", urgent=True)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(clock)
    for number in range(FAILURES):
        assert breaker.failed(Caller(f"t{number}")) is (number == FAILURES - 1)
    return breaker


def test_requests_pass_until_too_many_failed_in_a_row() -> None:
    breaker = Breaker(Clock())
    for number in range(FAILURES - 1):
        breaker.failed(Caller(f"t{number}"))
    assert breaker.admit(ROUTINE) == 0
    breaker.failed(OTHER)
    assert breaker.admit(ROUTINE) == PAUSE


def test_one_success_begins_the_count_anew() -> None:
    breaker = Breaker(Clock())
    for number in range(FAILURES - 1):
        breaker.failed(Caller(f"t{number}"))
    breaker.succeeded(OTHER)
    breaker.failed(ROUTINE)
    assert breaker.admit(ROUTINE) == 0


def test_a_lock_or_a_deletion_passes_an_open_circuit() -> None:
    assert opened(Clock()).admit(LOCK) == 0


def test_after_the_pause_one_request_tries_and_the_others_wait_for_it() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += PAUSE
    assert breaker.admit(ROUTINE) == 0
    assert breaker.admit(OTHER) > 0
    breaker.succeeded(ROUTINE)
    assert breaker.admit(OTHER) == 0


def test_every_pause_is_twice_as_long_up_to_a_limit() -> None:
    clock = Clock()
    breaker = opened(clock)
    pauses = []
    for _ in range(7):
        wait = breaker.admit(OTHER)
        pauses.append(wait)
        clock.now += wait
        assert breaker.admit(OTHER) == 0
        breaker.failed(OTHER)
    assert pauses[:3] == [PAUSE, PAUSE * 2, PAUSE * 4]
    assert pauses[-1] == PAUSE * LONGEST


def test_one_tenant_that_fails_alone_is_left_alone_alone() -> None:
    breaker = Breaker(Clock())
    for _ in range(FAILURES_OF_ONE):
        breaker.failed(ROUTINE)
        breaker.succeeded(OTHER)
    assert breaker.admit(ROUTINE) > 0
    assert breaker.admit(OTHER) == 0
    assert not breaker.open


def test_the_one_try_of_a_system_is_not_spent_on_a_tenant_that_may_not_send() -> None:
    """Else the tenant that failed first would hold up the recovery for everybody, pause after pause."""
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(FAILURES):
        breaker.failed(ROUTINE)
    clock.now += PAUSE
    assert breaker.admit(ROUTINE) > 0, "its own pause is the longer one by now"
    assert breaker.admit(OTHER) == 0
    breaker.succeeded(OTHER)
    assert breaker.admit(Caller("coral")) == 0


def test_a_system_that_fails_for_days_is_still_only_left_alone_for_the_longest_pause() -> None:
    """Locks go on to fail at it, thousands of times."""
    clock = Clock()
    breaker = opened(clock)
    for _ in range(5000):
        breaker.failed(LOCK)
    assert breaker.admit(OTHER) == PAUSE * LONGEST
