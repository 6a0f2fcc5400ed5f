"""Every write of the operator, numbered for each place it goes to, and the one at which its process ends.

A point is a number, not a name: the third write to Stalwart exists in every run, whatever the others did meanwhile,
and a stand-in counts the same as the transport inside the operator does. A JMAP request counts as often as it sets
something: which sets share a request is a matter of moments.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

import httpx2

from dezky_operator.integrations.steps import System
from dezky_operator.kube.resources import LABEL_STATE

READS = frozenset({"GET", "HEAD", "OPTIONS", "PROPFIND", "REPORT"})


class Place(StrEnum):
    """Where a write goes. The Lease is counted apart: it is written once a start and then by the clock."""

    AUTHENTIK = "authentik"
    STALWART = "stalwart"
    OCIS = "ocis"
    KUBERNETES = "kubernetes"
    LEASE = "lease"


@dataclass(frozen=True)
class Write:
    """The ``n``-th write to a place, and what it was in the undisturbed run."""

    place: Place
    n: int
    what: str


@dataclass(frozen=True)
class Point:
    """Where the process ends: before the write arrives, or (``done``) after it was done and before the answer came."""

    write: Write
    done: bool

    @property
    def order(self) -> tuple[Place, int, bool]:
        """The same in every run: side by side work is recorded as it happens."""
        return self.write.place, self.write.n, self.done

    def __str__(self) -> str:
        """For a person who reads a failure."""
        form = "done, answer lost" if self.done else "never arrived"
        return f"{self.write.place} write {self.write.n} ({self.write.what}; {form})"


@dataclass
class Tripwire:
    """Counts writes while it is armed, and goes off at one of them, once. Used from several threads."""

    point: Point | None = None
    armed: bool = True
    seen: list[Write] = field(default_factory=list)
    struck: threading.Event = field(default_factory=threading.Event)
    _counts: Counter[Place] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def arm(self) -> None:
        """Count from here: in the middle of a life, whose Lease is taken already."""
        with self._lock:
            self.armed = True
            self._counts[Place.LEASE] = 1

    def meets(self, place: Place, *writes: str) -> bool:
        """Note the writes of one request; whether one of them is the point.

        A renewal of the Lease comes by the clock, so it is none.
        """
        with self._lock:
            if not self.armed or (place is Place.LEASE and self._counts[place]):
                return False
            numbered = [Write(place, number, what) for number, what in enumerate(writes, self._counts[place] + 1)]
            self._counts[place] += len(numbered)
            self.seen += numbered
            wanted = self.point.write if self.point else None
            return wanted is not None and (wanted.place, wanted.n) in {(write.place, write.n) for write in numbered}


class Mined(httpx2.AsyncBaseTransport):
    """A transport inside the operator: at the point ``strike`` ends the process, and nothing passes ever after."""

    def __init__(
        self, inner: httpx2.AsyncBaseTransport, place: Place, wire: Tripwire, strike: Callable[[], None]
    ) -> None:
        self._inner, self._place, self._wire, self._strike = inner, place, wire, strike

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it, unless the process is gone."""
        if self._wire.struck.is_set():
            raise httpx2.ConnectError("this process has ended", request=request)
        place, writes = _described(self._place, request)
        if not writes or not self._wire.meets(place, *writes):
            return await self._inner.handle_async_request(request)
        if self._wire.point is not None and self._wire.point.done:
            answer = await self._inner.handle_async_request(request)
            await answer.aread()
            await answer.aclose()
        self._strike()
        raise httpx2.ReadError("this process has ended", request=request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def place_of(system: System) -> Place:
    """Where the writes to a system are counted."""
    return Place(system.value)


def kubernetes_writes(method: str, path: str) -> tuple[Place, list[str]]:
    """What a request to the API server writes, and where that is counted."""
    place = Place.LEASE if "/leases" in path else Place.KUBERNETES
    return place, [] if method in READS else [f"{method} {path}"]


def sets(names: Iterable[str]) -> list[str]:
    """Of JMAP methods those that write."""
    return [name for name in names if name.endswith("/set")]


def _described(place: Place, request: httpx2.Request) -> tuple[Place, list[str]]:
    method, path = request.method, request.url.path
    if place is Place.KUBERNETES:
        found, writes = kubernetes_writes(method, path)
        return found, [f"{what}{_state(request)}" for what in writes]
    if place is Place.STALWART:
        calls = json.loads(request.content)["methodCalls"] if request.content else []
        return place, sets(name for name, *_ in calls)
    return place, [] if method in READS or _signs_in(place, path) else [f"{method} {path}"]


def _state(request: httpx2.Request) -> str:
    """What state a write puts a tombstone into, for a person, and to know from where on something is destroyed."""
    metadata = json.loads(request.content or b"{}").get("metadata") or {}
    state = (metadata.get("labels") or {}).get(LABEL_STATE)
    return f" {state}" if state else ""


def _signs_in(place: Place, path: str) -> bool:
    """Whether it only makes tokens or a session: that changes nothing which a client of the API keeps."""
    outside = not path.startswith("/api/v3/") or path.startswith("/api/v3/flows/executor/")
    return place is Place.AUTHENTIK and outside
