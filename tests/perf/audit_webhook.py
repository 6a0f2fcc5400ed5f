"""How many signed batches a second Stalwart's webhook takes into a durable log, and how long each one waits.

    python -m tests.perf.audit_webhook [SECONDS]

Everything is real but the sender: HTTP on loopback, signature, parsing, commitments, sealing, SQLite with full sync.
Some senders at once, each with one batch under way, first alone and then while the log is pruned beside them: in steps
of 2,000 rows, then idle four times as long as the step took. Client and server share one process and its core.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path

from aiohttp import ClientSession, TCPConnector

from dezky_operator.audit.draft import prepare
from dezky_operator.audit.event import Event, Outcome
from dezky_operator.audit.fates import Appended
from dezky_operator.audit.floor import AT_ONCE, raise_floor
from dezky_operator.audit.randomness import Randomness
from dezky_operator.audit.sequencer import Sequencer
from dezky_operator.audit.times import from_unix_ns
from dezky_operator.http.application import WEBHOOK
from dezky_operator.store.interface import Rows, Span, Store
from dezky_operator.store.sqlite import SqliteStore
from dezky_operator.store.tables import LOG, PII
from tests.audit.events import ring
from tests.drafts import ORIGIN
from tests.perf.figure import Figure, percentile
from tests.webhooks import RECEIVED, Log, batch, door, sent, settings, signature

SECONDS, SENDERS, EVENTS, PRUNED = 8.0, 4, 20, 40_000
IDLE = 4
"""Times the length of a step that a prune then waits."""
THROTTLE = 1000.0
"""Milliseconds between two batches of one Stalwart. An answer that takes longer leaves later events waiting for the
next one (facts/stalwart.md 5.4), so that is the budget, and a batch a second from each sender is the rate it asks for.
"""
NUMBERS = count()


class Accepting(Log):
    """The log with a clock that runs and randomness as the operator has it."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._keys, self._random = ring(), Randomness(os.urandom)
        self._sequencer = Sequencer(store, origin=ORIGIN, clock=time.time_ns, clock_difference=lambda: 0.0)

    async def accept(self, events: Sequence[Event]) -> Appended:
        """Durable when it returns."""
        return await self._sequencer.append([prepare(one, keys=self._keys, random=self._random) for one in events])


async def main(seconds: float) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as directory:
        store = await SqliteStore.open(Path(directory) / "audit.db")
        log = Accepting(store)
        async with door(Path(directory), log=log, wanted=settings(counted_bytes=1 << 20)) as webhook:
            await fill(log)
            alone = await load(webhook.url, seconds)
            pruning = asyncio.create_task(prune(store, PRUNED - 1))
            beside = await load(webhook.url, seconds)
            pruned = pruning.done()
            pruning.cancel()
        await store.close()
    show(alone, beside, seconds, "the whole prune" if pruned else "a part of the prune")


def show(alone: list[float], beside: list[float], seconds: float, how_much: str) -> None:
    """The figures; latencies in milliseconds."""
    rates = [len(found) / seconds for found in (alone, beside)]
    what = f"audit: webhook, batches of {EVENTS} events from {SENDERS} senders"
    pruning = f"beside {how_much}"
    figure = partial(Figure, unit="1/s", better="higher", budget=float(SENDERS))
    figure(name=what, value=rates[0], beside="events a second", peer=rates[0] * EVENTS).show()
    figure(name=f"{what}, {pruning}", value=rates[1], beside="without a prune", peer=rates[0]).show()
    for share in (0.50, 0.99):
        quiet, busy = (1000 * percentile(found, share) for found in (alone, beside))
        name = f"audit: webhook p{share * 100:.0f}, {pruning}"
        Figure(name=name, value=busy, unit="ms", budget=THROTTLE, beside="without a prune", peer=quiet).show()


async def fill(log: Accepting) -> None:
    """What is pruned later."""
    for start in range(0, PRUNED, 500):
        await log.accept([_old(number) for number in range(start, start + 500)])


def _old(number: int) -> Event:
    return Event(
        src="mail",
        source="stalwart",
        ext=f"old {number}",
        action="stalwart.auth_success",
        outcome=Outcome.SUCCESS,
        recv=RECEIVED,
        values={"actor.email": f"person{number % 500}@acme.test", "actor.id": str(number % 500)},
        raw=b"x" * 250,
    )


async def load(url: str, seconds: float) -> list[float]:
    """The seconds that each batch waited for its answer."""
    end = time.perf_counter() + seconds
    waited: list[float] = []
    async with ClientSession(connector=TCPConnector(limit=SENDERS)) as http:
        await asyncio.gather(*(_sender(http, url + WEBHOOK, end, waited) for _ in range(SENDERS)))
    return waited


async def _sender(http: ClientSession, url: str, end: float, waited: list[float]) -> None:
    while time.perf_counter() < end:
        body = batch(*(_login(next(NUMBERS)) for _ in range(EVENTS)))
        headers = {"X-Signature": signature(body)}
        before = time.perf_counter()
        async with http.post(url, data=body, headers=headers) as answer:
            told = await answer.json()
        waited.append(time.perf_counter() - before)
        if told != {"received": EVENTS}:
            raise RuntimeError(f"the webhook answered {answer.status}")


def _login(number: int) -> dict[str, object]:
    created = from_unix_ns(time.time_ns())[:19] + "Z"
    return sent(
        "auth.success",
        created,
        number=str(number),
        accountName=f"person{number % 500}@acme.test",
        accountId=number % 500,
        spanId=342282590291531776 + number,
        listenerId="imaps",
        localPort=993,
        remoteIp=f"203.0.113.{number % 250}",
        remotePort=20_000 + number % 40_000,
    )


async def prune(store: Store, end: int) -> None:
    """Raise the floor and delete below it, a step at a time, so that writers come between."""
    for start in range(0, end, AT_ONCE):
        stop = min(start + AT_ONCE, end)
        before = time.perf_counter()
        await raise_floor(store, stop - 1)
        await store.run(partial(_delete, stop=stop - 1))
        await asyncio.sleep(IDLE * (time.perf_counter() - before))


async def _delete(rows: Rows, *, stop: int) -> None:
    """The last row stays: the log goes on from it."""
    await rows.delete(LOG, Span(high=stop), limit=AT_ONCE)
    await rows.delete(PII, Span(high=stop), limit=AT_ONCE)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS))
