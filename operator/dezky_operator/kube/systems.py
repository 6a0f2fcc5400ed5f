"""The three systems as the settings describe them: credentials from Secrets, one connection each."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

import httpx2

from dezky_operator.config import AuthentikSettings, OcisAuth, OcisSettings, SecretRef, Settings, StalwartSettings
from dezky_operator.integrations.apply import Trail
from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.integrations.authentik.integration import AuthentikIntegration
from dezky_operator.integrations.breaker import PAUSE
from dezky_operator.integrations.canary.door import Door
from dezky_operator.integrations.canary.probe import Means, ProbeCanary
from dezky_operator.integrations.connection import Authorizer, Connection, Fence, Limits
from dezky_operator.integrations.dns.resolver import Resolver
from dezky_operator.integrations.ocis.client import OcisClient
from dezky_operator.integrations.ocis.integration import OcisIntegration
from dezky_operator.integrations.ocis.sign_in import ClientCredentialsAuthorizer, ClientSecret
from dezky_operator.integrations.stalwart.client import StalwartClient
from dezky_operator.integrations.stalwart.integration import StalwartIntegration
from dezky_operator.integrations.steps import System
from dezky_operator.kube.credentials import SecretAuthorizer, SecretReader, basic, bearer, secret_of
from dezky_operator.telemetry.metrics import Metrics
from dezky_operator.tenant.world import Secrets, Systems

Wire = Callable[[System], httpx2.AsyncBaseTransport]
"""Gives the transport to a system; tests put faults there."""


def plain_wire(_: System) -> httpx2.AsyncBaseTransport:
    """The network as it is."""
    return httpx2.AsyncHTTPTransport(limits=httpx2.Limits(max_connections=50, max_keepalive_connections=20))


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """What every connection is made with."""

    reader: SecretReader
    fence: Fence
    metrics: Metrics
    clock: Callable[[], float]
    executor: Executor | None = None
    wire: Wire = plain_wire
    pause: float = PAUSE
    opened: list[httpx2.AsyncClient] = field(default_factory=list)

    def client(self, system: System, *, base_url: str = "", timeout: float = 10.0) -> httpx2.AsyncClient:
        """A client of one system, closed with all others by :meth:`close`."""
        client = httpx2.AsyncClient(base_url=base_url, transport=self.wire(system), timeout=timeout, trust_env=False)
        self.opened.append(client)
        return client

    async def close(self) -> None:
        """Close every connection, and end what is computed beside the loop."""
        for client in self.opened:
            await client.aclose()
        if self.executor is not None:
            self.executor.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, kw_only=True)
class Clients:
    """One client for each system: its pace and its patience are shared by all who use it."""

    authentik: AuthentikClient
    stalwart: StalwartClient
    ocis: OcisClient


def connect_clients(settings: Settings, wiring: Wiring) -> Clients:
    """The ways into the systems, with the operator's credentials; nothing is sent yet."""
    return Clients(
        authentik=AuthentikClient(authentik_connection(settings, wiring, settings.authentik.token_secret_ref)),
        stalwart=StalwartClient(stalwart_connection(settings, wiring)),
        ocis=OcisClient(ocis_connection(settings, wiring)),
    )


def connect_canary(settings: Settings, wiring: Wiring, clients: Clients, systems: Systems, trail: Trail) -> ProbeCanary:
    """Who proves a lock from outside. It signs in where people do: an issuer follows the host that is asked."""
    public = settings.authentik.public_url or settings.authentik.url
    means = Means(
        authentik=clients.authentik,
        stalwart=clients.stalwart,
        ocis=clients.ocis,
        performers={
            System.AUTHENTIK: systems.authentik,
            System.STALWART: systems.stalwart,
            System.OCIS: systems.ocis,
        },
        trail=trail,
        doors={
            System.AUTHENTIK: _door(System.AUTHENTIK, public, settings.authentik.timeout_seconds, wiring),
            System.STALWART: _door(System.STALWART, settings.stalwart.url, settings.stalwart.timeout_seconds, wiring),
            System.OCIS: _door(System.OCIS, settings.ocis.url, settings.ocis.timeout_seconds, wiring),
        },
        metrics=wiring.metrics,
    )
    return ProbeCanary(means, clock=wiring.clock)


def _door(system: System, url: str, timeout: float, wiring: Wiring) -> Door:
    client = wiring.client(system, base_url=url.rstrip("/"), timeout=timeout)
    return Door(system=system, client=client, metrics=wiring.metrics, timeout=timeout, clock=wiring.clock)


def connect_systems(settings: Settings, wiring: Wiring, clients: Clients, secrets: Secrets) -> Systems:
    """The systems tenants live in; nothing is sent yet."""
    return Systems(
        authentik=AuthentikIntegration(
            clients.authentik,
            installation_id=str(settings.installation_id),
            public_url=settings.authentik.public_url or settings.authentik.url,
            clock=wiring.clock,
        ),
        stalwart=StalwartIntegration(clients.stalwart, executor=wiring.executor, clock=wiring.clock),
        ocis=OcisIntegration(clients.ocis),
        secrets=secrets,
        resolver=Resolver(settings.dns.servers, timeout=settings.dns.timeout_seconds, clock=wiring.clock),
    )


def authentik_connection(settings: Settings, wiring: Wiring, ref: SecretRef) -> Connection:
    """A connection to Authentik alone, with the token that ``ref`` names."""
    authorizer = SecretAuthorizer(System.AUTHENTIK, wiring.reader, ref, bearer)
    return _connection(System.AUTHENTIK, settings.authentik, authorizer, wiring)


def stalwart_connection(settings: Settings, wiring: Wiring) -> Connection:
    """A connection to Stalwart alone, with the daily credential."""
    # An API key is a bearer token; a `user:password` (for a first look, or a stand-in) goes as Basic.
    ref = settings.stalwart.token_secret_ref
    authorizer = SecretAuthorizer(
        System.STALWART, wiring.reader, ref, lambda value: bearer(value) if value.startswith("API_") else basic(value)
    )
    return _connection(System.STALWART, settings.stalwart, authorizer, wiring)


def ocis_connection(settings: Settings, wiring: Wiring) -> Connection:
    """A connection to OCIS alone."""
    ref = settings.ocis.secret_ref
    if settings.ocis.auth is OcisAuth.BASIC:
        return _connection(System.OCIS, settings.ocis, SecretAuthorizer(System.OCIS, wiring.reader, ref, basic), wiring)

    async def secret() -> ClientSecret:
        value = await secret_of(System.OCIS, wiring.reader, ref)
        return ClientSecret(value=value.value, version=value.version, source=value.source)

    authorizer = ClientCredentialsAuthorizer(
        http=wiring.client(System.AUTHENTIK, timeout=settings.authentik.timeout_seconds),
        issuer=settings.ocis.issuer or "",
        client_id=settings.ocis.client_id,
        secret=secret,
        clock=wiring.clock,
    )
    return _connection(System.OCIS, settings.ocis, authorizer, wiring)


def _connection(
    system: System,
    settings: AuthentikSettings | StalwartSettings | OcisSettings,
    authorizer: Authorizer,
    wiring: Wiring,
) -> Connection:
    return Connection(
        system=system,
        client=wiring.client(system, base_url=settings.url.rstrip("/")),
        authorizer=authorizer,
        limits=Limits(
            requests_per_second=settings.requests_per_second,
            concurrency=settings.concurrency,
            timeout=settings.timeout_seconds,
            pause=wiring.pause,
        ),
        fence=wiring.fence,
        metrics=wiring.metrics,
    )
