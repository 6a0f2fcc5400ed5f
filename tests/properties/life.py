"""One life of the operator over the stand-ins, without an API server: its rules, and the writes they need."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Self

import httpx2
import msgspec

from dezky_operator import config
from dezky_operator.audit.recorder import NoRecorder
from dezky_operator.config import Settings
from dezky_operator.crd.tenant import SuspensionStatus
from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.integrations.authentik.integration import AuthentikIntegration
from dezky_operator.integrations.canary.door import Door
from dezky_operator.integrations.canary.probe import Means, ProbeCanary
from dezky_operator.integrations.connection import Authorizer, Connection, Limits, NoFence
from dezky_operator.integrations.dns.resolver import Resolver
from dezky_operator.integrations.ocis.client import OcisClient
from dezky_operator.integrations.ocis.integration import OcisIntegration
from dezky_operator.integrations.ocis.sign_in import ClientCredentialsAuthorizer, ClientSecret
from dezky_operator.integrations.stalwart.client import StalwartClient
from dezky_operator.integrations.stalwart.integration import StalwartIntegration
from dezky_operator.integrations.steps import System
from dezky_operator.kube.failure import cause
from dezky_operator.telemetry.metrics import Metrics
from dezky_operator.tenant.brake import MassDeletion
from dezky_operator.tenant.life import TenantLife
from dezky_operator.tenant.proof import Proofs
from dezky_operator.tenant.record import Record
from dezky_operator.tenant.retention import Clocks, Retention, Waited, Wishes, nothing_to_read
from dezky_operator.tenant.rounds import Rounds
from dezky_operator.tenant.world import Systems, World
from tests import identity, mail
from tests.canary import Clock, _prepared_mail
from tests.properties.registry import FINALIZER, Conflict, Object, Registry, Tombstone
from tests.sandbox.workspace import INSTALLATION, Workspace

PAUSE = 1.0
"""Seconds of :class:`Office`'s clock that a system is left alone at first."""


@dataclass(frozen=True)
class Office:
    """What outlives a process: the systems' addresses and the credentials, as Secrets hold them."""

    workspace: Workspace
    settings: Settings
    clients: Mapping[System, httpx2.AsyncClient]
    token: str
    mail_key: str
    ocis_secret: Callable[[], Awaitable[ClientSecret]]
    clock: Clock
    """Of the breakers and of the sign-in for OCIS: a test lets their pauses pass."""

    @classmethod
    async def open(cls, stack: AsyncExitStack) -> Self:
        """Fresh stand-ins, prepared by bootstrap."""
        workspace = await stack.enter_async_context(Workspace())
        made = await identity.bootstrap(workspace.authentik)
        key = await _prepared_mail(workspace, directory=True)
        pairs = zip(System, (workspace.authentik, workspace.stalwart, workspace.ocis), strict=False)
        clients = {system: httpx2.AsyncClient(base_url=one.url, trust_env=False) for system, one in pairs}
        for client in clients.values():
            await stack.enter_async_context(client)
        settings = config.parse(workspace.settings(), where="the test")

        async def secret() -> ClientSecret:
            return ClientSecret(value=made.ocis_secret, version="1", source="the test")

        return cls(workspace, settings, clients, made.token, key, secret, Clock())

    def connection(self, system: System, metrics: Metrics) -> Connection:
        """A way into a system, with nothing remembered of earlier ones."""
        issuer = self.workspace.ocis.issuer or ""
        authorizers: dict[System, Callable[[], Authorizer]] = {
            System.AUTHENTIK: lambda: identity.Given(self.token),
            System.STALWART: lambda: mail.Given(f"Bearer {self.mail_key}"),
            System.OCIS: lambda: ClientCredentialsAuthorizer(
                http=self.clients[System.AUTHENTIK],
                issuer=issuer,
                client_id="dezky-ocis",
                secret=self.ocis_secret,
                clock=self.clock,
            ),
        }
        return Connection(
            system=system,
            client=self.clients[system],
            authorizer=authorizers[system](),
            limits=Limits(requests_per_second=5000, pause=PAUSE),
            fence=NoFence(),
            metrics=metrics,
            clock=self.clock,
        )


class Life:
    """The in-memory operator: a restart makes another one."""

    def __init__(self, office: Office, registry: Registry) -> None:
        self.registry, self.metrics = registry, Metrics()
        self.tenants: dict[str, Object] = {}
        self.tombstones: dict[str, Tombstone] = {}
        self.boot = 0.0
        self.watch()
        systems = self._systems(office)
        settings = office.settings
        self.rounds = Rounds(
            settings=settings,
            systems=systems,
            trail=NoRecorder(),
            metrics=self.metrics,
            stopping=lambda: False,
            now=registry.now,
        )
        proofs = Proofs(self._canary(office, systems), waiting=lambda: 0.0, clock=time.monotonic)
        self.life = TenantLife(self.rounds, proofs, clock=time.monotonic)
        self.retention = Retention(
            self.rounds,
            proofs,
            deletion=settings.deletion,
            purge=settings.purge,
            audit=Waited(settings.purge, nothing_to_read),
            brake=MassDeletion(most=10_000),
        )

    def watch(self) -> None:
        """Everything that changed is told."""
        self.tenants, self.tombstones = dict(self.registry.tenants), dict(self.registry.tombstones)

    async def look(self, slug: str) -> None:
        """One look at a Tenant and its tombstone. What an API server refuses ends it, and is only tried again later."""
        for work in (self._tenant, self._tombstone):
            self.watch()
            try:
                await work(slug)
            except (Conflict, ExceptionGroup) as error:
                if not isinstance(cause(error), Conflict):
                    raise

    async def _tenant(self, slug: str) -> None:
        seen = self.tenants.get(slug)
        if seen is None:
            return
        outcome = await self.life.reconcile(seen.tenant, self.world(slug), Hand(self, slug, seen.tenant.metadata.uid))
        if outcome.status is not None:
            known = self.of(slug, seen.tenant.metadata.uid)
            if outcome.status != known.tenant.status:
                self.tenants[slug] = self.registry.status(known, outcome.status)

    async def _tombstone(self, slug: str) -> None:
        kept = self.tombstones.get(slug)
        if kept is not None:
            wishes = Wishes(purge="confirm-purge" in kept.annotations, release="release-deletions" in kept.annotations)
            await self.retention.reconcile(kept.record, wishes, self.world(slug), Spade(self, slug))

    def world(self, slug: str) -> World:
        """What is known beyond one Tenant."""
        return World(
            installation_id=INSTALLATION,
            others=tuple(one.tenant for name, one in sorted(self.tenants.items()) if name != slug),
            records=tuple(one.record for _, one in sorted(self.tombstones.items())),
        )

    def of(self, slug: str, uid: str) -> Object:
        """The Tenant as the watch told of it last. Raises Conflict when it is another one, or gone."""
        known = self.tenants.get(slug)
        if known is None or known.tenant.metadata.uid != uid:
            raise Conflict(slug)
        return known

    def _systems(self, office: Office) -> Systems:
        self._ways = {system: office.connection(system, self.metrics) for system in office.clients}
        return Systems(
            authentik=AuthentikIntegration(
                AuthentikClient(self._ways[System.AUTHENTIK]),
                installation_id=INSTALLATION,
                public_url=office.workspace.authentik.url,
                clock=time.monotonic,
            ),
            stalwart=StalwartIntegration(
                StalwartClient(self._ways[System.STALWART]), executor=None, clock=time.monotonic
            ),
            ocis=OcisIntegration(OcisClient(self._ways[System.OCIS])),
            secrets=self.registry.secrets,
            resolver=Resolver([f"127.0.0.1:{office.workspace.dns.port}"], timeout=1.0, clock=time.monotonic),
        )

    def _canary(self, office: Office, systems: Systems) -> ProbeCanary:
        means = Means(
            authentik=AuthentikClient(self._ways[System.AUTHENTIK]),
            stalwart=StalwartClient(self._ways[System.STALWART]),
            ocis=OcisClient(self._ways[System.OCIS]),
            performers={
                System.AUTHENTIK: systems.authentik,
                System.STALWART: systems.stalwart,
                System.OCIS: systems.ocis,
            },
            trail=NoRecorder(),
            doors={
                system: Door(system=system, client=client, metrics=self.metrics, timeout=5.0)
                for system, client in office.clients.items()
            },
            metrics=self.metrics,
        )
        return ProbeCanary(means, clock=time.monotonic)


@dataclass(frozen=True)
class Hand:
    """The writes of a reconcile, bound to one Tenant: a later one of the same name is another."""

    life: Life
    slug: str
    uid: str

    async def hold(self) -> None:
        known = self.life.of(self.slug, self.uid)
        if FINALIZER not in known.tenant.metadata.finalizers:
            self._told(self.life.registry.finalizers(known, (FINALIZER,)))

    async def release(self) -> None:
        self._told(self.life.registry.finalizers(self.life.of(self.slug, self.uid), ()))

    async def write_ahead(self, suspension: SuspensionStatus) -> None:
        known = self.life.of(self.slug, self.uid)
        status = msgspec.structs.replace(known.tenant.status, suspension=suspension)
        self._told(self.life.registry.status(known, status))

    async def keep(self, record: Record) -> None:
        known = self.life.tenants.get(self.slug)
        if (known is not None and known.tenant.metadata.uid != self.uid) or (known is None and not record.standing):
            raise Conflict(self.slug)
        await Spade(self.life, self.slug).keep(record)

    async def forget(self) -> None:
        await Spade(self.life, self.slug).forget()

    async def mass_deletion(self) -> str | None:
        return None

    def _told(self, written: Object | None) -> None:
        if written is None:
            self.life.tenants.pop(self.slug, None)
        else:
            self.life.tenants[self.slug] = written


@dataclass(frozen=True)
class Spade:
    """The writes of a look at a tombstone."""

    life: Life
    slug: str

    async def keep(self, record: Record) -> None:
        known = self.life.tombstones.get(self.slug)
        if known is not None and known.record.tenant_id != record.tenant_id:
            raise AssertionError(f"the record of {known.record.tenant_id} would be written over by {record.tenant_id}")
        if known is None or known.record != record:
            self.life.tombstones[self.slug] = self.life.registry.keep(record, known)

    async def forget(self) -> None:
        self.life.registry.forget(self.slug)
        self.life.tombstones.pop(self.slug, None)

    async def release_tenant(self) -> None:
        known = self.life.tenants.get(self.slug)
        if known is not None and known.tenant.metadata.deletion_timestamp is not None:
            self.life.registry.finalizers(known, ())
            self.life.tenants.pop(self.slug, None)

    async def clocks(self) -> Clocks:
        self.life.boot += 1.0  # a second since the last look: longer than the setting of this test waits
        now = self.life.registry.now()
        return Clocks(local=now, server=now, boot=self.life.boot)

    def may_purge_now(self) -> bool:
        return True
