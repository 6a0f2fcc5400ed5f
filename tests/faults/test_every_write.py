"""The process ends at any write, before it arrives or after it was done: the next one ends in the same state.

The points are the writes of an undisturbed run: to Authentik, Stalwart and OCIS and to the API server. The end is
compared value by value, with nothing missing and nothing doubled, and what is not the tenant's byte by byte.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

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
EVERYTHING = "DEZKY_FAULTS_ALL" in os.environ
"""Every point in both ways, as `make test-faults-full` does."""
KILLED = 20
"""How many points get a real SIGKILL otherwise, beside those from where a purge destroys, which all do."""
LONG = {"suspend": 10, "suspend and hold mail": 24, "soft delete": 12, "purge": 12, "purge from the tombstone": 6}
"""Of these, how many points in memory otherwise: all of them lock alike, and where a purge destroys it is killed for
real.
"""
SEED = 7
T = TypeVar("T")
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
async def test_a_purge_has_points_where_it_destroys(sweep: Sweep, name: str) -> None:
    """They are found by what the tombstone says: else none of them would be killed for real, and nobody would know."""
    course = await sweep.undisturbed(name, SCENARIOS[name])
    deletes = {point.write for point in course.points if point.write.what.startswith("DELETE /api/v1/namespaces")}
    assert deletes <= {point.write for point in course.destroying}
    assert bool(course.destroying) == name.startswith("purge")


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_lock_that_nothing_interrupts_is_proven(sweep: Sweep, name: str) -> None:
    """Else no interruption could be blamed for a proof that is missing."""
    assert (await sweep.undisturbed(name, SCENARIOS[name])).proven


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_process_in_memory_that_ends_at_any_write_is_taken_up_by_the_next(sweep: Sweep, name: str) -> None:
    scenario = SCENARIOS[name]
    course = await sweep.undisturbed(name, scenario)
    points = _of_this_share(_in_order(course.points), None if EVERYTHING else LONG.get(name))
    await _all_end_alike(course, points, lambda point: sweep.in_memory(scenario, point))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_real_process_killed_at_a_write_is_taken_up_by_the_next(sweep: Sweep, name: str) -> None:
    """Every point from where something is destroyed, and a seeded sample of the rest; `make test-faults-full`: all."""
    scenario = SCENARIOS[name]
    course = await sweep.undisturbed(name, scenario)
    certain = course.points if EVERYTHING else course.destroying
    points = _of_this_share(_in_order(certain)) + ([] if EVERYTHING else await _sampled(sweep, name))
    await _all_end_alike(course, points, lambda point: sweep.with_sigkill(scenario, point))


async def _sampled(sweep: Sweep, wanted: str) -> list[Point]:
    every: list[tuple[str, Point]] = []
    for name, scenario in SCENARIOS.items():
        course = await sweep.undisturbed(name, scenario)
        certain = set(course.destroying)
        every += [(name, point) for point in _in_order(course.points) if point not in certain]
    return [point for name, point in _of_this_share(every, KILLED) if name == wanted]


def _in_order(points: list[Point]) -> list[Point]:
    """The same in every run."""
    return sorted(points, key=lambda point: point.order)


def _of_this_share(points: list[T], most: int | None = None) -> list[T]:
    """Those that this process takes, of a seeded sample where there are more than ``most``."""
    if most is not None and most < len(points):
        points = random.Random(SEED).sample(points, most)  # noqa: S311 - a seeded sample, not a secret
    return points[SHARE - 1 :: SHARES]


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
