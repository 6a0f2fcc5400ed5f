"""Leaving alone what fails again and again: a whole system, or one tenant's objects in it.

A pure state machine with the clock passed in. Locks and deletions pass it: whoever is to be locked out must not wait
for a pause that was meant for routine work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

FAILURES = 10
"""Failures in a row until a system is left alone; one success in between begins the count anew."""
FAILURES_OF_ONE = 5
"""The same for one tenant: its objects fail while those of others do not."""
PAUSE = 15.0
"""Seconds of the first pause; each further one is twice as long."""
LONGEST = 4.0
"""Times the first pause: a system that is well again is noticed within a minute."""


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf requests are sent. ``urgent``: a lock or a deletion, which no pause holds up."""

    tenant: str = ""
    urgent: bool = False


CALLER: ContextVar[Caller] = ContextVar("CALLER", default=Caller())  # noqa: B039 - frozen


@contextmanager
def calling(caller: Caller) -> Iterator[None]:
    """Send requests on behalf of ``caller`` inside this context, tasks begun in it included."""
    token = CALLER.set(caller)
    try:
        yield
    finally:
        CALLER.reset(token)


class Circuit:
    """One thing that may fail. Closed: everything passes. Open: nothing does. Half open: one request tries."""

    def __init__(self, failures: int, clock: Callable[[], float], pause: float = PAUSE) -> None:
        self._most, self._clock, self._first = failures, clock, pause
        self._failed = 0
        self._openings = 0
        self._until = 0.0

    @property
    def open_for(self) -> float:
        """Seconds until the next try; 0 when requests pass."""
        return max(self._until - self._clock(), 0.0)

    def admit(self) -> float:
        """0 when a request may be sent, else the seconds to wait. The first one after a pause closes the door again."""
        if self._failed < self._most:
            return 0.0
        wait = self.open_for
        if wait == 0.0:
            # Half open: this one tries; others go on waiting until it is known how it ended.
            self._until = self._clock() + self._pause
        return wait

    def succeeded(self) -> None:
        """It works."""
        self._failed = self._openings = 0
        self._until = 0.0

    def failed(self) -> bool:
        """It failed; whether that opened the circuit."""
        self._failed += 1
        if self._failed < self._most:
            return False
        opened = self.open_for == 0.0 or self._failed == self._most
        self._openings += 1
        self._until = self._clock() + self._pause
        return opened

    @property
    def _pause(self) -> float:
        return self._first * min(2.0 ** min(max(self._openings - 1, 0), 30), LONGEST)


class Breaker:
    """The circuits of one system: its own, and one for each tenant that fails there."""

    def __init__(self, clock: Callable[[], float], *, pause: float = PAUSE) -> None:
        """``pause``: seconds of the first one."""
        self._clock, self._pause = clock, pause
        self._system = Circuit(FAILURES, clock, pause)
        self._tenants: dict[str, Circuit] = {}

    @property
    def open(self) -> bool:
        """Whether the whole system is left alone."""
        return self._system.open_for > 0

    def admit(self, caller: Caller) -> float:
        """0 when ``caller`` may send, else the seconds to wait."""
        if caller.urgent:
            return 0.0
        own = self._tenants.get(caller.tenant)
        circuits = (self._system, own) if own else (self._system,)
        # Looked at before either is asked: the one try of a half open system is not spent on who may not send anyway.
        return max(found.open_for for found in circuits) or max(found.admit() for found in circuits)

    def succeeded(self, caller: Caller) -> None:
        """The system answered."""
        self._system.succeeded()
        self._tenants.pop(caller.tenant, None)

    def failed(self, caller: Caller) -> bool:
        """The system did not answer; whether it is left alone from now on."""
        self.failed_at(caller)
        return self._system.failed()

    def failed_at(self, caller: Caller) -> None:
        """The system is there, but breaks at something of this tenant."""
        if caller.tenant:
            self._tenants.setdefault(caller.tenant, Circuit(FAILURES_OF_ONE, self._clock, self._pause)).failed()
