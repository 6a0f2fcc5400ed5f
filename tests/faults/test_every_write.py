"""The process ends at any write, before it arrives or after it was done: the next one ends in the same state.

The points are the writes of an undisturbed run: to Authentik, Stalwart and OCIS and to the API server. The end is
compared value by value, with nothing missing and nothing doubled, and what is not the tenant's byte by byte.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from tests.faults.picture import Picture, difference
from tests.faults.scenarios import SCENARIOS
from tests.faults.sweep import Course, Sweep
from tests.faults.writes import Place, Point

# Who ends in the middle leaves sockets open and work unbegun, and Python would say so.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.usefixtures("swept"),
]
SHARE, SHARES = (int(part) for part in os.environ.get("DEZKY_FAULTS_SHARE", "1/1").split("/"))
"""Which points this process takes, when several share them."""
EVERYTHING_KILLED = "DEZKY_FAULTS_SIGKILL_ALL" in os.environ
SAMPLE = 20
Interrupt = Callable[[Point], Awaitable[Picture]]


@pytest.mark.parametrize("name", SCENARIOS)
async def test_every_write_is_seen_where_it_goes(sweep: Sweep, name: str) -> None:
    """Else a point would be another write for a killed process than for one in memory, or none at all."""
    course = await sweep.undisturbed(name, SCENARIOS[name])
    seen = Counter(write.place for write in course.writes)
    assert seen.pop(Place.KUBERNETES)
    seen.pop(Place.LEASE, None)
    assert seen == course.received


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_lock_that_nothing_interrupts_is_proven(sweep: Sweep, name: str) -> None:
    """Else no interruption could be blamed for a proof that is missing."""
    assert (await sweep.undisturbed(name, SCENARIOS[name])).proven


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_process_in_memory_that_ends_at_any_write_is_taken_up_by_the_next(sweep: Sweep, name: str) -> None:
    scenario = SCENARIOS[name]
    course = await sweep.undisturbed(name, scenario)
    await _all_end_alike(course, course.points[SHARE - 1 :: SHARES], lambda point: sweep.in_memory(scenario, point))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_real_process_killed_at_a_write_is_taken_up_by_the_next(sweep: Sweep, name: str) -> None:
    """A seeded sample over all scenarios; `make test-faults-full` takes every point."""
    scenario = SCENARIOS[name]
    course = await sweep.undisturbed(name, scenario)
    chosen = await _to_kill(sweep)
    points = [point for scenario_name, point in chosen if scenario_name == name]
    await _all_end_alike(course, points, lambda point: sweep.with_sigkill(scenario, point))


async def _to_kill(sweep: Sweep) -> list[tuple[str, Point]]:
    every: list[tuple[str, Point]] = []
    for name, scenario in SCENARIOS.items():
        course = await sweep.undisturbed(name, scenario)
        every += [(name, point) for point in sorted(course.points, key=lambda point: point.order)]
    chance = random.Random(7)  # noqa: S311 - a seeded sample, not a secret
    chosen = every if EVERYTHING_KILLED else chance.sample(every, SAMPLE)
    return chosen[SHARE - 1 :: SHARES]


async def _all_end_alike(course: Course, points: list[Point], interrupt: Interrupt) -> None:
    """Every point is tried, also after one failed: which fail together tells why."""
    failures = []
    for point in points:
        try:
            told = difference(course.end, await interrupt(point))
        except (AssertionError, TimeoutError) as error:
            told = f"  {type(error).__name__}: {error}"
        if told:
            failures.append(f"{point}:\n{told}")
    assert not failures, f"{len(failures)} of {len(points)} points end otherwise:\n" + "\n".join(failures)
