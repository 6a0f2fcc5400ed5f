"""The way to the API server: one connection pool, every write counted and fenced."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx2
import msgspec
import yaml
from lightkube import AsyncClient, ConfigError, KubeConfig
from lightkube.config.client_adapter import verify_cluster
from lightkube.config.kubeconfig import SingleConfig
from lightkube.config.models import User

from dezky_operator.integrations.connection import SENDING
from dezky_operator.kube.lease import Fence
from dezky_operator.telemetry.metrics import Metrics

FIELD_MANAGER = "dezky-operator"
READS = frozenset({"GET", "HEAD", "OPTIONS"})
LONGEST = 10.0
"""Seconds a write may take."""
Wrap = Callable[[httpx2.AsyncBaseTransport], httpx2.AsyncBaseTransport]
"""Puts something between us and the wire; tests put faults there."""


class NotTheWriter(httpx2.TransportError):
    """A write to the API server was refused here: this process does not hold the Lease (any more)."""


class FencedTransport(httpx2.AsyncBaseTransport):
    """Passes reads; passes a write only while the Lease is held, never longer than it is."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, fence: Fence, metrics: Metrics) -> None:
        self._inner, self._fence, self._metrics = inner, fence, metrics

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send ``request``. Raises NotTheWriter."""
        if request.method in READS:
            return await _readable(await self._inner.handle_async_request(request))
        what = resource_of(request.url.path)
        self._metrics.kube_writes.labels(what).inc()
        if what == "leases":
            return await _readable(await self._inner.handle_async_request(request))
        return await _readable(await self._within_the_fence(request))

    async def _within_the_fence(self, request: httpx2.Request) -> httpx2.Response:
        left = self._left()
        request.extensions = {**request.extensions, "trace": self._last_look}
        try:
            # httpx2's own timeouts count connecting, sending and waiting each by itself.
            async with asyncio.timeout(min(left, LONGEST)):
                return await self._inner.handle_async_request(request)
        except TimeoutError as error:
            raise httpx2.ReadTimeout("the API server did not answer in time", request=request) from error

    async def _last_look(self, event: str, _: object) -> None:
        if event in SENDING:
            self._left()

    def _left(self) -> float:
        """Seconds in which a write may be on the wire. Raises NotTheWriter."""
        left = self._fence.remaining()
        if left <= 0:
            raise NotTheWriter("this process does not hold the Lease, so it writes nothing")
        return left

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


async def _readable(answer: httpx2.Response) -> httpx2.Response:
    """An error as lightkube understands it: one that comes from something in between may have no type, or a wrong one,
    and lightkube breaks at that.
    """
    if answer.status_code >= 400 and not _is_status(await answer.aread()):
        answer.headers["Content-Type"] = "text/plain"
    return answer


def _is_status(body: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(body), dict)
    except msgspec.DecodeError:
        return False


def resource_of(path: str) -> str:
    """The resource (with its subresource) that an API path writes: ``tenants/status``, ``secrets``, ``leases``."""
    parts = [part for part in path.split("/") if part]
    del parts[: 2 if parts[:1] == ["api"] else 3]
    if parts[:1] == ["namespaces"] and len(parts) > 2:
        del parts[:2]
    return f"{parts[0]}/{parts[2]}" if len(parts) > 2 else (parts[0] if parts else "")


def cluster_config(kubeconfig: str | None) -> SingleConfig:
    """Where the API server is: the named file, else the service account of the pod.

    An exported ``KUBECONFIG`` is not looked at: many people have a production cluster in theirs.
    Raises lightkube.ConfigError.
    """
    try:
        config = KubeConfig.from_file(kubeconfig) if kubeconfig else KubeConfig.from_service_account()
        found = config.get()
    except KeyError as error:
        raise ConfigError(f"{kubeconfig or 'the environment'} has no {error}") from error
    except (TypeError, AttributeError, UnicodeDecodeError, yaml.YAMLError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{kubeconfig} is not a kubeconfig: {error}") from error
    if found is None:
        raise ConfigError(f"{kubeconfig} has no current context")
    return found._replace(user=found.user or User())  # lightkube asserts that there is one


def connect(config: SingleConfig, *, fence: Fence, metrics: Metrics, wrap: Wrap = lambda inner: inner) -> AsyncClient:
    """A client of the API server whose writes are fenced and counted. Raises lightkube.ConfigError."""
    # A transport given to lightkube brings its own TLS: without this the cluster's CA and our certificate are unused.
    try:
        tls = verify_cluster(config.cluster, config.user or User(), config.abs_file, trust_env=False)
    except OSError as error:  # a file that is not there, or no certificate
        raise ConfigError(f"{config.fname or 'the service account'} names certificates of no use: {error}") from error
    wire = httpx2.AsyncHTTPTransport(verify=tls, limits=httpx2.Limits(max_connections=50, max_keepalive_connections=20))
    return AsyncClient(
        config=config,
        timeout=httpx2.Timeout(10.0),
        field_manager=FIELD_MANAGER,
        trust_env=False,
        transport=FencedTransport(wrap(wire), fence, metrics),
    )
