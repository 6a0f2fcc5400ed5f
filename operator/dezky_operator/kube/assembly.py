"""What one operator process is made of, put together; nothing runs and nothing is sent yet."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from lightkube import AsyncClient
from lightkube.config.kubeconfig import SingleConfig

from dezky_operator.config import Settings
from dezky_operator.kube.api import TenantApi
from dezky_operator.kube.audit import Audit
from dezky_operator.kube.audit_opening import Around, WrapStore
from dezky_operator.kube.cache import TenantCache
from dezky_operator.kube.chronicle import Chronicle, NoChronicle
from dezky_operator.kube.controller import TenantController
from dezky_operator.kube.credentials import CredentialWatch, SecretReader
from dezky_operator.kube.events import EventPoster
from dezky_operator.kube.installation import Installation
from dezky_operator.kube.journal import Registry
from dezky_operator.kube.lease import Fence, LeaseHolder
from dezky_operator.kube.queue import Urgency, WorkQueue
from dezky_operator.kube.records import RecordBook
from dezky_operator.kube.secrets import SecretStore
from dezky_operator.kube.source_kinds import Kinds
from dezky_operator.kube.sources import Sources
from dezky_operator.kube.sweep import FleetSweep
from dezky_operator.kube.systems import Clients, Wire, Wiring, connect_canary, connect_clients, connect_systems
from dezky_operator.kube.tombstones import Surroundings, TombstoneController, slug_of
from dezky_operator.kube.transport import Wrap, connect
from dezky_operator.kube.watchdog import PATIENCE, Watchdog
from dezky_operator.telemetry.metrics import Metrics
from dezky_operator.tenant.brake import MassDeletion
from dezky_operator.tenant.life import TenantLife
from dezky_operator.tenant.proof import Proofs
from dezky_operator.tenant.retention import Retention, Waited, nothing_to_read
from dezky_operator.tenant.rounds import Rounds
from dezky_operator.tenant.sweep import Sweep

CLOCK = time.monotonic
INGEST = "AUDIT_INGEST_ENABLED"
"""``false`` in the environment: no AuditSource is read, whatever is declared; the operator's own acts are recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What the process gives to its parts. ``wire``, ``wrap`` and ``wrap_store`` are seams to network and disk."""

    settings: Settings
    config: SingleConfig
    identity: str
    fence: Fence
    metrics: Metrics
    stopping: Callable[[], bool]
    wire: Wire
    wrap: Wrap
    wrap_store: WrapStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """The parts that the process starts, asks and stops."""

    client: AsyncClient
    api: TenantApi
    wiring: Wiring
    lease: LeaseHolder
    records: RecordBook
    queue: WorkQueue
    installation: Installation
    controller: TenantController
    tombstones: TombstoneController
    sweep: FleetSweep
    watchdog: Watchdog
    credentials: CredentialWatch
    recording: Recording

    async def close(self) -> None:
        """Close every connection."""
        await self.wiring.close()
        await self.api.close()
        await self.client.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """What the controllers stand on."""

    api: TenantApi
    cache: TenantCache
    queue: WorkQueue
    records: RecordBook
    events: EventPoster
    brake: MassDeletion
    rounds: Rounds
    proofs: Proofs
    recording: Recording


def assemble(frame: Frame) -> Assembly:
    """Make the parts. Raises lightkube.ConfigError."""
    settings = frame.settings
    client = connect(frame.config, fence=frame.fence, metrics=frame.metrics, wrap=frame.wrap)
    api, cache, queue = TenantApi(client, frame.config), TenantCache(), _queue(frame)
    records = RecordBook(client, settings.namespace)
    wiring = _wiring(frame, client)
    clients = connect_clients(settings, wiring)
    registry = Registry(installation_id=str(settings.installation_id), cache=cache, records=lambda: records.all)
    recording = _recording(frame, client, api, clients, wiring, registry)
    systems = connect_systems(settings, wiring, clients, SecretStore(client, settings.secrets_namespace))
    trail = recording.chronicle
    rounds = Rounds(settings=settings, systems=systems, trail=trail, metrics=frame.metrics, stopping=frame.stopping)
    proofs = Proofs(
        connect_canary(settings, wiring, clients, systems, trail),
        waiting=lambda: queue.waiting(Urgency.LOCK) / settings.reconcile.workers,
        clock=CLOCK,
    )
    ground = _Ground(
        api=api,
        cache=cache,
        queue=queue,
        records=records,
        events=EventPoster(client),
        brake=MassDeletion(most=settings.deletion.brake),
        rounds=rounds,
        proofs=proofs,
        recording=recording,
    )
    controller, tombstones = _controllers(frame, ground)
    return Assembly(
        client=client,
        api=api,
        wiring=wiring,
        lease=_lease(frame, client),
        records=records,
        queue=queue,
        installation=Installation(systems.authentik),
        controller=controller,
        tombstones=tombstones,
        sweep=_sweep(frame, rounds, api, cache, controller),
        watchdog=_watchdog(frame, api, cache, controller),
        credentials=_credentials(frame, wiring.reader, controller),
        recording=recording,
    )


def _controllers(frame: Frame, ground: _Ground) -> tuple[TenantController, TombstoneController]:
    """Who serves Tenants, and who serves what is left of deleted ones."""
    settings = frame.settings
    controller = TenantController(
        installation_id=str(settings.installation_id),
        api=ground.api,
        life=TenantLife(ground.rounds, ground.proofs, clock=CLOCK),
        records=ground.records,
        events=ground.events,
        cache=ground.cache,
        queue=ground.queue,
        settings=settings,
        brake=ground.brake,
        journal=ground.recording.chronicle,
        metrics=frame.metrics,
        clock=CLOCK,
        jitter=random.random,
    )
    tombstones = controller.tombstones = TombstoneController(
        Retention(
            ground.rounds,
            ground.proofs,
            deletion=settings.deletion,
            purge=settings.purge,
            audit=Waited(settings.purge, ground.recording.read_until),
            brake=ground.brake,
        ),
        Surroundings(
            api=ground.api,
            records=ground.records,
            events=ground.events,
            queue=ground.queue,
            settings=settings,
            world=controller.world,
            release_tenant=controller.release_buried,
            journal=ground.recording.chronicle,
        ),
    )
    return controller, tombstones


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The log and what is read into it; without a log nothing is."""

    chronicle: Chronicle
    sources: Sources | None = None

    @property
    def read_until(self) -> Callable[[], datetime | None]:
        """Up to when the sign-in's events were read."""
        return self.sources.read_until if self.sources else nothing_to_read


def _recording(
    frame: Frame, client: AsyncClient, api: TenantApi, clients: Clients, wiring: Wiring, registry: Registry
) -> Recording:
    settings = frame.settings
    if settings.audit is None:
        return Recording(chronicle=NoChronicle())
    around = Around(
        settings=settings,
        client=client,
        registry=registry,
        metrics=frame.metrics,
        api_time=api.time,
        wrap_store=frame.wrap_store,
    )
    audit = Audit(settings.audit, around)
    if os.environ.get(INGEST, "true").lower() == "false":
        return Recording(chronicle=audit)
    kinds = Kinds(
        settings, clients, wiring, tenants=registry.tenants, secret=lambda: audit.opened.keys.dedupe, trail=audit
    )
    sources = Sources(client, way=audit.way, factory=kinds.make, metrics=frame.metrics, clock=CLOCK)
    return Recording(chronicle=audit, sources=sources)


def _wiring(frame: Frame, client: AsyncClient) -> Wiring:
    settings = frame.settings
    return Wiring(
        reader=SecretReader(
            client, settings.namespace, clock=CLOCK, freshness=settings.reconcile.credentials_check_seconds
        ),
        fence=frame.fence,
        metrics=frame.metrics,
        clock=CLOCK,
        executor=ThreadPoolExecutor(max_workers=1, thread_name_prefix="keys"),
        wire=frame.wire,
        pause=settings.reconcile.breaker_pause_seconds,
    )


def _queue(frame: Frame) -> WorkQueue:
    pace = frame.settings.reconcile
    return WorkQueue(
        metrics=frame.metrics,
        clock=CLOCK,
        first_backoff=pace.backoff_first_seconds,
        longest_backoff=pace.backoff_longest_seconds,
        # A tombstone that is being locked would shut again what its restored Tenant opens meanwhile.
        turn=slug_of,
    )


def _lease(frame: Frame, client: AsyncClient) -> LeaseHolder:
    return LeaseHolder(
        client=client,
        namespace=frame.settings.namespace,
        identity=frame.identity,
        settings=frame.settings.lease,
        fence=frame.fence,
        metrics=frame.metrics,
    )


def _sweep(
    frame: Frame, rounds: Rounds, api: TenantApi, cache: TenantCache, controller: TenantController
) -> FleetSweep:
    return FleetSweep(
        Sweep(rounds),
        listed=api.versions,
        world=controller.everybody,
        cache=cache,
        queue=controller.queue,
        metrics=frame.metrics,
        interval=frame.settings.reconcile.resync_seconds,
        jitter=random.random,
    )


def _credentials(frame: Frame, reader: SecretReader, controller: TenantController) -> CredentialWatch:
    interval = frame.settings.reconcile.credentials_check_seconds
    return CredentialWatch(reader, frame.settings, interval=interval, changed=controller.add_all)


def _watchdog(frame: Frame, api: TenantApi, cache: TenantCache, controller: TenantController) -> Watchdog:
    interval = frame.settings.reconcile.watch_check_seconds
    return Watchdog(
        versions=api.versions,
        cache=cache,
        fetch=controller.fetch,
        interval=interval,
        clock=CLOCK,
        patience=min(PATIENCE, interval / 2),
    )
