"""A log whose key was replaced: each key signs a part, and every border both of its keys."""

from __future__ import annotations

from dezky_operator.audit.checkpoint import KeyChain, KeyRange, Signers
from dezky_operator.audit.guard import Guard
from dezky_operator.audit.keys import log_key, parse_vkey, time_key
from dezky_operator.audit.notary import Notary
from dezky_operator.audit.pace import Pace
from dezky_operator.store.interface import Store
from tests.audit.events import login
from tests.audit.filled import append, appender, heads_event, rotated_event
from tests.audit.golden import LOG_SEED, ORIGIN, TENANT, TIME_SEED, VKEY
from tests.audit.guards import Hands

KEYS = tuple(log_key(ORIGIN, seed) for seed in (LOG_SEED, b"\x66" * 32, b"\x77" * 32))
FIRST = KeyChain([KeyRange(parse_vkey(VKEY))])
PACE = Pace(at_most_every=5.0, at_least=60.0, idle=3600.0, events=1_000)


def signers(count: int, start: int = 0) -> Signers:
    """The first ``count`` of the keys, or those after ``start``."""
    return Signers(KEYS[start:count], time_key(ORIGIN, TIME_SEED))


def notary(store: Store, guard: Guard, count: int, clock: Hands | None = None) -> Notary:
    return Notary(
        store,
        appender(store),
        signers=signers(count),
        chain=FIRST,
        guard=guard,
        anchors=[],
        pace=PACE,
        heads=heads_event,
        rotated=rotated_event,
        clock=clock or Hands(),
        now=lambda: 1_795_492_900.0,
    )


async def grown(store: Store, start: int, end: int) -> None:
    await append(appender(store), [login(f"l-{n}", tenant=(TENANT, "")[n % 2]) for n in range(start, end)])


async def rotated_twice(store: Store, guard: Guard) -> None:
    """Lines and checkpoints under each of three keys."""
    for count in (1, 2, 3):
        found = notary(store, guard, count)
        await found.start()
        await found.rotate()
        await grown(store, 10 * count, 10 * count + 7)
        await found.sign(news=True)
