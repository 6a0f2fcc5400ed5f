"""A way into a system from outside: without the operator's credential, and with nothing remembered between requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import httpx2

from dezky_operator.integrations.connection import GATEWAY_ERRORS
from dezky_operator.integrations.errors import RateLimited, Unreachable
from dezky_operator.integrations.steps import System
from dezky_operator.telemetry.metrics import Metrics

AT_ONCE = 8
"""Requests of all canaries to one system at a time: a thousand suspensions must not stand in the way of their locks."""


class Door:
    """Sends the requests of canaries to one system.

    Raises Unreachable (silence, 502 to 504) and RateLimited (429). Every other answer is returned as it came.
    """

    def __init__(
        self,
        *,
        system: System,
        client: httpx2.AsyncClient,
        metrics: Metrics,
        timeout: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``timeout`` in seconds per request."""
        self.system = system
        self._client, self._metrics, self._timeout, self._clock = client, metrics, timeout, clock
        # One client serves all tenants: a cookie that it kept would sign one canary in as another.
        client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def ask(self, method: str, path: str, *, op: str, **parts: Any) -> httpx2.Response:
        """One request. ``op`` is a label for metrics; ``parts`` are headers, params, data or json."""
        started, code = self._clock(), "none"
        try:
            async with self._slots:
                answer = await self._client.request(method, path, timeout=self._timeout, **parts)
            code = str(answer.status_code)
        except httpx2.TransportError as error:
            raise Unreachable(self.system, f"{self.system} did not answer ({type(error).__name__}).") from error
        finally:
            self._metrics.requests.labels(self.system, f"canary.{op}", code).inc()
            self._metrics.request_seconds.labels(self.system, f"canary.{op}").observe(self._clock() - started)
        if answer.status_code in GATEWAY_ERRORS:
            raise Unreachable(self.system, f"{self.system} is not available (HTTP {answer.status_code}).")
        if answer.status_code == 429:
            raise RateLimited(self.system, f"{self.system} asks for fewer requests (HTTP 429).", retry_after=1.0)
        return answer
