"""One connection to one external system: pace, patience, and the stop at the first refused credential.

The transport is a parameter (httpx2's one-method seam), so tests put faults between the operator and a real server
without patching anything. What an answer means is the client's business; this module only knows silence, 429 and 5xx.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx2
import structlog
from aiolimiter import AsyncLimiter

from dezky_operator.integrations.breaker import CALLER, PAUSE, Breaker
from dezky_operator.integrations.errors import AuthFailed, HeldBack, RateLimited, Unreachable, WriteRefused
from dezky_operator.integrations.steps import System
from dezky_operator.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)
GATEWAY_ERRORS = frozenset({502, 503, 504})
"""Answers of something in between: they say nothing about the object."""
READ_ATTEMPTS = 2
"""A read is asked once more after silence. A write never is: the next observation tells what became of it."""

SENDING = frozenset({"http11.send_request_headers.started", "http11.send_request_body.started"})
"""What the wire tells (httpx2's extension ``trace``) right before it sends: a process may have been frozen since a
write was let through, and the last look is the one that counts.
"""
CREDENTIAL = "dezky.credential"
"""The extension of a request that remembers what it was sent with; nothing of it goes over the wire."""


class Fence(Protocol):
    """Whether this process may still write (design §4, Lease)."""

    def remaining(self) -> float:
        """Seconds left in which a write may be on the wire; 0 or less when nothing may be written."""


class NoFence:
    """For commands that run beside no other: bootstrap, and tests of a single client."""

    def remaining(self) -> float:
        """Always plenty."""
        return 3600.0


@dataclass(frozen=True, slots=True)
class Credential:
    """What goes into the ``Authorization`` header. ``version`` changes whenever the Secret does.

    ``source`` names Secret and key for messages, ``remedy`` what to do when it is refused; ``header`` is never logged.
    """

    header: str
    version: str
    source: str
    remedy: str = "Put a valid credential there; the operator notices by itself."

    def __repr__(self) -> str:
        """Without the header."""
        return f"Credential({self.source}, version {self.version})"


class Authorizer(Protocol):
    """Gives the credential to use now; re-reads its Secret on change, so no restart is needed."""

    async def credential(self) -> Credential:
        """The current credential. Raises AuthFailed when there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How hard a system may be used. ``timeout`` in seconds per request."""

    requests_per_second: float = 100.0
    concurrency: int = 8
    timeout: float = 10.0
    pause: float = PAUSE
    """Seconds of the first pause of a system that fails again and again (:mod:`breaker`)."""


class Connection:
    """Sends requests to one system.

    Raises Unreachable (silence, 502 to 504), HeldBack (while it is left alone), RateLimited (429), AuthFailed (the
    credential in use was refused before), WriteRefused (this process lost its right to write). Every other answer is
    returned as it came.
    """

    def __init__(
        self,
        *,
        system: System,
        client: httpx2.AsyncClient,
        authorizer: Authorizer,
        limits: Limits,
        fence: Fence,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.system = system
        self._client = client
        self._authorizer = authorizer
        self._limits = limits
        self._fence = fence
        self._metrics = metrics
        self._clock = clock
        # A burst of a second's worth; aiolimiter leaks it out evenly afterwards.
        self._pace = AsyncLimiter(max(limits.requests_per_second, 1.0), 1.0)
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._breaker = Breaker(clock, pause=limits.pause)
        self._trouble = f"{system} is not available."
        self._refused: set[str] = set()
        """Versions, of all time: a late refusal of an old credential must not make the present one forgotten."""

    async def send(  # noqa: PLR0913 - the parts of an HTTP request
        self,
        method: str,
        path: str,
        *,
        op: str,
        write: bool,
        json: object = None,
        content: bytes | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """Send one request and return its answer. ``op`` is a short, bounded label for metrics (``group.create``)."""
        attempts = 1 if write else READ_ATTEMPTS
        for attempt in range(1, attempts + 1):
            self._admit()
            try:
                answer = await self._attempt(
                    method, path, op=op, write=write, json=json, content=content, params=params, headers=headers
                )
            except Unreachable:
                if attempt == attempts:
                    raise
            else:
                self._answered(answer)
                return answer
        raise AssertionError("a request has at least one attempt")

    def _admit(self) -> None:
        """Raises HeldBack, in the words of the last failure, while the system is left alone: a status that told of the
        pause would change with every try.
        """
        if self._breaker.admit(CALLER.get()):
            self._metrics.requests.labels(self.system, "held-back", "none").inc()
            raise HeldBack(self.system, self._trouble)

    def _failed(self, told: str) -> Unreachable:
        """Count a failure of the system itself; a credential that could not be had is none. Returns what to raise."""
        self._trouble = told
        if self._breaker.failed(CALLER.get()):
            log.warning("system left alone for a while", system=self.system, reason=told)
        self._metrics.circuit_open.labels(self.system).set(self._breaker.open)
        return Unreachable(self.system, told)

    def _answered(self, answer: httpx2.Response) -> None:
        if answer.status_code >= 500:
            self._breaker.failed_at(CALLER.get())
            return
        self._breaker.succeeded(CALLER.get())
        self._metrics.circuit_open.labels(self.system).set(0)

    def refuse(self, credential: Credential) -> AuthFailed:
        """Stop using ``credential``: returns the error to raise, now and for every later request until it changes."""
        self._refused.add(credential.version)
        self._metrics.credential_refused.labels(self.system).set(1)
        return AuthFailed(
            self.system,
            f"{self.system} refuses the credential of {credential.source}. Nothing more is sent to it. "
            f"{credential.remedy}",
        )

    async def credential(self) -> Credential:
        """The credential to use, or AuthFailed without a request when this one was refused before."""
        credential = await self._authorizer.credential()
        if credential.version in self._refused:
            raise self.refuse(credential)
        if self._refused:
            self._metrics.credential_refused.labels(self.system).set(0)
        return credential

    async def _attempt(
        self, method: str, path: str, *, op: str, write: bool, headers: Mapping[str, str] | None, **parts: Any
    ) -> httpx2.Response:
        started = self._clock()
        code = "none"
        try:
            async with self._slots, self._pace:
                credential = await self.credential()
                patience = self._patience(write=write)
                request = self._client.build_request(
                    method,
                    path,
                    headers={**(headers or {}), "Authorization": credential.header},
                    timeout=patience,
                    extensions={CREDENTIAL: credential, **({"trace": self._last_look} if write else {})},
                    **{name: part for name, part in parts.items() if part is not None},
                )
                answer = await self._answer(request, patience)
            code = str(answer.status_code)
        finally:
            self._metrics.requests.labels(self.system, op, code).inc()
            self._metrics.request_seconds.labels(self.system, op).observe(self._clock() - started)
        return self._passable(answer)

    async def _answer(self, request: httpx2.Request, patience: float) -> httpx2.Response:
        """The answer, within ``patience`` seconds in all: httpx2's own timeouts count each part by itself."""
        try:
            async with asyncio.timeout(patience):
                return await self._client.send(request)
        except (httpx2.TimeoutException, TimeoutError) as error:
            raise self._failed(f"{self.system} did not answer in time.") from error
        except httpx2.TransportError as error:
            raise self._failed(f"{self.system} did not answer ({type(error).__name__}).") from error

    def _patience(self, *, write: bool) -> float:
        """The request timeout: for a write never longer than this process may still write."""
        if not write:
            return self._limits.timeout
        left = self._fence.remaining()
        if left <= 0:
            raise WriteRefused(
                self.system, f"this operator no longer holds its Lease, so nothing is sent to {self.system}."
            )
        return min(self._limits.timeout, left)

    async def _last_look(self, event: str, _: object) -> None:
        if event in SENDING:
            self._patience(write=True)

    def _passable(self, answer: httpx2.Response) -> httpx2.Response:
        if answer.status_code in GATEWAY_ERRORS:
            raise self._failed(f"{self.system} is not available (HTTP {answer.status_code}).")
        if answer.status_code == 429:
            raise RateLimited(
                self.system,
                f"{self.system} asks for fewer requests (HTTP 429).",
                retry_after=_seconds(answer.headers.get("Retry-After")),
            )
        return answer


def sent(answer: httpx2.Response) -> Credential:
    """The credential that a request of a :class:`Connection` was sent with. Meanwhile the Secret may hold another."""
    credential = answer.request.extensions[CREDENTIAL]
    assert isinstance(credential, Credential)  # noqa: S101 - put there by send()
    return credential


def _seconds(text: str | None) -> float:
    """The value of a Retry-After header in seconds; 1 when it is missing or a date."""
    try:
        return max(float(text or "1"), 0.0)
    except ValueError:
        return 1.0
