"""The work queue: what goes first, what is merged, and how failures wait longer and longer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from dezky_operator.kube.queue import Urgency, WorkQueue
from dezky_operator.kube.tombstones import key_of, slug_of
from dezky_operator.telemetry.metrics import Metrics
from tests.virtual_time import virtually

Clock = Callable[[], float]


class Now:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def made(clock: Clock, jitter: float = 1.0) -> WorkQueue:
    return WorkQueue(metrics=Metrics(), clock=clock, jitter=lambda: jitter)


async def drained(queue: WorkQueue) -> list[str]:
    """Every key that is due, in order, each worked on to its end."""
    taken: list[str] = []
    while True:
        try:
            async with asyncio.timeout(0.01):
                key = await queue.take()
        except TimeoutError:
            return taken
        assert key is not None
        taken.append(key)
        queue.done(key)


# -- what goes first -------------------------------------------------------------------


async def test_a_suspension_goes_before_sixty_routine_keys() -> None:
    queue = made(Now())
    for number in range(60):
        queue.add(f"routine-{number}", Urgency.ROUTINE)
    queue.add("suspended", Urgency.LOCK)
    taken = await drained(queue)
    assert taken[0] == "suspended"
    assert taken[1:] == [f"routine-{number}" for number in range(60)]


async def test_keys_of_one_urgency_go_in_their_order() -> None:
    queue = made(Now())
    for key in ("c", "a", "b"):
        queue.add(key)
    assert await drained(queue) == ["c", "a", "b"]


async def test_a_waiting_key_that_becomes_urgent_goes_first_and_once() -> None:
    queue = made(Now())
    for key in ("a", "b", "c"):
        queue.add(key, Urgency.ROUTINE)
    queue.add("c", Urgency.LOCK)
    assert await drained(queue) == ["c", "a", "b"]


async def test_a_waiting_lock_stays_one_when_routine_asks_for_it_too() -> None:
    queue = made(Now())
    queue.add("a", Urgency.CHANGE)
    queue.add("b", Urgency.LOCK)
    queue.add("b", Urgency.ROUTINE)
    assert queue.waiting(Urgency.LOCK) == 1
    assert await drained(queue) == ["b", "a"]


async def test_a_lock_that_failed_still_goes_before_routine() -> None:
    now = Now()
    queue = made(now)
    queue.retry("lock", urgency=Urgency.LOCK)
    for number in range(60):
        queue.add(f"routine-{number}", Urgency.ROUTINE)
    now.time += 1.0
    assert (await drained(queue))[0] == "lock"


# -- what is merged ---------------------------------------------------------------------


async def test_a_key_that_was_added_often_is_worked_on_once() -> None:
    queue = made(Now())
    for _ in range(100):
        queue.add("a")
        queue.add("b", Urgency.ROUTINE)
    assert len(queue) == 2
    assert await drained(queue) == ["a", "b"]
    assert queue.idle


async def test_a_key_that_changes_while_it_is_worked_on_comes_once_more_as_urgently_as_was_asked() -> None:
    queue = made(Now())
    queue.add("a", Urgency.ROUTINE)
    assert await queue.take() == "a"
    queue.add("a", Urgency.ROUTINE)
    queue.add("a", Urgency.LOCK)
    queue.add("a", Urgency.CHANGE)
    queue.add("b", Urgency.CHANGE)
    assert len(queue) == 2
    queue.done("a")
    assert await drained(queue) == ["a", "b"]


async def test_what_is_asked_for_now_is_not_asked_for_later_as_well() -> None:
    now = Now()
    queue = made(now)
    queue.add_later("a", 5.0)
    queue.add("a")
    assert await drained(queue) == ["a"]
    now.time += 10.0
    assert await drained(queue) == []


# -- what waits ---------------------------------------------------------------------------


async def test_a_delayed_key_is_due_at_its_time_and_the_earliest_counts() -> None:
    now = Now()
    queue = made(now)
    queue.add_later("a", 5.0)
    queue.add_later("a", 2.0)
    queue.add_later("a", 9.0)
    now.time += 1.9
    assert await drained(queue) == []
    assert queue.idle
    assert len(queue) == 1
    now.time += 0.1
    assert await drained(queue) == ["a"]
    now.time += 100.0
    assert await drained(queue) == []


def test_a_worker_that_waits_is_woken_when_a_delayed_key_is_due() -> None:
    async def work(clock: Clock) -> tuple[str | None, float]:
        queue, begun = made(clock), clock()
        queue.add_later("a", 300.0)
        return await queue.take(), clock() - begun

    key, waited = virtually(work)
    assert key == "a"
    assert waited == pytest.approx(300.0)


@pytest.mark.parametrize("where", ["waiting", "delayed", "failed", "worked on"])
async def test_nothing_is_kept_of_a_dropped_key(where: str) -> None:
    now = Now()
    queue = made(now)
    match where:
        case "waiting":
            queue.add("a", Urgency.LOCK)
        case "delayed":
            queue.add_later("a", 1.0)
        case "failed":
            assert [queue.retry("a") for _ in range(5)][-1] == 16.0
        case _:
            queue.add("a")
            assert await queue.take() == "a"
            queue.add("a")
    queue.drop("a")
    assert len(queue) == 0
    queue.done("a")
    now.time += 1000.0
    assert await drained(queue) == []
    assert queue.retry("a") == 1.0


# -- how failures wait ----------------------------------------------------------------------


@pytest.mark.parametrize(("jitter", "part"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_half_of_a_backoff_is_left_to_chance(jitter: float, part: float) -> None:
    """So that what failed together is not tried again together."""
    queue = made(Now(), jitter)
    steps = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert [queue.retry("a") for _ in steps] == [step * part for step in steps]


def test_a_thousand_failures_wait_no_longer_than_the_longest_backoff() -> None:
    queue = made(Now())
    assert max(queue.retry("a") for _ in range(1000)) == 300.0


def test_every_key_has_a_backoff_of_its_own_and_a_success_ends_it() -> None:
    queue = made(Now())
    assert [queue.retry("a") for _ in range(4)] == [1, 2, 4, 8]
    assert queue.retry("b") == 1
    queue.forget("a")
    assert [queue.retry("a"), queue.retry("b")] == [1, 2]


async def test_what_a_system_asks_for_is_waited_even_where_the_backoff_is_shorter() -> None:
    now = Now()
    queue = made(now)
    assert queue.retry("a", at_least=30.0) == 30.0
    now.time += 29.0
    assert await drained(queue) == []
    now.time += 1.0
    assert await drained(queue) == ["a"]


async def test_a_tenant_and_its_tombstone_are_never_worked_on_at_the_same_time() -> None:
    queue = WorkQueue(metrics=Metrics(), clock=lambda: 0.0, turn=slug_of)
    queue.add(key_of("acme"), Urgency.LOCK)
    queue.add("acme")
    queue.add("beta")
    assert [await queue.take(), await queue.take()] == [key_of("acme"), "beta"]
    waiting = asyncio.ensure_future(queue.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.done(key_of("acme"))
    assert await asyncio.wait_for(waiting, 1.0) == "acme"
